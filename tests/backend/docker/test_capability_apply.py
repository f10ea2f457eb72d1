"""A granted capability becomes a layer: content-addressed, with what was said and nothing else, beside a running bottle."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.backend.docker.capability_apply import apply_capability, layer
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.errors import BottleError, EnvironmentLacks, Refused
from tests.backend.docker.bottles import Place, launched, output

IMAGE = "claude-bottle/agent:0123456789abcdef"
GOOD = "RUN echo '#!/bin/sh\\necho granted' > /usr/bin/granted && chmod 755 /usr/bin/granted\n"


@pytest.mark.parametrize(
    "fragment",
    [
        "", "# nothing\n", "FROM evil\n", "RUN a\nFROM evil", "COPY / /\n", "ADD http://evil.test /\n", "ADD x /",
        "USER root", "LABEL a=b", "RUN a\n  copy / /", "RUN a \\\n\nCOPY / /", "# x \\\nCOPY / /", "RUN a \\\\\nCOPY / /",
        "ENTRYPOINT x",
        "RUN --mount=type=secret,id=x cat /run/secrets/x", "RUN --network=host curl evil",
        "RUN --mount=type=bind,from=other ls",
        "RUN <<EOF\nCOPY\nEOF", "ONBUILD RUN x", "VOLUME /x", "ARG x", "RUN a\x0bCOPY b", "RUN a\rCOPY / /",
        "RUN a\u2028COPY",
        "RUN " + "a" * 70_000, "run a\ncmd b", "STOPSIGNAL 9",
        "RUN cat <<RUN\nENV x y\nRUN z", "RUN a \\\\\nRUN b",
    ],
)  # fmt: skip
def test_only_steps_and_variables_are_taken(fragment: str) -> None:
    with pytest.raises(Refused):
        layer(IMAGE, fragment)


@given(st.text(alphabet="RUNENVCOPYFROMADD \\\n\t#`<-='\"/ax$", max_size=60))
def test_no_line_begins_with_anything_else_however_lines_are_joined(fragment: str) -> None:
    """By the rule of old engines (a backslash always joins) and of new ones (not after another backslash)."""
    try:
        text = layer(IMAGE, fragment).text
    except Refused:
        return
    lines = [line for line in text.split("\n") if not line.lstrip().startswith("#")]
    joined, begun = [], ""
    for line in lines:
        begun += line.rstrip(" \t").removesuffix("\\") if line.rstrip(" \t").endswith("\\") else line + "\n"
        if begun.endswith("\n"):
            joined.append(begun.strip())
            begun = ""
    first, second, *rest = [line for line in [*joined, begun.strip()] if line]
    assert (first, second) == (f"FROM {IMAGE}", "USER 0")
    assert rest and all(line.split()[0].upper() in ("RUN", "ENV") for line in rest)


@pytest.mark.parametrize("image", ["", "-x", "a\nRUN b", "a AS b", "$X"])
def test_an_image_is_a_name(image: str) -> None:
    with pytest.raises(BottleError):
        layer(image, GOOD)


def test_the_tag_is_what_went_in() -> None:
    one = layer(IMAGE, GOOD)
    assert one.tag == layer(IMAGE, GOOD).tag and one.tag.startswith("claude-bottle/layer:")
    others = [layer(IMAGE + "x", GOOD), layer(IMAGE, GOOD + "ENV A=b\n"), layer(one.tag, GOOD)]
    others.append(layer(IMAGE, GOOD, network=True))
    assert len({one.tag, *(other.tag for other in others)}) == 5
    assert one.files == () and not one.network


def test_a_capability_is_there_in_the_next_bottle_and_the_running_one_goes_on(place: Place, tmp_path: Path) -> None:
    said: list[str] = []
    with launched(place) as running:
        tag = apply_capability(Engine(), place.image, GOOD, said.append)
        assert output(running, "sh", "-c", "command -v granted")[0] != 0
        assert output(running, "echo", "on")[1] == "on\n"
    assert any("building image layer" in line for line in said)
    with launched(place, image=tag) as granted:
        assert output(granted, "granted") == (0, "granted\n")
        assert output(granted, "id", "-u")[1] == "1000\n"
    assert apply_capability(Engine(), place.image, GOOD, pytest.fail) == tag, "the same grant is built once"


def test_layers_stand_on_layers(place: Place) -> None:
    first = apply_capability(Engine(), place.image, GOOD, lambda _line: None)
    second = apply_capability(Engine(), first, "RUN granted > /granted-twice\nENV B=c", lambda _line: None)
    with launched(place, image=second) as bottle:
        assert output(bottle, "cat", "/granted-twice") == (0, "granted\n")


def test_what_fails_is_told_and_leaves_the_bottle_alone(place: Place) -> None:
    with launched(place) as running:
        with pytest.raises(BottleError, match="could not be built") as told:
            apply_capability(Engine(), place.image, "RUN echo no such package >&2; exit 100", lambda _line: None)
        assert "no such package" in told.value.why
        assert "\\x1b" not in told.value.why, "nor does it tell which colour the engine had for it"
        assert output(running, "echo", "on")[1] == "on\n"
    assert "exit 100" not in place.engine.docker("ps", "--all", "--no-trunc")


def test_steps_have_no_network_unless_it_was_granted_and_see_no_file_of_the_host(place: Place) -> None:
    reach = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('198.51.100.1', 9))"
    step = f'RUN python3 -c "{reach}"'
    with pytest.raises(BottleError) as told:
        apply_capability(Engine(), place.image, step, lambda _line: None)
    assert "unreachable" in told.value.why
    apply_capability(Engine(), place.image, step, lambda _line: None, network=True)


def test_an_image_that_is_gone_is_not_looked_for_elsewhere(place: Place) -> None:
    with pytest.raises(EnvironmentLacks, match="image to build on is missing"):
        apply_capability(Engine(), IMAGE, GOOD, pytest.fail)
