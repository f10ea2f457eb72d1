"""What is run in a build bottle: nothing of an item, an address or a maintainer script becomes more than it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.backend import packages
from claude_bottle.backend.bubblewrap import distribution, layer_scripts
from claude_bottle.model.capability import PACKAGES
from claude_bottle.state.config import Registry

MIRROR = Registry("https://mirror.test/x", ("stable",), ("main",))


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_script_is_one_and_its_packages_are_arguments(kind: str) -> None:
    words = layer_scripts.command(kind, ("one", "two; touch /tmp/x"))
    assert words[:2] == ["/bin/sh", "-c"]
    assert words[3:] == ["build", "one", "two; touch /tmp/x"]
    assert subprocess.run(["sh", "-n", "-c", words[2]], check=False).returncode == 0
    assert '"$@"' in words[2]
    assert kind == "go" or '-- "$@"' in words[2]


@pytest.mark.parametrize("kind", PACKAGES)
def test_a_mirror_is_asked_and_nobody_else(kind: str) -> None:
    sources = (distribution.Source(MIRROR.url, MIRROR.suites, MIRROR.components, "/k"),) if kind == "apt" else ()
    given_to_it = str(layer_scripts.environment(kind, MIRROR)) + str(layer_scripts.files(kind, MIRROR, sources))
    assert "mirror.test" in given_to_it
    assert "mirror.test" not in str(layer_scripts.environment(kind, None)) + str(layer_scripts.files(kind, None, ()))


@pytest.mark.parametrize("url", ["https://mirror.test/x", "https://mirror.test/x/"])
def test_cargo_is_given_an_index_with_a_slash_at_its_end(url: str) -> None:
    assert 'registry = "sparse+https://mirror.test/x/"' in str(layer_scripts.files("cargo", Registry(url), ()))


@pytest.mark.parametrize(
    ("version", "nightly"), [("1.65.0", True), ("1.67.1", True), ("1.68.0", False), ("1.6.0", False), ("1.95.0", False)]
)
def test_only_a_cargo_that_knows_no_better_takes_itself_for_a_nightly(version: str, nightly: bool, tmp_path: Path) -> None:
    (tmp_path / "cargo").write_text(f"#!/bin/sh\necho 'cargo {version} (0000000 2023-01-01)'\n")
    (tmp_path / "cargo").chmod(0o755)
    words = ["sh", "-euc", f"{packages.CARGO_READS_SPARSE}; env"]
    said = subprocess.run(words, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True).stdout
    assert "CARGO_REGISTRIES_CRATES_IO_PROTOCOL=sparse\n" in said
    assert ("CARGO_UNSTABLE_SPARSE_REGISTRY=true\n" in said) == ("=nightly\n" in said) == nightly


def test_alternatives_are_read_as_they_stand() -> None:
    script = """#!/bin/sh
if [ "$1" = configure ]; then
  update-alternatives --install /usr/bin/editor editor /usr/bin/vim.basic 30 \\
    --slave /usr/share/man/man1/editor.1.gz editor.1.gz /usr/share/man/man1/vim.1.gz
fi
# update-alternatives --install /usr/bin/commented c /usr/bin/x 1
update-alternatives --install $WHERE x /usr/bin/x 1
update-alternatives --install "/usr/bin/unclosed x /usr/bin/x 1
update-alternatives --remove editor /usr/bin/vim.basic
"""
    assert layer_scripts.alternatives(script) == [
        ("/usr/bin/editor", "/usr/bin/vim.basic"),
        ("/usr/share/man/man1/editor.1.gz", "/usr/share/man/man1/vim.1.gz"),
    ]


@given(st.text(alphabet="update-alternatives --install/usr/bin./x \\\n\"'$", max_size=200), st.text(max_size=40))
def test_whatever_a_script_says_only_plain_paths_come_out(script: str, path: str) -> None:
    text = f"{script}\nupdate-alternatives --install /usr/bin/{path} n {path} 1"
    for pair in layer_scripts.alternatives(text):
        for one in pair:
            assert one.startswith(("/usr/", "/bin/", "/sbin/", "/lib/"))
            assert ".." not in one and "//" not in one and one.isascii() and one.isprintable() and " " not in one


def test_the_sources_of_a_debian_fit_its_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "_keyring", lambda system: f"/keys/{system}")
    for system, release in (("debian", "trixie"), ("ubuntu", "noble")):
        said = {"ID": system, "VERSION_CODENAME": release}
        monkeypatch.setattr(distribution, "os_release", lambda said=said: said)
        found = distribution.sources(None)
        assert {suite.partition("-")[0] for one in found for suite in one.suites} == {release}
        assert all(one.keyring == f"/keys/{system}" for one in found)
    assert {rule.host for rule in distribution.apt_rules() or ()} == {"archive.ubuntu.com", "security.ubuntu.com"}
