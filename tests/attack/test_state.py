"""Attack cases on state and names (threats.md §2, 109-114, 130): one owner, nothing guessed, no word an option."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess

import pexpect
import pytest

from tests.attack.operators import APART, CANARY, Bottle, Operator, titles
from tests.attack.probes import NETWORK, SHOW, judged
from tests.attack.world import OTHER
from tests.waiting import SECONDS, eventually, hang_up


def one_error(done: subprocess.CompletedProcess[str], *codes: int) -> str:
    """The message of a command that failed cleanly."""
    assert done.returncode in codes, (done.returncode, done.stderr)
    assert done.stderr.startswith("claude-bottle: "), done.stderr
    assert "Traceback" not in done.stderr and "this is a bug" not in done.stderr
    return done.stderr


@pytest.mark.threat(109)
def test_case_109_one_identity_has_one_keeper_however_many_resume_it(operator: Operator) -> None:
    bottle = operator.start("closed")
    try:
        one_error(operator.run("resume", bottle.identity, "--yes", "--detach"), 1)
        operator.do("stop", bottle.identity, "--keep")
        words = ("resume", bottle.identity, "--yes", "--detach")
        racing = [
            subprocess.Popen(operator.argv(*words), env=operator.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, start_new_session=True)
            for _ in range(4)
        ]  # fmt: skip
        said = [(one.communicate(timeout=SECONDS)[1], one.returncode) for one in racing]
        assert sorted(code for _, code in said) == [0, 1, 1, 1], said
        losers = [text for text, code in said if code]
        assert all("running" in text or "another" in text or "held" in text or "starting" in text for text in losers), losers
        gates = [title for _, title in titles(bottle.identity) if "gate" in title]
        assert len(gates) == (0 if operator.kind == APART else 1)  # there it is a process of its container's alone
    finally:
        bottle.close()
    eventually(lambda: not titles(bottle.identity))


@pytest.fixture(scope="module")
def kept(operator: Operator) -> str:
    return preserved(operator)


@pytest.fixture(scope="module")
def kept_once(reader: Operator) -> str:
    return preserved(reader)


def preserved(operator: Operator) -> str:
    """The identity of a bottle that ended badly and is preserved, with a file of its agent's in its home."""
    before = set(operator.listing())
    done = operator.run("run", "shell", "--", "/bin/sh", "-c", "echo mine > ~/mine; exit 3")
    assert done.returncode == 3, done.stderr
    (identity,) = set(operator.listing()) - before
    return identity


DAMAGE = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "not json": lambda text: "evil",
    "newer": lambda text: json.dumps(json.loads(text) | {"schema": 999}),
    "another identity": lambda text: text.replace(json.loads(text)["identity"], "shell-aaaaaa"),
    "a path for an identity": lambda text: text.replace(json.loads(text)["identity"], "../../etc"),
    "huge": lambda text: " " * (64 << 20) + text,
    "deep": lambda text: "[" * 100_000,
    "wrong types": lambda text: json.dumps({key: [] for key in json.loads(text)}),
}


@pytest.mark.threat(113)
@pytest.mark.parametrize("how", DAMAGE)
def test_case_113_a_damaged_record_is_refused_kept_and_explained(reader: Operator, kept_once: str, how: str) -> None:
    """It is what says which backend has the bottle."""
    operator, kept = reader, kept_once
    record = operator.state(kept) / "record.json"
    original = record.read_text()
    damaged = DAMAGE[how](original)
    record.write_text(damaged)
    try:
        one_error(operator.run("resume", kept, "--yes", "--detach"), 1)
        assert operator.run("ls", "--all").returncode in (0, 1)
        assert record.read_text() == damaged
        assert not (operator.state(kept) / "evil").exists()
    finally:
        record.write_text(original)
    assert operator.listing()[kept]["status"] == "preserved"


@pytest.mark.threat(113)
@pytest.mark.parametrize("what", ["record.json", "home", "lock", "journal.jsonl", "."])
def test_case_113_state_that_is_a_link_is_refused_and_its_target_untouched(operator: Operator, kept: str, what: str) -> None:
    state = operator.state(kept)
    place = state if what == "." else state / what
    aside, target = operator.home / "aside", operator.person.directory("target")
    shutil.move(place, aside)
    if aside.is_dir():
        (target / "canary").write_text(CANARY)
        pointed = target
    else:
        pointed = target / "file"
        pointed.write_text(aside.read_text() if what == "record.json" else CANARY)
        os.chown(pointed, operator.person.uid, operator.person.gid)
        pointed.chmod(0o600)
    before = {path: path.read_bytes() for path in target.rglob("*")}
    place.symlink_to(pointed)
    try:
        done = operator.run("resume", kept, "--yes", "--detach")
        if done.returncode == 0:
            operator.run("stop", kept)
        one_error(done, 1, 3, 4)
        assert {path: path.read_bytes() for path in target.rglob("*")} == before
    finally:
        place.unlink()
        shutil.move(aside, place)


