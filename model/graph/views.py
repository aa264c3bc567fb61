"""Which value of a map stands where in a tensor that was made of it by arranging (NumPy only)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dpnet.model.graph.nodes import Convolution, Pad, Padding, Pair, Select, Shape, Source

__all__ = ["Lattice", "View", "lattice", "own"]

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """A tensor whose values are those of the map `base` (C, H, W): `index` has the tensor's shape
    and names the value at each place, C slowest and W fastest; -1 is a zero.

    `source` is that of the last operation that arranged it.
    """

    base: str
    shape: Shape
    index: Indices
    source: Source

    @property
    def whole(self) -> bool:
        """Whether it is the map itself."""
        return self.index.shape == self.shape and self.in_order

    @property
    def in_order(self) -> bool:
        """Whether it has all values of the map, in their order, in whatever shape."""
        if self.index is _places(self.shape):
            return True
        flat = self.index.reshape(-1)
        size = int(np.prod(self.shape))
        return flat.size == size and bool((flat == np.arange(size)).all())

    @property
    def padded(self) -> bool:
        return bool((self.index < 0).any())

    @property
    def complete(self) -> bool:
        """Whether it has every value of the map once, and nothing else."""
        size = int(np.prod(self.shape))
        flat = np.sort(self.index.reshape(-1))
        return flat.size == size and bool((flat == np.arange(size)).all())

    @property
    def channels(self) -> Indices:
        """The channel of the map at each place (-1 for zeros)."""
        return self.index // (self.shape[1] * self.shape[2])

    def arranged(self, index: Indices, source: Source) -> View:
        """The same map's values in other places."""
        return View(self.base, self.shape, index, source)


def own(base: str, shape: Shape, source: Source) -> View:
    """A map as a view of itself."""
    return View(base, shape, _places(shape), source)


@lru_cache(maxsize=64)
def _places(shape: Shape) -> Indices:
    """The numbers of a map's places; one array for all maps of a shape, which may be large."""
    index = np.arange(int(np.prod(shape))).reshape(shape)
    index.flags.writeable = False
    return index


@dataclass(frozen=True)
class Lattice:
    """A map (C', H', W') whose channel c at (y, x) is channel `channels[c]` (-1: zeros) of a map
    `shape` at `start` + `step` · (y, x), and zero where that is outside."""

    shape: Shape
    channels: Indices
    start: Pair
    step: Pair
    places: Pair

    @property
    def straight(self) -> bool:
        """Whether the channels are all of the map's, in their order."""
        every = np.arange(self.shape[0])
        return self.channels.shape == every.shape and bool((self.channels == every).all())

    @property
    def last(self) -> Pair:
        """The position that the last place has."""
        rows, columns = self.places
        return (
            self.start[0] + self.step[0] * (rows - 1),
            self.start[1] + self.step[1] * (columns - 1),
        )

    @property
    def border(self) -> Padding | None:
        """The zeros around the map, if it is nothing but the map with zeros around."""
        top, left = -self.start[0], -self.start[1]
        bottom, right = self.last[0] + 1 - self.shape[1], self.last[1] + 1 - self.shape[2]
        if not self.straight or self.step != (1, 1) or min(top, bottom, left, right) < 0:
            return None
        return top, bottom, left, right

    def selection(self) -> tuple[Select, Pad | None] | None:
        """It as a part of the map with channels of zeros before and after; None if it is none."""
        inside = np.flatnonzero(self.channels >= 0)
        if not inside.size or min(self.start) < 0:
            return None
        if self.last[0] >= self.shape[1] or self.last[1] >= self.shape[2]:
            return None
        first, count = int(self.channels[inside[0]]), inside.size
        step = int(self.channels[inside[1]]) - first if count > 1 else 1
        wanted = np.arange(count)
        together = (inside == inside[0] + wanted).all()
        if step < 1 or not together or (self.channels[inside] != first + step * wanted).any():
            return None
        chosen = Select(
            (first, *self.start),
            (first + step * (count - 1) + 1, self.last[0] + 1, self.last[1] + 1),
            (step, *self.step),
        )
        ends = int(inside[0]), len(self.channels) - int(inside[-1]) - 1
        return chosen, Pad(channels=ends) if any(ends) else None

    def convolution(self) -> Convolution:
        """It as a convolution with weights 0 and 1, of one tap."""
        count, kernel, padding = len(self.channels), [0, 0], [0, 0, 0, 0]
        for axis in (0, 1):
            size = self.shape[axis + 1]
            before = max(0, -self.start[axis])
            span = before + size - self.step[axis] * (self.places[axis] - 1)
            # Taps of zeros keep windows from beginning behind the last place.
            kernel[axis] = max(self.start[axis] + before + 1, span - self.step[axis] + 1)
            padding[2 * axis : 2 * axis + 2] = before, max(0, kernel[axis] - span)
        tap = (self.start[0] + padding[0], self.start[1] + padding[2])
        groups = self.shape[0] if self.straight else 1
        weight = np.zeros((count, self.shape[0] // groups, *kernel))
        for row, channel in enumerate(self.channels):
            if channel >= 0:
                weight[row, 0 if self.straight else channel, tap[0], tap[1]] = 1.0
        top, bottom, left, right = padding
        return Convolution(
            weight,
            np.zeros(count),
            stride=self.step,
            padding=(top, bottom, left, right),
            groups=groups,
        )


def lattice(view: View) -> Lattice | None:
    """The view as a lattice of its map; None if it is no map, or none that a lattice describes."""
    if view.index.ndim != 3 or not (view.index >= 0).any():
        return None
    _, height, width = view.shape
    valid = view.index >= 0
    rows, columns = view.index // width % height, view.index % width
    found = np.where(valid, view.channels, -1).max(axis=(1, 2))
    start, step = zip(*(_line(rows, valid, 1), _line(columns, valid, 2)), strict=True)
    if min(step) < 1:
        return None
    made = Lattice(view.shape, found, start, step, (valid.shape[1], valid.shape[2]))
    return made if (_index(made) == view.index).all() else None


def _line(numbers: Indices, valid: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """Start and step of the line through the first and the last place along an axis."""
    others = tuple(other for other in range(3) if other != axis)
    places = np.flatnonzero(valid.any(axis=others))
    values = np.where(valid, numbers, -1).max(axis=others)[places]
    spread = int(places[-1] - places[0])
    step = int(values[-1] - values[0]) // spread if spread else 1
    return int(values[0]) - step * int(places[0]), step


def _index(made: Lattice) -> Indices:
    """The index that the lattice describes."""
    _, height, width = made.shape
    rows = made.start[0] + made.step[0] * np.arange(made.places[0])
    columns = made.start[1] + made.step[1] * np.arange(made.places[1])
    y, x = rows[:, None], columns[None, :]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    index = made.channels[:, None, None] * (height * width) + y * width + x
    return np.where(inside & (made.channels[:, None, None] >= 0), index, -1)
