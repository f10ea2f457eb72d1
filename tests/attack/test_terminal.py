"""Attack cases on the operator's terminal (threats.md §2, 102-107): what an agent writes to it, in a real terminal (tmux),
that answers what it is asked, keeps what it is told, and is looked at afterwards."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attack.operators import Bottle, Operator, titles
from tests.attack.probes import NETWORK, SHOW
from tests.e2e.project import processes
from tests.harness.screen import Screen
from tests.waiting import eventually

# The agent: writes to its terminal whatever is put into /tmp/say, and keeps all that comes from there.
SPEAKER = """
import os, threading, tty
tty.setraw(0)
def listen():
    with open("/tmp/heard", "ab", 0) as heard:
        while data := os.read(0, 4096):
            heard.write(data)
threading.Thread(target=listen, daemon=True).start()
os.mkfifo("/tmp/say")
said = os.open("/tmp/say", os.O_RDWR)  # which has no end: nothing is lost between one who says something and the next
while True:
    os.write(1, os.read(said, 65536))
"""
ESC, ST, OWN = "\x1b", "\x1b\\", "the operators own title"
CLIPBOARD = f"{ESC}]52;c;ZXZpbA=={ST}{ESC}]52;p;ZXZpbA==\x07{ESC}]52;c;?{ST}"
# What a terminal answers as if somebody typed: device, status, cursor, mode, setting, colour, version and title queries.
QUERIES = "".join([
    *(f"{ESC}[{query}" for query in
      ("c", ">c", "=c", "5n", "6n", "?6n", "?25$p", ">q", "?u", "14t", "18t", "20t", "21t")),
    f"{ESC}P$qm{ST}", f"{ESC}P+q544e{ST}", f"{ESC}]4;1;?{ST}", f"{ESC}]10;?{ST}", f"{ESC}]11;?\x07", f"{ESC}Z",
    "\x05", "\x9bc",
])  # fmt: skip
TITLES = f"{ESC}]0;evil title{ST}{ESC}]2;evil title\x07{ESC}]1;evil title{ST}{ESC}kevil title{ST}\x9d2;evil title\x9c"
# Strings that never end, pictures, files, and what speaks to a multiplexer's outer terminal; words between them.
STRINGS = [
    f"{ESC}P", f"{ESC}_", f"{ESC}^", f"{ESC}X", f"{ESC}]", "\x90", "\x9f", "\x9d1337;File=inline=1:aGk=",
    f"{ESC}Pq#0;2;0;0;0#0~~@@vv{ST}", f"{ESC}_Gf=24,s=1,v=1;AAAA{ST}", f"{ESC}]1337;File=name=eA==;inline=0:aGk={ST}",
    f"{ESC}Ptmux;{ESC}{ESC}]52;c;ZXZpbA==\x07{ST}", f"{ESC}]99;;evil{ST}", f"{ESC}]777;notify;a;evil{ST}",
    f"{ESC}]9;evil\x07",
]  # fmt: skip
MESS = "".join(f"{ESC}[?{mode}h" for mode in (1, 5, 6, 1000, 1002, 1003, 1004, 1006, 1049, 2004))
MESS += f"{ESC}[?25l{ESC}[?7l{ESC}[4h{ESC}[2;5r{ESC}={ESC}(0{ESC}[>4;2m{ESC}[>1u{ESC}[31;7m"
STATE = ("alternate_on", "cursor_flag", "insert_flag", "keypad_cursor_flag", "keypad_flag", "mouse_any_flag",
         "mouse_sgr_flag", "origin_flag", "wrap_flag", "scroll_region_upper", "scroll_region_lower")  # fmt: skip
Begin = Callable[..., Screen]


@pytest.fixture(scope="module")
def speaking(operator: Operator) -> Iterator[Bottle]:
    with operator.start("closed", "/usr/bin/python3", "-c", SPEAKER) as bottle:
        yield bottle


@pytest.fixture
def begin(tmp_path: Path, operator: Operator) -> Iterator[Begin]:
    """Begins a shell script in a terminal of the operator's."""
    made: list[Screen] = []

    def screen(script: str) -> Screen:
        words = ["env", "-i", *(f"{name}={value}" for name, value in operator.env.items()), "TERM=screen-256color"]
        made.append(Screen(tmp_path, [*words, "sh", "-c", script], columns=100, rows=30))
        for option, value in (("set-clipboard", "on"), ("allow-passthrough", "on"), ("allow-rename", "on")):
            made[-1].tmux("set-option", "-g", option, value)
        return made[-1]

    yield screen
    for one in made:
        one.__exit__()


