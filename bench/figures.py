"""What a measurement is, and how it is shown: figures as they were taken, and ratios with the goal they are held to."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """Repeated measurements of one thing. `more` is anything worth knowing beside it, by short name."""

    what: str
    values: tuple[float, ...]
    unit: str
    more: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Ratio:
    """`value` is held to `goal`: at most it, or at least it. `beside` says of what to what."""

    what: str
    value: float
    goal: float
    at_most: bool = True
    unit: str = "×"

    @property
    def reached(self) -> bool:
        return self.value <= self.goal if self.at_most else self.value >= self.goal


@dataclass
class Report:
    """What a run found. `missing` are peers that were not measured, with how to get them."""

    sections: dict[str, list[Figure]] = field(default_factory=dict)
    ratios: list[Ratio] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def compare(self, what: str, ours: Figure, theirs: Figure, goal: float, *, at_most: bool = True) -> None:
        self.ratios.append(Ratio(what, ours.median / theirs.median, goal, at_most))

    def text(self) -> str:
        lines = [_machine()]
        for title, figures in self.sections.items():
            lines += ["", f"{title:54}{'median':>10}{'min':>10}"]
            for one in figures:
                more = "  ".join(f"{name} {value:.4g}" for name, value in one.more.items())
                lines.append(f"  {one.what:52}{one.median:10.4g}{min(one.values):10.4g} {one.unit:5}  {more}".rstrip())
        lines += ["", f"{'goals':54}{'reached':>10}{'goal':>10}"]
        for ratio in self.ratios:
            goal = f"{'≤' if ratio.at_most else '≥'} {ratio.goal:g}"
            lines.append(f"  {ratio.what:52}{ratio.value:10.2f}{goal:>10} {ratio.unit:5}  {'yes' if ratio.reached else 'NO'}")
        lines += [f"not measured: {line}" for line in self.missing]
        return "\n".join(lines)

    def write(self, file: Path) -> None:
        sections = {title: [asdict(one) for one in figures] for title, figures in self.sections.items()}
        ratios = [asdict(one) | {"reached": one.reached} for one in self.ratios]
        found = {"machine": _machine(), "sections": sections, "ratios": ratios, "missing": self.missing}
        file.write_text(json.dumps(found, indent=2) + "\n")


def figure(what: str, values: Sequence[float], unit: str, **more: float) -> Figure:
    return Figure(what, tuple(values), unit, more)


def _machine() -> str:
    load = os.getloadavg()[0]
    return (f"{os.cpu_count()} CPUs, load {load:.1f}, {platform.system()} {platform.release()}, "
            f"Python {platform.python_version()}, {'root' if os.geteuid() == 0 else 'ordinary user'}")  # fmt: skip
