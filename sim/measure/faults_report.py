"""What a campaign of faults counts, and how it is shown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dpnet.host.report import table
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.files import write_json
from dpnet.sim.board.bare_core import Place


@dataclass(frozen=True)
class Kind:
    """Places whose names match `pattern`: what lies there.  `changed`: of a memory, the word that
    was written just then; `fp32`: only engines that take fp32 vectors have it; `lockstep`: only
    engines in lockstep check it; `times`: so many injections where other kinds get one."""

    name: str
    group: str
    pattern: str
    changed: bool = False
    fp32: bool = False
    lockstep: bool = False
    times: int = 1

    def is_checked(self, engine: EngineParameters) -> bool:
        """Whether no fault of this kind may go unnoticed in `engine`."""
        return engine.lockstep or not self.lockstep


def short(place: Place) -> str:
    """A place's name inside the core."""
    return place.name.split(".", 2)[-1]


@dataclass
class Count:
    """Injections of one kind in one engine."""

    engine: str
    kind: Kind
    checked: bool = True
    places: int = 0
    injected: int = 0
    detected: int = 0
    harmless: int = 0
    silent: int = 0
    by: Counter[str] = field(default_factory=Counter)
    silent_places: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: str, seen: Sequence[str], place: Place) -> None:
        self.injected += 1
        setattr(self, outcome, getattr(self, outcome) + 1)
        self.by.update(seen)
        if outcome == "silent":
            self.silent_places[re.sub(r"\d+", "N", short(place))] += 1

    def report(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "kind": self.kind.name,
            "group": self.kind.group,
            "checked": self.checked,
            "places": self.places,
            "injected": self.injected,
            "detected": self.detected,
            "harmless": self.harmless,
            "silent": self.silent,
            "by": dict(self.by),
            "silent_places": dict(self.silent_places),
        }


@dataclass
class Part:
    """What is counted in some of the engines."""

    counts: list[Count] = field(default_factory=list)
    cycles: int = 0
    alarms: int = 0

    def failures(self) -> int:
        """False alarms, and what is silent although it is checked."""
        return self.alarms + sum(count.silent for count in self.counts if count.checked)

    def sums(self) -> dict[str, int]:
        sums = {
            what: sum(getattr(count, what) for count in self.counts)
            for what in ("injected", "detected", "harmless", "silent")
        }
        return {**sums, "false_alarms": self.alarms, "fault_free_cycles": self.cycles}

    def silent_by_kind(self) -> dict[str, int]:
        """Of the kinds that are not checked."""
        silent: Counter[str] = Counter()
        for count in self.counts:
            if not count.checked:
                silent[count.kind.name] += count.silent
        return dict(silent)

    def show(self) -> str:
        lines = [
            [
                c.engine,
                c.kind.name,
                "yes" if c.checked else "NO",
                f"{c.injected:,}",
                f"{c.detected:,}",
                f"{c.harmless:,}",
                f"{c.silent:,}",
                ", ".join(f"{name} {n}" for name, n in c.by.most_common()),
            ]
            for c in self.counts
        ]
        heads = ["engine", "kind", "checked", "injected", "detected", "harmless", "silent", "by"]
        sums = self.sums()
        return table(heads, lines) + (
            f"\n{sums['silent']:,} of {sums['injected']:,} silent; {self.alarms} false alarms in "
            f"{self.cycles:,} cycles without faults"
        )


@dataclass
class Tally:
    """What the report holds; written anew after each step."""

    seed: int
    command: str
    complete: Part = field(default_factory=Part)
    without: Part = field(default_factory=Part)
    seconds: float = 0.0

    def part(self, engine: EngineParameters) -> Part:
        """Where an engine counts."""
        return self.complete if engine.lockstep else self.without

    def failures(self) -> int:
        return self.complete.failures() + self.without.failures()

    def report(self) -> dict[str, Any]:
        return {
            **self.complete.sums(),
            "kinds": [count.report() for count in self.complete.counts],
            "without_lockstep": {
                **self.without.sums(),
                "silent_by_kind": self.without.silent_by_kind(),
                "silent_where_checked": sum(c.silent for c in self.without.counts if c.checked),
                "kinds": [count.report() for count in self.without.counts],
            },
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "command": self.command,
        }

    def write(self, path: Path, made_of: Mapping[str, str] = MappingProxyType({})) -> None:
        """The file for machines, whole or not at all; with its sources if it is complete."""
        write_json(path, {**self.report(), **made_of}, indent=1)

    def show(self) -> str:
        parts = []
        if self.complete.counts:
            parts.append(f"Engines with all checks (lockstep)\n{self.complete.show()}")
        if self.without.counts:
            missed = ", ".join(
                f"{name} ({n:,} silent)" for name, n in self.without.silent_by_kind().items()
            )
            parts.append(
                f"Engines built without lockstep\n{self.without.show()}\n"
                f"Nothing checks there: {missed}"
            )
        return "\n\n".join(parts)
