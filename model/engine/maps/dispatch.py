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
    """The positions of a `width` × `height` window row by row, `group_width` to a group.  A group
    goes on in the next row if it `wraps`; else it ends with its row."""

    width: int
    height: int
    group_width: int
    wraps: bool

    @property
    def groups(self) -> int:
        if self.wraps:
            return ceil_div(self.width * self.height, self.group_width)
        return self.height * ceil_div(self.width, self.group_width)

    @property
    def crosses(self) -> bool:
        """Whether a group has positions of two rows."""
        return self.wraps and self.height > 1 and self.width % self.group_width > 0

    @cached_property
    def positions(self) -> tuple[Integers, Integers]:
        """y and x of each group's positions (groups, group_width); `IDLE` where it has none."""
        count = self.groups
        n = np.arange(count * self.group_width).reshape(count, -1)
        if self.wraps:
            y, x = np.divmod(n, self.width)
            used = y < self.height
        else:
            across = ceil_div(self.width, self.group_width) * self.group_width
            y, x = np.divmod(n, across)
            used = x < self.width
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
    """All ways for a window, those of fewest groups first, of equal ones those that ask least of
    how maps are stored.  The last one, a position at a time, asks nothing."""
    widths, ways = range(1, clusters + 1), (False, True)
    found = [Dispatch(width, height, group, wraps) for wraps in ways for group in widths]
    found.sort(key=lambda one: one.groups)
    asked: set[tuple[int, bool]] = set()
    for one in found:
        if not any(width <= one.group_width and wraps <= one.wraps for width, wraps in asked):
            asked.add((one.group_width, one.wraps))
            yield one
