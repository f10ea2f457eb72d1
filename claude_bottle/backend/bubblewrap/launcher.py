"""Starting a sandbox: fork, build its namespaces around nothing, and let bwrap finish and hold it.

The child prepares what must happen before bwrap (private mounts by descriptor, the network namespace and
its listeners, the user mapping) and then becomes bwrap, whose only program is an inert first process. The
parent, the keeper, keeps the three handles that a sandbox is: bwrap's process, the first process, and a
pipe whose end is death.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend import childhood, idmaps, registration
from claude_bottle.backend import namespaces as ns
from claude_bottle.backend.base import GID, HOSTNAME, UID, Boot
from claude_bottle.backend.bubblewrap import bounds, opener, orphans, owners, rootfs, staging, terminals
from claude_bottle.backend.bubblewrap.layer_overlay import Pile
from claude_bottle.backend.bubblewrap.programs import Programs
from claude_bottle.backend.stage import STAGE
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.values import dataclass

if TYPE_CHECKING:
    from claude_bottle.backend import subids

# For what hangs: bwrap reports a failure or ends, which is noticed at once. A busy machine may need long.
BOOT_SECONDS = 120
STRAY_SECONDS = 1.0
# How bwrap, or the program it starts first, says that the kernel refused it a right.
_REFUSALS = ("Operation not permitted", "Permission denied", "No permissions to create", "No space left on device")
# Where the child's descriptors lie while it works.
_LIFELINE, _ECHO, _STDERR, _STATUS, _FILTER, _ARGUMENTS, _REPORT, _SYNC, _REGISTRATION = range(9)


@dataclass
class Sandbox:
    """A running one. `holder` is bwrap, `first` the bottle's process 1 (host pids), `pts` its directory of terminals;
    the descriptors are owned here."""

    holder: int
    holder_pidfd: int
    first: int
    first_pidfd: int
    pts: int
    lifeline: int


@dataclass(frozen=True)
class Recipe:
    """What the child needs beside `Boot`: programs, filter, the host uid of the bottle's user (None: our own), the
    layers of its root file system, what it may use, and for a build as many users their ids."""

    programs: Programs
    program: bytes
    host: int | None
    pile: Pile = Pile()
    bounds: bounds.Bounds = bounds.Bounds()
    ids: subids.Range | None = None

    @property
    def role(self) -> owners.Role:
        return owners.BUILDER if self.ids else owners.AGENT


def start(boot: Boot, recipe: Recipe) -> Sandbox:
    """Start a sandbox and return once its first process runs. Raises what the child reports; leaves nothing
    then."""
    lifeline, echo, status, report = os.pipe(), os.pipe(), os.pipe(), os.pipe()
    ours, theirs = socket.socketpair()
    errors = os.memfd_create("stderr")
    arguments = os.memfd_create("arguments")
    filters = os.memfd_create("filter")
    os.write(filters, recipe.program)
    os.lseek(filters, 0, os.SEEK_SET)
    given = [lifeline[0], echo[1], errors, status[1], filters, arguments, report[1], theirs.fileno()]
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        childhood.run_child(lambda: _become_bwrap(boot, recipe, given, keeper), lambda: _REPORT)
    theirs.close()
    for descriptor in (lifeline[0], echo[1], status[1], report[1], filters, arguments):
        os.close(descriptor)
    try:
        _provide(child, boot, recipe, ours)
        return _await(child, recipe, lifeline[1], echo[0], status[0], report[0], errors)
    except BaseException:
        os.close(lifeline[1])
        orphans.end_with_its_child(child)
        raise
    finally:
        ours.close()
        for descriptor in (echo[0], status[0], report[0], errors):
            os.close(descriptor)


def _provide(child: int, boot: Boot, recipe: Recipe, sync: socket.socket) -> None:
    """What the child cannot have by itself: its maps, the authorities, which may still be in the making, and the gate's
    word that it has taken the listeners. The child does not wait for the latter two: the authorities are written through
    a descriptor of its file, and no program of the bottle runs before we return. A child that has failed hangs up, and
    tells why elsewhere."""
    if recipe.host is None and recipe.ids:
        _map(child, recipe, sync)
    files = socket.recv_fds(sync, 1, 1)[1] if boot.ca_bundle else []
    try:
        if recipe.host is not None:
            _map(child, recipe, sync)
        for file in files:
            with open(file, "wb", closefd=False) as bundle:
                bundle.write(boot.bundle())
        if boot.registration is not None and sync.recv(1) == b"r":
            registration.await_acknowledgement(boot.registration)
    finally:
        for file in files:
            os.close(file)


def _map(child: int, recipe: Recipe, sync: socket.socket) -> None:
    if sync.recv(1) != b"u":
        return
    if recipe.ids:
        from claude_bottle.backend import subids

        subids.write(child, recipe.ids)
    elif recipe.host is not None:
        idmaps.write_maps(child, (UID, GID), (recipe.host, recipe.host))
    sync.send(b"m")


def _await(
    child: int,
    recipe: Recipe,
    lifeline: int,
    echo: int,
    status: int,
    report: int,
    errors: int,
) -> Sandbox:
    failure = childhood.read_all(report)
    if failure:
        raise childhood.rebuild(failure)
    with contextlib.suppress(BrokenPipeError):  # bwrap may have failed already; what it said is read below
        os.write(lifeline, b"k")
    ready, _, _ = select.select([echo], [], [], BOOT_SECONDS)
    if not ready or os.read(echo, 1) != b"k":
        raise _boot_failure(errors, late=not ready)
    first = json.JSONDecoder().raw_decode(os.read(status, 4096).decode())[0]["child-pid"]
    with contextlib.ExitStack() as regret:
        pidfds = []
        for process in (first, child):
            pidfds.append(os.pidfd_open(process))
            regret.callback(os.close, pidfds[-1])
        _verify(first, child, recipe)
        sandbox = Sandbox(child, pidfds[1], first, pidfds[0], terminals.directory(first), lifeline)
        regret.pop_all()
    return sandbox


def _boot_failure(errors: int, *, late: bool) -> BottleError:
    said = os.pread(errors, 4096, 0).decode(errors="replace").strip()
    why = said or ("it did not start in time" if late else "it ended without a message")
    return _lacks("bubblewrap could not build the sandbox", why, refused=any(words in said for words in _REFUSALS))


def _lacks(what: str, why: str, *, refused: bool) -> BottleError:
    """With the known cause and its fix where the kernel refused a right."""
    do = "run: claude-bottle doctor"
    if refused:
        from claude_bottle.backend.bubblewrap import prereqs

        cause, fix = prereqs.diagnose(ordinary=True)  # bwrap never is root
        why, do = (f"{why}; {cause}", fix) if cause else (why, do)
    return EnvironmentLacks(what, why=why, do=do)


def _facts(process: int) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _verify(first: int, holder: int, recipe: Recipe) -> None:
    """The layers as the kernel reports them, not as we asked for them; EnvironmentLacks if one is missing."""
    facts = _facts(first)
    wrong = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(facts[name], 16)]
    wrong += [name for name, value in (("NoNewPrivs", "1"), ("Seccomp", "2")) if facts[name] != value]
    if not int(facts["SigIgn"], 16) >> (signal.SIGCHLD - 1) & 1:
        wrong.append("SigIgn")
    if facts["PPid"] != str(holder) or facts["NSpid"].split()[-1] != "1" or "0" in facts["Uid"].split():
        wrong.append("Uid")
    group = recipe.bounds.group
    if group is not None and not group.holds(first):
        wrong.append("cgroup")
    if wrong:
        why = f"first process: {', '.join(wrong)}"
        raise _lacks("a layer of the sandbox is not in force", why, refused="CapBnd" in wrong)


def _become_bwrap(boot: Boot, recipe: Recipe, given: list[int], keeper: int) -> None:
    """The child's side, up to exec."""
    gate = boot.registration
    childhood.arrange_descriptors(given + ([gate.fileno()] if gate else []), inheritable=6)
    childhood.forget_signals()
    recipe.bounds.take_in(bounds.FIRST)
    os.umask(0o022)  # the keeper's is 077, which would close the bottle's own directories to its user
    os.setsid()
    _die_with(keeper)
    sync = socket.socket(fileno=_SYNC)
    if recipe.host is None and recipe.ids:
        from claude_bottle.backend import subids

        subids.enter(sync, ns.CLONE_NEWNS | ns.CLONE_NEWNET)
    elif recipe.host is None:
        owners.enter_own_namespace(ns.CLONE_NEWNS | ns.CLONE_NEWNET)
    else:
        os.setgroups([])
        ns.unshare(ns.CLONE_NEWNS)
    ns.mount("", "/", "", ns.MS_REC | ns.MS_SLAVE)
    authorities = staging.fill(boot, recipe.programs.staged(), recipe.pile, recipe.host)
    if boot.ca_bundle:
        socket.send_fds(sync, [b"b"], [authorities])
        os.close(authorities)
    if recipe.host is not None:
        _leave_root(keeper, sync, recipe.role)
    opener.bring_up_loopback()
    if gate is not None:
        opener.register(socket.socket(fileno=_REGISTRATION), boot.nonce, opener.open_listeners(boot.ports))
        sync.send(b"r")
    os.write(_ARGUMENTS, b"\0".join(word.encode() for word in _options(boot, recipe)) + b"\0")
    os.lseek(_ARGUMENTS, 0, os.SEEK_SET)
    command = ["bwrap", "--args", str(_ARGUMENTS), "--", *recipe.programs.init_command(rootfs.INIT)]
    os.execve(recipe.programs.bwrap_path(STAGE), command, {})


