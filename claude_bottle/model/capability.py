"""A capability: a tool that a bottle is given as one more layer under its file system.

Frozen, pure, and valid by construction: `Capability` refuses whatever it would be dangerous or meaningless to build, so
what validates a request, a manifest and a record is what every builder relies on. Package names are names, with a version
at most: no options, addresses or paths, nothing that begins with a dash. A fragment of a Dockerfile is steps and variables
only.
"""

from __future__ import annotations

import json
import re

from claude_bottle.digests import sha256
from claude_bottle.errors import Refused
from claude_bottle.patterns import regex
from claude_bottle.redact import printable
from claude_bottle.values import dataclass

APT, PIP, NPM, CARGO, GO, DOCKERFILE = "apt", "pip", "npm", "cargo", "go", "dockerfile"
PACKAGES = (APT, PIP, NPM, CARGO, GO)
KINDS = (*PACKAGES, DOCKERFILE)
MAX_ITEMS, MAX_ITEM, MAX_FRAGMENT = 32, 200, 64 << 10
MAX_LAYERS = 32  # of one bottle; what a file system of layers can hold
_DESCRIBED = 100

_VERSION = r"[0-9A-Za-z][0-9A-Za-z.+~:_-]{0,99}"
_PYTHON_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
_PYTHON_VERSION = r"[0-9A-Za-z][0-9A-Za-z.+!_*-]{0,99}"
_NPM_NAME = r"(?:@[a-z0-9][a-z0-9._-]{0,98}/)?[a-z0-9][a-z0-9._-]{0,98}"
_GO_PART = r"[A-Za-z0-9_~][A-Za-z0-9._~-]{0,99}"
# One package each: how its registry writes a name, and a version behind it.
_ITEM = {
    APT: regex(rf"[a-z0-9][a-z0-9+.-]{{1,99}}(?:={_VERSION})?"),  # deb-control(7), Package and Version
    PIP: regex(rf"{_PYTHON_NAME}(?:\[{_PYTHON_NAME}(?:,{_PYTHON_NAME})*\])?(?:(?:==|>=|<=|~=){_PYTHON_VERSION})?"),
    NPM: regex(rf"{_NPM_NAME}(?:@[0-9A-Za-z^~][0-9A-Za-z.+-]{{0,99}})?"),
    CARGO: regex(rf"[A-Za-z][A-Za-z0-9_-]{{0,63}}(?:@{_VERSION})?"),
    GO: regex(rf"[a-z0-9][a-z0-9-]*(?:\.[a-z0-9][a-z0-9-]*)+(?:/{_GO_PART})+(?:@[a-z0-9][0-9A-Za-z.+-]{{0,99}})?"),
}
_EXAMPLES = {APT: "ripgrep or ripgrep=13.0.0-4", PIP: "ruff or ruff==0.9.1", NPM: "prettier or @scope/name@1.2.3",
             CARGO: "fd-find or fd-find@10.2.0", GO: "example.com/mod/cmd/tool@v1.2.3"}  # fmt: skip
_TAKEN = ("RUN", "ENV")
_ESCAPE = regex(r"(?:#[^\n]*\n)*?#\s*escape\s*=\s*(\S)", re.IGNORECASE)


