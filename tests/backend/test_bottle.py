"""Programs in a running bottle: what they get, how they end, and how a bottle is taken down around them."""

from __future__ import annotations

import pytest

from tests.backend.keeping import keep
from tests.ordinary_user import Person


@pytest.mark.parametrize(
    ("command", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("kill -SEGV $$", 139)],
)
def test_the_exit_code_is_the_programs_own_or_128_and_its_signal(person: Person, command: str, code: int) -> None:
    source = f"with launch() as b: p = start(b, 'sh', '-c', {command!r}); show([p.wait(), p.wait(), p.poll()])"
    assert keep(person, source) == [code] * 3


def test_a_program_that_is_not_there_or_cannot_run_ends_as_a_shell_would_say(person: Person) -> None:
    source = """
with launch() as bottle:
    open(place + "/workspace/plain", "w").close()
    show([start(bottle, "no-such-program").wait(), start(bottle, "/workspace/plain").wait(), start(bottle, "/usr").wait()])
"""
    assert keep(person, source) == [127, 126, 126]


def test_a_working_directory_that_is_not_there_is_an_error_and_no_process(person: Person) -> None:
    source = """
with launch() as bottle:
    try:
        start(bottle, "true", cwd="/nowhere")
    except BottleError as error:
        show([error.why, len(bottle.processes)])
"""
    assert keep(person, source) == ["No such file or directory: /nowhere", 0]


def test_an_error_is_never_heard_before_the_birth_of_who_reports_it(person: Person) -> None:
    source = """
from claude_bottle.backend import namespaces
from claude_bottle.backend.bubblewrap import enter
clone = namespaces.clone_sibling
def slow():
    born = clone()
    if born:
        time.sleep(0.2)
    return born
namespaces.clone_sibling = slow
with launch() as bottle:
    try:
        start(bottle, "true", cwd="/nowhere")
    except BottleError as error:
        show(error.why)
"""
    assert keep(person, source) == "No such file or directory: /nowhere"


def test_a_child_that_nobody_knows_does_not_hold_up_the_end(person: Person) -> None:
    source = """
with launch() as bottle:
    start(bottle, "true")
    bottle.processes.clear()
show("gone")
"""
    assert keep(person, source) == "gone"


def test_programs_end_before_the_files_they_see_go(person: Person) -> None:
    """The first process's mounts go before what it takes with it: a program just being started would end with 127."""
    source = """
from claude_bottle.backend.bubblewrap import launcher
stop = launcher.stop
def stop_later(sandbox):
    show([bool(select.select([process.pidfd], [], [], 90)[0]) and process.wait() for process in processes])
    stop(sandbox)
launcher.stop = stop_later
with launch() as bottle:
    processes = [start(bottle, "sleep", "1000") for _ in range(3)]
"""
    assert keep(person, source) == [137] * 3


def test_a_name_that_looks_like_an_option_is_a_program(person: Person) -> None:
    source = "with launch() as b: show([start(b, '--help').wait(), output(b, 'echo', '--reuid=0', '--', '-n')])"
    assert keep(person, source) == [127, [0, "--reuid=0 -- -n\n"]]


def test_the_interpreter_line_trick_finds_a_read_only_system_program(person: Person) -> None:
    """CVE-2019-5736: a script whose interpreter is /proc/self/exe runs whatever entered the bottle."""
    source = r"""
with launch() as bottle:
    with open(place + "/workspace/trick", "w") as file:
        file.write("#!/proc/self/exe --version\n")
    os.chmod(place + "/workspace/trick", 0o755)
    show([output(bottle, "/workspace/trick"), output(bottle, "sh", "-c", "(: >> /usr/bin/setpriv) || echo no")])
"""
    (code, version), write = keep(person, source)
    assert code == 0
    assert version.startswith("exe from util-linux")  # setpriv, by the name of the link
    assert write == [0, "no\n"]


def test_with_a_terminal_the_program_leads_its_session(person: Person) -> None:
    source = """
import pty, termios
master, slave = pty.openpty()
with launch() as bottle:
    probe = ("import os, json; fd = os.open('/dev/tty', os.O_RDWR); "
             "print(json.dumps([os.getsid(0) == os.getpid(), os.tcgetpgrp(fd) == os.getpid(), os.isatty(0)]))")
    process = bottle.spawn(["/usr/bin/python3", "-c", probe], env=ENV, stdio=(slave,) * 3, controlling_tty=True)
    code = process.wait()
    show([code, os.read(master, 1000).decode()])
"""
    code, text = keep(person, source)
    assert (code, text.strip()) == (0, "[true, true, true]")


def test_without_a_terminal_the_keepers_own_is_not_there(person: Person) -> None:
    source = "with launch() as b: show(output(b, 'sh', '-c', 'exec 2>/dev/null; : < /dev/tty || echo none'))"
    assert keep(person, source)[1] in ("none\n", "")


