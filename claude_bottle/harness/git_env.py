"""The variables that make git in a bottle reach granted hosts by https, whatever kind of URL a remote has.

A bottle speaks no ssh to the outside, and the gate judges smart HTTP; git itself can be told to bring other spellings of
a host to it (git-config(1), `url.<base>.insteadOf`). As variables they work in every backend, change no file, and are
not a repository's to take away. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.model.policy import Rule


def git_environment(rules: Iterable[Rule]) -> dict[str, str]:
    """`GIT_CONFIG_COUNT` and its pairs (git(1)); nothing without rules for git."""
    forms: dict[str, str] = {}
    for rule in sorted((rule for rule in rules if rule.git), key=lambda rule: rule.port != 443):
        port = "" if rule.port == 443 else f":{rule.port}"
        for form in _forms(rule):
            forms.setdefault(form, f"https://{rule.host}{port}/")
    pairs = [(f"url.{base}.insteadOf", form) for form, base in forms.items()]
    made = {"GIT_CONFIG_COUNT": str(len(pairs))} if pairs else {}
    for number, (key, value) in enumerate(pairs):
        made |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return made


def _forms(rule: Rule) -> Iterator[str]:
    """How URLs of the host begin, other than by https."""
    ssh, host = rule.git.ssh if rule.git else None, rule.host
    for user in dict.fromkeys(("git", ssh.user if ssh else "git")):
        yield f"{user}@{host}:"
        for scheme in ("ssh", "git+ssh", "ssh+git"):
            yield f"{scheme}://{user}@{host}/"
            for port in dict.fromkeys((22, ssh.port if ssh else 22)):
                yield f"{scheme}://{user}@{host}:{port}/"
    yield from (f"ssh://{host}/", f"git://{host}/")
    if ssh:
        # With the scheme left out: whoever has no user there says none, and a remote without a port may be known by it.
        yield from (f"{host}:", *([f"ssh://{host}:{ssh.port}/"] if ssh.port != 22 else []))
