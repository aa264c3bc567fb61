"""The runs that a batch of pictures takes on a map engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpnet.host.maps.halves import HALVES

__all__ = ["Run", "flight_text"]


@dataclass
class Run:
    """Run `number` of a batch, of `count` pictures from `first` on: cycles by the formula, and as
    the engine counted them, 0 before."""

    number: int
    first: int
    count: int
    predicted: int
    cycles: int = 0

    @property
    def half(self) -> int:
        """Of the pictures that it reads, and of the results that it writes."""
        return self.number % HALVES

    @property
    def part(self) -> slice:
        """Its pictures among those of the batch."""
        return slice(self.first, self.first + self.count)

    @property
    def what(self) -> str:
        if self.count == 1:
            return f"picture {self.first}"
        return f"pictures {self.first} to {self.first + self.count - 1}"


def flight_text(runs: Sequence[Run]) -> str:
    """In which runs pictures were in flight, and what these took."""
    first, last = runs[0], runs[-1]
    took = f"{first.count} in flight in {first.cycles:,} cycles"
    if last.count < first.count:
        took += f", the last {last.count} in {last.cycles:,}"
    return took
