"""A git remote that is reached by ssh: as whom, where, and with whose key. Checks itself when made. Pure."""

from __future__ import annotations

from claude_bottle.patterns import regex
from claude_bottle.values import dataclass

PORT = 22

_USER = regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_DIRECTORY = regex(r"(?:/|(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+/)")
_KEY = regex(r"(?:~/|/)[!-~]*[!-.0-~]")


@dataclass(frozen=True)
class SshRemote:
    """`user`, `port`: of the remote. `key`: a file of the operator's, absolute or below ~/; "" for the keys that their own
    ssh would use, an agent's among them. `directory`: what stands before a repository's path there; "" for the user's home,
    as in git@host:acme/shop."""

    user: str = "git"
    port: int = PORT
    key: str = ""
    directory: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(one, str) for one in (self.user, self.key, self.directory)):
            raise ValueError("user, key and directory are words")
        if not _USER.fullmatch(self.user):
            raise ValueError('not the name of a user, like "git"')
        if type(self.port) is not int or not 1 <= self.port <= 65535:
            raise ValueError("not a port")
        if self.key and (not _KEY.fullmatch(self.key) or "/../" in self.key or len(self.key) > 1000):
            raise ValueError("a key is the absolute or ~/ path of a file, without spaces")
        if self.directory and (not _DIRECTORY.fullmatch(self.directory) or len(self.directory) > 200):
            raise ValueError('a directory begins and ends with a slash, like "/srv/git/"')

    def describe(self) -> str:
        """`over ssh as git (port 22), with the keys of your ssh`."""
        where = f", below {self.directory}" if self.directory else ""
        return f"over ssh as {self.user} (port {self.port}{where}), with {self.key or 'the keys of your ssh'}"

    def to_dict(self) -> dict[str, object]:
        made: dict[str, object] = {"user": self.user, "port": self.port}
        return made | {key: word for key, word in (("key", self.key), ("directory", self.directory)) if word}

    @staticmethod
    def from_dict(data: object) -> SshRemote:
        """The inverse of `to_dict`. ValueError for what is none."""
        if not isinstance(data, dict):
            raise ValueError("ssh must be an object")
        try:
            return SshRemote(**data)
        except TypeError:
            raise ValueError("not an ssh section: wrong types, or unknown keys") from None