@dataclass(frozen=True)
class Capability:
    """One layer. `kind` one of PACKAGES with `items`, or `dockerfile` with a `fragment`, whose steps reach the network
    that layers of this backend reach only if `network` says so. Refused (exit 3) for anything else."""

    kind: str
    items: tuple[str, ...] = ()
    fragment: str = ""
    network: bool = False

    def __post_init__(self) -> None:
        if self.kind == DOCKERFILE:
            if self.items:
                raise _refused("a fragment has no packages beside it")
            check_fragment(self.fragment)
        elif self.kind in PACKAGES:
            if self.fragment or self.network:
                raise _refused(f"{self.kind} takes package names, nothing else")
            _check_items(self.kind, self.items)
        else:
            raise _refused(f"{printable(str(self.kind), width=40)!r} is none of {', '.join(KINDS)}")

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of its canonical JSON: equal capabilities are one capability."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return sha256(canonical.encode()).hexdigest()

    @property
    def reaches(self) -> bool:
        """Whether building it needs a network."""
        return self.network or self.kind != DOCKERFILE

    def to_dict(self) -> dict[str, object]:
        """As manifests, requests and records write it: `{"apt": ["ripgrep"]}`, `{"dockerfile": "RUN …", "network": true}`."""
        if self.kind == DOCKERFILE:
            return {DOCKERFILE: self.fragment, **({"network": True} if self.network else {})}
        return {self.kind: list(self.items)}

    @staticmethod
    def from_dict(data: object) -> Capability:
        """The inverse of `to_dict`. Refused, saying what is wrong, for everything else."""
        if not isinstance(data, dict):
            raise _refused("not an object")
        kinds = [key for key in data if key in KINDS]
        if len(kinds) != 1 or data.keys() - {*kinds, "network"}:
            raise _refused(f"exactly one of {', '.join(KINDS)} is wanted")
        kind, value, network = kinds[0], data[kinds[0]], data.get("network", False)
        if type(network) is not bool:
            raise _refused('"network" is true or false')
        if kind == DOCKERFILE:
            if not isinstance(value, str):
                raise _refused("a fragment is a text")
            return Capability(kind, (), value, network)
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise _refused(f"{kind} takes a list of package names")
        return Capability(kind, tuple(value), "", network)

    def describe(self) -> str:
        """One line for people, safe to print."""
        if self.kind != DOCKERFILE:
            return f"{self.kind} {' '.join(self.items)}"
        steps = [line.strip() for line in self.fragment.split("\n") if line.strip()]
        more = f" (+{len(steps) - 1} lines)" if len(steps) > 1 else ""
        return printable(f"dockerfile {steps[0]}", width=_DESCRIBED) + more


def check_fragment(fragment: str) -> None:
    """Refused, saying what is not taken, for anything but plain RUN and ENV. What engines of different age read
    differently (here-documents, a line that ends with two backslashes) is not taken at all."""
    if len(fragment.encode("utf-8", "replace")) > MAX_FRAGMENT:
        raise _not_steps(f"it is larger than {MAX_FRAGMENT >> 10} KiB")
    if any(char != "\n" and char != "\t" and not char.isprintable() for char in fragment):
        raise _not_steps("it holds control characters")
    steps = instructions(fragment)
    if not steps:
        raise _not_steps("it holds no step")
    for name, *words in steps:
        if name not in _TAKEN:
            raise _not_steps(f"{name} is not taken")
        if words and words[0].startswith("--"):
            raise _not_steps(f"{name} takes no option: {words[0]}")
    if "<<" in fragment or any(line.rstrip().endswith("\\\\") for line in fragment.split("\n")):
        raise _not_steps("here-documents and lines that end with two backslashes are not taken")


def instructions(text: str) -> list[list[str]]:
    """The words of each instruction of a Dockerfile, its name first and in capitals. The lines of a heredoc count as some,
    too."""
    said = _ESCAPE.match(text)
    lines = [line.removesuffix("\r") for line in text.split("\n") if not line.lstrip().startswith("#")]
    # An escaped escape goes on on the next line in old engines only.
    mark = re.escape(said[1] if said else "\\")
    whole = re.sub(rf"(?<!{mark}){mark}[ \t]*(?:\n|$)", "", "\n".join(lines))
    return [[words[0].upper(), *words[1:]] for line in whole.split("\n") if (words := line.split())]


def _check_items(kind: str, items: tuple[str, ...]) -> None:
    if not 0 < len(items) <= MAX_ITEMS:
        raise _refused(f"{kind} takes 1 to {MAX_ITEMS} packages, not {len(items)}")
    for item in items:
        if len(item) > MAX_ITEM or not _ITEM[kind].fullmatch(item):
            shown = printable(item, width=60)
            raise _refused(f"{shown!r} is no package of {kind}: a name, with a version at most ({_EXAMPLES[kind]})")
    if len(set(items)) != len(items):
        raise _refused("a package is named twice")


def _refused(why: str) -> Refused:
    return Refused("this is no capability", why=why, do='write {"apt": ["ripgrep"]}, or ask for less')


def _not_steps(why: str) -> Refused:
    return Refused("this is no capability that can be built", why=why, do="say it in RUN and ENV, each on lines of its own")
