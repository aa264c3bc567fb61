"""When a pass does what: cycles of tiles, and how long the next pass must wait."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.maps.dispatch import Dispatch
from dpnet.model.engine.maps.parameters import (
    DESCRIPTOR_CYCLES,
    LANES,
    READ_CYCLES,
    WRITE_CYCLES,
    MapEngineParameters,
)
from dpnet.model.engine.maps.passes import Pass
from dpnet.model.engine.maps.taps import Tap

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Schedule:
    """A pass's tiles.  Its items, `groups` of positions for each of the `row_groups`, go to the
    stages one after the other; a tile ends with its last stage, and before an item of one row group
    more than there are streams of indices, unless all are `shared`.  It reads for `adds` cycles.
    Where stages are `apart`, a tile is one item, which every stage has, each of its own picture."""

    params: MapEngineParameters
    adds: int
    row_groups: int
    groups: int
    shared: bool
    apart: bool = False

    @classmethod
    def of(cls, params: MapEngineParameters, one: Pass, dispatch: Dispatch) -> Schedule:
        return cls(params, one.adds, one.row_groups, dispatch.groups, one.shared, one.apart)

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """The first item of each tile."""
        items, firsts = self.row_groups * self.groups, [0]
        if self.apart:
            return tuple(range(items))
        while True:
            limit = firsts[-1] + self.params.stages
            if not self.shared:
                limit = min(limit, (firsts[-1] // self.groups + self.params.streams) * self.groups)
            if limit >= items:
                return tuple(firsts)
            firsts.append(limit)

    @property
    def tiles(self) -> int:
        return len(self.firsts)

    @property
    def last_stages(self) -> int:
        """Stages that have work in the last tile."""
        if self.apart:
            return self.params.stages
        return self.row_groups * self.groups - self.firsts[-1]

    @property
    def tile(self) -> int:
        """Cycles from a tile to the next one."""
        return self.params.tile_cycles(self.adds, self.params.stages)

    @property
    def last_tile(self) -> int:
        """Cycles from the last tile to what may be the next pass's first one."""
        return self.params.tile_cycles(self.adds, self.last_stages)

    @property
    def cycles(self) -> int:
        """From the pass's first command to what may be the next one's."""
        return (self.tiles - 1) * self.tile + self.last_tile

    @property
    def written(self) -> int:
        """From the pass's first command until its last result is written, both included."""
        tail = self.params.written_cycles(self.adds, self.last_stages)
        return self.cycles - self.last_tile + tail

    @property
    def starts(self) -> Integers:
        """The first command of each row group's groups (row_groups, groups); that of stage 0 where
        stages are apart: what another one waits for is as much later as that stage."""
        item = np.arange(self.row_groups * self.groups)
        firsts = np.array(self.firsts)
        tile = np.searchsorted(firsts, item, "right") - 1
        starts: Integers = tile * self.tile + LANES * (item - firsts[tile])
        return starts.reshape(self.row_groups, self.groups)


@dataclass(frozen=True)
class Timed:
    """A pass, how its positions are dispatched, and its tiles."""

    work: Pass
    dispatch: Dispatch
    schedule: Schedule


def wait_cycles(before: Timed, after: Timed, *, reads_it: bool) -> int:
    """Cycles that `after` must wait when `before` is through with its commands.

    Its first drain comes after all that `before` writes, so that only one pass writes at a time;
    its descriptor must have been read; and where it `reads_it`, what `before` writes, each value
    must have been written before it is read.
    """
    free = before.schedule.written - after.schedule.adds
    least = max(free, DESCRIPTOR_CYCLES)
    if reads_it:
        least = max([least, *_dependencies(before, after)])
    return max(0, least - before.schedule.cycles)


def _dependencies(before: Timed, after: Timed) -> Iterator[int]:
    """The first command of `after` at the earliest, for the values that it takes from `before`."""
    first_row = before.work.layer.output_channel + before.work.first_row
    written = before.schedule.starts + before.work.adds + LANES - 1 + WRITE_CYCLES
    read = after.schedule.starts + READ_CYCLES
    rows = before.work.rows
    for group in range(after.work.row_groups if after.work.block else 1):
        start, end = after.work.channels_of(group)
        begins = {first_row + n * rows for n in range(before.work.row_groups)} | {start}
        for channel in sorted(begins & set(range(start, end))):
            row = channel - first_row
            if not 0 <= row < before.work.count:
                continue
            done = written[row // rows] + row % rows
            for number, tap in enumerate(after.work.window.taps):
                begun = read[group] + number * after.work.channels + channel - start
                yield from _later(before, after, tap, done, begun)


def _later(before: Timed, after: Timed, tap: Tap, done: Integers, begun: Integers) -> Iterator[int]:
    """`done` and `begun` are of the groups of positions."""
    window, written = after.work.window, before.work.window
    y, x = np.mgrid[tap.top : tap.bottom + 1, tap.left : tap.right + 1]
    from_y = window.stride[0] * y + tap.y - written.top
    from_x = window.stride[1] * x + tap.x - written.left
    inside = (from_y >= 0) & (from_y < written.height)
    inside &= (from_x >= 0) & (from_x < written.width)
    if inside.any():
        source = before.dispatch.group_of[from_y[inside], from_x[inside]]
        target = after.dispatch.group_of[y[inside], x[inside]]
        yield int((done[source] - begun[target]).max()) + 1