def attach(bottle: Bottle) -> str:
    return shlex.join(bottle.operator.argv("attach", bottle.identity))


def say(bottle: Bottle, text: str) -> None:
    """The agent writes this (one byte a character) to its terminal."""
    bottle.python(f"""
import os, stat, time
while not os.path.exists('/tmp/say'):  # or it would be a plain file, and the agent could not make its own
    time.sleep(0.01)
open('/tmp/say', 'wb').write(bytes.fromhex({text.encode('latin-1').hex()!r}))
print('null')
""")


def state(screen: Screen) -> list[str]:
    return screen.tmux("display-message", "-p", ",".join(f"#{{{name}}}" for name in STATE)).strip().split(",")


@pytest.mark.threat(102, 103, 105, 107)
def test_case_103_what_the_agent_writes_makes_the_operators_terminal_neither_answer_nor_keep_anything(
    speaking: Bottle, begin: Begin
) -> None:
    screen = begin(f"printf '\\033]2;{OWN}\\033\\\\'; {attach(speaking)}; exec cat -v")
    screen.tmux("rename-window", OWN)
    say(speaking, "it begins\r\n")
    screen.wait("it begins")
    say(speaking, CLIPBOARD + QUERIES + TITLES)
    for number, text in enumerate(STRINGS):
        say(speaking, f"{text}\x18\r\nreadable {number}.\r\n")  # CAN, which ends any sequence
    screen.wait(rf"readable {len(STRINGS) - 1}\.")
    shown = screen.text()
    assert re.findall(r"readable \d+\.", shown) == [f"readable {number}." for number in range(len(STRINGS))]
    assert "evil" not in shown and "ZXZp" not in shown
    assert screen.tmux("list-buffers") == "", "nothing is in the clipboard"
    assert screen.tmux("display-message", "-p", "#{pane_title} #{window_name}").strip() == f"{OWN} {OWN}"
    screen.press("z")
    heard = "open('/tmp/heard', 'rb').read().hex()"
    eventually(lambda: speaking.python(f"import json; print(json.dumps({heard}))").endswith(b"z".hex()))
    assert bytes.fromhex(speaking.python(f"import json; print(json.dumps({heard}))")) == b"z", "the terminal typed nothing"
    screen.press("C-]")
    screen.wait("detached")
    screen.type("only this")
    shown = screen.wait(r"only this\s+only this")
    assert re.search(r"detached[^\n]*\n(.*)", shown, re.DOTALL)[1].split() == ["only", "this"] * 2  # type: ignore[index]


@pytest.mark.threat(105)
def test_case_105_the_words_of_the_operators_dialogs_are_nowhere_inside(speaking: Bottle) -> None:
    """So that no dialog which the agent draws can have them."""
    marker = speaking.operator.home / "marker"
    if not marker.exists():  # nobody has looked at a dialog yet
        speaking.operator.put(marker, "violet-otter\n")
    words = marker.read_text().strip()
    found = speaking.python(f"""
import json, os, subprocess, urllib.request
places = ["/proc/self/environ", "/proc/1/environ", "/proc/1/cmdline", "/proc/self/mountinfo"]
for top in ("/home", "/tmp", "/run", "/var/tmp", "/workspace", "/etc", "/dev/shm"):
    for place, _, names in os.walk(top):
        places += [os.path.join(place, name) for name in names]
found = []
for place in places:
    try:
        if os.path.isfile(place) and {words!r}.encode() in open(place, "rb").read(1 << 20):
            found.append(place)
    except OSError:
        pass
for page in ("policy", "request", ""):
    try:
        said = urllib.request.urlopen("http://bottle.internal/" + page, timeout=90).read()
    except OSError as problem:
        said = getattr(problem, "read", bytes)()
    if {words!r}.encode() in said:
        found.append(page)
print(json.dumps(found))
""")
    assert found == []


