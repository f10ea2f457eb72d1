"""What a plan grants beyond an earlier one of the same bottle: the question `resume` asks before it uses a changed
manifest.

Both come as `BottlePlan.to_dict()` gives them, the earlier one from disk. What cannot be read of the earlier plan counts
as not granted by it, so that damage asks rather than grants. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_bottle.manifest.compare import mounts_widening, widening
from claude_bottle.manifest.words import describe_workspace
from claude_bottle.model.plan import PRIVATE, Mount
from claude_bottle.model.policy import Rule
from claude_bottle.redact import printable

_RULE_KEYS = Rule.__match_args__


def plan_widening(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Rules, credentials, mounts and the workspace of `new` that `old` did not grant, in words; empty for nothing."""
    found = widening(_rules(old), _rules(new))
    before = [_credential(one) for one in _objects(old, "credentials")]
    for one in _objects(new, "credentials"):
        if _credential(one) not in before:
            found.append(printable(f"use the credential {one.get('name')} from {one.get('source')}: {one.get('from')}"))
    found += mounts_widening(_mounts(old), _mounts(new))
    here, there = _workspace(new), _workspace(old)
    if here[1] is not None and not _covered(here, there):
        found.append(f"{describe_workspace(str(here[0]), here[2])}: {printable(str(here[1]))}")
    if new.get("image_build") and old.get("image_build") and new.get("image") != old.get("image"):
        found.append(f"another image: {printable(str(new.get('image')))} instead of {printable(str(old.get('image')))}")
    return found


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
