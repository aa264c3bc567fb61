"""Long rows some of whose values are equal: as they come, or merged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.grids.places import HEAVY
from dpnet.model.quantizer.kernels.points import merge, repeated

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def merged(ordered: Floats, weights: Floats) -> tuple[Floats, Floats, Ints]:
    """Points, their weights, and how many values each ends: see `merge`."""
    n = len(ordered)
    points, heavy, ends = np.empty(n), np.empty(n), np.empty(n + 1, np.int64)
    m = merge(ordered, weights, points, heavy, ends)
    return points[:m], heavy[:m], ends


@compiled
def among_distinct(ordered: Floats, places: Ints) -> None:
    """Places of values, each the first of its equals, as those of points that `merge` makes."""
    before = count = 0
    for c in range(len(places)):
        place = places[c]
        if place < before:
            before = count = 0
        count += place - before - repeated(ordered[before:place])
        before, places[c] = place, count


@compiled
def is_heavy(ordered: Floats) -> bool:
    """Whether a value may be so frequent that it is one of the `heavy_places`."""
    step = max(int(len(ordered) * HEAVY / 2), 1)
    found = False
    for j in range(step, len(ordered), step):
        found |= ordered[j] == ordered[j - step]
    return found
