"""The nearest centroid of each value of rows, in one pass over the memory that they have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled

Values = NDArray[Any]

CHUNK = 512
"""Values whose centroids are found together: they stay in the first cache."""


@compiled
def _near(values: Values, book: Values, middles: Values, found: Values) -> None:
    """The centroid of each value: the next one above each middle that is below the value."""
    found[:] = book[0]
    for entry in range(len(middles)):
        middle, above = middles[entry], book[entry + 1]
        for i in range(len(values)):
            found[i] = above if values[i] > middle else found[i]


@compiled
def near_rows(values: Values, book: Values, middles: Values, out: Values) -> None:
    """(rows, n) values, their codebooks (rows, k), ascending, and middles (rows, k - 1): `out`
    becomes the nearest centroids, of two as near the lower one."""
    for row in range(len(values)):
        _near(values[row], book[row], middles[row], out[row])


@compiled
def apart_rows(values: Values, book: Values, middles: Values, out: Values) -> None:
    """As `near_rows`, but `out` becomes the values less their centroids."""
    found = np.empty(CHUNK, values.dtype)
    for row in range(len(values)):
        for start in range(0, values.shape[1], CHUNK):
            part = values[row, start : start + CHUNK]
            into, near = out[row, start : start + CHUNK], found[: len(part)]
            _near(part, book[row], middles[row], near)
            for i in range(len(part)):
                into[i] = part[i] - near[i]


@compiled
def pull_rows(values: Values, book: Values, middles: Values, share: float) -> None:
    """Move the values by a `share` of 0 to 1 of the way to their centroids; 1 is there exactly."""
    found = np.empty(CHUNK, values.dtype)
    near_side = share < 0.5
    step, rest = values.dtype.type(share), values.dtype.type(1.0 - share)
    for row in range(len(values)):
        for start in range(0, values.shape[1], CHUNK):
            part = values[row, start : start + CHUNK]
            near = found[: len(part)]
            _near(part, book[row], middles[row], near)
            for i in range(len(part)):
                way = near[i] - part[i]
                part[i] = part[i] + step * way if near_side else near[i] - rest * way
