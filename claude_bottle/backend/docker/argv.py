"""The words that make a bottle's container: pure, so that they can be compared, printed and tested without an engine.

Every value stands in one word together with its option (`--name=VALUE`), so none is ever taken for an option; what is
a path goes through CSV as the engine reads it. The image's own settings (user, entry point, variables, health check,
working directory) are all overridden. Nothing secret is ever in a word.
"""

from __future__ import annotations

import re

from claude_bottle.backend.base import HOSTNAME
from claude_bottle.errors import BottleError, Refused
from claude_bottle.harness.base import HOME, WORKSPACE
from claude_bottle.model.plan import Limit, Mount
from claude_bottle.patterns import regex
from claude_bottle.values import dataclass

# Imported, not run as a script: so Python compiles it once, when the image is made, and not at every start.
_FIRST = "import sys; sys.path.insert(0, '/opt/claude-bottle'); import {0}; {0}.main()"
INIT, RELAY = _FIRST.format("init"), _FIRST.format("relay")
RUN_DIR = "/run/bottle"
# What its first process needs for its first moment, in its own namespaces only; then it has none.
FIRST_MOMENT = ("NET_ADMIN", "SETPCAP", "SETUID", "SETGID", "CHOWN")
_TMPFS = (("/tmp", "1777", "exec,"), ("/var/tmp", "1777", "exec,"), ("/run", "0755", ""), ("/etc/ssl/certs", "0755", ""))
# Variables by which an image or the client's own settings could reach into the first process.
CLEARED = ("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", *(
    f"{kind}_{what}" for kind in ("HTTP", "HTTPS", "FTP", "NO", "ALL", "http", "https", "ftp", "no", "all")
    for what in ("PROXY" if kind.isupper() else "proxy",)))  # fmt: skip
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_AMOUNT = regex(r"[0-9]{1,15}(?:\.[0-9]{1,3})?[bkmg]?")