@pytest.mark.threat(113)
@pytest.mark.parametrize("how", ["another owner", "writable by others", "another name"])
def test_case_113_a_record_that_somebody_else_may_have_written_is_refused(
    reader: Operator, kept_once: str, how: str
) -> None:
    operator, kept = reader, kept_once
    record, other = operator.state(kept) / "record.json", operator.person.directory("other") / "name"
    if how == "another owner":
        if os.geteuid() != 0:
            pytest.skip("cannot run here: only root gives files away")
        os.chown(record, 12345, 12345)
        record.chmod(0o644)
    elif how == "writable by others":
        record.chmod(0o606)
    else:
        os.link(record, other)
    try:
        one_error(operator.run("resume", kept, "--yes", "--detach"), 1)
    finally:
        other.unlink(missing_ok=True)
        os.chown(record, operator.person.uid, operator.person.gid)
        record.chmod(0o600)


@pytest.mark.threat(113)
def test_case_113_undamaged_it_resumes(operator: Operator, kept: str) -> None:
    """What the tests above refuse is refused for its damage alone."""
    operator.do("resume", kept, "--yes", "--detach", "--", "/usr/bin/sleep", "infinity")
    with Bottle(operator, kept) as bottle:
        assert bottle.exec("cat", "/home/agent/mine").stdout == "mine\n"


@pytest.mark.threat(110)
def test_case_110_a_manifest_applies_as_it_is_now_and_a_wider_one_needs_a_word(operator: Operator) -> None:
    manifest = (operator.place / "claude-bottle.json").read_text()
    source = f"{NETWORK}attempt('a', lambda: refused_connect(OTHER + ':443')){SHOW}"
    bottle = operator.start()
    try:
        assert judged(bottle.python(source)) == {"a": ["200"]}
        bottle.close()
        tighter = json.loads(manifest)
        rules = tighter["bottles"]["open"]["egress"]
        tighter["bottles"]["open"]["egress"] = [rule for rule in rules if rule["host"] != OTHER]
        operator.write(tighter)
        operator.trust()
        operator.do("resume", bottle.identity, "--yes", "--detach", "--", "/usr/bin/sleep", "infinity")
        assert judged(bottle.python(source)) == {"a": ["403 host_not_granted"]}
        bottle.close()
        operator.write(manifest)
        operator.trust()
        assert "more than it had" in one_error(operator.run("resume", bottle.identity, "--yes", "--detach"), 3)
    finally:
        operator.write(manifest)
        operator.trust()
        bottle.close()


TRAPS = {
    "a link for a home": "rm -rf ~/* ~/.[a-z]*; ln -s /etc ~/.claude; ln -s /proc/1/environ ~/.claude.json; ln -s / ~/root",
    "links that loop": "ln -s loop ~/loop; ln -sfn ~/a ~/b; ln -sfn ~/b ~/a",
    "pipes": "mkfifo ~/.bashrc ~/.profile ~/.claude.json",
    "what shells read": "echo 'echo gotcha >&2' | tee ~/.bashrc > ~/.profile",
    "closed directories": "mkdir -p ~/d/e; touch ~/d/e/f; chmod 0 ~/d/e ~/d ~",
    "names": "touch -- ~/-rf ~/$'a\\nb' ~/$'\\033[2J' ~/$'\\377'",
}


@pytest.mark.threat(111)
@pytest.mark.parametrize("trap", TRAPS)
def test_case_111_what_a_home_holds_for_the_next_start_stays_inside(operator: Operator, trap: str) -> None:
    """Links to the operator's files, pipes, directories without rights: resumed, listed and removed without touching more."""
    precious = operator.person.directory("precious")
    (precious / "canary").write_text(CANARY)
    before = set(operator.listing())
    plant = f"{TRAPS[trap]}; ln -s {precious} ~/out 2>/dev/null; exit 3"
    done = operator.run("run", "shell", "--", "/bin/bash", "-c", plant)
    assert done.returncode == 3, done.stderr
    (identity,) = set(operator.listing()) - before
    resumed = operator.run("resume", identity, "--yes", "--detach", "--", "/usr/bin/sleep", "infinity")
    if trap == "what shells read":
        assert "runs inside by itself at a start: .bashrc, .profile" in " ".join(resumed.stdout.split())
    assert "Traceback" not in resumed.stderr and "this is a bug" not in resumed.stderr
    if resumed.returncode == 0:
        with Bottle(operator, identity) as bottle:
            assert bottle.exec("cat", "/home/agent/out/canary").returncode != 0
    operator.do("cleanup", identity, "--yes")
    assert not operator.state(identity).exists()
    assert (precious / "canary").read_text() == CANARY


