"""The image a bottle is made from, its limits and its budget: judged, and in words.

A Dockerfile lies beside or below its manifest and is reached through no link; its content counts into the consent a
project's manifest needs, since building runs what it says. What a reference points to is the engine's business.
"""

from __future__ import annotations

import os
import re
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from claude_bottle.digests import sha256
from claude_bottle.errors import BottleError
from claude_bottle.manifest.bottle import Image, Limits
from claude_bottle.model.durations import seconds
from claude_bottle.patterns import regex
from claude_bottle.state.beneath import open_beneath
from claude_bottle.state.files import read_up_to

if TYPE_CHECKING:
    from claude_bottle.manifest.problems import Report
    from claude_bottle.manifest.shape import BudgetDoc, ImageDoc, LimitsDoc
    from claude_bottle.state.positions import Path

MAX_DOCKERFILE = 1 << 20
# As the reference grammar of the container engines, a little stricter: it can never be an option or a path.
_REFERENCE = regex(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,254}")
_SIZE = regex(r"([0-9]{1,15})([kmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
# Less than this no agent program starts in.
MIN_MEMORY, MIN_PIDS, MIN_DISK = 64 << 20, 16, 16 << 20
MAX_USD = 1_000_000
MAX_WALL = 30 * 86400


def image(doc: ImageDoc, path: Path, report: Report) -> Image | None:
    """The image of a bottle; None (and a problem) for what makes none."""
    if isinstance(doc.dockerfile, str) == isinstance(doc.from_, str):
        report.problem(path, "an image is either built or taken", '"dockerfile": …, or "from": …')
        return None
    if isinstance(doc.from_, str):
        if not _REFERENCE.fullmatch(doc.from_):
            report.problem((*path, "from"), "not the name of an image", "for example python:3.13-slim")
            return None
        return Image(base=doc.from_)
    try:
        digest = sha256(dockerfile(report.file.parent, str(doc.dockerfile))).hexdigest()
    except BottleError as problem:
        report.problem((*path, "dockerfile"), problem.why, "a file beside or below the manifest")
        return None
    return Image(str(doc.dockerfile), digest, network=doc.network, directory=report.file.parent)


def dockerfile(directory: FilePath, name: str) -> bytes:
    """The bytes of a Dockerfile below `directory`. BottleError when it cannot be read, or only through a link."""
    here = fd = -1
    try:
        here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fd = open_beneath(here, name)
        data = read_up_to(fd, MAX_DOCKERFILE)
        if len(data) > MAX_DOCKERFILE:
            raise ValueError(f"larger than {MAX_DOCKERFILE} bytes")
        data.decode("utf-8")
    except (OSError, ValueError, BottleError) as problem:
        why = problem.what if isinstance(problem, BottleError) else getattr(problem, "strerror", None) or str(problem)
        raise BottleError(f"cannot read the Dockerfile {name}", why=why) from problem
    finally:
        for opened in (fd, here):
            if opened >= 0:
                os.close(opened)
    return data


def limits(doc: LimitsDoc, path: Path, report: Report) -> Limits:
    """The limits of a bottle; what is wrong with one is a problem, and it counts as not said."""
    memory = pids = cpus = wall = disk = None
    if isinstance(doc.memory, str):
        memory = _size(doc.memory)
        if memory is None or memory < MIN_MEMORY:
            report.problem((*path, "memory"), "not a size of at least 64m", 'for example "4g"')
    if isinstance(doc.cpus, int | float):
        cpus = float(doc.cpus)
        if not 0.01 <= cpus <= 4096:
            report.problem((*path, "cpus"), "not a number of processors", "for example 2 or 0.5")
    if isinstance(doc.pids, int):
        pids = doc.pids
        if pids < MIN_PIDS:
            report.problem((*path, "pids"), f"fewer than {MIN_PIDS} processes let no agent start", "for example 512")
    if isinstance(doc.wall, str):
        wall = seconds(doc.wall)
        if wall is None or wall > MAX_WALL:
            report.problem((*path, "wall"), "not a duration of at most 30 days", "write it like 90s, 15m or 2h")
    if isinstance(doc.disk, str):
        disk = _size(doc.disk)
        if disk is None or disk < MIN_DISK:
            report.problem((*path, "disk"), "not a size of at least 16m", 'for example "10g"')
    return Limits(memory, cpus, pids, wall, disk)


def egress_bytes(doc: BudgetDoc, path: Path, report: Report) -> int | None:
    """How many bytes a bottle may send; None for no bound. What is no size is a problem."""
    if not isinstance(doc.egress_bytes, str):
        return None
    found = _size(doc.egress_bytes)
    if found is None:
        report.problem((*path, "egress_bytes"), "not a size", 'for example "50m"')
    return found


def usd(doc: BudgetDoc, path: Path, report: Report) -> float | None:
    """How many dollars a bottle may spend; None for no bound."""
    if not isinstance(doc.usd, int | float):
        return None
    if not 0 <= doc.usd <= MAX_USD:
        report.problem((*path, "usd"), "not a number of dollars", "for example 5 or 0.5")
    return float(doc.usd)


def budget_widening(old: int | None, new: int | None) -> list[str]:
    """Whether `new` lets a bottle send more than `old` did (None: without a bound), in words."""
    if old is None or (new is not None and new <= old):
        return []
    return ["send without a bound" if new is None else f"send {new} bytes in all, instead of {old}"]


def money_widening(old: float | None, new: float | None) -> list[str]:
    """The same of what it may spend."""
    if old is None or (new is not None and new <= old):
        return []
    return ["spend without a bound" if new is None else f"spend ${new:.2f} in all, instead of ${old:.2f}"]


def _size(text: str) -> int | None:
    match = _SIZE.fullmatch(text)
    return int(match[1]) * _UNITS[match[2].lower()] if match else None
