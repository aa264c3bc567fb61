"""All candidates for one break at once: the best of them, and those within a limit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import unchecked
from dpnet.model.quantizer.kernels.lanes import (
    candidates,
    span,
    weighted_candidates,
    weighted_span,
)

Floats = NDArray[np.float64]


@unchecked
def best_break(
    gain: Floats, sums: Floats, spread: Floats, weighted: bool, j: int, first: int, last: int
) -> tuple[float, int]:
    """The least of first..last as the break before j, and where it is."""
    found: tuple[float, int]
    if weighted:
        found = weighted_candidates(gain, sums, spread, 0, j, first, last, 0.0)
    else:
        found = candidates(gain, sums, spread, 0, j, first, last, 0.0)
    return found


@unchecked
def break_span(
    gain: Floats,
    sums: Floats,
    spread: Floats,
    weighted: bool,
    j: int,
    first: int,
    last: int,
    limit: float,
) -> tuple[int, int]:
    """The first and the last break of first..last before j whose value is at most `limit`."""
    found: tuple[int, int]
    if weighted:
        found = weighted_span(gain, sums, spread, 0, j, first, last, limit)
    else:
        found = span(gain, sums, spread, 0, j, first, last, limit)
    return found
