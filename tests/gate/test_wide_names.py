"""Names that only a wildcard grants: answered, dialled and judged as themselves, and few."""

from __future__ import annotations

import pytest

from claude_bottle.gate import core
from claude_bottle.gate.wide_names import BURST, MOST_NAMES, SECONDS_EACH, WideNames, bits
from claude_bottle.model import policy as reasons
from claude_bottle.model.policy import Policy, Rule
from claude_bottle.testing.playbook import Playbook
from tests.gate.conftest import HOST, MakeState
from tests.gate.test_http import refused

WIDE = Rule("*.example.com", port=80)


def ask(play: Playbook, host: str) -> bytes:
    return play.client(f"GET http://{host}/x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


def test_a_subdomain_has_an_address_and_is_dialled_by_its_own_name(make_state: MakeState) -> None:
    state = make_state(WIDE)
    address = state.book.address("a.example.com")
    assert address is not None and state.book.address("a.example.com") == address
    assert state.book.address("b.example.com") not in (address, None)
    play = Playbook(state, "http", address, 80)
    play.client(b"GET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
    assert play.dials == [core.Dial(1, core.Origin("a.example.com", 80, False))]


@pytest.mark.parametrize("host", ["example.com", "a.b.example.com", "anexample.com", "example.com.evil", "a_.example.com"])
def test_a_star_stands_for_one_label(make_state: MakeState, host: str) -> None:
    state = make_state(WIDE)
    assert state.book.address(host) is None
    play = Playbook(state)
    assert refused(play, ask(play, host)) in (reasons.HOST_NOT_GRANTED, reasons.BAD_HOST)


def test_the_name_of_one_is_not_that_of_another(make_state: MakeState) -> None:  # threats 41
    state = make_state(WIDE)
    play = Playbook(state, "http", state.book.address("a.example.com") or "", 80)
    assert refused(play, play.client(b"GET /x HTTP/1.1\r\nHost: b.example.com\r\n\r\n")) == reasons.NAME_MISMATCH


def test_new_names_come_a_few_at_a_time(make_state: MakeState) -> None:  # threats 30
    state = make_state(WIDE)
    now = [0.0]
    state.wide_names = WideNames(lambda: now[0])
    assert all(state.book.address(f"n{number}.example.com") for number in range(BURST))
    assert state.book.address("more.example.com") is None
    play = Playbook(state)
    assert refused(play, ask(play, "more.example.com")) == reasons.NAME_NOT_ADMITTED
    assert state.book.address("n0.example.com") is not None
    now[0] = SECONDS_EACH
    assert state.book.address("more.example.com") is not None
    assert state.book.address("yet.example.com") is None


def test_there_is_an_end_to_new_names() -> None:  # threats 30
    now = [0.0]
    names = WideNames(lambda: now[0])
    for number in range(MOST_NAMES):
        now[0] += SECONDS_EACH
        assert names.admit(f"n{number}.example.com")
    now[0] += 1e9
    assert not names.admit("last.example.com")


@pytest.mark.parametrize("label", ["www", "europe-west4-docker", "company-artifacts-eu", "d41d8cd98f00b204e9800998ecf8427e"])
def test_names_as_people_give_them_are_admitted(label: str) -> None:
    assert WideNames(lambda: 0.0).admit(f"{label}.example.com")


@pytest.mark.parametrize("label", ["mfrggzdfmztwq2lknnwg23tpobyxe43uov3ho6dzpiydcmrt", "k3v9x2m7q1z8c5b0n6j4h2g7f9d3s1a5"])
def test_a_label_full_of_data_is_refused(make_state: MakeState, label: str) -> None:  # threats 30
    assert bits(label) > bits("europe-west4-docker")
    play = Playbook(make_state(WIDE))
    assert refused(play, ask(play, f"{label}.example.com")) == reasons.NAME_NOT_ADMITTED


def test_names_that_rules_name_are_not_counted(make_state: MakeState) -> None:
    state = make_state(Rule("*.example.com"), Rule(HOST, port=80))
    state.wide_names = WideNames(lambda: 0.0)
    for number in range(BURST):
        state.book.address(f"n{number}.example.com")
    assert state.book.address(HOST) is not None
    play = Playbook(state)
    ask(play, HOST)
    assert len(play.dials) == 1


def test_a_wildcard_that_is_taken_back_answers_no_more(make_state: MakeState) -> None:
    state = make_state(WIDE)
    before = state.book.address("a.example.com")
    state.replace_policy([], revision=2)
    assert state.book.address("a.example.com") is None
    state.replace_policy([WIDE], revision=3)
    assert state.book.address("a.example.com") == before


def test_a_metadata_service_below_a_granted_domain_is_not_meant() -> None:  # threats 33
    policy = Policy([Rule("*.tencentyun.com")])
    assert policy.connect("mirrors.tencentyun.com", 443).allow
    assert not policy.connect("metadata.tencentyun.com", 443).allow
    assert not policy.by_wildcard("metadata.tencentyun.com")
