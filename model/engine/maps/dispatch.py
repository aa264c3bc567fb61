"""Which output positions are in work at once: groups of them, one position for each cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.parameters import ceil_div

Integers = NDArray[np.int64]

IDLE = -1


@dataclass(frozen=True)
class Dispatch:
    """The positions of a `width` × `height` window row by row, `group_width` to a group; behind
    each row come `gap` idle ones, fewer than a group has."""

    width: int
    height: int
    group_width: int
    gap: int

    @property
    def row(self) -> int:
        """Positions of a row, the idle ones among them."""
        return self.width + self.gap

    @property
    def groups(self) -> int:
        return ceil_div(self.row * self.height - self.gap, self.group_width)

    @property
    def crosses(self) -> bool:
        """Whether a group goes on in another row."""
        return self.crossings > 0

    @cached_property
    def crossings(self) -> int:
        """Rows at most from the one in which a group begins to that of its last position."""
        y, _ = self.positions
        begins = np.arange(self.groups) * self.group_width // self.row
        return int((y.max(1) - begins).max())

    @cached_property
    def positions(self) -> tuple[Integers, Integers]:
        """y and x of each group's positions (groups, group_width); `IDLE` where it has none."""
        count = self.groups
        n = np.arange(count * self.group_width).reshape(count, -1)
        y, x = np.divmod(n, self.row)
        used = (x < self.width) & (y < self.height)
        return np.where(used, y, IDLE), np.where(used, x, IDLE)

    @cached_property
    def group_of(self) -> Integers:
        """The group of each position (height, width)."""
        y, x = self.positions
        used = y != IDLE
        groups = np.zeros((self.height, self.width), np.int64)
        groups[y[used], x[used]] = np.nonzero(used)[0]
        return groups


def dispatches(width: int, height: int, clusters: int) -> Iterator[Dispatch]:
    """All ways for a window that are worth a thought: for each gap the narrowest groups of every
    number of them, those of fewest groups first, of equal ones those that ask least of how maps
    are stored.  The last one, a position at a time, asks nothing."""
    found: dict[tuple[int, int, bool], Dispatch] = {}
    for group in range(1, clusters + 1):
        for gap in range(group if height > 1 else 1):
            one = Dispatch(width, height, group, gap)
            found.setdefault((gap, one.groups, one.row % group == 0), one)
    yield from sorted(found.values(), key=lambda one: (one.groups, one.group_width, one.gap))
