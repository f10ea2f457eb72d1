"""The variables that make git in a bottle reach granted hosts by https, whatever kind of URL a remote has.

A bottle speaks no ssh to the outside, and the gate judges smart HTTP; git itself can be told to bring other spellings of
a host to it (git-config(1), `url.<base>.insteadOf`). As variables they work in every backend, change no file, and are
not a repository's to take away. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.model.policy import Rule


def git_environment(rules: Iterable[Rule]) -> dict[str, str]:
    """`GIT_CONFIG_COUNT` and its pairs (git(1)); nothing without rules for git."""
    bases: dict[str, str] = {}
    for rule in sorted((rule for rule in rules if rule.git), key=lambda rule: rule.port != 443):
        port = "" if rule.port == 443 else f":{rule.port}"
        bases.setdefault(rule.host, f"https://{rule.host}{port}/")
    pairs = [(f"url.{base}.insteadOf", form.format(host)) for host, base in bases.items() for form in _FORMS]
    made = {"GIT_CONFIG_COUNT": str(len(pairs))} if pairs else {}
    for number, (key, value) in enumerate(pairs):
        made |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return made


_FORMS = ("git@{}:", "ssh://git@{}/", "ssh://git@{}:22/", "ssh://{}/", "git+ssh://git@{}/", "git://{}/")
