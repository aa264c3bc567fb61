"""Pictures on the map core in RTL: each in one run, and once more pass by pass, every map of every
layer beside the golden model's."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.maps.layout.steps import Key
from dpnet.model.engine.maps.placement import Placement
from dpnet.model.maps.golden import compute
from dpnet.sim.board.bare_core import BareCore, Run
from dpnet.sim.kit.map_runs import MapRuns
from dpnet.sim.measure.networks.kept import Computed

__all__ = ["compute_in_rtl"]

Integers = NDArray[np.int64]
Step = Callable[[int, int], None]


class _Counting(MapRuns):
    """Runs that count the values that are read, and keep the cycles of whole pictures."""

    def __init__(self, core: BareCore, placed: Placement) -> None:
        super().__init__(core, placed)
        self.outputs = 0
        self.cycles: set[int] = set()

    def run(self, first: int, last: int, half: int, pictures: int = 1) -> Run:
        found = super().run(first, last, half, pictures)
        if (first, last) == (0, len(self.placed.plan.passes) - 1):
            self.cycles.add(found.cycles)
        return found

    def result(self, half: int, picture: int = 0) -> Integers:
        values = super().result(half, picture)
        self.outputs += values.size
        return values

    def map(self, key: Key, stage: int = 0) -> Integers:
        values = super().map(key, stage)
        self.outputs += values.size
        return values


def compute_in_rtl(
    program: Path, placed: Placement, pictures: Integers, found: Computed, on_step: Step
) -> None:
    """Compute `pictures` (n, C, H, W) from those on that `found` has already, in one half and the
    other; after each of them `found` is up to date, and `on_step` is called with the pictures that
    are done, and all."""
    if found.pictures >= len(pictures):
        return
    with BareCore(program) as core:
        runs = _Counting(core, placed)
        for n in range(found.pictures, len(pictures)):
            began = time.monotonic()
            _compute(runs, pictures[n], n % 2, found)
            found.seconds += time.monotonic() - began
            on_step(found.pictures, len(pictures))


def _compute(runs: _Counting, picture: Integers, half: int, found: Computed) -> None:
    tensors = compute(runs.placed.plan.network, picture[None])
    wanted = {name: values[0] for name, values in tensors.items()}
    before = runs.outputs
    differences = list(runs.differences(picture, wanted, half))
    found.outputs += runs.outputs - before
    found.mismatches += len(differences)
    if differences and not found.first:
        found.first = f"picture {found.pictures}: {differences[0]}"
    found.cycles = sorted({*found.cycles, *runs.cycles})
    found.pictures += 1