@pytest.mark.threat(104)
def test_case_104_whatever_the_agent_switched_on_is_off_when_the_operator_leaves_or_is_killed(
    speaking: Bottle, begin: Begin
) -> None:
    mend = shlex.join(speaking.operator.argv("attach", "nobody-abcdef"))
    screen = begin(f"{attach(speaking)}; echo left; read x; {attach(speaking)}; {mend}; echo mended; read x")
    before = state(screen)
    messed(speaking, screen, before)
    screen.press("C-]")
    screen.wait("left")
    assert state(screen) == before
    screen.press("Enter")
    messed(speaking, screen, before)
    (pid,) = attached(speaking)
    os.kill(pid, signal.SIGKILL)
    screen.wait("mended")
    assert state(screen) == before
    screen.type("typed as ever")


@pytest.mark.threat(104)
def test_case_104_a_keeper_that_is_killed_leaves_the_operators_terminal_as_it_was(operator: Operator, begin: Begin) -> None:
    bottle = operator.start("closed", "/usr/bin/python3", "-c", SPEAKER)
    screen = begin(f"{attach(bottle)}; echo lost; read x")
    before = state(screen)
    messed(bottle, screen, before)
    (pid,) = (pid for pid, title in titles(bottle.identity) if "keeper" in title)
    os.kill(pid, signal.SIGKILL)
    screen.wait("lost")
    assert state(screen) == before
    screen.type("typed as ever")
    bottle.close()


def attached(bottle: Bottle) -> list[int]:
    """The processes that lend a terminal to it, without the shell that begins them."""
    return [pid for pid in processes(f"claude_bottle attach {bottle.identity}") if pid not in processes("; echo ")]


def messed(bottle: Bottle, screen: Screen, before: list[str]) -> None:
    """The agent has switched on whatever it can."""
    eventually(lambda: attached(bottle))
    say(bottle, MESS)
    eventually(lambda: state(screen)[:6] != before[:6] and state(screen)[0] == "1")


@pytest.mark.threat(106)
def test_case_106_one_thing_that_happened_is_one_bounded_line_whatever_it_is_called(bottle: Bottle) -> None:
    """Returns, erasing, concealing, huge: in names, paths and reasons; in every list of what happened."""
    well = "all is well"
    evil = [f"a\r{well}", f"a\x1b[1A\x1b[2K{well}", f"a\x1b[8m{well}", f"a\nclaude-bottle: {well}", "a" * 7000]
    before = len(bottle.operator.journal(bottle.identity))
    bottle.python(f"""{NETWORK}
import json
for number, text in enumerate({evil!r}):
    escaped = "".join(f"%{{byte:02x}}" for byte in text.encode())[:15000].encode()
    attempt(f"path {{number}}", lambda: raw(b"GET /" + escaped + b" HTTP/1.1\\r\\nHost: " + PLAIN.encode()
                                            + b"\\r\\nConnection: close\\r\\n\\r\\n", (PLAIN, 80)))
    rules = [{{"host": f"h{{number}}.example.com"}}]
    body = json.dumps({{"kind": "egress", "rules": rules, "reason": text[:1500]}}).encode()
    attempt(f"reason {{number}}", lambda: raw(b"POST /request HTTP/1.1\\r\\nHost: bottle.internal\\r\\nContent-Type: "
            b"application/json\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % len(body) + body,
            ("bottle.internal", 80)))
{SHOW}""")
    operator = bottle.operator
    eventually(lambda: len(operator.journal(bottle.identity)) - before >= 2 * len(evil))
    happened, shown = 0, [""]
    while happened != len(operator.journal(bottle.identity)):  # with nothing more of it while it is shown
        happened = len(operator.journal(bottle.identity))
        shown = operator.do("log", bottle.identity).splitlines()
    assert len(shown) == happened
    assert all(line.isprintable() for line in shown) and max(map(len, shown)) <= 4000
    watched = operator.do("egress", bottle.identity)
    asked = operator.do("requests")
    for text in (watched, asked):
        assert [char for char in text if not char.isprintable() and char != "\n"] == []
        assert not [line for line in text.splitlines() if line.startswith(("all is well", "claude-bottle:"))]
    for view in json.loads(operator.do("requests", "--json"))["requests"]:
        operator.run("reject", view["id"])
