"""Carriers for the gate: it names a remote that speaks ssh, and gets a line to a fresh process that speaks to it.

The gate may have been taken over, so what it names must be what a rule of this bottle names: host, user, port, key. What
the operator's ssh knows (agent, keys, configuration, known hosts) is used where it lies and comes nowhere near the gate
or the bottle. May touch: processes through `proc`.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
from typing import TYPE_CHECKING, Any

from claude_bottle import proc
from claude_bottle.errors import BottleError
from claude_bottle.keeper import fresh_process
from claude_bottle.keeper.loop import READ
from claude_bottle.model.ssh_remote import PORT, SshRemote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claude_bottle.keeper.loop import Loop
    from claude_bottle.model.policy import Rule

MAX_RUNNING = 16
_START = fresh_process.program("carrier")
# Whatever the operator's configuration says: nobody is asked, nobody is believed, and nothing but git goes through.
_ALWAYS = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "VerifyHostKeyDNS=no", "ForwardAgent=no",
    "ForwardX11=no", "ClearAllForwardings=yes", "Tunnel=no", "PermitLocalCommand=no", "RemoteCommand=none", "RequestTTY=no",
    "ControlMaster=no", "ControlPath=none", "EscapeChar=none", "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no", "NoHostAuthenticationForLocalhost=no", "ConnectTimeout=30", "ServerAliveInterval=15",
    "ServerAliveCountMax=4", "SendEnv=GIT_PROTOCOL", "LogLevel=ERROR",
)  # fmt: skip
_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


class Carriers:
    """For the remotes that `rules` name."""

    def __init__(self, loop: Loop, rules: Iterable[Rule]) -> None:
        self._loop = loop
        self._rules = [rule for rule in rules if rule.git and rule.git.ssh and not rule.git.approved]
        self._running: dict[int, Any] = {}

    def start(self, wish: bytes) -> socket.socket:
        """The gate's end of the line to a new one. BottleError, OSError where there is none."""
        host, ssh, grants = self._named(wish)
        if len(self._running) >= MAX_RUNNING:
            raise BottleError("too many connections to remotes by ssh at once")
        program = proc.find("ssh")
        if program is None:
            raise BottleError("ssh is not installed on the host, so remotes that speak it cannot be reached")
        gates_end, its_end = socket.socketpair()
        try:
            self._start(its_end, command(program, host, ssh), ssh, grants)
        except BaseException:
            gates_end.close()
            raise
        finally:
            its_end.close()
        return gates_end

    def close(self) -> None:
        for pidfd in list(self._running):
            self._over(pidfd)

    def _named(self, wish: bytes) -> tuple[str, SshRemote, list[dict[str, object]]]:
        try:
            said = json.loads(wish)
            host, port, ssh = said["host"], said["port"], SshRemote.from_dict(said["ssh"])
        except (ValueError, TypeError, KeyError):
            raise BottleError("that is no remote") from None
        grants = [
            rule.git.to_dict() for rule in self._rules
            if rule.git and (rule.host, rule.port, rule.git.ssh) == (host, port, ssh)
        ]  # fmt: skip
        if not grants:
            raise BottleError("no rule that this bottle was started with names that remote")
        return host, ssh, grants

    def _start(self, line: socket.socket, argv: list[str], ssh: SshRemote, grants: list[dict[str, object]]) -> None:
        said = json.dumps({
            "line": line.fileno(), "argv": argv, "grants": grants, "directory": ssh.directory,
            "readable": [*_homes(), *([os.path.expanduser(ssh.key)] if ssh.key else [])],
        })  # fmt: skip
        kept = {name: os.environ[name] for name in ("HOME", "SSH_AUTH_SOCK") if name in os.environ}
        process = fresh_process.start(_START, said, [line.fileno()], {"PATH": os.defpath, "LC_ALL": "C", **kept})
        pidfd = os.pidfd_open(process.pid)
        self._running[pidfd] = process
        self._loop.watch(pidfd, READ, lambda _ready: self._over(pidfd))

    def _over(self, pidfd: int) -> None:
        process = self._running.pop(pidfd)
        fresh_process.kill(process)
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        process.wait()


def command(program: str, host: str, ssh: SshRemote) -> list[str]:
    """The ssh that reaches the remote, but for what it is to run there. ssh itself goes by the user database for where
    home is; everything else of ours goes by HOME."""
    options = [f"-o{one}" for one in _ALWAYS]
    home = os.environ.get("HOME", "")
    if home and os.path.realpath(home) != os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir):
        config = os.path.join(home, ".ssh", "config")
        options += ["-F", config if os.path.exists(config) else "none"]
        options += [f"-oUserKnownHostsFile={home}/.ssh/known_hosts"]
        options += [] if ssh.key else [f"-oIdentityFile={home}/.ssh/{name}" for name in _KEYS]
    if ssh.key:
        # Not -i, which passes over a file that is not there, so that the usual keys would count.
        options += [f"-oIdentityFile={os.path.expanduser(ssh.key)}", "-oIdentitiesOnly=yes"]
    if ssh.port != PORT:
        options += ["-p", str(ssh.port)]
    return [program, "-T", *options, "-l", ssh.user, "--", host]


def _homes() -> list[str]:
    """Where the operator's ssh keeps what it knows."""
    homes = {pwd.getpwuid(os.getuid()).pw_dir, os.environ.get("HOME", "")} - {""}
    return [os.path.join(home, ".ssh") for home in sorted(homes)]
