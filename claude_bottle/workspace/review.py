"""What the operator is shown of a bottle's work, as plain data: every text in it may have been chosen by the agent.

What runs later on this machine is told apart from the rest, by trigger. `review_text` renders it; `--json` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claude_bottle.workspace.compare import Lines
from claude_bottle.workspace.directory import Directory
from claude_bottle.workspace.landing import CONFLICT, MERGE, SAME, Step
from claude_bottle.workspace.refs import read, settings
from claude_bottle.workspace.work import DIRECTORY, FILE, LINK, Entry, Work

ADDED, MODIFIED, REMOVED, RENAMED = "added", "modified", "removed", "renamed"


def review(identity: str, work: Work, host: Directory, steps: Sequence[Step], lines: Mapping[str, Lines],
           unshown: Mapping[str, str]) -> dict[str, Any]:  # fmt: skip
    """See docs/work.md for the keys."""
    now, here = read(work.whole), read(host)
    changes = [_change(step, lines) for step in steps]
    renamed = {change["former"] for change in changes if change.get("former")}
    shown = [change for change in changes if change["path"] not in renamed or change["status"] != REMOVED]
    return {
        "identity": identity,
        "source": str(work.source),
        "branch": work.refs.head.removeprefix("refs/heads/"),
        "base": work.refs.tip,
        "commits": now.new_commits(work.refs, here.without(f"refs/heads/bottle/{identity}")),
        "host_commits": here.new_commits(work.handed.host),
        "files": sum(change["kind"] in (FILE, LINK) for change in shown),
        "added": sum(max(change["added"], 0) for change in changes),
        "removed": sum(max(change["removed"], 0) for change in changes),
        "merges": sum(step.action == MERGE for step in steps),
        "conflicts": sum(step.action == CONFLICT for step in steps),
        "pending": sum(step.action != SAME for step in steps),
        "triggers": _by_trigger(shown),
        "changes": shown,
        "repository": [*_obeyed(work), *work.inner_repositories()],
        "host_edits": list(work.host_edits()),
        "notes": list(work.result.notes),
        "unshown": dict(unshown),
    }


def _change(step: Step, lines: Mapping[str, Lines]) -> dict[str, Any]:
    path, before, after = step.change
    counted = lines.get(path, Lines(0, 0))
    there = after or before
    status = REMOVED if after is None else MODIFIED if before else RENAMED if counted.former else ADDED
    found: dict[str, Any] = {
        "path": path, "status": status, "kind": there.kind if there else "",
        "added": counted.added, "removed": counted.removed,
        "binary": counted.added < 0, "landing": step.action, "why": step.why,
        "triggers": [trigger._asdict() for trigger in step.triggers],
    }  # fmt: skip
    if counted.former:
        found["former"] = counted.former
    if before and after and (_mode(before) != _mode(after) or before.kind != after.kind):
        found["mode"] = [_mode(before), _mode(after)]
    elif after and after.kind == FILE and not before and after.executable:
        found["mode"] = ["", _mode(after)]
    if after and after.link:
        found["link"] = after.link
    return found


def _mode(entry: Entry) -> str:
    """As git writes it."""
    return {FILE: "100755" if entry.executable else "100644", DIRECTORY: "040000"}.get(entry.kind, "120000")


def _by_trigger(changes: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for change in changes:
        for trigger in change["triggers"]:
            found.setdefault(trigger["name"], []).append({"path": change["path"], "why": trigger["why"]})
    return dict(sorted(found.items()))


def _obeyed(work: Work) -> list[str]:
    """What the agent changed in the repository's own settings and hooks. None of it is ever carried over."""
    return [path for path, digest in settings(work.whole).items() if work.handed.settings.get(path) != digest]
