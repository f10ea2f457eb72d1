from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from claude_bottle.model.capability import Capability
from claude_bottle.state import record as records
from claude_bottle.state.record import BadRecord, BottleRecord, NewerSchema, ProcessId


def full(record: BottleRecord) -> BottleRecord:
    return record._replace(
        keeper=records.this_process(),
        preserved=("operator",),
        manifests=("/a", "/b"),
        exit_code=137,
        host_uid=1000,
    )


def test_a_record_comes_back_from_its_dictionary(record: BottleRecord) -> None:
    assert BottleRecord.from_dict(full(record).to_dict()) == full(record)
    assert BottleRecord.from_dict(record.to_dict()) == record


@pytest.mark.parametrize(
    "change",
    [
        {"identity": 1}, {"status": "asleep"}, {"preserved": "operator"}, {"preserved": [1]}, {"exit_code": "0"},
        {"exit_code": True}, {"keeper": {"pid": 1}}, {"keeper": [1, 2, ""]}, {"colour": "red"}, {"schema": None},
        {"schema": 0}, {"schema": "1"}, {"schema": True}, {"manifests": None},
        {"cwd": "/x" + chr(0)}, {"cwd": "/" + 5000 * "x"},
        {"backend": "\x1b]0;x"}, {"agent": "a\u202eb"}, {"plan_digest": chr(0)}, {"session_id": "../../x"},
        {"keeper": {"pid": 1, "start_time": 1, "boot_id": "\x1b[31m"}}, {"journal": {"seq": 1, "hash": "\u200b"}},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_record_of_another_shape_is_refused(record: BottleRecord, change: dict[str, object]) -> None:
    with pytest.raises(BadRecord):
        BottleRecord.from_dict({**record.to_dict(), **change})


@pytest.mark.parametrize("change", [{"status": "z" * 150}, {"schema": "\x1b" * 5000}, {"\x1b[31m" * 1000: 1}], ids=range(3))
def test_what_is_said_of_a_damaged_record_is_short_and_safe_to_print(
    record: BottleRecord, change: dict[str, object]
) -> None:
    with pytest.raises(BadRecord) as caught:
        BottleRecord.from_dict({**record.to_dict(), **change})
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_what_is_no_record_at_all_is_refused(value: object) -> None:
    with pytest.raises(BadRecord):
        BottleRecord.from_dict(value)


def test_a_missing_key_is_refused(record: BottleRecord) -> None:
    data = record.to_dict()
    del data["agent"]
    with pytest.raises(BadRecord, match="agent"):
        BottleRecord.from_dict(data)


def test_a_newer_schema_is_told_from_damage(record: BottleRecord) -> None:
    with pytest.raises(NewerSchema) as caught:
        BottleRecord.from_dict({**record.to_dict(), "schema": records.SCHEMA + 1, "something": "new"})
    assert "nothing was changed" in caught.value.do


def test_older_schemas_are_migrated_step_by_step() -> None:
    """Two synthetic schemas before the present one: `who` became `name`, then a `colour` was added."""

    def rename(data: dict[str, object]) -> dict[str, object]:
        return {"name" if key == "who" else key: value for key, value in data.items()}

    def add(data: dict[str, object]) -> dict[str, object]:
        return {**data, "colour": "none"}

    steps = (rename, add)
    assert records.migrate({"schema": 1, "who": "docs"}, steps) == {
        "schema": 1,
        "name": "docs",
        "colour": "none",
    }
    assert records.migrate({"schema": 2, "name": "docs"}, steps) == {
        "schema": 2,
        "name": "docs",
        "colour": "none",
    }
    assert records.migrate({"schema": 3, "name": "docs"}, steps) == {"schema": 3, "name": "docs"}
    with pytest.raises(NewerSchema):
        records.migrate({"schema": 4}, steps)


def test_there_is_a_migration_for_every_schema_before_this_one() -> None:
    assert len(records.MIGRATIONS) == records.SCHEMA - 1


def test_this_process_is_alive() -> None:
    assert records.is_alive(records.this_process())


@pytest.mark.parametrize("change", [{"start_time": 1}, {"boot_id": "another boot"}, {"pid": 0}, {"pid": -1}])
def test_a_living_pid_alone_is_not_believed(change: dict[str, int]) -> None:
    stranger = ProcessId(**{**records.this_process()._asdict(), **change})
    assert os.getpid() == records.this_process().pid
    assert not records.is_alive(stranger)


def test_an_ended_process_is_dead_even_before_it_is_reaped() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        started = records.start_time_of(child.pid)
        assert started is not None
        process = ProcessId(child.pid, started, records.boot_id())
        assert records.is_alive(process)
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not records.is_alive(process)
    finally:
        child.wait()
    assert not records.is_alive(process)


def test_a_command_name_full_of_parentheses_does_not_move_the_start_time(tmp_path: Path) -> None:
    program = tmp_path / ") Z 1 1 (x"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([program, "60"])
    try:
        started = records.start_time_of(child.pid)
        own = records.start_time_of(os.getpid())
        assert started is not None
        assert own is not None
        assert started >= own
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize(
    ("status", "preserved", "alive", "expected"),
    [
        ("running", (), True, "running"), ("running", ("operator",), True, "running"),
        ("starting", (), True, "starting"), ("settling", (), True, "settling"),
        ("running", (), False, "interrupted"), ("settling", ("operator",), False, "interrupted"),
        ("preserved", ("operator",), False, "preserved"), ("settled", (), False, "settled"),
        ("settled", ("operator",), False, "preserved"),
    ],
)  # fmt: skip
def test_the_effective_status_needs_a_living_keeper(
    record: BottleRecord, status: str, preserved: tuple[str, ...], alive: bool, expected: str
) -> None:
    keeper = records.this_process()
    if not alive:
        keeper = keeper._replace(start_time=keeper.start_time - 1)
    made = record._replace(status=status, preserved=preserved, keeper=keeper)
    assert records.effective_status(made) == expected


@pytest.mark.parametrize("at", [0.0, 1.5, 1738324800.999999, 4102444800.0])
def test_times_are_written_as_rfc_3339_and_read_back(at: float) -> None:
    text = records.timestamp(at)
    assert text.endswith("Z")
    assert len(text) == 27
    assert records.unix_time(text) == pytest.approx(at, abs=1e-6)


def test_a_time_that_is_none_reads_as_unknown() -> None:
    assert records.unix_time("yesterday") is None
    assert records.unix_time("") is None


def test_a_record_keeps_the_layers_it_was_granted(record: BottleRecord) -> None:
    layers = (Capability("apt", ("ripgrep",)), Capability("dockerfile", (), "RUN x", True))
    kept = record._replace(layers=layers)
    assert BottleRecord.from_dict(json.loads(json.dumps(kept.to_dict()))) == kept


def test_a_record_from_before_layers_has_none(record: BottleRecord) -> None:
    data = {name: value for name, value in record.to_dict().items() if name != "layers"}
    assert BottleRecord.from_dict({**data, "schema": 2}).layers == ()


@pytest.mark.parametrize("layers", [None, {}, ["apt"], [{"apt": ["--yes"]}], [{"apt": ["a"] * 2}], [{"x": 1}], [{}] * 100])
def test_a_record_whose_layers_are_none_is_damaged(record: BottleRecord, layers: object) -> None:
    with pytest.raises(BadRecord, match="layers"):
        BottleRecord.from_dict({**record.to_dict(), "layers": layers})
