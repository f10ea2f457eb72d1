"""The plan's keys and its digest: what is promised to scripts (contract §4)."""

from __future__ import annotations

import json

import pytest

from claude_bottle.model.credentials import CredentialSpec
from claude_bottle.model.plan import (
    SESSION,
    BottlePlan,
    Limit,
    Mount,
    PlannedCredential,
    Protection,
    Workspace,
    digest_of,
)
from claude_bottle.model.policy import Rule
from claude_bottle.values import replace

SPEC = CredentialSpec("k", "env", "KEY", "KEY", "Authorization", "Bearer {secret}")
PLACES = (("api.example.com", 443),)
PLAN = BottlePlan(
    slug="one-abc123", agent="one", harness="claude", harness_version="1", backend="b", image="host",
    command=("claude", "--dangerously-skip-permissions", "--session-id", SESSION), workspace=Workspace("none", "/w"),
    mounts=(Mount("/a", "/b"),), env={"CI": "1"}, egress=(Rule("api.example.com", credential="k", paths=("/v1/*",)),),
    credentials=(PlannedCredential(SPEC, PLACES),),
    limits=(Limit("memory", "4g", True, "cgroup"),), protections=(Protection("x", "on"),),
)  # fmt: skip


def credential(**changes: object) -> BottlePlan:
    spec = CredentialSpec.from_dict(SPEC.to_dict() | changes)
    return replace(PLAN, credentials=(PlannedCredential(spec, PLACES),))


def test_a_plan_has_the_keys_of_the_contract_and_is_plain_data() -> None:
    wanted = (
        "slug digest agent harness backend image command workspace mounts env egress credentials limits budget protections "
        "resume_of warnings"
    )
    for plan in (PLAN, credential(source="command", source_detail=["gh", "auth", "token"])):
        made = plan.to_dict()
        assert set(wanted.split()) <= set(made)
        assert json.loads(json.dumps(made)) == made
        assert made["digest"] == plan.digest == digest_of(made)


@pytest.mark.parametrize(
    "other", [replace(PLAN, slug="two-xyz789"), replace(PLAN, warnings=("w",)), replace(PLAN, resume_of="one-abc123")]
)
def test_run_time_values_do_not_change_the_digest(other: BottlePlan) -> None:
    assert other.digest == PLAN.digest


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAN, agent="two"), replace(PLAN, harness_version="2"), replace(PLAN, backend="c"), replace(PLAN, image="i"),
        replace(PLAN, command=("claude",)), replace(PLAN, workspace=Workspace("bind", "/w", "/src")), replace(PLAN, env={}),
        replace(PLAN, mounts=(Mount("/a", "/b", "rw"),)), replace(PLAN, egress=()), replace(PLAN, proxy_env=True),
        replace(PLAN, egress=(replace(PLAN.egress[0], methods=("GET",)),)), replace(PLAN, limits=()),
        replace(PLAN, protections=(Protection("x", "off", "why"),)), PLAN.with_remote_control(True),
        credential(source_detail="OTHER"), credential(header="X-Key"), credential(format="{secret}"), credential(env="OTHER"),
    ],
)  # fmt: skip
def test_whatever_else_changes_changes_the_digest(other: BottlePlan) -> None:
    assert other.digest != PLAN.digest


def test_remote_control_is_asked_for_before_the_agents_own_arguments_and_once() -> None:
    wanted = PLAN.to_dict(remote_control=True)
    assert wanted["command"] == ["claude", "--dangerously-skip-permissions", "--remote-control", "--session-id", SESSION]
    assert wanted == PLAN.with_remote_control(True).with_remote_control(True).to_dict()
    assert PLAN.with_remote_control(True).to_dict(remote_control=False) == PLAN.to_dict()


def test_no_value_of_a_variable_that_holds_a_secret_is_in_a_plan() -> None:
    env = replace(PLAN, env={"CI": "1", "KEY": "what the operator had there"}).to_dict()["env"]
    assert env == {"CI": {"value": "1"}, "KEY": {"placeholder": "k"}}
