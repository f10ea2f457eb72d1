"""What a gate is told is whole: nothing in it is a path, and it survives the way to a gate elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from claude_bottle.errors import BottleError
from claude_bottle.model.credentials import BoundCredential, CredentialSpec, Secret
from claude_bottle.model.plan import BottlePlan, Workspace
from claude_bottle.model.policy import Rule
from claude_bottle.state.config import Settings, Upstream
from claude_bottle.workflow import gates

HOST = "api.example.com"
PLAN = BottlePlan("x-abc123", "x", "shell", "", "fake", "", (), Workspace("none", "/workspace"), egress=(Rule(HOST),))


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    place = tmp_path / "ca.pem"
    place.write_bytes(trustme.CA().cert_pem.bytes())
    return place


def test_certificates_are_read_here_and_no_path_is_passed_on(pem: Path) -> None:
    upstreams = {(HOST, 443): Upstream("127.0.0.1", 8443, str(pem)), (HOST, 80): Upstream("::1", 80, None)}
    settings = Settings(upstreams, ca=str(pem))
    config = gates.configure(PLAN, (), settings, None)
    assert config.upstreams[HOST, 443].ca == config.extra_ca == pem.read_text()
    assert config.upstreams[HOST, 80] == ("::1", 80, "")
    assert str(pem) not in config.to_wire().decode()


def test_a_gate_elsewhere_trusts_what_this_host_trusts(pem: Path) -> None:
    bundle = "# Überschrift einer Stelle\n".encode() + pem.read_bytes()
    config = gates.configure(PLAN, (), Settings({}), bundle)
    assert config.extra_ca == pem.read_text()


@pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\xfe"])
def test_what_holds_no_certificate_is_said_before_anything_starts(pem: Path, content: bytes) -> None:
    pem.write_bytes(content)
    with pytest.raises(BottleError, match="cannot read the certificates"):
        gates.configure(PLAN, (), Settings({}, ca=str(pem)), None)
    pem.unlink()
    with pytest.raises(BottleError, match="cannot read the certificates"):
        gates.configure(PLAN, (), Settings({(HOST, 443): Upstream("::1", 443, str(pem))}), None)


def test_each_gate_has_a_nonce_of_its_own() -> None:
    nonces = {gates.configure(PLAN, (), Settings({}), None).nonce for _ in range(3)}
    assert len(nonces) == 3
    assert min(map(len, nonces)) >= 32


def test_the_secret_of_a_credential_is_not_in_its_text() -> None:
    spec = CredentialSpec("api", "env", "API_SECRET", "API_KEY", "x-api-key")
    bound = BoundCredential(spec, "bottle-placeholder-0123456789", Secret("s3cr3t-value"), ((HOST, 443),))
    config = gates.configure(PLAN, (bound,), Settings({}), None)
    assert "s3cr3t-value" not in repr(config)
