"""What a plan grants beyond an earlier one of the same bottle: the question `resume` asks before it uses a changed
manifest.

Both come as `BottlePlan.to_dict()` gives them, the earlier one from disk. What cannot be read of the earlier plan counts
as not granted by it, so that damage asks rather than grants. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from claude_bottle.errors import Refused
from claude_bottle.manifest.compare import mounts_widening, widening
from claude_bottle.manifest.image import budget_widening, money_widening
from claude_bottle.manifest.words import describe_workspace
from claude_bottle.model.capability import KINDS, Capability
from claude_bottle.model.plan import PRIVATE, Mount
from claude_bottle.model.policy import Rule
from claude_bottle.redact import printable

_RULE_KEYS = Rule.__match_args__


def plan_widening(
    old: Mapping[str, object], new: Mapping[str, object], granted: Collection[str] = ()
) -> list[str]:  # fmt: skip
    """Rules, credentials, mounts, the workspace and the layers of `new` that `old` did not grant, in words; empty for
    nothing. `granted`: digests of the layers that the bottle was granted beside its plan."""
    found = widening(_rules(old), _rules(new))
    before = [_credential(one) for one in _objects(old, "credentials")]
    for one in _objects(new, "credentials"):
        if _credential(one) not in before:
            found.append(printable(f"use the credential {one.get('name')} from {one.get('source')}: {one.get('from')}"))
    found += mounts_widening(_mounts(old), _mounts(new))
    found += budget_widening(_egress_bytes(old), _egress_bytes(new)) + money_widening(_usd(old), _usd(new))
    here, there = _workspace(new), _workspace(old)
    if here[1] is not None and not _covered(here, there):
        found.append(f"{describe_workspace(str(here[0]), here[2])}: {printable(str(here[1]))}")
    before_hand = _objects(old, "approvals")
    found += [printable(f"approve beforehand: {one}") for one in _objects(new, "approvals") if one not in before_hand]
    if new.get("image_build") and old.get("image_build") and _image(new) != _image(old):
        found.append(f"another image: {printable(_image(new))} instead of {printable(_image(old))}")
    granted = {*granted, *(str(layer.get("digest")) for layer in _objects(old, "layers"))}
    return found + [_layer(layer) for layer in _objects(new, "layers") if layer.get("digest") not in granted]


def _image(plan: Mapping[str, object]) -> str:
    """Without its layers, which are compared by what they are."""
    steps = [str(step.get("tag")) for step in _objects(plan, "image_build") if step.get("kind") != "layer"]
    return steps[-1] if steps and _objects(plan, "layers") else str(plan.get("image"))


def _layer(layer: Mapping[str, Any]) -> str:
    said = {key: value for key, value in layer.items() if key in (*KINDS, "network")}
    try:
        return f"one more layer: {Capability.from_dict(said).describe()}"
    except Refused:
        return "one more layer"


def _objects(plan: Mapping[str, object], key: str) -> list[dict[str, Any]]:
    values = plan.get(key)
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def _rules(plan: Mapping[str, object]) -> list[Rule]:
    made = []
    for one in _objects(plan, "egress"):
        try:
            # A plan says more of a rule than the rule itself (`wide`, `opaque`).
            made.append(Rule.from_dict({key: one[key] for key in _RULE_KEYS if key in one}))
        except (ValueError, TypeError):
            continue
    return made


def _egress_bytes(plan: Mapping[str, object]) -> int | None:
    budget = plan.get("budget")
    said = budget.get("egress_bytes") if isinstance(budget, dict) else None
    return said if type(said) is int else None


def _usd(plan: Mapping[str, object]) -> float | None:
    budget = plan.get("budget")
    said = budget.get("usd") if isinstance(budget, dict) else None
    return float(said) if type(said) in (int, float) else None  # type: ignore[arg-type]  # as just asked


def _mounts(plan: Mapping[str, object]) -> list[Mount]:
    return [Mount(str(one.get("source")), str(one.get("target")), str(one.get("mode"))) for one in _objects(plan, "mounts")]


def _credential(one: Mapping[str, Any]) -> tuple[Any, ...]:
    source = one.get("from")
    detail = tuple(source) if isinstance(source, list | tuple) else source
    return one.get("name"), one.get("source"), detail, one.get("header")


def _workspace(plan: Mapping[str, object]) -> tuple[object, object, tuple[str, ...]]:
    found = plan.get("workspace")
    if not isinstance(found, dict):
        return None, None, ()
    include = found.get("include")
    return found.get("mode"), found.get("source"), tuple(map(str, include)) if isinstance(include, list | tuple) else ()


def _covered(here: tuple[object, object, tuple[str, ...]], there: tuple[object, object, tuple[str, ...]]) -> bool:
    """Whether what the workspace `here` shows was shown by the one `there`. A private one goes on as the bottle left it,
    whatever it was begun as."""
    return here[1] == there[1] and (here == there or (here[0] in PRIVATE and there[0] in (*PRIVATE, "bind")))
