"""The plan as people read it: 80 columns, one line for what is not limited, every weaker layer told."""

from __future__ import annotations

import pytest

from claude_bottle.model.capability import Capability
from claude_bottle.model.plan import BottlePlan, Layer, Limit, Mount, Protection, Workspace
from claude_bottle.model.plan_text import render


def _plan(**changes: object) -> str:
    plan = BottlePlan("a-1", "a", "shell", "", "bubblewrap", "this host's /usr", ("sh",), Workspace("none", "/workspace"))
    fields = {**plan.__dict__, **changes}
    return render(BottlePlan(**fields).to_dict())


def _line(text: str, label: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith(label)]
    return [line.removeprefix(label).strip() for line in lines]


def test_limits_that_nothing_enforces_take_one_line() -> None:
    free = tuple(Limit(name, "unlimited", enforced=False) for name in ("memory", "cpus", "pids", "disk"))
    assert _line(_plan(limits=free), "limits") == ["none on memory, cpus, pids, disk"]


def test_limits_that_hold_come_first_and_wishes_are_marked() -> None:
    memory, pids = Limit("memory", "4 GiB", enforced=True, by="cgroup"), Limit("pids", "512", enforced=False)
    assert _line(_plan(limits=(memory, pids, Limit("disk", "unlimited", enforced=False))), "limits") == [
        "memory 4 GiB · pids 512 (not enforced) · none on disk"
    ]


def test_a_limit_that_holds_for_each_program_alone_says_so() -> None:
    each = Limit("memory", "4096m", enforced=True, by="rlimit, for each program")
    assert _line(_plan(limits=(each,)), "limits") == ["memory 4096m (each program)"]


def test_weaker_layers_are_told_and_those_in_force_are_not() -> None:
    own_id, own_kernel = Protection("own user id", "weaker", "because"), Protection("own kernel", "off", "shared")
    text = _plan(protections=(own_id, Protection("no capabilities", "on"), own_kernel))
    assert (_line(text, "weaker"), _line(text, "off")) == (["own user id: because"], ["own kernel: shared"])
    assert "no capabilities" not in text


def test_nothing_is_wider_than_a_terminal_and_nothing_is_cut() -> None:
    source = "/srv/" + "x" * 200
    text = _plan(mounts=(Mount(source, "/opt/\x1b[31mred"),), workspace=Workspace("bind", "/workspace", "/srv/a b\nc"))
    assert max(map(len, text.splitlines())) <= 80
    assert "x" * 200 in "".join(line.strip() for line in text.splitlines())
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("count", "said"),
    [(50 << 20, "50 MiB"), (1 << 30, "1 GiB"), (1000, "1000 bytes"), (0, "0 bytes"), ((1 << 30) + 1, "1073741825 bytes")],
)
def test_a_budget_is_shown_exactly(count: int, said: str) -> None:
    (line,) = _line(_plan(budget={"egress_bytes": count}), "budget")
    assert said in line


def test_layers_are_shown_whole_with_what_their_builds_reach() -> None:
    items = tuple(f"package-number-{n}" for n in range(20))
    fragment = Capability("dockerfile", (), "ENV A=b\nRUN make it && make more\n")
    layers = (Layer(Capability("apt", items), "n1", ("deb.debian.org",)), Layer(fragment, "n2"))
    text = _plan(layers=layers)
    assert max(map(len, text.splitlines())) <= 80
    assert all(item in text for item in items)
    assert "RUN make it && make more" in text
    assert "(its build reaches deb.debian.org)" in text
    assert "(its build reaches nothing)" in text
    assert "layers" not in _plan()


def test_what_an_image_is_made_from_is_said_once() -> None:
    steps = ({"kind": "tools", "from": "debian", "network": "engine"}, {"kind": "layer", "from": "x", "network": "none"})
    assert _line(_plan(image_build=steps), "image") == ["from debian: tools; building tools reaches the engine's network"]


def test_a_layer_is_part_of_the_digest() -> None:
    plan = BottlePlan("a-1", "a", "shell", "", "b", "", ("sh",), Workspace("none", "/workspace"))
    layered = BottlePlan(**{**plan.__dict__, "layers": (Layer(Capability("apt", ("ripgrep",)), "n1"),)})
    assert plan.digest != layered.digest
    assert "layers" not in plan.to_dict()
