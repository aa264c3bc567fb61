"""Networks on a map core as compiled RTL: stores loaded, pictures computed, every value compared.

The core is `dpnet.gateware.maps.core.MapCore` behind `dpnet.sim.board.bare_core`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.maps.layout.steps import Key
from dpnet.model.engine.maps.parameters import START_CYCLES
from dpnet.model.engine.maps.placement import Placement
from dpnet.model.engine.regions import Region
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

    def write_picture(self, picture: Integers, half: int) -> None:
        """A picture (C, H, W) into a half."""
        first = half * self._half_words(self.placed.params.picture_depth)
        self.core.write(Region.VECTOR.base + 4 * first, self.placed.picture_words(picture))

    def run(self, first: int, last: int, half: int) -> Run:
        """Passes `first` to `last`; ends at the latest after twice the cycles that all take."""
        limit = 2 * self.placed.plan.cycles + 10_000
        return self.core.run(first, last, half + 1, limit=limit)

    def result(self, half: int) -> Integers:
        """The result (C, H, W) in a half."""
        first = half * self._half_words(self.placed.params.result_depth)
        words = self.core.read(Region.RESULT.base + 4 * first, self.placed.result_words)
        return self.placed.results(words)

    def map(self, key: Key) -> Integers:
        """A tensor (C, H, W) in one of its forms, as the banks have it now."""
        placed = self.placed
        first, end = placed.map_range(key)
        words = np.zeros(placed.map_words, np.uint32)
        words[first:end] = self.core.read(Region.MAPS.base + 4 * first, end - first)
        return placed.map(key, words)

    def differences(
        self, picture: Integers, wanted: Mapping[str, Integers], half: int = 0
    ) -> Iterator[Difference]:
        """A picture computed in one run, and pass by pass: its result, every tensor (`wanted`, by
        name) in each form after the last pass that writes it, the cycles of all runs, errors."""
        self.write_picture(picture, half)
        plan = self.placed.plan
        yield from self._run("all passes", 0, self._passes - 1, half, plan.cycles)
        output = plan.network.output
        yield from _compared("the result", wanted[output], self.result(half))
        yield from self.by_pass(wanted, half)

    def by_pass(self, wanted: Mapping[str, Integers], half: int) -> Iterator[Difference]:
        """A run for each pass, of the picture that is there."""
        passes = self.placed.plan.passes
        lasts = {one.write: n for n, one in enumerate(passes)}
        for n, one in enumerate(passes):
            cycles = START_CYCLES + one.wait + one.schedule.written
            yield from self._run(f"pass {n}", n, n, half, cycles)
            if lasts[one.write] == n and one.write in self.placed.bases:
                where = f"{one.write[0]} in form {one.write[1]}"
                yield from _compared(where, wanted[one.write[0]], self.map(one.write))

    def _run(
        self, what: str, first: int, last: int, half: int, cycles: int
    ) -> Iterator[Difference]:
        run = self.run(first, last, half)
        found = {"end": (1, run.ended), "errors": (0, run.errors), "cycles": (cycles, run.cycles)}
        for name, (wanted, got) in found.items():
            if wanted != got:
                yield Difference(f"{name} of {what}", wanted, got)

    def _half_words(self, depth: int) -> int:
        """Words of a region in a half of banks of `depth` bytes."""
        return depth // 8 << self.placed.params.cluster_bits


def _compared(where: str, wanted: Integers, found: Integers) -> Iterator[Difference]:
    for place in np.argwhere(wanted != found)[:4]:
        at = tuple(place.tolist())
        yield Difference(f"{where} at {at}", int(wanted[at]), int(found[at]))
