"""What an image is made of: the same inputs have the same name, any other input another, and nothing else gets in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.backend.docker import context, dockerfile, recipe
from claude_bottle.backend.docker.recipe import Recipe, chain
from claude_bottle.errors import BottleError
from claude_bottle.manifest.bottle import Image
from claude_bottle.state import ignore

TEXT = "FROM debian\nCOPY . /src\n"


def image(place: Path, name: str = "Dockerfile", *, network: bool = False) -> Image:
    """The place's Dockerfile as a manifest there would name it."""
    return Image(name, sha256((place / name).read_bytes()).hexdigest(), network=network, directory=place)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    (place / "src").mkdir(parents=True)
    (place / "Dockerfile").write_text(TEXT)
    (place / "src" / "a.py").write_text("a")
    (place / "src" / "run.sh").write_text("b")
    (place / "link").symlink_to("src/a.py")
    return place


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "agent").write_bytes(b"\x7fELF")
    return {str(tmp_path / "agent"): "/opt/agent/bin/agent"}


def names(found: Recipe) -> list[str]:
    return [file.name for file in found.files]


def test_the_same_inputs_have_the_same_tags(project: Path, program: dict[str, str]) -> None:
    first, second = (chain("x", own=image(project), program=program, version="1") for _ in range(2))
    assert [one.tag for one in first] == [one.tag for one in second]
    assert [one.kind for one in first] == ["own", "tools", "agent"]
    assert [one.parent for one in first] == ["", first[0].tag, first[1].tag]


