"""Sums over the first points of a long sorted row, without a table of them all.

What is kept are the sums before every BLOCK-th point; those before any other point are completed
from the points between. Each is exact to one rounding: values count from the middle one, scaled,
and what an addition loses is added up too (Knuth).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.lanes import compensated_sums

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 32

State = tuple[float, float, float, float, float, float]
"""Weight, value and square of some first points, each followed by what its additions lost."""


class Row(NamedTuple):
    """Sorted points (n,), their weights (n,) or (0,) for 1 each, and sums before each block.

    A value counts scale * point - center. `before` is (n // BLOCK + 1, 6), see `State`. `tied`:
    some points are equal, and no break may be between them.
    """

    points: Floats
    heavy: Floats
    scale: float
    center: float
    before: Floats
    tied: bool


@compiled
def _plus(total: float, lost: float, more: float) -> tuple[float, float]:
    """The sum, and all that was lost so far."""
    new = total + more
    part = new - total
    return new, lost + ((total - (new - part)) + (more - part))


@compiled
def _onward(row: Row, state: State, first: int, last: int) -> State:
    """`state` of the points before `first`, moved on to `last`."""
    weight, weight_lost, total, total_lost, square, square_lost = state
    for j in range(first, last):
        value = row.points[j] * row.scale - row.center
        mass = row.heavy[j] if len(row.heavy) else 1.0
        weight, weight_lost = _plus(weight, weight_lost, mass)
        total, total_lost = _plus(total, total_lost, mass * value)
        square, square_lost = _plus(square, square_lost, mass * value * value)
    return weight, weight_lost, total, total_lost, square, square_lost


@compiled
def _whole_block(row: Row, state: State, first: int) -> State:
    """`state` moved on by BLOCK points that count 1 each."""
    found = compensated_sums(row.points, first, first + BLOCK, row.scale, row.center)
    total, total_lost = _plus(state[2], state[3], found[0])
    square, square_lost = _plus(state[4], state[5], found[2])
    return (
        state[0] + BLOCK,
        state[1],
        total,
        total_lost + found[1],
        square,
        square_lost + found[3],
    )


@compiled
def long_row(points: Floats, heavy: Floats, n: int, scale: float, tied: bool) -> Row:
    """The first n of these points as a row."""
    before, center = np.empty((n // BLOCK + 1, 6)), points[n // 2] * scale
    row = Row(points[:n], heavy[: n if len(heavy) else 0], scale, center, before, tied)
    state = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for block in range(n // BLOCK + 1):
        b = before[block]
        b[0], b[1], b[2], b[3], b[4], b[5] = state
        first = block * BLOCK
        if first + BLOCK > n:
            break
        if len(heavy):
            state = _onward(row, state, first, first + BLOCK)
        else:
            state = _whole_block(row, state, first)
    return row


@compiled
def start_of(row: Row, place: int) -> int:
    """The first of the points that are equal to that at `place`: where a break may be."""
    while row.tied and 0 < place < len(row.points) and row.points[place - 1] == row.points[place]:
        place -= 1
    return place


@compiled
def _at_block(row: Row, block: int) -> State:
    b = row.before[block]
    return b[0], b[1], b[2], b[3], b[4], b[5]


@compiled
def sums(row: Row, place: int) -> tuple[float, float, float]:
    """Weight, value and square of the points before `place`, which is 0..n."""
    block = place // BLOCK
    state = _onward(row, _at_block(row, block), block * BLOCK, place)
    return state[0] + state[1], state[2] + state[3], state[4] + state[5]


@compiled
def gather(row: Row, places: Ints, pad: int) -> Floats:
    """`sums` before each place, (3, number of places + pad); quick where places ascend."""
    gathered = np.zeros((3, len(places) + pad))
    state, here = _at_block(row, 0), 0
    for j in range(len(places)):
        start = places[j] // BLOCK * BLOCK
        if not start <= here <= places[j]:
            state, here = _at_block(row, places[j] // BLOCK), start
        state = _onward(row, state, here, places[j])
        here = places[j]
        gathered[0, j], gathered[1, j] = state[0] + state[1], state[2] + state[3]
        gathered[2, j] = state[4] + state[5]
    return gathered
