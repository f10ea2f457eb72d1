"""Consent to a project's manifest: show what it grants beyond the operator's own, ask, remember by content hash."""

from __future__ import annotations

import sys
from pathlib import Path

from claude_bottle import log
from claude_bottle.errors import Refused
from claude_bottle.manifest import Consent, Manifest
from claude_bottle.redact import printable
from claude_bottle.state.paths import Paths
from claude_bottle.state.trust import Trust
from claude_bottle.workflow.terminal import ask


def trust(file: str | None = None, *, yes: bool = False, paths: Paths | None = None) -> int:
    """The verb: consent to the project's manifest. 0 when it needs none or has been given, 3 when refused."""
    paths = paths or Paths.default()
    where = Path(file).parent if file else Path.cwd()
    consent = Manifest.resolve(where, paths=paths).consent
    if consent is None:
        log.say("nothing to consent to: the manifest grants nothing beyond your own, or you have trusted it")
        return 0
    obtain(consent, paths, yes=yes)
    log.say(f"trusted {consent.path}")
    return 0


def obtain(consent: Consent, paths: Paths, *, yes: bool = False) -> None:
    """Show the grants and remember the operator's yes. Refused (exit 3) otherwise."""
    show(consent)
    if not yes and not ask("trust this manifest? [y/N] "):
        raise Refused("the project's manifest is not trusted", do="claude-bottle trust asks again")
    paths.ensure_root()
    Trust(paths).remember(consent.path, consent.sha256, consent.grants)


def show(consent: Consent) -> None:
    """What the manifest grants, on stderr; after a change what is new and what is gone since the operator agreed."""
    log.say(f"{printable(str(consent.path))} {'grants' if consent.previous is None else 'now grants'}:")
    for grant in consent.grants:
        mark = "+" if consent.previous is not None and grant in consent.added else " "
        print(f"  {mark} {printable(grant)}", file=sys.stderr)
    for grant in consent.removed:
        print(f"  - {printable(grant)}", file=sys.stderr)
