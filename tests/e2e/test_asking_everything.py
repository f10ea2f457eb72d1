"""Each of the tools by which an agent asks, called by real Claude Code in one conversation: what its operator is shown, what
is decided, and what the agent then hears."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import pexpect
import pytest

from claude_bottle.gate.tools import TOOLS
from claude_bottle.testing.model_script import Conversation
from tests.e2e.conftest import BACKENDS
from tests.e2e.project import KEY, MANIFEST, Project, submit
from tests.waiting import SECONDS, eventually

DOCS = {"from": {"env": "SCRIPTED_MODEL_KEY"}, "env": "DOCS_KEY", "header": "x-docs-key"}


class Asked(NamedTuple):
    """A call of the tool `request_<kind>`; a line that the operator must see of it, and what they type; what the agent
    must hear (a regular expression)."""

    kind: str
    input: dict[str, Any]
    shown: str
    decision: tuple[str, ...]
    heard: str


ASKED = (
    Asked("egress", {"rules": [{"host": "docs.bottle.test", "methods": ["GET"], "paths": ["/**"]}]},
          "+ GET  https://docs.bottle.test/**", ("approve", "--path", "/api/**"),
          r"is granted until this bottle ends\. .*less than you asked for.*\n\+ GET  .*/api/\*\*\nIt is in force now"),
    Asked("port", {"host": "db.bottle.test", "port": 5432},
          "+ TUNNEL  db.bottle.test:5432", ("approve", "--scope", "agent"), "is granted for this agent"),
    Asked("credential", {"name": "docs", "host": "docs.bottle.test", "methods": ["GET"], "paths": ["/own/**"]},
          "+ GET  https://docs.bottle.test/own/**", ("approve",), r"x-docs-key: \S+\n.* is a placeholder"),
    Asked("budget", {"egress_bytes": 70_000_000}, "+ egress budget  70 MB more", ("approve", "--egress-bytes", "1000000"),
          r"less than you asked for(.|\n)*It counts from now on"),
    Asked("capability", {"pip": ["brandnew"]},
          "+ pip  brandnew", ("reject", "--reason", "use what is there"), "is rejected: use what is there"),
)  # fmt: skip


def call(tool: str, given: dict[str, Any], label: str, **more: str) -> dict[str, Any]:
    return {"tools": [{"name": f"mcp__bottle__{tool}", "input": given, "label": label}], **more}


@pytest.fixture
def turns() -> list[dict[str, Any]]:
    asks = [call(f"request_{one.kind}", {**one.input, "reason": f"for the {one.kind}"}, one.kind) for one in ASKED]
    status = call("request_status", {"id": "{id}"}, "status", if_result_matches=r"(?P<id>q-\w+)")
    first, last = call("my_policy", {}, "before", when="begin"), call("my_policy", {}, "after")
    return [first, *asks, status, last, {"say": "Heard-it-all."}]


@pytest.mark.parametrize("project", BACKENDS, indirect=True)
def test_every_tool_is_listed_called_shown_decided_and_answered(project: Project) -> None:
    bottles = {**MANIFEST["bottles"], "model": {**MANIFEST["bottles"]["model"], "budget": {"egress_bytes": "50m"}}}
    project.write({**MANIFEST, "bottles": bottles})
    project.settings("config.json", {**json.loads((project.home / "config.json").read_text()), "credentials": {"docs": DOCS}})
    project.trust()
    child = project.session()
    submit(child, "begin")
    for one in ASKED:
        decide(project, one)
    child.expect("Heard-it-all")
    body = project.seen[-1].body
    listed = {tool["name"].removeprefix("mcp__bottle__") for tool in body["tools"] if "mcp__bottle__" in tool["name"]}
    assert listed == {tool["name"] for tool in TOOLS}
    heard = {label: json.loads(said) for label, said in Conversation.of(body, "").results.items()}
    for one in ASKED:
        assert heard[one.kind]["state"] == ("rejected" if "reject" in one.decision else "applied")
        assert re.search(one.heard, heard[one.kind]["text"]), (one.kind, heard[one.kind])
    assert heard["status"] == heard["capability"]
    before, after = ({rule["host"] for rule in heard[when]["granted"]} for when in ("before", "after"))
    assert after - before == {"docs.bottle.test", "db.bottle.test"}
    assert heard["after"]["budget"]["egress_bytes"] == heard["before"]["budget"]["egress_bytes"] + 1_000_000
    assert KEY not in json.dumps(body)
    submit(child, "/exit")
    child.expect(pexpect.EOF)


def decide(project: Project, one: Asked) -> None:
    """See what is asked, as the operator does, and say what is to be done."""
    shown: list[str] = []

    def asks() -> bool:
        shown[:] = [project.do("requests")]
        return f"for the {one.kind}" in shown[0]

    eventually(asks)
    assert one.shown in shown[0], shown[0]
    assert f"    | for the {one.kind}" in shown[0]
    verb, *words = one.decision
    request = re.search(r"^(q-\w+)  ", shown[0], re.MULTILINE)
    assert request, shown[0]
    done = project.run(verb, request[1], *words, *(["--yes"] if verb == "approve" else []), timeout=2 * SECONDS)
    assert done.returncode == 0, done
