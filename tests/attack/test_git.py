"""Attack cases on the git gate (threats.md §2, 81–91; I1, I12): real git in real bottles, real server that must see nothing.

Each test has a repository of its own at the server, and a clone of its own in the bottle.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.attack.conftest import EVERYONE
from tests.attack.operators import CANARY, Bottle, Operator
from tests.attack.world import GIT
from tests.git_remote import TOKEN, Repositories, at_each_update, git
from tests.waiting import eventually

_NUMBERS = itertools.count(1)
SECRET = "ghp_" + "0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX"
# In the bottle: `run(*words)` is git in the clone; the last expression of a test's program is what it gets back.
PRELUDE = r"""
import json, os, pathlib, subprocess
env = {**os.environ, "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b.test", "GIT_COMMITTER_NAME": "A",
       "GIT_COMMITTER_EMAIL": "a@b.test", "GIT_TERMINAL_PROMPT": "0"}
place = pathlib.Path("/workspace", NAME)
def run(*words, cwd=None, **more):
    argv = ["git", "-C", str(cwd or place), *words]
    done = subprocess.run(argv, env=env | more, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout, done.stderr
def do(*words, **more):
    code, out, err = run(*words, **more)
    assert code == 0, (words, err)
    return out.strip()
def commit(name, content="x\n", message="work"):
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    do("add", "--all", "--force", ".")
    do("commit", "--quiet", "--allow-empty", "-m", message)
if not place.exists():
    do("clone", "--quiet", URL, str(place), cwd="/workspace")
    do("checkout", "--quiet", "-B", "bottle/x")
"""


class Agent:
    """A clone in a bottle, and what became of its repository at the server."""

    def __init__(self, bottle: Bottle, remote: Repositories) -> None:
        self.bottle, self.remote, self.name = bottle, remote, f"shop{next(_NUMBERS)}"
        self.bare = remote.repository(f"acme/{self.name}")
        self.before = self.refs()
        remote.arrived.clear()

    def __call__(self, source: str) -> Any:
        """What a program in the bottle printed as JSON."""
        head = f"NAME = {self.name!r}\nURL = 'https://{GIT}/acme/{self.name}.git'\n{PRELUDE}\n"
        return self.bottle.python(head + source)

    def refs(self) -> dict[str, str]:
        return self.remote.refs(f"acme/{self.name}")

    def refused(self, source: str, said: str) -> None:
        """The push that `source` ends with is refused: git and the journal say why, the server has nothing of it."""
        before = len(self.judged())
        code, _, err = self(source)
        assert code != 0
        told = [line for line in err.splitlines() if line.startswith("remote: ")]
        assert any(said in line for line in told), err
        assert self.refs() == self.before
        assert self.remote.pushes() == []
        eventually(lambda: len(self.judged()) > before)
        assert said in self.judged()[-1]["detail"]
        assert self.judged()[-1]["reason"] == "push_refused"

    def judged(self) -> list[dict[str, Any]]:
        """What the journal says of pushes so far."""
        return [one for one in self.bottle.decisions() if one.get("push")]


Variants = Callable[..., Iterator[tuple[Agent, str]]]


@pytest.fixture(scope="module")
def pushing(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bottle, Repositories]]:
    remote = Repositories(tmp_path_factory.mktemp("forge"))
    operator.world.servers.speakers[GIT] = remote.serve
    with operator.start("git") as bottle:
        yield bottle, remote


@pytest.fixture
def agent(operator: Operator, pushing: tuple[Bottle, Repositories]) -> Agent:
    return Agent(*pushing)


@pytest.fixture
def variants(operator: Operator, pushing: tuple[Bottle, Repositories]) -> Variants:
    """Each of the given ones with an agent of its own, for a person whom everybody can be; of the others one each. Who
    judges is the same program everywhere: what differs is the way there."""
    number = EVERYONE.index((operator.person.name, operator.kind))

    def some(*every: str) -> Iterator[tuple[Agent, str]]:
        wanted = every if number == EVERYONE.index(("user", "bubblewrap")) else (every[number % len(every)],)
        return ((Agent(*pushing), one) for one in wanted)

    return some


def push(*words: str) -> str:
    return f"print(json.dumps(run('push', *{list(words)!r})))"


def test_a_bottle_fetches_and_pushes_with_its_remotes_as_they_are(operator: Operator, agent: Agent) -> None:
    found = agent(f"""
do("remote", "set-url", "origin", "git@{GIT}:acme/{agent.name}.git")
commit("work")
do("push", "--quiet", "origin", "bottle/x")
do("fetch", "--quiet", "origin")
print(json.dumps([do("rev-parse", "HEAD"), do("rev-parse", "origin/bottle/x"), dict(os.environ)]))
""")
    assert agent.refs()["refs/heads/bottle/x"] == found[0] == found[1]
    assert TOKEN not in json.dumps(found[2])
    git(agent.bare, "fsck", "--strict", "--full")


@pytest.mark.threat(81)
def test_case_81_a_ref_that_is_not_listed_is_refused(operator: Operator, variants: Variants) -> None:
    for agent, ref in variants("refs/heads/main", "refs/tags/v1", "refs/notes/commits", "refs/replace/" + "1" * 40):
        agent.refused(f"commit('work')\n{push('origin', f'HEAD:{ref}')}", "this ref may not be pushed")
        # Its own question what there is: nothing else went up.
        assert [one.method for one in agent.remote.arrived].count("GET") == 2


@pytest.mark.threat(82)
def test_case_82_no_force_and_no_delete(operator: Operator, agent: Agent) -> None:
    agent("commit('work')\ndo('push', 'origin', 'bottle/x')\nprint(1)")
    agent.before = agent.refs()
    agent.remote.arrived.clear()
    agent.refused(push("origin", ":bottle/x"), "deleting refs is not granted")
    agent.refused("do('commit', '--amend', '--quiet', '-m', 'other')\n" + push("--force", "origin", "bottle/x"),
                  "not a fast-forward")  # fmt: skip


@pytest.mark.threat(83)
def test_case_83_a_clean_ref_does_not_carry_a_bad_one(operator: Operator, agent: Agent) -> None:
    agent.refused(f"commit('work')\n{push('origin', 'bottle/x', 'bottle/x:main')}", "refs/heads/main: this ref may not")


@pytest.mark.threat(84)
def test_case_84_what_a_new_branch_drags_along_is_judged_too(operator: Operator, agent: Agent) -> None:
    source = f"commit('config', 'token = {SECRET}')\ncommit('config', 'gone')\n{push('origin', 'bottle/x')}"
    agent.refused(source, "it looks like secrets are in it: config line 1")


@pytest.mark.threat(85)
def test_case_85_what_is_no_push_is_refused_whatever_it_says_it_is(operator: Operator, agent: Agent) -> None:
    found = agent(r"""
import http.client, ssl, zlib
kind = {"Content-Type": "application/x-git-receive-pack-request"}
line = b"00810000000000000000000000000000000000000000 " + b"1" * 40 + b" refs/heads/bottle/x\0 report-status "
line = b"%04x" % (len(line) + 4) + line
answers = []
for body, more in ((b"junk", {}), (b"fff0" + b"x" * 70000, {}), (b"0004" * 30000 + b"0000", {}), (line[:20], {}),
                   (line + b"0000PACK", {}), (line + b"0000" + zlib.compress(b"PACK" * 99), {}),
                   (zlib.compress(line + b"0000PACK"), {"Content-Encoding": "deflate"})):
    connection = http.client.HTTPSConnection(URL.split("/")[2], timeout=90)
    connection.request("POST", "/" + URL.split("/", 3)[3] + "/git-receive-pack", body, kind | more)
    answer = connection.getresponse()
    answers.append([answer.status, answer.read().decode(errors="replace")])
    connection.close()
print(json.dumps(answers))
""")
    assert all(status == 400 or "ng refs/heads/bottle/x" in text for status, text in found), found
    assert agent.remote.pushes() == []
    assert agent.refs() == agent.before


@pytest.mark.threat(86, 88)
def test_case_86_a_repository_that_is_a_trap_is_opened_by_no_program_of_the_host(operator: Operator, agent: Agent) -> None:
    """Its settings would run programs and read files, its objects are links: outside, nobody looks at it."""
    canary = operator.place / "canary-of-the-host"
    trap = f"touch {canary}"
    agent.refused(f"""
commit(".github/workflows/ci.yml")
for key in ("core.fsmonitor", "core.sshCommand", "diff.external", "core.pager", "credential.helper", "filter.x.smudge",
            "core.gitProxy", "uploadpack.packObjectsHook", "receive.procReceiveRefs"):
    do("config", key, "!{trap}" if key == "credential.helper" else "{trap}")
do("config", "core.hooksPath", "/workspace/hooks")
os.makedirs("/workspace/hooks", exist_ok=True)
for hook in ("reference-transaction", "pre-receive", "update", "post-update", "post-checkout", "fsmonitor-watchman"):
    path = pathlib.Path("/workspace/hooks", hook)
    path.write_text("#!/bin/sh\\n{trap}\\n")
    path.chmod(0o755)
os.symlink("{operator.place}", place / ".git" / "objects" / "ff")
(place / ".git" / "config.d").write_text("")
{push("origin", "bottle/x")}
""", "ci: .github/workflows/ci.yml")  # fmt: skip
    assert not canary.exists()


@pytest.mark.threat(87)
def test_case_87_objects_of_the_hosts_repositories_cannot_be_borrowed(operator: Operator, agent: Agent) -> None:
    """By an alternates file, a `.git` file, or by naming them in a push."""
    private = operator.place / f"private-{agent.name}"
    private.mkdir()
    git(operator.place, "init", "--quiet", str(private))
    (private / "secret").write_text(CANARY)
    git(private, "add", ".")
    git(private, "commit", "--quiet", "-m", "private")
    stolen = git(private, "rev-parse", "HEAD")
    code, _, err = agent(f"""
(place / ".git" / "objects" / "info" / "alternates").write_text("{private}/.git/objects\\n")
print(json.dumps(run("push", "origin", "{stolen}:refs/heads/bottle/x")))
""")
    assert code != 0, err
    answer = agent(f"""
import http.client
line = b"0" * 40 + b" {stolen} refs/heads/bottle/x\\0report-status side-band-64k"
pack = bytes.fromhex("5041434b0000000200000000029d08823bd8a8eab510ad6ac75c823cfd3ed31e")
connection = http.client.HTTPSConnection(URL.split("/")[2], timeout=90)
body = b"%04x" % (len(line) + 4) + line + b"0000" + pack
connection.request("POST", "/" + URL.split("/", 3)[3] + "/git-receive-pack", body,
                   {{"Content-Type": "application/x-git-receive-pack-request"}})
print(json.dumps(connection.getresponse().read().decode(errors="replace")))
""")
    assert "ng refs/heads/bottle/x" in answer
    assert agent.refs() == agent.before


@pytest.mark.threat(89)
def test_case_89_a_submodule_that_is_a_trap_is_refused(operator: Operator, variants: Variants) -> None:
    for agent, url in variants("ext::sh -c touch% /tmp/x", "file:///etc", "-u./payload", "/home", "https://x.test/a\r"):
        module = f'[submodule "a"]\n\tpath = a\n\turl = "{url}"\n'
        code, _, err = agent(f"commit('.gitmodules', {module!r})\n{push('origin', 'bottle/x')}")
        assert code != 0, url
        assert "remote: claude-bottle: the push is refused" in err
        assert "approval" not in err
        assert agent.refs() == agent.before


@pytest.mark.threat(90)
def test_case_90_what_runs_by_itself_is_named_and_stopped(operator: Operator, variants: Variants) -> None:
    names = (".github/workflows/ci.yml", ".devcontainer/devcontainer.json", ".husky/pre-push", ".gitattributes")
    for agent, name in variants(*names):
        agent.refused(f"commit({name!r})\n{push('origin', 'bottle/x')}", "needs the operator's approval: ")


@pytest.mark.threat(91)
def test_case_91_no_escape_reaches_either_side(operator: Operator, agent: Agent) -> None:
    at_each_update(agent.bare, 'printf "hook \\033]52;c;AAAA\\007\\033[2J\\n" >&2; exit 1')
    code, _, err = agent("commit('work', message='\\x1b]0;owned\\x07')\n" + push("origin", "HEAD:refs/heads/bottle/x"))
    assert code != 0
    assert "hook \\x1b]" in err
    assert "\x1b" not in err.replace("\x1b[K", "")
    shown = operator.do("log", agent.bottle.identity) + operator.do("egress", agent.bottle.identity)
    assert "\x1b" not in shown
    assert "\x07" not in shown


