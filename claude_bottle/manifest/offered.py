"""What an operator offers to bottles that ask: the `credentials` of config.json, in the manifest's language.

They are bound to nothing until one is approved; a bottle's own manifest goes first where both have a name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_bottle.errors import BottleError
from claude_bottle.manifest.sources import credential
from claude_bottle.redact import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_bottle.manifest.bottle import Alternatives
    from claude_bottle.model.credentials import CredentialSpec
    from claude_bottle.state.positions import Path


_EXAMPLE = '{"github": {"from": {"env": "GITHUB_TOKEN"}, "env": "GITHUB_TOKEN", "header": "Authorization"}}'


class _Problems:
    """What is wrong with config.json's credentials: the part of a manifest's report that reading one needs."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def problem(self, path: Path, what: str, write: str = "", *, key: bool = False) -> None:
        place = ".".join(map(str, path))
        self.found.append(printable(f"{place}: {what}" + (f"; {write}" if write else "")))


def offered(raw: Mapping[str, object]) -> dict[str, Alternatives]:
    """The credentials in `Settings.credentials`. BottleError listing all that is wrong with them."""
    from claude_bottle.manifest.shape import CredentialDoc
    from claude_bottle.manifest.typed import ValidationError, convert

    problems, made = _Problems(), {}
    for name, one in raw.items():
        path: Path = ("credentials", name)
        try:
            specs = credential(name, convert(one, CredentialDoc), path, problems)  # type: ignore[arg-type]
        except ValidationError as refused:
            problems.problem(path, str(refused))
            continue
        if specs is not None:
            made[name] = specs
    if problems.found:
        raise BottleError("config.json has credentials that cannot be used", why="\n".join(problems.found),
                          do=f"write them as in a manifest: {_EXAMPLE}")
    return made


def chosen(specs: Alternatives, environ: Mapping[str, str] = os.environ) -> CredentialSpec:
    """The first alternative whose variable is set; files and commands count as there. The last one when none is."""
    return next((one for one in specs if one.source != "env" or environ.get(str(one.source_detail))), specs[-1])
