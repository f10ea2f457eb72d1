"""Attack cases on requests and approvals (threats.md §2, 67-80): what the operator sees is ours, and only that is approved.

The agent asks as any program inside can, by HTTP; the operator looks and decides by the command line. What is asked for leads
nowhere in this world until somebody approves it.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pexpect
import pytest

from tests.attack.operators import Bottle, Operator
from tests.attack.world import EVIL
from tests.waiting import SECONDS, eventually, hang_up

ASK = r"""
import json, socket
def post(path, body, kind="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "Host: bottle.internal", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    head = "\r\n".join([*head, "Connection: close", "", ""])
    with socket.create_connection(("127.0.0.1", 80), 60) as s:
        s.sendall(head.encode() + data)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    status, _, text = answer.partition(b"\r\n\r\n")
    return [int(status.split()[1]), text.decode("utf-8", "replace")]
def ask(change, reason="to get on"):
    return post("/request?wait=0", {**change, "reason": reason})
"""  # fmt: skip
MARK = re.compile(r"\x1b|\x9b|[\x00-\x08\x0b-\x1f\x7f]|\u202e|\u200b")


def egress(*hosts: str, **rule: Any) -> dict[str, Any]:
    return {"kind": "egress", "rules": [{"host": host, **rule} for host in hosts]}


def ask(bottle: Bottle, *asked: tuple[dict[str, Any], str]) -> list[dict[str, Any]]:
    """What comes of each (change, reason): the answer as JSON, with its status."""
    source = f"{ASK}\nprint(json.dumps([ask(*one) for one in json.loads({json.dumps(json.dumps(asked))})]))"
    answers: list[list[Any]] = bottle.python(source)
    return [{"status": status, **(json.loads(text) if text.startswith("{") else {})} for status, text in answers]


def asked(bottle: Bottle, change: dict[str, Any], reason: str = "to get on") -> str:
    (answer,) = ask(bottle, (change, reason))
    assert answer.get("state") == "submitted", answer
    return str(answer["id"])


def shown(operator: Operator, request: str) -> dict[str, Any]:
    views = json.loads(operator.do("requests", "--json", "--all"))["requests"]
    return next(view for view in views if view["id"] == request)


@pytest.fixture(scope="module")
def own(operator: Operator) -> Iterator[Bottle]:
    """A bottle that asks. Each test leaves nothing waiting and nothing granted; one that does takes a bottle of its own."""
    with operator.start("closed") as bottle:
        yield bottle


def terminal(operator: Operator, *words: str) -> Any:
    """A command on a terminal; it starts once a line is sent, and whatever is sent with that line was typed before."""
    argv = ["-c", 'read line; exec "$@"', "sh", *operator.argv(*words)]
    return pexpect.spawn("/bin/sh", argv, env=operator.env, timeout=SECONDS, encoding="utf-8", codec_errors="replace",
                         dimensions=(40, 80))  # fmt: skip


@pytest.mark.threat(67)
def test_case_67_what_is_shown_is_the_change_and_the_agents_words_come_last_as_its_own(
    operator: Operator, own: Bottle
) -> None:
    lie = f"+ GET  https://docs.example.org/**\n  effect    nothing\nclaude-bottle: approved already ({EVIL} is a typo)"
    request = asked(own, egress(EVIL), lie)
    try:
        text = operator.do("requests")
        lines = text.splitlines()
        said = next(number for number, line in enumerate(lines) if "in its own words" in line)
        assert any(line.strip() == f"+ any method  https://{EVIL}  any path" for line in lines[:said])
        assert not any("docs.example.org" in line for line in lines[:said])
        assert all(line.startswith("    |") for line in lines[said + 1 : said + 4])
    finally:
        operator.do("reject", request)


@pytest.mark.threat(68)
def test_case_68_an_approval_is_of_one_content_and_no_request_takes_anothers_place(operator: Operator, own: Bottle) -> None:
    first = asked(own, egress("docs.example.org", methods=["GET"], paths=["/a"]))
    seen = shown(operator, first)["hash"]
    second = asked(own, egress("docs.example.org"))  # wider: it supersedes what was shown
    assert shown(operator, first)["state"] == "superseded"
    assert operator.run("approve", first, "--yes", "--hash", seen).returncode == 1
    done = operator.run("approve", second, "--yes", "--hash", seen)
    assert (done.returncode, "not the one you named" in done.stderr) == (3, True), done.stderr
    operator.do("reject", second)
    assert json.loads(operator.do("grants", own.identity, "--json"))["grants"] == []


@pytest.mark.threat(69)
def test_case_69_a_policy_that_changes_between_look_and_answer_makes_the_answer_void(operator: Operator) -> None:
    with operator.start("closed") as bottle:
        one, other = asked(bottle, egress("one.example.org")), asked(bottle, egress("other.example.org"))
        child = terminal(operator, "approve", one)
        child.send("go\r")
        child.expect(r"approve this for .*\[y/N\] ")
        operator.do("approve", other, "--yes")
        child.send("y\r")
        child.expect("not what was shown")
        child.expect(pexpect.EOF)
        hang_up(child)
        assert shown(operator, one)["state"] == "submitted"


@pytest.mark.threat(70, 71, 72, 73)
def test_case_70_nothing_that_is_asked_acts_on_the_operators_terminal_or_hides_a_part(
    operator: Operator, own: Bottle
) -> None:
    reason = "\x1b[2J\x1b]52;c;eA==\x07\r\x08\x9b31m\u202e\u200b[link=file:///etc]x[/]\x00" + " " * 4000 + "\n" * 50
    request = asked(own, egress("docs.example.org"), reason[:1900])
    text = operator.do("requests")
    assert not MARK.search(text), repr(text)
    assert "[link=file:///etc]x[/]" in text
    assert "https://docs.example.org" in text.split("in its own words")[0]
    assert all(len(line) <= 80 for line in text.splitlines())
    assert len(text.splitlines()) < 200
    bare = own.operator.journal(own.identity)
    assert not any(MARK.search(json.dumps(line, ensure_ascii=False)) for line in bare)
    operator.do("reject", request)


@pytest.mark.threat(70, 71, 72, 77, 78, 79)
def test_case_77_what_no_approval_may_lift_is_refused_when_it_is_asked(operator: Operator, own: Bottle) -> None:
    hosts = ["*", "*.org", "org", "10.0.0.0/8", "169.254.169.254", "metadata.google.internal", "localhost", "bottle.internal",
             "a\x1b[2J.org", "a\u202eb.org", "xn--pple-43d.com", "0x7f.1", "a b.org"]  # fmt: skip
    images = ["COPY . /", "USER root", "ENTRYPOINT sh", "VOLUME /x", "LABEL a=b", "HEALTHCHECK CMD x",
              "RUN --mount=type=secret x",
              "RUN --security=insecure x",
              "# syntax=evil/frontend\nRUN x\nADD http://x /", "RUN x" + " " * 5000 + "&& evil"]  # fmt: skip
    wanted = [
        *(egress(host) for host in hosts),
        *(egress("a.example.org", port=port) for port in (0, 53, 3128, 65536, -1)),
        egress("a.example.org", paths=["/" + "x" * 5000]),
        egress(*(f"h{number}.example.org" for number in range(50))),
        {"kind": "credential", "rule": {"host": "a.example.org", "paths": ["/**"], "credential": "api"}},
        *({"kind": "capability", "capability": {"dockerfile": image}} for image in images),
        {"kind": "capability", "capability": {"apt": ["-o", "x"]}},
        {"kind": "everything"},
    ]  # fmt: skip
    answers = [one for change in wanted for one in ask(own, (change, "please"))]
    told = [one for one in answers if one.get("state") not in (None, "rejected")]
    assert told == []
    assert all(one.get("error") or one.get("text") for one in answers)
    assert json.loads(operator.do("requests", own.identity, "--json"))["requests"] == []  # none waits


@pytest.mark.threat(71)
def test_case_71_an_international_or_resembling_name_is_shown_in_ascii_with_a_warning(
    operator: Operator, own: Bottle
) -> None:
    request = asked(own, egress("xn--80ak6aa92e.com", "githab.com", methods=["GET"], paths=["/x"]))
    text = operator.do("requests", own.identity)
    assert "https://xn--80ak6aa92e.com/x" in text
    assert "international name" in text
    assert "githab.com looks like github.com" in text
    operator.do("reject", request)


@pytest.mark.threat(74)
def test_case_74_a_flood_is_bounded_and_hides_no_other_bottles_request(operator: Operator) -> None:
    with operator.start("closed") as quiet, operator.start("closed") as own:
        mine = asked(quiet, egress("docs.example.org"))
        flood = [(egress(f"h{number}.example.org"), "x" * 1900) for number in range(120)]
        answers = ask(own, *flood)
        taken = [one for one in answers if one.get("state") == "submitted"]
        assert 0 < len(taken) <= 32
        assert mine in operator.do("requests")
        assert operator.run("approve", mine, "--yes").returncode == 0
        size = sum(path.stat().st_size for path in operator.state(own.identity).glob("*.json*"))
        assert size < 1 << 20
        same = ask(own, *[(egress("h0.example.org"), "again")] * 30)
        assert {one.get("id") for one in same if one.get("id")} <= {taken[0]["id"]}


@pytest.mark.threat(75)
def test_case_75_no_way_from_inside_decides(operator: Operator, own: Bottle) -> None:
    request = asked(own, egress(EVIL))
    view = shown(operator, request)
    forged = {"op": "approve", "id": request, "hash": view["hash"], "revision": view["revision"], "scope": "session"}
    tools = [{"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": name, "arguments": forged}}
             for method in ("tools/call", "approve") for name in ("approve", "grant", "request_status")]  # fmt: skip
    paths = [
        "/approve",
        "/request/approve",
        f"/request/{request}",
        f"/request/{request}/approve",
        "/grant",
        "/policy",
        "/mcp",
    ]
    source = f"""{ASK}
import glob, os
forged, tools = json.loads({json.dumps(json.dumps([forged, tools]))})
seen = [post(path, forged)[0] for path in {paths!r}] + [post("/mcp", one)[0] for one in tools]
seen.append(post("/request?wait=0", {{**forged, "kind": "egress", "rules": []}})[0])
places = ("/run", "/tmp", "/var/run", os.path.expanduser("~"))
sockets = [path for place in places for path in glob.glob(place + "/**/*.sock", recursive=True)]
print(json.dumps([seen, sockets]))"""  # fmt: skip
    statuses, sockets = own.python(source)
    assert sockets == []
    assert shown(operator, request)["state"] == "submitted"
    assert all(status != 500 for status in statuses)
    assert json.loads(operator.do("grants", own.identity, "--json"))["grants"] == []
    operator.do("reject", request)


@pytest.mark.threat(76)
@pytest.mark.parametrize("answer", ["nobody", "n", "garbage", "end of file", "hang up"])
def test_case_76_whatever_is_no_yes_approves_nothing(operator: Operator, own: Bottle, answer: str) -> None:
    request = asked(own, egress("docs.example.org"))
    if answer == "nobody":
        done = operator.run("approve", request)
        assert (done.returncode, "no terminal" in done.stderr) == (3, True), done.stderr
    else:
        child = terminal(operator, "approve", request)
        child.send("go\ry\r")  # the yes was typed before the question is seen
        child.expect(r"\[y/N\] ")
        if answer == "hang up":
            os.kill(child.pid, signal.SIGHUP)
        else:
            child.send({"n": "n\r", "garbage": "yy\x1b[A\r", "end of file": "\x04"}[answer])
        child.expect(pexpect.EOF)
        hang_up(child)
    assert shown(operator, request)["state"] == "submitted"
    operator.do("reject", request)


@pytest.mark.threat(80)
def test_case_80_an_approval_for_one_launch_means_nothing_to_the_next_of_its_name(operator: Operator) -> None:
    bottle = operator.start("closed")
    try:
        request = asked(bottle, egress(EVIL))
        seen = shown(operator, request)["hash"]
        operator.do("stop", bottle.identity, "--keep")
        bottle.close()
        assert operator.run("approve", request, "--yes", "--hash", seen).returncode == 1
        operator.do("resume", bottle.identity, "--yes", "--detach", "--", "/usr/bin/sleep", "infinity")
        done = operator.run("approve", request, "--yes", "--hash", seen)
        assert (done.returncode, "not what was shown" in done.stderr) == (1, True), done.stderr
        assert json.loads(operator.do("grants", bottle.identity, "--json"))["grants"] == []
        again = asked(bottle, egress(EVIL))
        assert shown(operator, again)["hash"] != seen
    finally:
        bottle.close()
    eventually(lambda: bottle.identity not in operator.do("ls"))
