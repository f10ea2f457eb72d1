"""Programs: started with exactly these words and descriptors, their own exit code, a failure of theirs never ours."""

from __future__ import annotations

import os
import threading

from claude_bottle.backend.base import BASE_ENV
from claude_bottle.errors import BottleError
from claude_bottle.testing.conformance.place import Place, ended, eventually, run, shell, start
from claude_bottle.testing.conformance.registry import group

programs, alone = group("programs", harmless=True, shares=True), group("programs", harmless=True)
_BIG = 8 << 20


@programs
def the_exit_code_is_the_programs_own(place: Place) -> None:
    with place.up() as bottle:
        assert [shell(bottle, f"exit {code}").code for code in (0, 1, 3, 77, 125, 255)] == [0, 1, 3, 77, 125, 255]


@programs
def one_that_a_signal_ends_has_128_and_its_number(place: Place) -> None:
    with place.up() as bottle:
        assert shell(bottle, "kill -TERM $$").code == 143
        assert shell(bottle, "kill -KILL $$").code == 137


@programs
def one_that_is_not_there_ends_with_127_and_one_that_cannot_run_with_126(place: Place) -> None:
    with place.up() as bottle:
        assert run(bottle, ["no-such-program"]).code == 127
        assert run(bottle, ["/no/such/program"]).code == 127
        assert run(bottle, ["/etc/passwd"]).code == 126
        assert run(bottle, ["/etc"]).code == 126


@alone
def a_failing_command_is_no_failing_backend(place: Place) -> None:
    with place.up() as bottle:
        assert run(bottle, ["false"]).code == 1
        assert run(bottle, ["no-such-program"]).code == 127
        assert bottle.alive()
        bottle.close()
        try:
            run(bottle, ["true"])
        except BottleError as problem:
            assert problem.what
        else:
            raise AssertionError("a bottle that is down ran a program")


@programs
def words_arrive_as_they_are(place: Place) -> None:
    words = ["", " ", "a b", "'", '"', "$HOME", "`id`", "\\", "-v", "--", "*", "line\nline", "ü€𝄞", ";", "&&"]
    with place.up() as bottle:
        said = run(bottle, ["sh", "-c", 'printf "%s\\0" "$@"', "sh", *words])
        assert said.out.split("\0")[:-1] == words


@programs
def many_words_arrive(place: Place) -> None:
    words = [f"{number:0100}" for number in range(1000)]
    with place.up() as bottle:
        assert run(bottle, ["sh", "-c", 'echo "$#" "${1000}"', "sh", *words]).out.split() == ["1000", words[-1]]


@programs
def output_and_errors_are_kept_apart(place: Place) -> None:
    with place.up() as bottle:
        assert shell(bottle, "echo out; echo err >&2") == (0, "out\n", "err\n")


@programs
def the_end_of_input_is_seen(place: Place) -> None:
    with place.up() as bottle:
        assert run(bottle, ["cat"]).out == ""
        assert run(bottle, ["cat"], stdin=b"one\ntwo\n").out == "one\ntwo\n"


@programs
def eight_megabytes_go_in_and_come_out(place: Place) -> None:
    with place.up() as bottle:
        data = os.urandom(1 << 16).hex().encode() * (_BIG // (1 << 17))
        said = run(bottle, ["cat"], stdin=data)
        assert len(said.out) == len(data)
        assert said.out.encode() == data


@programs
def bytes_are_bytes(place: Place) -> None:
    with place.up() as bottle:
        data = bytes(range(256))
        said = run(bottle, ["od", "-An", "-v", "-tx1"], stdin=data)
        assert bytes.fromhex("".join(said.out.split())) == data


@programs
def output_that_nobody_reads_ends_nothing_but_its_writer(place: Place) -> None:
    with place.up() as bottle:
        end, other = os.pipe()
        process = start(bottle, ["sh", "-c", "while :; do echo more; done"], out=other)
        os.close(other)
        os.close(end)
        assert ended(process) != 0
        assert bottle.alive()


@programs
def it_starts_in_the_workspace_or_where_it_is_told(place: Place) -> None:
    with place.up() as bottle:
        assert run(bottle, ["pwd"]).out == "/workspace\n"
        assert run(bottle, ["pwd"], cwd="/home/agent").out == "/home/agent\n"
        assert run(bottle, ["pwd"], cwd="/").out == "/\n"


@programs
def a_directory_that_is_not_there_is_an_error(place: Place) -> None:
    with place.up() as bottle:
        try:
            run(bottle, ["true"], cwd="/no/such/directory")
        except BottleError as problem:
            assert problem.what
        else:
            raise AssertionError("it ran somewhere else")
        assert run(bottle, ["true"]).code == 0


@programs
def a_script_without_a_first_line_runs(place: Place) -> None:
    with place.up() as bottle:
        assert shell(bottle, "printf 'exit 7' > script; chmod +x script").code == 0
        assert run(bottle, ["./script"]).code == 7


@programs
def it_has_no_descriptor_but_its_three(place: Place) -> None:
    with place.up() as bottle:
        assert run(bottle, ["sh", "-c", "ls /proc/self/fd"]).out.split() == ["0", "1", "2", "3"]  # 3: ls reads it


@programs
def many_run_at_once(place: Place) -> None:
    codes: dict[int, int] = {}
    with place.up() as bottle:
        processes = [start(bottle, ["sh", "-c", f"sleep 0.2; exit {number}"]) for number in range(16)]
        for number, process in enumerate(processes):
            codes[number] = ended(process)
    assert codes == {number: number for number in range(16)}


@programs
def their_ends_can_be_awaited_again(place: Place) -> None:
    with place.up() as bottle:
        process = start(bottle, ["sh", "-c", "exit 5"])
        assert [ended(process), process.wait(), process.poll()] == [5, 5, 5]


@programs
def one_that_runs_has_no_code_yet(place: Place) -> None:
    with place.up() as bottle:
        process = start(bottle, ["sleep", "1000"])
        assert process.poll() is None
        assert process.pid > 0


@programs
def exec_runs_on_the_callers_own_descriptors(place: Place) -> None:
    with place.up() as bottle:
        end, other = os.pipe()
        kept = os.dup(1)
        os.dup2(other, 1)
        try:
            code = bottle.exec(["sh", "-c", "echo $HOME; exit 4"])
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            os.close(other)
        with os.fdopen(end) as said:
            assert (code, said.read()) == (4, BASE_ENV["HOME"] + "\n")


@alone
def orphans_are_collected(place: Place) -> None:
    with place.up() as bottle:

        def nobody_else() -> bool:
            """Whether the first process and who looks are all there is, also of those that have ended."""
            return shell(bottle, "set -- /proc/[0-9]*; echo $#").out == "2\n"

        assert nobody_else()
        shell(bottle, "for i in 1 2 3 4 5 6 7 8; do (sleep 0.05 &) ; done")
        eventually(nobody_else)


@programs
def starting_from_several_places_mixes_nothing_up(place: Place) -> None:
    said: list[str] = []
    with place.up() as bottle:
        for number in range(10):
            said.append(shell(bottle, f"echo {number}; echo {number} >&2").out)
    assert said == [f"{number}\n" for number in range(10)]
    assert threading.active_count() < 20
