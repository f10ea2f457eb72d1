"""The words of a container as a request to the engine itself, which the docker client would make of them.

A client takes 25 ms of every start. The words of `argv` remain the only description of a container: a table here says
where in the request each option belongs, and for words that are not in it there is no request, so that the client is
asked. The tests have the engine make both and compare all it says of them. Reads the seccomp profile, and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_bottle.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Body = dict[str, Any]

_SIZE = regex(r"([0-9]+)([bkmg]?)")
_SHIFTS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}
_SECCOMP = "seccomp="


def body(words: Sequence[str]) -> tuple[str, Body] | None:
    """(the container's name, the body of POST /containers/create) for the words of a detached `run`; None where the client
    must be asked. What `--detach`, `--pull=never` and `--cidfile` say is up to the caller."""
    if list(words[:2]) != ["run", "--detach"] or "--" not in words:
        return None
    at = list(words).index("--")
    image, *command = words[at + 1 :]
    made: Body = {"Image": image, "Cmd": command, "HostConfig": {"RestartPolicy": {"Name": "no"}}}
    names: list[str] = []
    try:
        for word in words[2:at]:
            option, equals, value = word.partition("=")
            if option == "--name":
                names.append(value)
            elif word in _SWITCHES:
                where, what = _SWITCHES[word]
                _put(made, where, what)
            elif equals and option in _VALUES:
                where, read = _VALUES[option]
                _put(made, where, read(value))
            elif not (equals and option == "--cidfile") and word != "--pull=never":
                return None
    except (ValueError, OSError):
        return None  # the client says what is wrong with it
    return (names[0], made) if len(names) == 1 else None


def _put(made: Body, where: str, value: Any) -> None:
    """Lists and dictionaries grow, everything else is said once. `where` is Key or HostConfig.Key."""
    *outer, key = where.split(".")
    place = made[outer[0]] if outer else made
    if isinstance(value, list):
        place.setdefault(key, []).extend(value)
    elif isinstance(value, dict):
        place.setdefault(key, {}).update(value)
    elif place.setdefault(key, value) != value:
        raise ValueError(f"{where} is said twice")


def _one(value: str) -> list[str]:
    return [value]


def _pair(separator: str) -> Callable[[str], dict[str, str]]:
    def read(value: str) -> dict[str, str]:
        name, found, rest = value.partition(separator)
        if not found:
            raise ValueError(value)
        return {name: rest}

    return read


def _capability(value: str) -> list[str]:
    return [value if value == "ALL" else f"CAP_{value}"]


def _bytes(value: str) -> int:
    number = _SIZE.fullmatch(value)
    if number is None:
        raise ValueError(value)
    return int(number[1]) << _SHIFTS[number[2]]


def _nanoseconds(value: str) -> int:
    """Of processors, exactly: 1.5 is 1500000000."""
    whole, _, part = value.partition(".")
    return int(whole) * 10**9 + (int(part.ljust(9, "0")) if part else 0)


def _core(value: str) -> list[Body]:
    name, _, bounds = value.partition("=")
    soft, _, hard = bounds.partition(":")
    return [{"Name": name, "Soft": int(soft), "Hard": int(hard)}]


def _security(value: str) -> list[str]:
    """A profile is a file for the client, and its content for the engine."""
    if value.startswith(_SECCOMP) and (path := value.removeprefix(_SECCOMP)) != "unconfined":
        return [_SECCOMP + Path(path).read_text()]
    return [value]


def _mount(value: str) -> list[Body]:
    """A `--mount`, of the fields that `argv` uses."""
    made: Body = {}
    for field in _fields(value):
        name, _, said = field.partition("=")
        if name not in _FIELDS:
            raise ValueError(field)
        where, read = _FIELDS[name]
        outer, _, key = where.rpartition(".")
        place = made.setdefault(outer, {}) if outer else made
        found = read(said)
        if isinstance(found, dict):
            place.setdefault(key, {}).update(found)
        else:
            place[key] = found
    return [made]


def _fields(line: str) -> list[str]:
    """Of one line of CSV. Without a quote in it that is what lies between its commas."""
    if '"' not in line:
        return line.split(",")
    import csv

    (fields,) = csv.reader([line], strict=True)
    return fields


def _yes(value: str) -> bool:
    if value:
        raise ValueError(value)
    return True


_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "type": ("Type", str),
    "source": ("Source", str),
    "target": ("Target", str),
    "readonly": ("ReadOnly", _yes),
    "bind-propagation": ("BindOptions.Propagation", str),
    "bind-nonrecursive": ("BindOptions.NonRecursive", _yes),
    "volume-nocopy": ("VolumeOptions.NoCopy", _yes),
    "volume-label": ("VolumeOptions.Labels", _pair("=")),
}
_SWITCHES: dict[str, tuple[str, Any]] = {
    "--rm": ("HostConfig.AutoRemove", True),
    "--read-only": ("HostConfig.ReadonlyRootfs", True),
    "--init=false": ("HostConfig.Init", False),
    "--no-healthcheck": ("Healthcheck", {"Test": ["NONE"]}),
}
_VALUES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "--hostname": ("Hostname", str),
    "--user": ("User", str),
    "--workdir": ("WorkingDir", str),
    "--stop-signal": ("StopSignal", str),
    "--entrypoint": ("Entrypoint", _one),
    "--env": ("Env", _one),
    "--label": ("Labels", _pair("=")),
    "--network": ("HostConfig.NetworkMode", str),
    "--ipc": ("HostConfig.IpcMode", str),
    "--cgroupns": ("HostConfig.CgroupnsMode", str),
    "--dns": ("HostConfig.Dns", _one),
    "--dns-search": ("HostConfig.DnsSearch", _one),
    "--dns-option": ("HostConfig.DnsOptions", _one),
    "--add-host": ("HostConfig.ExtraHosts", _one),
    "--sysctl": ("HostConfig.Sysctls", _pair("=")),
    "--ulimit": ("HostConfig.Ulimits", _core),
    "--log-driver": ("HostConfig.LogConfig", lambda value: {"Type": value, "Config": {}}),
    "--cap-drop": ("HostConfig.CapDrop", _capability),
    "--cap-add": ("HostConfig.CapAdd", _capability),
    "--security-opt": ("HostConfig.SecurityOpt", _security),
    "--tmpfs": ("HostConfig.Tmpfs", _pair(":")),
    "--mount": ("HostConfig.Mounts", _mount),
    "--memory": ("HostConfig.Memory", _bytes),
    "--memory-swap": ("HostConfig.MemorySwap", _bytes),
    "--cpus": ("HostConfig.NanoCpus", _nanoseconds),
    "--cpu-shares": ("HostConfig.CpuShares", int),
    "--pids-limit": ("HostConfig.PidsLimit", int),
}