@dataclass(frozen=True)
class Container:
    """Everything about one container. `labels` are on the container and its volumes; `workspace` is the host directory
    bound to /workspace, None for a volume; `files` are host files shown read-only (path, target); `volumes` are the
    directories that the image declares as volumes; `meeting` is the mount in which it meets a gate in a container of its
    own, at RUN_DIR ("": the gate is on this host). `covered`: /workspace
    is an empty place, which the keeper covers once it is up (see `graft`)."""

    name: str
    labels: tuple[tuple[str, str], ...]
    image: str
    run_dir: str
    cid_file: str
    seccomp: str
    mounts: tuple[Mount, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    limits: tuple[Limit, ...] = ()
    workspace: str | None = None
    volumes: tuple[str, ...] = ()
    tmp_bytes: int = 256 << 20
    meeting: str = ""
    covered: bool = False

    @property
    def private(self) -> bool:
        """Whether /workspace is a volume."""
        return self.workspace is None and not self.covered

    @property
    def others(self) -> tuple[str, ...]:
        """Where it has further volumes: those that its image declares where nothing of ours lies."""
        ours = {HOME, WORKSPACE, RUN_DIR, *(target for target, _, _ in _TMPFS), *(mount.target for mount in self.mounts)}
        return tuple(target for target in self.volumes if target not in ours)


def run(container: Container) -> list[str]:
    """Arguments that start it, detached; the engine removes it once it has ended, its named volumes stay. With a `meeting`
    it is run attached to stdin and stdout, and stays until it is removed."""
    apart = bool(container.meeting)
    words = ["run", "--interactive", "--sig-proxy=false"] if apart else ["run", "--detach", "--rm"]
    words += [f"--name={container.name}", f"--cidfile={container.cid_file}"]
    words += [f"--hostname={HOSTNAME}", "--network=none", "--dns=127.0.0.1", "--dns-search=.",
              "--dns-option=timeout:2", "--dns-option=attempts:2", f"--add-host={HOSTNAME}:127.0.0.1",
              "--sysctl=net.ipv4.ip_unprivileged_port_start=0",
              # 1, not 0: only this keeps the kernel from handing a hostile core dump to a program of the host (core(5)).
              "--ulimit=core=1:1",
              "--user=0:0", "--workdir=/", "--init=false", "--no-healthcheck", "--stop-signal=SIGTERM",
              "--entrypoint=python3", "--pull=never", "--log-driver=none"]  # fmt: skip
    words += ["--cap-drop=ALL", *(f"--cap-add={name}" for name in FIRST_MOMENT), "--security-opt=no-new-privileges",
              f"--security-opt=seccomp={container.seccomp}", "--read-only", "--ipc=private", "--cgroupns=private"]
    words += [f"--env=PATH={SYSTEM_PATH}", *(f"--env={name}=" for name in CLEARED)]
    words += [f"--label={name}={value}" for name, value in container.labels]
    words += [word for limit in container.limits for word in limit_words(limit)]
    for target, mode, extra in _TMPFS:
        words.append(f"--tmpfs={target}:rw,{extra}nosuid,nodev,mode={mode},size={container.tmp_bytes}")
    if container.covered:
        words.append(f"--tmpfs={WORKSPACE}:ro,nosuid,nodev,mode=0555,size=4096")
    words += [f"--mount={value}" for value in _mounts(container)]
    return [*words, "--", check_image(container.image), "-I", "-S", "-c", RELAY if apart else INIT]


def _mounts(container: Container) -> list[str]:
    values = [container.meeting or _bind(container.run_dir, RUN_DIR, "ro")]
    values.append(_volume(f"{container.name}-home", HOME, container.labels))
    if container.private:
        values.append(_volume(f"{container.name}-work", WORKSPACE, container.labels))
    elif container.workspace is not None:
        values.append(_bind(container.workspace, WORKSPACE, "rw"))
    values += [_bind(source, target, "ro") for source, target in container.files]
    values += [_bind(mount.source, mount.target, mount.mode) for mount in container.mounts]
    # An engine would make these without a label, and a crash would leave what nobody knows the owner of.
    return values + [_volume("", target, container.labels) for target in container.others]


def _volume(name: str, target: str, labels: tuple[tuple[str, str], ...]) -> str:
    """A named volume begins empty and outlives its container, a nameless one is the image's and does not."""
    fields = ["type=volume", *([f"source={name}", "volume-nocopy"] if name else []), f"target={target}"]
    return csv([*fields, *(f"volume-label={key}={value}" for key, value in labels)])


def _bind(source: str, target: str, mode: str) -> str:
    # What is mounted below a read-only source would stay writable in engines before 25, so it is not shown.
    extra = [] if mode == "rw" else ["readonly", "bind-nonrecursive"]
    return csv(["type=bind", f"source={source}", f"target={target}", "bind-propagation=rprivate", *extra])


def csv(fields: list[str]) -> str:
    """One line of CSV (RFC 4180), as `--mount` is read. Refused for what it cannot carry."""
    for field in fields:
        if any(ord(character) < 32 or ord(character) == 127 for character in field):
            raise Refused("cannot show a path with control characters in a bottle", why=repr(field))
    return ",".join('"' + field.replace('"', '""') + '"' if set(field) & set(',"') else field for field in fields)


def limit_words(limit: Limit) -> list[str]:
    """The options that enforce one limit of the plan; none for one that is not enforced."""
    if not limit.enforced or limit.kept_here:
        return []
    if not _AMOUNT.fullmatch(limit.value):
        raise BottleError(f"cannot limit {limit.name} to {limit.value}", do="write a number, as in 512 or 1.5 or 4g")
    value = limit.value
    if limit.name == "memory":
        return [f"--memory={value}", f"--memory-swap={value}"]  # both: no swap
    return {"cpus": [f"--cpus={value}", "--cpu-shares=1024"], "pids": [f"--pids-limit={value}"]}.get(limit.name, [])


def check_image(image: str) -> str:
    """An image's id or name, which no client can take for anything else; BottleError if it is none."""
    if re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,254}", image):
        return image
    raise BottleError(f"not an image: {image!r}")
