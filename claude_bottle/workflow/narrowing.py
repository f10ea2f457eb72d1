"""Less than was asked for, as an operator says it on the command line. Whether it is less is checked by the keeper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from claude_bottle.errors import UsageError
from claude_bottle.model.changes import Change, narrower, stored
from claude_bottle.redact import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


class Narrowing(NamedTuple):
    """`only`: which of the rules asked for, counted from 1; `hosts`: only those of these hosts; `methods`, `paths`: only
    these; `egress_bytes`, `usd`: so much of a budget. Empty or None: as asked."""

    only: tuple[int, ...] = ()
    hosts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    egress_bytes: int | None = None
    usd: float | None = None

    @property
    def of_rules(self) -> bool:
        """Whether it is about rules alone."""
        return self.egress_bytes is None and self.usd is None


def narrowed(asked: object, wish: Narrowing) -> dict[str, object] | None:
    """What is left of a change (`Change.to_dict`); None for all of it. UsageError when it would be more, or nothing."""
    if wish == Narrowing():
        return None
    shown = _made(asked)
    data: dict[str, Any] = shown.to_dict()
    if data["kind"] == "egress" and wish.of_rules:
        data["rules"] = [_less(rule, wish) for rule in _chosen(data["rules"], wish)]
        if not data["rules"]:
            raise UsageError("nothing of the request is left", do="name rules and hosts that it asks for")
    elif data["kind"] == "credential" and wish.of_rules and not wish.only and not wish.hosts:
        data["rule"] = _less(data["rule"], wish)
    elif data["kind"] == "budget" and wish._replace(egress_bytes=None) == Narrowing():
        data["egress_bytes"] = wish.egress_bytes
    elif data["kind"] == "money" and wish._replace(usd=None) == Narrowing():
        data["usd"] = wish.usd
    else:
        raise UsageError(f"a request for {data['kind']} cannot be narrowed like this",
                         do="approve it as it is, or reject it with a reason that says what to ask for")  # fmt: skip
    if not narrower(_made(data), shown):
        raise UsageError("this is more than was asked for, or something else", do="name what the request names, or less")
    return data


def _chosen(rules: Sequence[dict[str, Any]], wish: Narrowing) -> list[dict[str, Any]]:
    if wish.only and not all(1 <= number <= len(rules) for number in wish.only):
        raise UsageError(f"the request has {len(rules)} rules", do=f"--only 1 to --only {len(rules)}")
    numbered = [rule for number, rule in enumerate(rules, 1) if not wish.only or number in wish.only]
    return [rule for rule in numbered if not wish.hosts or rule["host"] in wish.hosts]


def _less(rule: dict[str, Any], wish: Narrowing) -> dict[str, Any]:
    return {**rule, "methods": list(wish.methods or rule["methods"]), "paths": list(wish.paths or rule["paths"])}


def _made(data: object) -> Change:
    try:
        return stored(data)
    except ValueError as problem:
        raise UsageError("this cannot be approved", why=printable(str(problem))) from None