@pytest.mark.threat(112)
def test_case_112_a_stranger_with_the_process_id_of_a_keeper_is_not_taken_for_it(operator: Operator) -> None:
    bottle = operator.start("closed")
    (pid,) = (pid for pid, title in titles(bottle.identity) if "keeper" in title)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not titles(bottle.identity))
    record = operator.state(bottle.identity) / "record.json"
    stranger = subprocess.Popen(operator.person.argv(["sleep", "600"]))
    try:
        said = json.loads(record.read_text())
        assert said["keeper"]["pid"] == pid
        operator.put(record, json.dumps(said | {"keeper": said["keeper"] | {"pid": stranger.pid}}))
        assert operator.listing()[bottle.identity]["status"] != "running"
        for verb in ("attach", "stop"):
            one_error(operator.run(verb, bottle.identity), 1)
        operator.do("resume", bottle.identity, "--yes", "--detach", "--", "/usr/bin/sleep", "infinity")
        assert bottle.exec("true").returncode == 0
        assert stranger.poll() is None, "nobody has signalled it"
    finally:
        stranger.kill()
        stranger.wait()
        bottle.close()


@pytest.mark.threat(114)
def test_case_114_another_users_names_in_a_shared_temporary_directory_stop_and_mislead_nobody(operator: Operator) -> None:
    """What is there while the operator reads the plan: closed to others, and of a name that nobody could have taken."""
    shared, canary = operator.person.directory("shared"), operator.person.directory("canary")
    shared.chmod(0o1777)
    seen: set[str] = set()
    for _ in range(2):
        for name in seen:
            (shared / name).symlink_to(canary)
        child = pexpect.spawn("env", [f"TMPDIR={shared}", *operator.argv("start", "closed", "--", "true")], timeout=SECONDS,
                              env=operator.env, cwd=str(operator.place))  # fmt: skip
        child.expect(r"\[y/N\] ")
        made = [one for one in shared.iterdir() if not one.is_symlink()]
        assert made and not seen & {one.name for one in made}
        for one in made:
            found = one.lstat()
            assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, operator.person.uid), one
        seen = {one.name for one in made}
        child.send("y\r")
        child.expect("session ended .exit 0.")
        child.expect(pexpect.EOF)
        hang_up(child)
    assert [one for one in shared.iterdir() if not one.is_symlink()] == [] == list(canary.iterdir())


@pytest.mark.threat(130)
def test_case_130_no_word_of_an_operators_becomes_an_option(operator: Operator) -> None:
    """Commands, arguments and variables that begin with a dash, or look like the backend's options, stay what they are."""
    with operator.start() as bottle:
        for word in ("--help", "--ro-bind", "--"):
            assert bottle.exec(word).returncode == 127, word
        words = ["--bind", "/", "/host", "--", "-v", "/:/host", "--privileged", "", "a b", "$(id)", "\n", "--help"]
        said = bottle.exec("/usr/bin/python3", "-I", "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *words)
        assert json.loads(said.stdout) == words
        assert bottle.exec("ls", "/host").returncode != 0
    done = operator.run("run", "closed", "--", "/usr/bin/printf", "%s|", "--bind", "-v", "--")
    assert done.stdout == "--bind|-v|--|", done.stderr


@pytest.mark.threat(130)
@pytest.mark.parametrize("name", ["-x", "--privileged", "--help", "-", "--", "-v/:/host", "a/b", "../x", "a\nb",
    "$(id)", "a b", "", "A;id"])
def test_case_130_no_name_becomes_an_option_or_a_path(reader: Operator, name: str) -> None:
    """No backend ever hears of it."""
    for verb in (("start", "--yes", "--", name), ("attach", "--", name), ("exec", "--", name, "true"), ("stop", "--", name)):
        done = reader.run(*verb)
        assert done.returncode in (1, 2), (verb, done.returncode, done.stderr)
        assert "Traceback" not in done.stderr and "this is a bug" not in done.stderr
    agents = {"version": 1, "bottles": {name: {}, "b": {}}, "agents": {name: {"bottle": "b", "harness": "shell"}}}
    assert reader.run("manifest", "check", reader.beside("named.json", json.dumps(agents))).returncode == 1


@pytest.mark.threat(130)
def test_case_130_no_value_of_a_manifest_becomes_an_option(reader: Operator) -> None:
    good = {"egress": [], "env": {"CI": "--privileged"}}
    bad = [
        {"mounts": [{"source": "--bind", "target": "/x"}]}, {"mounts": [{"source": "/etc", "target": "--dev"}]},
        {"mounts": [{"source": "/etc:/host:rw", "target": "/x", "mode": "rw,dev"}]}, {"mounts": [{"source": "/usr",
            "target": "/x\n--bind"}]},
        {"env": {"--setenv": "x"}}, {"env": {"A=B": "x"}}, {"env": {"A": "x\0y"}}, {"env": {"A\n": "x"}},
            {"backend": "--privileged"},
        {"workspace": {"mode": "--bind"}}, {"egress": [{"host": "-x.test"}]}, {"egress": [{"host": "--x"}]},
    ]  # fmt: skip
    assert reader.refused_bottles([good, *bad]) == list(range(1, 1 + len(bad)))