def _die_with(keeper: int) -> None:
    ns.prctl(ns.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(70)


def _leave_root(keeper: int, sync: socket.socket, role: owners.Role) -> None:
    """From root to the bottle's user, with the parent writing the maps that only it may write."""
    ns.unshare(ns.CLONE_NEWUSER | ns.CLONE_NEWNET)
    sync.send(b"u")
    if sync.recv(1) != b"m":
        raise BottleError("cannot set up the sandbox", why="the keeper did not map the bottle's user")
    owners.become(role)
    _die_with(keeper)  # a change of uid clears it


def _options(boot: Boot, recipe: Recipe) -> list[str]:
    # bwrap's own user namespace has one id; a build stays in the one it has. The filter keeps it from making another.
    users = [] if recipe.ids else ["--unshare-user", "--disable-userns", "--assert-userns-disabled"]
    options = [*users, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup", "--hostname", HOSTNAME,
               "--die-with-parent", "--as-pid-1", "--clearenv", "--cap-drop", "ALL", "--cap-add", "CAP_SETPCAP",
               "--chdir", "/", "--seccomp", str(_FILTER), "--json-status-fd", str(_STATUS)]  # fmt: skip
    staged = tuple(f"mount-{index}" for index in range(len(boot.mounts)))
    return options + rootfs.arguments(
        home="home", workspace="workspace", mounts=boot.mounts, staged=staged, tmp_size=recipe.bounds.tmp,
        system=recipe.pile.system(),
    )  # fmt: skip


def stop(sandbox: Sandbox) -> None:
    """Kill the first process, and with it everything inside. Does not wait."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(sandbox.first_pidfd, signal.SIGKILL)


def collect(sandbox: Sandbox) -> None:
    """After `stop`: wait until the first process and bwrap are gone, and let go of every handle."""
    while not select.select([sandbox.first_pidfd], [], [], STRAY_SECONDS)[0]:
        _reap_strays()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(sandbox.holder, 0)
    for descriptor in (sandbox.first_pidfd, sandbox.holder_pidfd, sandbox.pts, sandbox.lifeline):
        os.close(descriptor)


def _reap_strays() -> None:
    """Collect dead children of ours that lived in another process namespace. The first process waits for each of them,
    and one whose start was cut short (out of memory) is known to nobody."""
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with contextlib.suppress(OSError, KeyError):
            facts = _facts(int(child))
            if facts["State"].startswith("Z") and len(facts["NSpid"].split()) > 1:
                os.waitpid(int(child), os.WNOHANG)
