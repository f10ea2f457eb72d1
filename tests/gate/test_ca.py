"""The bottle's certificate authority, judged by other people's verifiers."""

from __future__ import annotations

import ssl
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from claude_bottle.gate.ca import CA_LIFE, LEAF_LIFE, Authority

NAME = "api.example.com"


def parsed(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def test_a_leaf_satisfies_a_strict_verifier(authority: Authority) -> None:
    leaf = parsed(authority.leaf(NAME, time.time()))
    verifier = PolicyBuilder().store(Store([parsed(authority.pem)])).build_server_verifier(x509.DNSName(NAME))
    assert verifier.verify(leaf, [])


def test_openssl_in_strict_mode_accepts_the_chain(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(authority.pem)
    (tmp_path / "leaf.pem").write_text(authority.leaf(NAME, time.time()))
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-verify_hostname", NAME, "-purpose", "sslserver",
         "-CAfile", str(tmp_path / "ca.pem"), str(tmp_path / "leaf.pem")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_python_in_strict_mode_shakes_hands_with_a_leaf(authority: Authority) -> None:
    from claude_bottle.testing.playbook import TlsPeer

    trust = ssl.create_default_context(cadata=authority.pem)
    trust.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    client, server = TlsPeer(trust, NAME), TlsPeer(authority.context(NAME), server=True)
    wire = client.start()
    for _ in range(3):
        wire = client.receive(server.receive(wire))
    assert client.tls.getpeercert()["subjectAltName"] == (("DNS", NAME),)  # type: ignore[index]


@pytest.mark.parametrize(("jump", "why"), [(2 * CA_LIFE, "expired"), (-CA_LIFE, "not yet valid")])
def test_a_clock_that_has_jumped_beyond_the_authoritys_life_ends_in_a_refusal_that_names_it(jump: float, why: str) -> None:
    from claude_bottle.testing.playbook import TlsPeer

    authority = Authority(time.time() - jump)
    client = TlsPeer(ssl.create_default_context(cadata=authority.pem), NAME)
    server = TlsPeer(authority.context(NAME), server=True)
    with pytest.raises(ssl.SSLCertVerificationError, match=why):
        client.receive(server.receive(client.start()))


def test_a_leaf_is_made_anew_when_the_clock_has_jumped_out_of_its_life(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    seen = [authority.context(NAME)]
    for jump in (30 * 86400, -30 * 86400):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        seen.append(authority.context(NAME))
    monkeypatch.undo()
    assert len(set(map(id, seen))) == 3


def test_certificates_are_backdated_a_little_and_end_soon(authority: Authority) -> None:
    now = time.time()
    leaf, ca = parsed(authority.leaf(NAME, now)), parsed(authority.pem)
    assert now - 7200 < leaf.not_valid_before_utc.timestamp() < now - 60
    assert leaf.not_valid_after_utc.timestamp() == pytest.approx(now + LEAF_LIFE, abs=2)
    assert ca.not_valid_after_utc.timestamp() == pytest.approx(now + CA_LIFE, abs=3600)


def test_the_authority_can_sign_no_further_authority(authority: Authority) -> None:
    constraints = parsed(authority.pem).extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    leaf = parsed(authority.leaf(NAME, time.time()))
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_two_bottles_have_different_authorities() -> None:
    one, other = parsed(Authority().pem), parsed(Authority().pem)
    assert one.subject != other.subject
    assert one.public_key() != other.public_key()


def test_the_longest_name_still_gets_a_certificate(authority: Authority) -> None:
    name = ".".join(["a" * 60] * 4)
    leaf = parsed(authority.leaf(name, time.time()))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [name]


def test_a_leaf_is_made_once_per_name(authority: Authority) -> None:
    assert authority.context(NAME) is authority.context(NAME)
    assert authority.context(NAME) is not authority.context("other.example.net")


def test_moments_after_2049_are_written_in_the_long_form() -> None:
    late = Authority(now=2_600_000_000.0)  # 2052
    assert parsed(late.pem).not_valid_after_utc.year == 2053
