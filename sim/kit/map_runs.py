"""Networks on a map core as compiled RTL: stores loaded, pictures computed, every value compared.

The core is `dpnet.gateware.maps.core.MapCore` behind `dpnet.sim.board.bare_core`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.maps.layout.steps import Key
from dpnet.model.engine.maps.parameters import START_CYCLES
from dpnet.model.engine.maps.placement import Placement
from dpnet.model.engine.regions import Region
from dpnet.model.engine.stores import HALVES, copy_words, half_words
from dpnet.sim.board.bare_core import BareCore, Run

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """What is not as it must be; `where`, a tensor's form or a run."""

    where: str
    wanted: int
    found: int


class MapRuns:
    """A network's words in a core; `run` and what it left."""

    def __init__(self, core: BareCore, placed: Placement) -> None:
        self.core, self.placed = core, placed
        self._passes = len(placed.plan.passes)
        for region, words in placed.words.items():
            core.write(region.base, words)

    def write_picture(self, picture: Integers, half: int, stage: int = 0) -> None:
        """A picture (C, H, W) into a half; in flight, into a stage's copy alone."""
        region = Region.VECTOR
        first = half * half_words(self.placed.params)[region] + self._copy(region, stage)
        self.core.write(region.base + 4 * first, self.placed.picture_words(picture))

    def run(self, first: int, last: int, half: int, pictures: int = 1) -> Run:
        """Passes `first` to `last`; ends at the latest after twice the cycles that all take."""
        limit = 2 * self.placed.plan.cycles + 10_000
        return self.core.run(first, last, half + 1 + HALVES * (pictures - 1), limit=limit)

    def result(self, half: int, picture: int = 0) -> Integers:
        """The result (C, H, W) of a picture of the run in a half."""
        first = half * half_words(self.placed.params)[Region.RESULT]
        words = self.core.read(Region.RESULT.base + 4 * first, self.placed.result_words)
        return self.placed.results(words, picture)

    def map(self, key: Key, stage: int = 0) -> Integers:
        """A tensor (C, H, W) in one of its forms, as a stage's banks have it now."""
        placed, copy = self.placed, self._copy(Region.MAPS, stage)
        first, end = placed.map_range(key)
        words = np.zeros(placed.map_words, np.uint32)
        words[first:end] = self.core.read(Region.MAPS.base + 4 * (copy + first), end - first)
        return placed.map(key, words)

    def differences(
        self, picture: Integers, wanted: Mapping[str, Integers], half: int = 0
    ) -> Iterator[Difference]:
        """A picture computed in one run, and pass by pass: its result, every tensor (`wanted`, by
        name) in each form after the last pass that writes it, the cycles of all runs, errors."""
        yield from self.in_flight([picture], [wanted], half)

    def in_flight(
        self, pictures: Sequence[Integers], wanted: Sequence[Mapping[str, Integers]], half: int
    ) -> Iterator[Difference]:
        """The same of pictures in one run, where the network was placed for them."""
        for stage, picture in enumerate(pictures):
            self.write_picture(picture, half, stage)
        plan, count = self.placed.plan, len(pictures)
        cycles = plan.cycles_of(count)
        yield from self._run("all passes", 0, self._passes - 1, half, count, cycles)
        for n, tensors in enumerate(wanted):
            where = f"the result of picture {n}"
            yield from _compared(where, tensors[plan.network.output], self.result(half, n))
        yield from self._by_pass(wanted, half)

    def _by_pass(self, wanted: Sequence[Mapping[str, Integers]], half: int) -> Iterator[Difference]:
        """A run for each pass, of the pictures that are there."""
        plan, count = self.placed.plan, len(wanted)
        lasts = {one.write: n for n, one in enumerate(plan.passes)}
        for n, one in enumerate(plan.passes):
            cycles = START_CYCLES + one.wait + one.schedule.written - plan.fewer(count)
            yield from self._run(f"pass {n}", n, n, half, count, cycles)
            if lasts[one.write] == n and one.write in self.placed.bases:
                for stage, tensors in enumerate(wanted):
                    where = f"{one.write[0]} in form {one.write[1]} of picture {stage}"
                    yield from _compared(where, tensors[one.write[0]], self.map(one.write, stage))

    def _run(
        self, what: str, first: int, last: int, half: int, pictures: int, cycles: int
    ) -> Iterator[Difference]:
        run = self.run(first, last, half, pictures)
        found = {"end": (1, run.ended), "errors": (0, run.errors), "cycles": (cycles, run.cycles)}
        for name, (wanted, got) in found.items():
            if wanted != got:
                yield Difference(f"{name} of {what}", wanted, got)

    def _copy(self, region: Region, stage: int) -> int:
        """Words from the base of a region to a stage's copy of it, or to that of all of them."""
        plan = self.placed.plan
        return (stage + 1) * copy_words(plan.params)[region] if plan.apart else 0


def _compared(where: str, wanted: Integers, found: Integers) -> Iterator[Difference]:
    for place in np.argwhere(wanted != found)[:4]:
        at = tuple(place.tolist())
        yield Difference(f"{where} at {at}", int(wanted[at]), int(found[at]))
