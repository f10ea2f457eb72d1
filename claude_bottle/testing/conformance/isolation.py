"""Isolation: what the kernel itself says of a program inside."""

from __future__ import annotations

import os
from pathlib import Path

from claude_bottle.state.paths import Paths
from claude_bottle.testing.conformance.place import Place, run, shell, start
from claude_bottle.testing.conformance.registry import group

isolation, alone = group("isolation", shares=True), group("isolation")
_KINDS = ("ipc", "mnt", "net", "pid", "user", "uts", "cgroup")


def facts(text: str) -> dict[str, str]:
    """/proc/PID/status as a dictionary."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


@isolation
def no_capability_is_left_in_any_set(place: Place) -> None:
    with place.up() as bottle:
        for said in (facts(run(bottle, ["cat", "/proc/self/status"]).out), facts(run(bottle, ["cat", "/proc/1/status"]).out)):
            assert {name: int(said[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
                "CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0}  # fmt: skip


@isolation
def none_can_be_gained_and_system_calls_are_filtered(place: Place) -> None:
    with place.up() as bottle:
        said = facts(run(bottle, ["cat", "/proc/self/status"]).out)
        assert (said["NoNewPrivs"], said["Seccomp"]) == ("1", "2")


@isolation
def the_host_sees_the_same(place: Place) -> None:
    with place.up() as bottle:
        process = start(bottle, ["sleep", "1000"])
        said = facts(Path(f"/proc/{process.pid}/status").read_text())
        assert {said[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (said["NoNewPrivs"], said["Seccomp"]) == ("1", "2")
        assert "0" not in said["Uid"].split()


@isolation
def it_has_namespaces_of_its_own(place: Place) -> None:
    with place.up() as bottle:
        process = start(bottle, ["sleep", "1000"])
        for kind in ("ipc", "mnt", "net", "pid", "uts"):
            assert os.readlink(f"/proc/{process.pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind


@alone
def only_its_own_processes_are_there(place: Place) -> None:
    with place.up() as bottle:
        numbers = shell(bottle, "ls /proc | grep '^[0-9]'").out.split()
        assert len(numbers) < 12
        assert "python" not in shell(bottle, f"cat /proc/{os.getpid()}/cmdline 2>/dev/null | tr '\\0' ' '").out


@isolation
def the_root_is_read_only(place: Place) -> None:
    with place.up() as bottle:
        for path in ("/file", "/usr/file", "/etc/file", "/usr/bin/env", "/etc/passwd", "/bin/sh"):
            assert shell(bottle, f"echo x >> {path}").code != 0, path


@isolation
def nothing_can_be_mounted(place: Place) -> None:
    with place.up() as bottle:
        assert shell(bottle, "mount -t tmpfs none /tmp 2>/dev/null || umount /home/agent 2>/dev/null").code != 0
        assert shell(bottle, "unshare -Um true 2>/dev/null").code != 0


@alone
def no_file_of_the_hosts_is_there_by_any_name(place: Place) -> None:
    (place.directory / "canary").write_text("canary of the host")
    with place.up() as bottle:
        assert shell(bottle, f"cat {place.directory}/canary 2>/dev/null").out == ""
        assert "No such file" in shell(bottle, "LC_ALL=C cat /root/.ssh/id_rsa").err
        assert shell(bottle, "ls /home").out == "agent\n"
        assert shell(bottle, "find / -xdev -name 'docker.sock' 2>/dev/null").out == ""


@alone
def no_path_of_the_hosts_is_told(place: Place) -> None:
    with place.up() as bottle:
        told = shell(bottle, "cat /proc/self/mountinfo /proc/1/mountinfo /proc/self/mounts 2>/dev/null").out
        assert str(place.directory) not in told
        assert str(Paths.default().root) not in told


@isolation
def the_first_process_cannot_be_looked_into(place: Place) -> None:
    with place.up() as bottle:
        for look in ("cat /proc/1/environ", "cat /proc/1/maps", "ls /proc/1/fd/", "ls /proc/1/root/", "ls /proc/1/cwd/"):
            assert shell(bottle, look).code != 0, look


@alone
def enforced_limits_are_in_force(place: Place) -> None:
    plan = place.plan(limits={"pids": 64, "memory": "256m"})
    limits = {limit.name: limit for limit in plan.limits}
    with place.up(limits={"pids": 64, "memory": "256m"}) as bottle:
        if limits["pids"].enforced:
            said = shell(bottle, "for i in $(seq 200); do sleep 1000 >/dev/null & done 2>/dev/null; jobs | wc -l")
            assert bottle.alive()
            assert not said.out.strip() or int(said.out.split()[-1]) < 70
        if limits["memory"].enforced:
            assert run(bottle, ["python3", "-I", "-c", "bytearray(600 << 20)[::4096]; print('had it')"]).out == ""
        assert bottle.alive()


@isolation
def setuid_programs_gain_nothing(place: Place) -> None:
    with place.up() as bottle:
        said = shell(bottle, "cp /usr/bin/id ~/id; chmod u+s ~/id 2>/dev/null; ~/id -u; ~/id -ru").out.split()
        assert len(set(said)) == 1
