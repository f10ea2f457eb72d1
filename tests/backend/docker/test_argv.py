"""The words for a container: the same every time, each value in one place, and none of them ever an option."""

from __future__ import annotations

import csv as standard
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.backend.docker import argv
from claude_bottle.backend.docker.argv import Container
from claude_bottle.errors import BottleError
from claude_bottle.model.plan import Limit, Mount

LABELS = (("claude-bottle.identity", "a-123456"), ("claude-bottle.schema", "1"))
PLAIN = Container("claude-bottle-a-123456", LABELS, "sha256:" + "0" * 64, "/r/a.d", "/r/a.cid", "/p/seccomp.json")


def test_the_words_of_a_plain_bottle() -> None:
    words = argv.run(PLAIN)
    assert words[:5] == ["run", "--detach", "--rm", "--name=claude-bottle-a-123456", "--cidfile=/r/a.cid"]
    first = "import sys; sys.path.insert(0, '/opt/claude-bottle'); import init; init.main()"
    assert words[-6:] == ["--", "sha256:" + "0" * 64, "-I", "-S", "-c", first]
    for word in ("--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", "--ipc=private",
                 "--security-opt=seccomp=/p/seccomp.json", "--cgroupns=private", "--pull=never", "--init=false",
                 "--user=0:0", "--entrypoint=python3", "--no-healthcheck", "--ulimit=core=1:1"):  # fmt: skip
        assert words.count(word) == 1, word
    assert [word for word in words if word.startswith("--cap-add=")] == [
        "--cap-add=NET_ADMIN", "--cap-add=SETPCAP", "--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=CHOWN",
    ]  # fmt: skip
    labelled = "volume-label=claude-bottle.identity=a-123456,volume-label=claude-bottle.schema=1"
    assert [word for word in words if word.startswith("--mount=")] == [
        "--mount=type=bind,source=/r/a.d,target=/run/bottle,bind-propagation=rprivate,readonly,bind-nonrecursive",
        f"--mount=type=volume,source=claude-bottle-a-123456-home,volume-nocopy,target=/home/agent,{labelled}",
        f"--mount=type=volume,source=claude-bottle-a-123456-work,volume-nocopy,target=/workspace,{labelled}",
    ]
    assert not [word for word in words if word.startswith(("--privileged", "--device", "--publish", "--pid", "--volume"))]


def test_limits_become_options_and_what_is_not_enforced_none() -> None:
    said = {"memory": "1g", "cpus": "1.5", "pids": "99", "disk": "x"}
    words = [word for name, value in said.items() for word in argv.limit_words(Limit(name, value, name != "disk"))]
    assert words == ["--memory=1g", "--memory-swap=1g", "--cpus=1.5", "--cpu-shares=1024", "--pids-limit=99"]


@pytest.mark.parametrize("value", ["-1", "", "1 g", "1g --privileged", "unlimited", "1\n", "٣"])
def test_a_limit_is_a_number(value: str) -> None:
    with pytest.raises(BottleError):
        argv.limit_words(Limit("memory", value, True))


@pytest.mark.parametrize("image", ["", "-v", "--privileged", "a b", "a\n", "../x", "a" * 300, "é", "a,b"])
def test_an_image_is_a_name_or_an_id(image: str) -> None:
    with pytest.raises(BottleError):
        argv.check_image(image)


def carried() -> st.SearchStrategy[str]:
    return st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=40)


@given(carried(), carried())
def test_a_mount_says_what_was_granted_and_nothing_else(source: str, target: str) -> None:
    words = argv.run(Container("n", LABELS, "image", "/r", "/c", "/s", mounts=(Mount("/" + source, "/" + target),)))
    plain = argv.run(Container("n", LABELS, "image", "/r", "/c", "/s"))
    more = [word for word in words if word not in plain]
    assert len(words) == len(plain) + 1 and len(more) == 1
    (fields,) = standard.reader(io.StringIO(more[0].removeprefix("--mount=")), strict=True)
    assert fields == ["type=bind", f"source=/{source}", f"target=/{target}", "bind-propagation=rprivate", "readonly",
                      "bind-nonrecursive"]  # fmt: skip


@given(carried(), st.text(max_size=3), carried())
def test_a_path_with_a_control_character_is_refused(before: str, odd: str, after: str) -> None:
    for character in ("\n", "\r", "\0", "\x1b", "\x7f"):
        with pytest.raises(BottleError):
            argv.csv([f"source={before}{odd}{character}{after}"])
