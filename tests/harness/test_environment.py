from __future__ import annotations

import subprocess
import sys

import pytest

from claude_bottle.errors import BottleError
from claude_bottle.harness import TABLE, get
from claude_bottle.harness.terminal_env import terminal_environment
from claude_bottle.harness.trust_env import BUNDLE, trust_environment


@pytest.mark.parametrize("name", sorted(TABLE))
def test_every_harness_of_the_table_goes_by_its_name(name: str) -> None:
    assert get(name).name == name


def test_an_unknown_harness_lists_the_known() -> None:
    with pytest.raises(BottleError, match="unknown harness 'codex'") as unknown:
        get("codex")
    assert "claude, shell" in unknown.value.why


def test_looking_at_the_table_loads_no_harness() -> None:
    code = "import sys, claude_bottle.harness; print([m for m in sys.modules if m.startswith('claude_bottle.harness.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("term", ["", "dumb", "../../etc/passwd", "xterm\n", "x" * 50, "-x", "xterm\x1b"])
def test_a_terminal_name_that_is_none_becomes_a_plain_one(term: str) -> None:
    assert terminal_environment({"TERM": term}, tty=True)["TERM"] == "xterm-256color"


def test_a_real_terminal_is_passed_on_and_nothing_else_is() -> None:
    operator = {"TERM": "tmux-256color", "COLORTERM": "truecolor", "NO_COLOR": "yes", "SSH_AUTH_SOCK": "/x", "LANG": "de"}
    assert terminal_environment(operator, tty=True) == {
        "TERM": "tmux-256color", "COLORTERM": "truecolor", "NO_COLOR": "1", "LANG": "C.UTF-8",
    }  # fmt: skip


def test_without_a_terminal_there_is_a_dumb_one() -> None:
    assert terminal_environment({"TERM": "xterm", "COLORTERM": "truecolor"}, tty=False) == {
        "TERM": "dumb", "LANG": "C.UTF-8",
    }  # fmt: skip


def test_every_trust_variable_names_the_bundle() -> None:
    variables = trust_environment()
    assert {value for value in variables.values() if value.startswith("/")} == {BUNDLE}
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        assert variables[name] == BUNDLE
