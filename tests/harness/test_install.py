from __future__ import annotations

import hashlib
import io
import platform
import stat
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from claude_bottle.errors import EnvironmentLacks, Refused
from claude_bottle.harness.install import Pin, Platform, install, installed, registry_env

PROGRAM = b"#!/bin/sh\necho 1.2.3\n"
PIN = Pin(
    name="claude",
    title="Claude Code",
    version="1.2.3",
    platforms={platform.machine(): Platform("@acme/agent", hashlib.sha256(PROGRAM).hexdigest())},
    npm_member="package/claude",
    wheel="acme-agent==1.2.3",
    wheel_member="acme_agent/claude",
    room=1 << 20,
)
# Stands for npm: notes how it was called, and packs what the test laid out for it.
NPM = """#!/bin/sh
echo "$@" >> "{place}/calls"
env >> "{place}/environment"
[ -f "{place}/package.tgz" ] || {{ echo "no such package" >&2; exit 1; }}
cp "{place}/package.tgz" agent-1.2.3.tgz
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is the whole outside world: a stand-in npm first on PATH, a wheel directory for the real pip."""
    place = tmp_path / "registry"
    place.mkdir()
    npm = place / "npm"
    npm.write_text(NPM.format(place=place))
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    return place


def publish_npm(place: Path, program: bytes = PROGRAM, member: str = "package/claude") -> None:
    with tarfile.open(place / "package.tgz", "w:gz") as tarball:
        entry = tarfile.TarInfo(member)
        entry.size = len(program)
        tarball.addfile(entry, io.BytesIO(program))


def publish_wheel(place: Path, program: bytes = PROGRAM) -> None:
    info = "acme_agent-1.2.3.dist-info"
    with zipfile.ZipFile(place / "acme_agent-1.2.3-py3-none-any.whl", "w") as wheel:
        wheel.writestr("acme_agent/claude", program)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: acme-agent\nVersion: 1.2.3\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def quiet(text: str) -> None:
    """A progress nobody looks at."""


def test_the_npm_package_gives_the_program_and_runs_nothing_of_it(registry: Path, tmp_path: Path) -> None:
    publish_npm(registry)
    told: list[str] = []
    path = install(PIN, tmp_path / "tools", told.append)
    assert path == tmp_path / "tools" / "claude" / "1.2.3" / "claude"
    assert path.read_bytes() == PROGRAM
    assert stat.S_IMODE(path.stat().st_mode) == 0o555
    assert installed(PIN, tmp_path / "tools") == path
    assert "--ignore-scripts" in (registry / "calls").read_text()
    assert told[0].startswith("fetching Claude Code 1.2.3 with npm: ")
    assert told[-1] == "Claude Code 1.2.3 is installed"
    assert sorted(p.name for p in (tmp_path / "tools" / "claude").iterdir()) == [".lock", "1.2.3"]


def test_pip_is_asked_when_npm_cannot_deliver(registry: Path, tmp_path: Path) -> None:
    publish_wheel(registry)
    assert install(PIN, tmp_path / "tools", quiet).read_bytes() == PROGRAM


def test_pip_alone_is_enough(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_wheel(registry)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install(PIN, tmp_path / "tools", quiet).read_bytes() == PROGRAM
    assert not (registry / "calls").exists()


def test_wrong_bytes_are_refused_and_leave_nothing(registry: Path, tmp_path: Path) -> None:
    publish_npm(registry, PROGRAM + b"evil")
    publish_wheel(registry)
    with pytest.raises(Refused, match="not the one") as refused:
        install(PIN, tmp_path / "tools", quiet)
    assert hashlib.sha256(PROGRAM).hexdigest() in refused.value.why
    assert installed(PIN, tmp_path / "tools") is None
    assert [p.name for p in (tmp_path / "tools" / "claude").iterdir()] == [".lock"]


@pytest.mark.parametrize("member", ["other/claude", "/package/claude", "../package/claude"])
def test_a_package_without_the_program_is_refused(registry: Path, tmp_path: Path, member: str) -> None:
    publish_npm(registry, member=member)
    with pytest.raises(Refused, match="no readable package/claude"):
        install(PIN, tmp_path / "tools", quiet)


def test_offline_says_what_each_client_said(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks, match="could not be fetched") as lacks:
        install(PIN, tmp_path / "tools", quiet)
    assert "npm: no such package" in lacks.value.why
    assert "pip: " in lacks.value.why
    assert "PATH" in lacks.value.do


def test_too_little_room_is_said_before_anything_is_fetched(registry: Path, tmp_path: Path) -> None:
    publish_npm(registry)
    with pytest.raises(EnvironmentLacks, match="not enough room"):
        install(replace(PIN, room=1 << 60), tmp_path / "tools", quiet)
    assert not (registry / "calls").exists()


def test_an_unknown_platform_is_said(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacks, match="cannot be installed here"):
        install(replace(PIN, platforms={}), tmp_path / "tools", quiet)


def test_two_installers_fetch_once(registry: Path, tmp_path: Path) -> None:
    publish_npm(registry)
    meet = threading.Barrier(2)
    paths: list[Path] = []

    def one() -> None:
        meet.wait()
        paths.append(install(PIN, tmp_path / "tools", quiet))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 2
    assert len((registry / "calls").read_text().splitlines()) == 1


def test_what_a_killed_installer_left_is_swept_up(registry: Path, tmp_path: Path) -> None:
    publish_npm(registry)
    left = tmp_path / "tools" / "claude" / ".staging-dead"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    install(PIN, tmp_path / "tools", quiet)
    assert not left.exists()


def test_an_interrupted_installation_ends_its_client_and_leaves_nothing(registry: Path, tmp_path: Path) -> None:
    (registry / "npm").write_text("#!/bin/sh\nexec sleep 600\n")

    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install(PIN, tmp_path / "tools", interrupt)
    assert [p.name for p in (tmp_path / "tools" / "claude").iterdir()] == [".lock"]


def test_package_clients_get_registry_settings_but_no_secrets(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_npm(registry)
    monkeypatch.setenv("npm_config_registry", "https://registry.test")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")
    install(PIN, tmp_path / "tools", quiet)
    seen = (registry / "environment").read_text()
    assert "npm_config_registry=https://registry.test" in seen
    assert "sk-ant-secret" not in seen
    assert "ANTHROPIC_API_KEY" not in registry_env()


@pytest.mark.parametrize("place", ["", "1.2.3", "1.2.3/claude"])
def test_a_program_others_could_have_put_there_is_refused(registry: Path, tmp_path: Path, place: str) -> None:
    publish_npm(registry)
    install(PIN, tmp_path / "tools", quiet)
    (tmp_path / "tools" / "claude" / place).chmod(0o777)
    with pytest.raises(Refused, match="someone else"):
        installed(PIN, tmp_path / "tools")


def test_a_link_in_place_of_the_program_is_refused(registry: Path, tmp_path: Path) -> None:
    publish_npm(registry)
    path = install(PIN, tmp_path / "tools", quiet)
    path.unlink()
    path.symlink_to("/bin/true")
    with pytest.raises(Refused, match="someone else"):
        installed(PIN, tmp_path / "tools")