def test_signals_reach_only_the_process_and_not_its_successor(person: Person) -> None:
    source = """
with launch() as bottle:
    process = start(bottle, "sleep", "1000")
    process.kill(signal.SIGTERM)
    code = process.wait()
    process.kill(signal.SIGKILL)
    show([code, process.poll()])
"""
    assert keep(person, source) == [143, 143]


def test_terminate_lets_programs_say_goodbye(person: Person) -> None:
    source = """
with launch() as bottle:
    end, other = os.pipe()
    process = start(bottle, "sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done", out=other)
    os.close(other)
    said = os.read(end, 100)
    bottle.terminate(1000)
    show([said.decode(), os.read(end, 100).decode(), process.wait(), bottle.alive()])
"""
    assert keep(person, source) == ["up\n", "bye\n", 3, False]


def test_terminate_ends_what_does_not_listen_after_its_grace(person: Person) -> None:
    source = """
with launch() as bottle:
    end, other = os.pipe()
    process = start(bottle, "sh", "-c", "trap '' TERM HUP; echo up; while :; do sleep 1000; done", out=other)
    os.read(end, 100)
    bottle.terminate(0.1)
    show([process.wait(), bottle.alive()])
"""
    assert keep(person, source) == [137, False]


def test_a_new_port_is_opened_in_the_running_network(person: Person) -> None:
    source = """
with launch() as bottle:
    listener = bottle.open_port(443)
    dial = "import socket; s = socket.create_connection(('198.18.0.9', 443)); print(s.recv(9).decode())"
    end, other = os.pipe()
    process = start(bottle, "/usr/bin/python3", "-c", dial, out=other)
    connection, peer = listener.accept()
    connection.sendall(b"hello")
    connection.close()
    try:
        bottle.open_port(443)
    except BottleError as error:
        show([process.wait(), os.read(end, 100).decode(), listener.get_inheritable(), error.what, error.why])
"""
    why = "Address already in use"
    assert keep(person, source) == [0, "hello\n", False, "cannot open port 443 in the bottle", why]


def test_many_programs_at_once_end_one_by_one(person: Person) -> None:
    source = """
with launch() as bottle:
    processes = [start(bottle, "sh", "-c", f"exit {n}") for n in range(20)]
    show([process.wait() for process in processes])
"""
    assert keep(person, source) == list(range(20))


def test_files_made_inside_belong_to_the_directorys_owner_outside(person: Person) -> None:
    source = """
with launch() as bottle:
    start(bottle, "sh", "-c", "mkdir -p a/b; echo x > a/b/c; echo y > ~/h; ln -s c a/b/l").wait()
    found = [os.lstat(place + "/" + name) for name in ("workspace/a", "workspace/a/b/c", "workspace/a/b/l", "home/h")]
    owner = os.stat(place + "/workspace")
    show([sorted({(s.st_uid, s.st_gid) for s in found}), (owner.st_uid, owner.st_gid)])
"""
    found, owner = keep(person, source)
    assert found == [owner]
    assert owner[0] == person.uid


def test_files_that_were_there_can_be_changed_by_their_owner_only(person: Person) -> None:
    source = """
open(place + "/workspace/mine", "w").close()
os.chmod(place + "/workspace/mine", 0o600)
with launch() as bottle:
    show(output(bottle, "sh", "-c", "echo changed > mine && stat -c '%U %a' mine"))
"""
    assert keep(person, source) == [0, "agent 600\n"]


def test_exec_runs_on_the_callers_own_descriptors(person: Person) -> None:
    done = keep(person, "with launch() as b: code = b.exec(['sh', '-c', 'echo 41']); show(code) if code else None")
    assert done == 41


@pytest.mark.parametrize(
    "command",
    [
        "git init -q && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git log --oneline | wc -l",
        'node -e \'require("fs").mkdtempSync("/tmp/x"); console.log([1].length)\'',
        "curl --version > /dev/null && echo 1",
        "printf 'int main(void){return 0;}' > x.c && gcc -o x x.c && ./x && echo 1",
        "python3 -c 'import multiprocessing as m; p = m.Pool(2); print(sum(p.map(abs, [-1])))'",
        "python3 -c 'import socket, ssl, sqlite3, tempfile, subprocess; print(1)'",
        "bash -c 'exec 3<> /tmp/f; echo 1 >&3; cat /tmp/f'",
        "touch a && cp -a a b && tar cf t.tar a b && tar xf t.tar && ls a b | wc -l | tr 2 1",
    ],
)
def test_ordinary_tools_work(person: Person, command: str) -> None:
    tool = command.split()[0]
    source = f"""
with launch() as b:
    if start(b, "sh", "-c", "command -v {tool} > /dev/null").wait():
        show("absent")
    else:
        show(output(b, "sh", "-c", {command!r}))
"""
    found = keep(person, source)
    if found == "absent":
        pytest.skip(f"cannot run here: no {tool} on this host")
    assert found == [0, "1\n"]
