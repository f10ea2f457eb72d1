"""Whether one rule grants a method and a path, which of several rules counts, and which cannot stand together. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_bottle.model.hosts import covers_host
from claude_bottle.model.urlpath import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claude_bottle.model.policy import Rule


class Matcher:
    """A rule ready to match."""

    __slots__ = ("patterns", "rule", "weight")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.patterns = tuple(compile_pattern(path) for path in rule.paths)
        self.weight = repr((rule.methods, rule.paths, rule.credential, rule.note, rule.origin, rule.git,
                            rule.websocket, rule.max_body))

    def grants_method(self, method: str) -> bool:
        methods = self.rule.methods
        return not methods or method in methods or (method == "HEAD" and "GET" in methods)

    def grants_path(self, ways: tuple[str, ...]) -> bool:
        """Every way a server may read the path must be covered by one of the patterns."""
        return not self.patterns or all(any(pattern(way) for pattern in self.patterns) for way in ways)

    def rank(self, path: str) -> tuple[bool, int, bool, bool, str]:
        """Which of several granting rules counts: one with a credential before one without (adding a rule
        never takes a credential away), then the most specific path, then named methods, then a named host; the
        rest only makes it deterministic."""
        literal = max((pattern.literal for pattern in self.patterns if pattern(path)), default=0)
        return (self.rule.credential is not None, literal, bool(self.rule.methods), not self.rule.wide, self.weight)


def conflicts(rules: Iterable[Rule]) -> list[str]:
    """What makes these rules unsound together, one sentence each: a host and port both tunnelled and
    inspected, or two credentials for the very same requests. Does not depend on order."""
    some = tuple(rules)
    modes: dict[str, set[str]] = {}
    credentials: dict[tuple[object, ...], set[str]] = {}
    for rule in some:
        where = f"{rule.host}:{rule.port}"
        modes.setdefault(where, set()).update(
            other.tls for other in some if other.port == rule.port and covers_host(other.host, rule.host)
        )
        if rule.credential is not None:
            same = (where, frozenset(rule.methods), frozenset(rule.paths), rule.git and frozenset(rule.git.repositories))
            credentials.setdefault(same, set()).add(rule.credential)
    return sorted(
        [
            f"{where} is a tunnel in one rule and inspected in another; give it one tls mode"
            for where, kinds in modes.items()
            if len(kinds) > 1
        ]
        + [
            f"{where} has the credentials {', '.join(sorted(names))} for the same requests; keep one"
            for (where, *_), names in credentials.items()
            if len(names) > 1
        ]
    )
