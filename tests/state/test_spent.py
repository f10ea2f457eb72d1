"""What a bottle has spent, over its runs."""

from __future__ import annotations

import pytest

from claude_bottle.state.damage import Damaged
from claude_bottle.state.paths import Paths
from claude_bottle.state.spent import Spent, note_spent, read_spent

ID = "tester-000000"


@pytest.fixture
def there(paths: Paths) -> Paths:
    paths.state(ID).mkdir(parents=True, mode=0o700)
    return paths


def test_what_was_spent_is_known_at_the_next_run(there: Paths) -> None:
    assert read_spent(there, ID) == Spent(0, 0)
    note_spent(there, ID, Spent(1234, 56))
    assert read_spent(there, ID) == Spent(1234, 56)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 2, "egress_bytes": 1}', '{"schema": 1, "egress_bytes": -1}',
                                  '{"schema": 1, "egress_bytes": true}', '{"schema": 1, "egress_bytes": 1.5}',
                                  '{"schema": 1, "egress_bytes": 1, "money": "1"}'])  # fmt: skip
def test_a_damaged_file_is_refused_and_never_nothing_spent(there: Paths, text: str) -> None:
    there.spent(ID).write_text(text)
    there.spent(ID).chmod(0o600)
    with pytest.raises(Damaged):
        read_spent(there, ID)
