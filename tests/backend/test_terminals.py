"""Terminals of a bottle's own: known by name inside, bounded, and with their masters outside."""

from __future__ import annotations

import shutil

import pytest

from tests.backend.keeping import keep
from tests.ordinary_user import Person

SHOWN = """
def shown(bottle, *argv, pair=None):
    master, slave = pair or bottle.open_pty()
    process = bottle.spawn(argv, env={**ENV, "TERM": "xterm"}, stdio=(slave,) * 3, controlling_tty=True)
    os.close(slave)
    text = b""
    while True:
        try:
            text += os.read(master, 65536)
        except OSError:
            break
    os.close(master)
    return [process.wait(), text.decode().replace("\\r\\n", "\\n")]
"""


@pytest.mark.parametrize("bwrap", ["system", "wheel"])
def test_a_program_finds_its_terminal_by_name(person: Person, bwrap: str) -> None:
    source = SHOWN + f"with launch(bwrap={bwrap!r}) as b: show([shown(b, 'tty'), shown(b, 'tty')])"
    assert keep(person, source) == [[0, "/dev/pts/0\n"]] * 2


def test_it_belongs_to_the_bottles_user_and_can_be_opened_again(person: Person) -> None:
    script = "stat -c '%U %G %a' $(tty); echo a > $(tty); echo b > /dev/tty; echo c > /dev/stderr; mesg y; stat -c %a $(tty)"
    code, text = keep(person, SHOWN + f"with launch() as b: show(shown(b, 'sh', '-c', {script!r}))")
    assert (code, text) == (0, "agent agent 620\na\nb\nc\n620\n")


@pytest.mark.parametrize(
    ("tool", "command", "expected"),
    [
        ("script", "script -qc tty /dev/null", "/dev/pts/1\n"),
        ("tmux", "mkfifo told; tmux new-session -d 'tty > told; cat'; cat told; tmux kill-server", "/dev/pts/1\n"),
        ("python3", "python3 -c 'import os; print(os.ttyname(0), os.get_terminal_size().columns)'", "/dev/pts/0 99\n"),
        ("ps", "ps -o tty= -p $$", "pts/0\n"),
    ],
)
def test_programs_that_ask_for_the_name_work(person: Person, tool: str, command: str, expected: str) -> None:
    if shutil.which(tool, path="/usr/bin:/bin") is None:
        pytest.skip(f"cannot run here: no {tool} on this host")
    source = (
        SHOWN
        + f"""
import fcntl, struct, termios
with launch() as bottle:
    pair = bottle.open_pty()
    fcntl.ioctl(pair[0], termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    show(shown(bottle, "sh", "-c", {command!r}, pair=pair))
"""
    )
    assert keep(person, source) == [0, expected]


def test_several_terminals_are_apart_and_the_host_has_none_of_them(person: Person) -> None:
    source = (
        SHOWN
        + """
hosts = os.stat("/dev/pts").st_dev
with launch() as one, launch(identity="b-2") as other:
    pairs = [one.open_pty(), one.open_pty(), other.open_pty()]
    apart = len({hosts, *(os.fstat(slave).st_dev for _, slave in pairs)})
    names = [shown(bottle, "tty", pair=pair) for bottle, pair in zip((one, one, other), pairs)]
    show([names, apart])
"""
    )
    expected = [[0, "/dev/pts/0\n"], [0, "/dev/pts/1\n"], [0, "/dev/pts/0\n"]]
    assert keep(person, source) == [expected, 3]  # file systems: the host's and one of each bottle


def test_case_116_a_bottle_that_takes_all_terminals_takes_only_its_own(person: Person) -> None:
    source = (
        SHOWN
        + """
hog = '''
import os, sys
held = []
try:
    while True: held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
except OSError as failure:
    print(len(held), failure.errno, flush=True)
sys.stdin.read()
'''
with launch() as hogged, launch(identity="b-2") as other:
    (said, says), (waits, release) = os.pipe(), os.pipe()
    process = hogged.spawn(["/usr/bin/python3", "-c", hog], env=ENV, stdio=(waits, says, 2))
    found = [os.read(said, 100).decode().split(), shown(other, "tty")]
    before = descriptors()
    try:
        hogged.open_pty()
    except BottleError as error:
        found += [error.why, bool(error.do), descriptors() == before]
    os.close(release), os.close(waits)
    process.wait()
    show([*found, shown(hogged, "tty")])
"""
    )
    found = keep(person, source)
    assert found == [["128", "28"], [0, "/dev/pts/0\n"], "all 128 it may have are in use", True, True, [0, "/dev/pts/0\n"]]


def test_the_master_is_nowhere_inside(person: Person) -> None:
    script = "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c ptmx"
    assert keep(person, SHOWN + f"with launch() as b: show(shown(b, 'sh', '-c', {script!r}))") == [1, "0\n"]


def test_case_13_no_line_discipline_can_be_set_and_no_module_loaded_by_it(person: Person) -> None:
    script = """
import fcntl, struct, termios
for discipline in range(1, 31):
    try:
        fcntl.ioctl(0, termios.TIOCSETD, struct.pack("i", discipline))
        print(discipline)
    except OSError as failure:
        assert failure.errno == 1, failure
"""
    assert keep(person, SHOWN + f"with launch() as b: show(shown(b, '/usr/bin/python3', '-c', {script!r}))") == [0, ""]


def test_both_ends_are_closed_on_exec_and_a_bottle_that_is_down_has_none(person: Person) -> None:
    source = """
with launch() as bottle:
    flags = [os.get_inheritable(fd) for fd in bottle.open_pty()]
try:
    bottle.open_pty()
except BottleError as error:
    show([flags, error.why])
"""
    assert keep(person, source) == [[False, False], "it has been taken down"]


def test_a_hang_up_outside_reaches_the_program(person: Person) -> None:
    source = """
with launch() as bottle:
    master, slave = bottle.open_pty()
    process = bottle.spawn(["sleep", "1000"], env=ENV, stdio=(slave,) * 3, controlling_tty=True)
    os.close(slave), os.close(master)
    show(process.wait())
"""
    assert keep(person, source) == 129
