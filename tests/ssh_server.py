"""A real sshd on loopback, with an operator who may sign in to it: a home with known hosts and a key, and an agent.

It writes down the commands that it is asked for. Everything is thrown away with the test's directory.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.git_remote import CLEAN, HOST
from tests.waiting import eventually

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
needs_sshd = pytest.mark.skipif(SSHD is None, reason="no sshd is installed (openssh-server)")
USER = pwd.getpwuid(os.getuid()).pw_name


def key(path: Path) -> str:
    """A new key pair at `path`; its public half."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh is installed (openssh-client)")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.with_name(f"{path.name}.pub").read_text().strip()


def answers(path: Path) -> bool:
    """Whether somebody listens on a socket: it is there a moment before that."""
    with socket.socket(socket.AF_UNIX) as looking:
        return looking.connect_ex(str(path)) == 0


def locked() -> bool:
    """Whether our account is one that sshd lets nobody in to unless PAM says so: shadow(5), sshd(8)."""
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith(f"{USER}:!") for line in lines)


class SshServer:
    """`home` is the operator's; `environment` what their programs see."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self.place, self.home = place, place / "home"
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.host_key = key(place / "host_key")
        self.operators_key = self.home / ".ssh" / "deploy"
        (place / "authorized").write_text(key(self.operators_key) + "\n")
        self._asked = place / "asked"
        self._asked.touch()
        record = place / "record"
        record.write_text(f"""#!/bin/sh
echo "$SSH_ORIGINAL_COMMAND" >> {self._asked}
echo "$SSH_AUTH_SOCK" >> {place}/lent
exec sh -c "$SSH_ORIGINAL_COMMAND"
""")
        record.chmod(0o755)
        (self.home / ".ssh" / "config").write_text(f"Host {HOST}\n  HostName 127.0.0.1\n  Port {self.port}\n")
        self.knows(self.host_key)
        self._started: list[subprocess.Popen[bytes]] = []
        self._config(record)
        threading.Thread(target=self._serve, daemon=True).start()
        self.environment = {"HOME": str(self.home)}

    def knows(self, *keys: str) -> None:
        """What the operator takes the server's key to be."""
        lines = [f"[127.0.0.1]:{self.port} {one}\n" for one in keys]
        (self.home / ".ssh" / "known_hosts").write_text("".join(lines))

    def agent(self) -> None:
        """From now on the key is in an agent and nowhere else."""
        path = self.place / "agent"
        self._started.append(subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL))
        eventually(lambda: answers(path))
        self.environment["SSH_AUTH_SOCK"] = str(path)
        subprocess.run(["ssh-add", "-q", str(self.operators_key)], env=CLEAN | self.environment, check=True)
        self.operators_key.unlink()

    def asked(self) -> list[str]:
        """The commands that clients had run."""
        return self._asked.read_text().splitlines()

    def lent(self) -> list[str]:
        """Sockets of agents that clients lent it."""
        return [line for line in (self.place / "lent").read_text().splitlines() if line]

    def _config(self, record: Path) -> None:
        (self.place / "config").write_text(f"""
HostKey {self.place}/host_key
AuthorizedKeysFile {self.place}/authorized
ForceCommand {record}
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM {'yes' if locked() else 'no'}
StrictModes no
PidFile none
AcceptEnv GIT_PROTOCOL
""")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # where it parts with its privileges

    def _serve(self) -> None:
        """A server for each connection: the port is ours all the while, and no other test's."""
        argv = [str(SSHD), "-i", "-e", "-f", str(self.place / "config")]
        with (self.place / "errors").open("ab") as errors:
            try:
                while True:
                    sock, _ = self._listener.accept()
                    with sock:
                        self._started.append(subprocess.Popen(argv, stdin=sock.fileno(), stdout=sock.fileno(), stderr=errors))
            except OSError:
                pass  # closed

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for process in self._started:
            process.terminate()
            process.wait()
