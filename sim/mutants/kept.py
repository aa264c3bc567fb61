"""What is known of a block's mutants, kept after every step by all that it depends on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dpnet.model.files import write_json

__all__ = ["KILLED", "SURVIVED", "Mutants"]

KILLED = "killed"
SURVIVED = ("different", "undecided")
"""Verdicts of mutants that count as survivors; the others are `killed` and `equivalent`."""


@dataclass
class Mutants:
    """The mutants of a block, in order, and by number, from 1, the verdicts that there are; those
    that survived the bench at its `usual` length, and of these those that did at its `full` one."""

    name: str
    path: Path
    mutants: Sequence[str]
    verdicts: dict[int, str] = field(default_factory=dict)
    usual: list[int] = field(default_factory=list)
    full: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, folder: Path, key: str, mutants: Sequence[str]) -> Mutants:
        """What was kept under this key, or nothing yet."""
        path = folder / f"{name}-{key}.json"
        if not path.exists():
            return cls(name, path, mutants)
        found: dict[str, Any] = json.loads(path.read_text())
        verdicts = {int(number): verdict for number, verdict in found["verdicts"].items()}
        return cls(name, path, mutants, verdicts, found["usual"], found["full"])

    def save(self) -> None:
        """Write it, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = asdict(self)
        write_json(self.path, {k: state[k] for k in ("verdicts", "usual", "full")}, indent=None)

    def without(self, among: Sequence[int]) -> list[int]:
        """Those of the numbers `among` that have no verdict."""
        return [number for number in among if number not in self.verdicts]

    @property
    def all(self) -> range:
        return range(1, len(self.mutants) + 1)

    @property
    def complete(self) -> bool:
        return not self.without(self.all)

    def count(self, *verdicts: str) -> int:
        return sum(verdict in verdicts for verdict in self.verdicts.values())

    @property
    def score(self) -> float:
        """The part, 0 to 1, of all that are not equivalent that is killed."""
        killed, survived = self.count(KILLED), self.count(*SURVIVED)
        return killed / (killed + survived) if killed + survived else 1.0

    def row(self) -> dict[str, Any]:
        """For machines; of a survivor its mutation as Yosys takes it, with lines of the netlist."""
        return {
            "name": self.name,
            "mutants": len(self.verdicts),
            "equivalent": self.count("equivalent"),
            "killed": self.count(KILLED),
            "killed_at_full_length": sum(self.verdicts.get(n) == KILLED for n in self.usual),
            "survived": self.count(*SURVIVED),
            "score": round(self.score, 6),
            "survivors": [
                {"mutation": self.mutants[number - 1], "verdict": self.verdicts[number]}
                for number in self.all
                if self.verdicts.get(number) in SURVIVED
            ],
        }
