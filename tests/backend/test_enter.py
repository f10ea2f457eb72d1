"""The report by which the way in says what became of it."""

from __future__ import annotations

import struct

from claude_bottle.backend.bubblewrap.enter import understand


def test_every_process_id_is_understood() -> None:
    """Once, an id whose low byte was "{" was taken for the text of an error, and the process was lost."""
    for process in range(1, 1 << 16, 7):
        assert understand(struct.pack("=ci", b"P", process)) == (process, None)


def test_an_error_is_understood_with_and_without_a_process() -> None:
    error = b'{"what": "no"}'
    assert understand(error) == (0, {"what": "no"})
    assert understand(struct.pack("=ci", b"P", 123) + error) == (123, {"what": "no"})
    assert understand(b"") == (0, None)
