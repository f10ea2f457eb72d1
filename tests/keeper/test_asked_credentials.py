"""A credential that an agent asks for: the operator's value, read at the approval, to the gate alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.gate.config import GateConfig
from claude_bottle.keeper import credentials
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret
from claude_bottle.model.policy import Rule
from claude_bottle.workflow.secrets import read
from tests.keeper.asked import Asked, Bottle, asking
from tests.waiting import SECONDS

__all__ = ["asking"]

SECRET = "sk-the-operators-own-value"


def wanted(name: str = "github", host: str = "api.github.com", path: str = "/repos/acme/**") -> dict[str, Any]:
    return {"kind": "credential", "rule": {"host": host, "paths": [path], "credential": name}}


def spec(source: str, detail: str | tuple[str, ...], name: str = "github", ttl: int = 0) -> CredentialSpec:
    return CredentialSpec(name, source, detail, "GITHUB_TOKEN", "Authorization", "Bearer {secret}", ttl)


def offer(root: Path, **credentials: Any) -> None:
    root.mkdir(mode=0o700, exist_ok=True)
    (root / "config.json").write_text(json.dumps({"credentials": credentials}))
    (root / "config.json").chmod(0o600)


def bound(policy: dict[str, Any]) -> dict[str, Any]:
    return {one["spec"]["name"]: one for one in policy["credentials"]}


def everything(bottle: Asked) -> str:
    """All that was written, and all that clients and the agent were told."""
    state = bottle.kept.order.paths.state(bottle.identity)
    told = [one for one in bottle.gate.heard if one["op"] == "request"]
    return "".join(path.read_text() for path in state.glob("*.json*")) + json.dumps([bottle.requests(everything=True), told])


def fill_keyring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real keyring, in a file of its own, with SECRET in it."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    argv = [sys.executable, "-m", "keyring", "set", "github.com/work", "me"]
    subprocess.run(argv, input=SECRET, text=True, check=True, timeout=SECONDS)


@pytest.mark.parametrize("source", ["env", "file", "command", "keyring"])
def test_its_value_goes_to_the_gate_and_a_placeholder_to_the_agent(
    asking: Bottle, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "token").write_text(SECRET)
    monkeypatch.setenv("TOKEN_OF_MINE", SECRET)
    if source == "keyring":
        fill_keyring(monkeypatch, tmp_path)
    detail = {"env": "TOKEN_OF_MINE", "file": str(tmp_path / "token"), "command": ("cat", str(tmp_path / "token")),
              "keyring": "github.com/work/me"}[source]  # fmt: skip
    bottle = asking(offered={"github": (spec(source, detail),)})  # type: ignore[arg-type]
    request = bottle.asked(wanted())
    assert bottle.approve(request)["state"] == "applied"
    policy = bottle.gate.policies[-1]
    one = bound(policy)["github"]
    assert (one["secret"], one["hosts"]) == (SECRET, [["api.github.com", 443]])
    assert policy["rules"][-1]["credential"] == "github"
    text = next(said for said in bottle.gate.heard if said["op"] == "request" and said["state"] == "applied")["text"]
    assert f"Authorization: Bearer {one['placeholder']}" in text
    assert SECRET not in everything(bottle)
    assert bottle.events("credential_read")[0]["data"] == {"name": "github", "source": source}


def test_it_is_read_at_the_moment_of_approval(asking: Bottle, tmp_path: Path) -> None:
    token = tmp_path / "token"
    bottle = asking(offered={"github": (spec("file", str(token)),)})
    request = bottle.asked(wanted())
    token.write_text(SECRET)
    assert bottle.approve(request)["state"] == "applied"


@pytest.mark.parametrize("source", ["file", "command"])
def test_without_a_value_nothing_is_approved_and_it_waits_on(asking: Bottle, tmp_path: Path, source: str) -> None:
    detail: Any = {"file": str(tmp_path / "none"), "command": ("sh", "-c", "echo half; echo sorry >&2; exit 3")}[source]
    bottle = asking(offered={"github": (spec(source, detail),)})
    request = bottle.asked(wanted())
    with pytest.raises(BottleError, match="no value for the credential"):
        bottle.decide("approve", request, scope="session")
    assert bottle.view(request)["state"] == "submitted"
    assert bottle.gate.policies == []
    assert bottle.events("decided") == []


def test_an_entry_that_the_keyring_does_not_have_is_told_with_what_makes_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill_keyring(monkeypatch, tmp_path)
    with pytest.raises(BottleError) as problem:
        read(spec("keyring", "github.com/none"))
    assert problem.value.why == "the keyring has no entry github.com/none"
    assert problem.value.do.endswith(" -m keyring set github.com none")
    assert read(spec("keyring", "github.com/work/me")).reveal() == SECRET


def test_one_that_the_operator_does_not_offer_is_not_approved(asking: Bottle) -> None:
    bottle = asking()
    request = bottle.asked(wanted())
    with pytest.raises(BottleError, match="you offer no credential called github"):
        bottle.decide("approve", request, scope="session")


def test_config_json_offers_too_and_by_another_name_if_the_operator_says_so(
    asking: Bottle, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(SECRET)
    bottle = asking()
    request = bottle.asked(wanted())
    offer(root, work={"from": {"file": str(tmp_path / "token")}, "env": "T", "header": "X-Token"})
    assert bottle.approve(request, credential="work")["state"] == "applied"
    one = bound(bottle.gate.policies[-1])["github"]
    assert (one["secret"], one["spec"]["header"]) == (SECRET, "X-Token")
    assert bottle.requests()["grants"][0]["credential"] == "work"


def test_a_config_json_that_is_wrong_is_said_when_it_is_needed(asking: Bottle, root: Path) -> None:
    bottle = asking()
    request = bottle.asked(wanted())
    offer(root, github={"from": {"env": "X"}, "env": "Y"})
    with pytest.raises(BottleError, match="cannot be used") as found:
        bottle.decide("approve", request, scope="session")
    assert "credentials.github" in found.value.why


def test_one_that_the_bottle_has_goes_to_one_more_host_with_the_value_it_has(asking: Bottle) -> None:
    rule = Rule("api.github.com", paths=("/repos/**",), credential="github")
    have = BoundCredential(
        spec("env", "TOKEN_OF_MINE"), "placeholder-of-github-0", Secret(SECRET), (("api.github.com", 443),)
    )
    bottle = asking(rule, gate=GateConfig("tester", (rule,), (have,)))
    request = bottle.asked(wanted(host="uploads.github.com"))
    assert "goes to a new host" in bottle.view(request)["warnings"][-1]
    bottle.approve(request)
    one = bound(bottle.gate.policies[-1])["github"]
    assert one["hosts"] == [["api.github.com", 443], ["uploads.github.com", 443]]
    assert one["placeholder"] == "placeholder-of-github-0"
    grant = bottle.requests()["grants"][0]["id"]
    with bottle.kept.control() as control:
        control.send({"op": "revoke", "grant": grant})
        policy = bottle.gate.next(lambda said: said["op"] == "policy" and bool(said["revoked"]))
    assert bound(policy)["github"]["hosts"] == [["api.github.com", 443]]


def test_a_revoked_one_is_not_in_the_gate_any_more(asking: Bottle, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET)
    bottle = asking(offered={"github": (spec("file", str(tmp_path / "token")),)})
    grant = bottle.approve(bottle.asked(wanted()))["grant"]
    with bottle.kept.control() as control:
        control.send({"op": "revoke", "grant": grant})
        assert bottle.gate.next(lambda said: said["op"] == "policy" and bool(said["revoked"]))["credentials"] == []


def test_one_with_a_ttl_is_read_again(asking: Bottle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a second, and long before it expires."""
    monkeypatch.setattr(credentials, "_EARLIEST", 0.0001)
    monkeypatch.setattr(credentials, "_LATEST", 0.0001)
    token = tmp_path / "token"
    token.write_text(SECRET)
    bottle = asking(offered={"github": (spec("command", ("cat", str(token)), ttl=9999),)})
    bottle.approve(bottle.asked(wanted()))
    token.write_text("the-next-value")
    bottle.gate.next(lambda said: said["op"] == "credentials" and said["values"] == {"github": "the-next-value"})
    second = bottle.asked(wanted(path="/user"), ticket="t-2")
    bottle.approve(second)
    assert bound(bottle.gate.policies[-1])["github"]["secret"] == "the-next-value"


def test_one_that_has_expired_stays_so_when_the_policy_changes(asking: Bottle, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(SECRET)
    bottle = asking(offered={"github": (spec("command", ("cat", str(token)), ttl=1),)})
    bottle.approve(bottle.asked(wanted()))
    token.unlink()
    bottle.gate.next(lambda said: said["op"] == "credentials" and said["values"] == {"github": None})
    bottle.approve(bottle.asked(wanted(path="/user"), ticket="t-2"))
    ops = [(said["op"], said.get("values")) for said in bottle.gate.heard if said["op"] in ("policy", "credentials")]
    at = max(index for index, (op, _) in enumerate(ops) if op == "policy")
    assert ops[at + 1] == ("credentials", {"github": None})
