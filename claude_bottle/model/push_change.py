"""A push that waits for the operator, because it changes files that run by themselves, or has what looks like a secret in it:
what is asked and approved.

Only a gate asks for one, of what its judge has seen; an agent cannot. An approval is of commits by their ids, which no
other content can have, at the refs and in the repository that were shown; it lets that push through the question about
those files and those findings, and through nothing else. Small enough to be shown whole. Pure.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from claude_bottle.model.git_grant import FILES, GitGrant, is_finding
from claude_bottle.model.policy import Rule
from claude_bottle.model.push import MAX_COMMANDS, Command
from claude_bottle.values import dataclass

PUSH = "push"
MAX_TRIGGERS, MAX_SECRETS, MAX_DIFF, MAX_DIFF_LINES, MAX_PATH = 40, 10, 4000, 150, 300
_ID = re.compile(r"[0-9a-f]{40}")


class Finding(NamedTuple):
    """What looks like a secret: the rule that says so, where, how it begins, and the key that names it for good."""

    rule: str
    place: str
    begins: str
    key: str


@dataclass(frozen=True)
class PushChange:
    """`triggers`: (kind, path) of the files in question; `diff`: all that happens to them, as text. `secrets`: what looks
    like one."""

    host: str
    port: int
    repository: str
    commands: tuple[Command, ...]
    triggers: tuple[tuple[str, str], ...]
    diff: str
    secrets: tuple[Finding, ...] = ()
    kind: str = PUSH

    def __post_init__(self) -> None:
        ids = [word for one in self.commands for word in one[:2]]
        if not 1 <= len(self.commands) <= MAX_COMMANDS or not all(map(_ID.fullmatch, ids)):
            raise ValueError("a push moves refs from one commit to another")
        if not (self.triggers or self.secrets):
            raise ValueError("a push that nobody need be asked about")
        if len(self.triggers) > MAX_TRIGGERS or any(len(path) > MAX_PATH for _, path in self.triggers):
            raise ValueError("too many files that run by themselves to be shown")
        if len(self.secrets) > MAX_SECRETS or any(len(word) > MAX_PATH for one in self.secrets for word in one):
            raise ValueError("too much in it that looks like a secret to be shown")
        if not all(is_finding(one.key) and one.key.startswith(f"{one.rule}:") for one in self.secrets):
            raise ValueError("a finding that cannot be named")
        if len(self.diff) > MAX_DIFF or self.diff.count("\n") > MAX_DIFF_LINES:
            raise ValueError("its changes of files that run by themselves are too long to be shown whole")
        if not all(word.isprintable() for pair in (*self.triggers, *self.secrets) for word in pair):
            raise ValueError("a path that cannot be shown")
        if not all(line.isprintable() for line in self.diff.split("\n")):
            raise ValueError("changes that cannot be shown")
        _ = self.rule  # host, repository and refs are checked by what they make

    @property
    def rule(self) -> Rule:
        """What an approval puts into the policy: no grant, but the answer to the one question."""
        refs, ids = ([one.ref for one in self.commands], [one.new for one in self.commands if not one.deletes])
        keys = tuple(one.key for one in self.secrets)
        lifted = (FILES, *keys) if keys and self.triggers else keys
        grant = GitGrant((self.repository,), False, tuple(refs), approved=tuple(ids), let_through=lifted)
        return Rule(self.host, self.port, git=grant)

    def to_dict(self) -> dict[str, object]:
        return {
            "kind": self.kind, "host": self.host, "port": self.port, "repository": self.repository,
            "commands": [one.to_dict() for one in self.commands], "triggers": [list(one) for one in self.triggers],
            "diff": self.diff, **({"secrets": [list(one) for one in self.secrets]} if self.secrets else {}),
        }  # fmt: skip

    @staticmethod
    def from_dict(data: dict[str, object]) -> PushChange:
        """The inverse of `to_dict`. ValueError for what is none."""
        said = {key: value for key, value in data.items() if key != "kind"}
        commands, triggers = said.get("commands"), said.get("triggers")
        try:
            if not isinstance(commands, list) or not isinstance(triggers, list):
                raise ValueError("a push has commands and triggers")
            said["commands"] = tuple(Command(str(one["old"]), str(one["new"]), str(one["ref"])) for one in commands)
            said["triggers"] = tuple((str(kind), str(path)) for kind, path in triggers)
            said["secrets"] = tuple(Finding(*map(str, one)) for one in said.get("secrets", ()))  # type: ignore[attr-defined]
            return PushChange(**said)  # type: ignore[arg-type]
        except (TypeError, KeyError):
            raise ValueError("not a push: wrong types, unknown or missing keys") from None