CHANGES: dict[str, Callable[[Path], object]] = {
    "its text": lambda place: (place / "Dockerfile").write_text(TEXT + "ENV A=b\n"),
    "the bytes of a file": lambda place: (place / "src/a.py").write_text("c"),
    "who may execute a file": lambda place: (place / "src/run.sh").chmod(0o755),
    "the mode of a directory": lambda place: (place / "src").chmod(0o700),
    "a new file": lambda place: (place / "src/b.py").touch(),
    "a new empty directory": lambda place: (place / "empty").mkdir(),
    "a file less": lambda place: (place / "src/a.py").unlink(),
    "another name": lambda place: (place / "src/a.py").rename(place / "src/c.py"),
    "where a link leads": lambda place: ((place / "link").unlink(), (place / "link").symlink_to("src")),
    "a file for a link": lambda place: ((place / "link").unlink(), (place / "link").write_text("src/a.py")),
    "what is ignored": lambda place: (place / ".dockerignore").write_text("src/run.sh\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_changes_every_tag_above(project: Path, program: dict[str, str], change: str) -> None:
    before = chain("x", own=image(project), program=program, version="1")
    CHANGES[change](project)
    after = chain("x", own=image(project), program=program, version="1")
    assert not {one.tag for one in before} & {one.tag for one in after}


def test_a_time_or_an_ignored_file_changes_nothing(project: Path) -> None:
    (project / ".dockerignore").write_text("*.log\n")
    before = chain("x", own=image(project))[-1].tag
    os.utime(project / "src" / "a.py", (1, 1))
    (project / "build.log").write_text("noise")
    assert chain("x", own=image(project))[-1].tag == before


def test_base_network_program_and_version_count_too(project: Path, program: dict[str, str]) -> None:
    tags = [chain("x")[-1].tag, chain("y")[-1].tag]
    tags += [chain("x", own=image(project, network=network))[-1].tag for network in (False, True)]
    tags += [chain("x", program=program, version=version)[-1].tag for version in ("1", "2")]
    Path(next(iter(program))).write_bytes(b"\x7fELF!")
    tags.append(chain("x", program=program, version="2")[-1].tag)
    tags.append(chain("x", program={next(iter(program)): "/opt/other"}, version="2")[-1].tag)
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("field", Recipe._fields[:-1])
def test_every_field_is_in_the_digest(field: str) -> None:
    one = Recipe("own", "p", "t", (context.File("n", "s", "i"),), False)
    other = {"kind": "x", "parent": "x", "text": "x", "files": (context.File("n", "s", "x"),), "network": True}
    assert one._replace(**{field: other[field]}).digest != one.digest
    assert len(one.digest) == 64
    assert one.tag == f"claude-bottle/own:{one.digest[:16]}"


@pytest.mark.parametrize("base", ["", "-v", "--privileged", "a\nRUN b", "a b", "../x", "$A", "\x00", "é", "a" * 256])
def test_a_base_is_never_more_than_a_name(base: str) -> None:
    with pytest.raises(BottleError, match="not an image"):
        chain(base)


@given(st.text(min_size=1), st.text(min_size=1))
def test_what_is_copied_into_an_image_stays_one_instruction(name: str, target: str) -> None:
    lines = dockerfile.program("claude-bottle/tools:1", {name: "/opt/x"}).split("\n")
    assert len(lines) == 3 and json.loads(lines[1].removeprefix("COPY ")) == [name, "/opt/x"]
    try:
        lines = dockerfile.program("claude-bottle/tools:1", {"program-0": "/" + target}).split("\n")
    except BottleError:
        return
    assert len(lines) == 3 and not set("$\\'\n\r") & set(lines[1]) and lines[1].count('"') == 4


@pytest.mark.parametrize(
    ("text", "copies"),
    [
        ("FROM a\nRUN b\n", False), ("FROM a\nCOPY x /\n", True), ("FROM a\n  copy x /\n", True), ("FROM a\nADD x /\n", True),
        ("FROM a AS b\nCOPY --from=b /x /\n", False), ("FROM a\nCOPY --chown=1 \\\n x /\n", True),
        ("# COPY x /\nFROM a\n", False),
        ("FROM a\nRUN true \\\n# a comment \\\n\nCOPY x /\n", True), ("FROM a\nRUN echo COPY\n", False),
        ("# escape=`\nFROM a\nRUN dir c:\\\nCOPY x /\n", True), ("FROM a\r\nCOPY x /\r\n", True), ("", False),
        ("FROM a\nRUN --mount=target=/x ls /x\n", True), ("FROM a\nRUN --mount=type=bind,target=/x ls\n", True),
        ("FROM a\nRUN --mount=type=cache,target=/x ls\n", False),
        ("FROM a\nRUN --mount=type=bind,from=b,target=/x ls\n", False),
    ],
)  # fmt: skip
def test_a_dockerfile_that_takes_nothing_gets_an_empty_context(project: Path, text: str, copies: bool) -> None:
    (project / "Dockerfile").write_bytes(text.encode())
    assert bool(chain("x", own=image(project))[0].files) is copies


def test_the_dockerignore_counts(project: Path) -> None:
    (project / ".dockerignore").write_text("src\n!src/a.py\nDockerfile\n")
    assert names(chain("x", own=image(project))[0]) == [".dockerignore", "link", "src/a.py"]


def test_links_go_in_as_links_and_devices_not_at_all(project: Path) -> None:
    (project / "out").symlink_to("/etc/passwd")
    os.mkfifo(project / "fifo")
    found = {file.name: file.identity for file in chain("x", own=image(project))[0].files}
    assert found["out"] == "link /etc/passwd"
    assert "fifo" not in found


@pytest.mark.parametrize(("limit", "least"), [("MAX_FILES", 3), ("MAX_BYTES", 5)])
def test_a_context_that_is_too_large_says_what_to_do(
    project: Path, monkeypatch: pytest.MonkeyPatch, limit: str, least: int
) -> None:
    monkeypatch.setattr(context, limit, least)
    with pytest.raises(BottleError, match="is too large") as told:
        chain("x", own=image(project))
    assert ".dockerignore" in told.value.do


def test_a_dockerfile_of_another_name_stands_beside_another(project: Path) -> None:
    (project / "Dockerfile").write_text("FROM evil\n")
    (project / "agent.Dockerfile").write_text(TEXT)
    found = chain("x", own=image(project, "agent.Dockerfile"))[0]
    assert found.text == TEXT
    assert {"Dockerfile", "agent.Dockerfile"} <= set(names(found))


def test_the_context_is_the_dockerfiles_own_directory(project: Path) -> None:
    (project / "src" / "Dockerfile").write_text(TEXT)
    assert names(chain("x", own=image(project, "src/Dockerfile"))[0]) == ["Dockerfile", "a.py", "run.sh"]


def test_a_dockerfile_that_changed_since_consent_is_refused(project: Path) -> None:
    asked = image(project)
    (project / "Dockerfile").write_text(TEXT + "RUN evil\n")
    with pytest.raises(BottleError, match="not what it was"):
        chain("x", own=asked)


@pytest.mark.parametrize("name", ["Dockerfile", "src/Dockerfile"])
def test_a_dockerfile_is_reached_through_no_link(project: Path, tmp_path: Path, name: str) -> None:
    (project / "src" / "Dockerfile").write_text(TEXT)
    asked, place = image(project, name), project / name.split("/")[0]
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BottleError, match="cannot read the Dockerfile"):
        chain("x", own=asked)


@pytest.mark.parametrize("source", ["https://a.test/x", "git@a.test:x", "$WHERE", '["http://a.test", "/"]', "ht\\\ntp://x /"])
def test_steps_without_a_network_fetch_nothing_by_add_either(project: Path, source: str) -> None:
    (project / "Dockerfile").write_text(f"FROM a\nADD {source} /x\n")
    with pytest.raises(BottleError, match="its steps may not"):
        chain("x", own=image(project))
    assert chain("x", own=image(project, network=True))[0].network


def test_the_copy_of_a_context_is_what_was_hashed(project: Path, tmp_path: Path) -> None:
    (project / ".dockerignore").write_text("src\n!src/a.py\n")
    (project / "empty").mkdir(mode=0o750)
    (project / "src" / "a.py").chmod(0o640)
    (tmp_path / "copy").mkdir()
    context.copy(project, context.read(project), tmp_path / "copy")
    found = {str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*")}
    assert found == {".dockerignore", "Dockerfile", "empty", "link", "src", "src/a.py"}
    assert (tmp_path / "copy/src/a.py").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "copy/src/a.py").stat().st_mtime_ns == (project / "src/a.py").stat().st_mtime_ns
    assert (tmp_path / "copy/empty").stat().st_mode & 0o777 == 0o750
    assert os.readlink(tmp_path / "copy/link") == "src/a.py"


SWAPS: dict[str, Callable[[Path], object]] = {
    "a file's bytes": lambda place: (place / "src/a.py").write_text("other"),
    "a file for a link out": lambda place: ((place / "src/a.py").unlink(), (place / "src/a.py").symlink_to("/etc/passwd")),
    "a file for a fifo": lambda place: ((place / "src/a.py").unlink(), os.mkfifo(place / "src/a.py")),
    "a directory for a link": lambda place: ((place / "src").rename(place / "moved"), (place / "src").symlink_to("moved")),
    "nothing": lambda place: (place / "src/a.py").unlink(),
}


@pytest.mark.parametrize("swap", SWAPS)
def test_what_is_swapped_after_it_was_hashed_is_never_built(project: Path, tmp_path: Path, swap: str) -> None:
    """A running bottle that has this directory as its workspace could put the operator's files into the image."""
    files = context.read(project)
    (tmp_path / "copy").mkdir()
    SWAPS[swap](project)
    with pytest.raises(BottleError, match="changes while it is read"):
        context.copy(project, files, tmp_path / "copy")


def test_nothing_is_written_through_a_link_that_was_listed_as_a_directory_too(project: Path, tmp_path: Path) -> None:
    """A running bottle that swaps a directory and a link while they are listed would write where the operator may."""
    victim, target = tmp_path / "victim", tmp_path / "copy"
    for place in (victim, target, project / "src" / "inner"):
        place.mkdir()
    victim.chmod(0o700)
    for name in ("src/a.py", "src/inner"):
        files = [file for file in context.read(project) if file.name == name]
        link = context.File("src", str(project / "src"), f"link {victim}")
        with pytest.raises(BottleError, match="changes while it is read"):
            context.copy(project, [link, *files], target)
        assert not list(victim.iterdir())
        (target / "src").unlink()


def test_nothing_outside_is_listed_through_a_link_in_the_place_of_a_directory(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    (outside / "of the operator").mkdir(parents=True)
    (outside / "link").symlink_to("secret")
    walk = ignore.walk

    def swapping(directory: str, ignored: ignore.Ignored) -> Iterator[tuple[str, os.DirEntry[str]]]:
        for path, entry in walk(directory, ignored):
            if path == "src":  # its kind is known, its content is not yet
                (project / "src").rename(project / "moved")
                (project / "src").symlink_to(outside)
            yield path, entry

    monkeypatch.setattr(ignore, "walk", swapping)
    with pytest.raises(BottleError, match="changes while it is read"):
        context.read(project)


def test_a_plan_says_what_is_built_and_what_it_reaches(project: Path) -> None:
    said = [one.to_dict() for one in chain("x", own=image(project))]
    assert [(one["kind"], one["network"]) for one in said] == [("own", "none"), ("tools", "engine")]
    assert said[1]["from"] == said[0]["tag"]


def test_instructions_are_found_whatever_they_are_written_like() -> None:
    said = recipe.instructions("# syntax=x\n# escape=`\nfrom a\nrun b `\n  c\n\n  # no\nCMD d\\\n")
    assert said == [["FROM", "a"], ["RUN", "b", "c"], ["CMD", "d\\"]]
