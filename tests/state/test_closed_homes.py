"""What an agent closes to everybody (`chmod 0`) is still archived and removed: it belongs to the operator.

Root would not notice, so these run as an ordinary user as well.
"""

from __future__ import annotations

import json

import pytest

from tests.ordinary_user import Person
from tests.persons import everybody, person

__all__ = ["everybody", "person"]

MAIN = ".claude/projects/-workspace/s-1.jsonl"
PROGRAM = """
import json, os, sys
from pathlib import Path
from claude_bottle.state import transcripts
from claude_bottle.state.paths import Paths
from claude_bottle.state.record import BottleRecord, timestamp
from claude_bottle.state.store import Store
root, main, *closed = sys.argv[1:]
paths = Paths(root)
store = Store(paths)
record = BottleRecord("docs-7ahq2c", "docs", "claude", "bubblewrap", created=timestamp(), session_id="s-1", status="settled")
store.create(record)
home = paths.home(record.identity)
(home / main).parent.mkdir(parents=True)
(home / main).write_text("hello")
(home / "outside").symlink_to(os.path.join(root, "..", "other"))
for name in closed:
    (home / name).chmod(0)
store.cleanup(record.identity)
archive = transcripts.load(paths, record.identity)
kept = [(archive.path / "files" / file.name).read_text() for file in archive.files]
print(json.dumps([kept, archive.skipped, store.exists(record.identity)]))
"""


CLOSED = [["."], [".claude"], [".claude/projects/-workspace", ".claude"], [MAIN], [MAIN, ".claude/projects", "."]]


@pytest.mark.parametrize("closed", CLOSED, ids=str)
def test_a_conversation_behind_closed_doors_is_archived_and_its_state_removed(person: Person, closed: list[str]) -> None:
    place = person.directory("state")
    other = person.directory("other")
    other.chmod(0o500)
    done = person.run([person.python, "-c", PROGRAM, str(place / "root"), MAIN, *closed])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["hello"], [], False]
    assert other.stat().st_mode & 0o777 == 0o500
