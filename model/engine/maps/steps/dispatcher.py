"""The dispatcher: it walks over the positions and gives each stage its group, tile after tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Place: TypeAlias = tuple[int, int]
"""Word and bank."""

Fields: TypeAlias = Mapping[str, int]
"""A descriptor's."""


def fields_place(fields: Fields, name: str) -> Place:
    return fields[f"{name}_word"], fields[f"{name}_bank"]


@dataclass(frozen=True)
class Position:
    """A position of the window, and its places in the maps read, written and skipped from."""

    y: int
    x: int
    read: Place
    write: Place
    skip: Place


@dataclass(frozen=True)
class Group:
    """Positions beside each other, None for idle clusters, and where the first cluster reads and
    takes skip values, whether it is idle or not."""

    positions: tuple[Position | None, ...]
    read: Place
    skip: Place


@dataclass(frozen=True)
class Item:
    """What a stage does in a tile, or all of them where they are apart: a group, `number` in its
    window, of a row group."""

    row_group: int
    number: int
    group: Group

    @property
    def positions(self) -> tuple[Position | None, ...]:
        return self.group.positions

    def column(self, name: str, part: int) -> Integers:
        """Words or banks of a kind of place, 0 for idle clusters (clusters,)."""
        places = [getattr(one, name) if one else (0, 0) for one in self.positions]
        return np.array([place[part] for place in places])


class Walker:
    """Positions row by row, with registers that only ever add."""

    def __init__(self, fields: Fields, clusters: int) -> None:
        self._fields, self._clusters = fields, clusters
        self._read, self._skip = fields_place(fields, "read"), fields_place(fields, "skip")
        self._row = self._write = fields_place(fields, "write")
        self._y_phase, self._x_phase = fields["first_y_phase"], fields["first_x_phase"]
        self._y = self._x = 0

    def groups(self) -> Iterator[Group]:
        """All groups of the window."""
        fields = self._fields
        for _ in range(fields["groups"]):
            read, skip = self._read, self._skip
            taken = [self._take() for _ in range(fields["group_width"])]
            yield Group((*taken, *[None] * (self._clusters - len(taken))), read, skip)

    def _take(self) -> Position | None:
        """The next position, None in the gap behind a row or behind the last one."""
        fields, position = self._fields, None
        if self._x < fields["width"] and self._y < fields["height"]:
            position = Position(self._y, self._x, self._read, self._write, self._skip)
        self._x += 1
        if self._x < fields["width"]:
            self._x_phase, self._write = self._phase("x", self._x_phase, self._write)
        if self._x < fields["width"] + fields["gap"]:
            self._read, self._skip = self._add(self._read, (0, 1)), self._add(self._skip, (0, 1))
        else:
            self._x, self._y = 0, self._y + 1
            self._read = self._step(self._read, "read_row")
            self._skip = self._step(self._skip, "skip_row")
            self._y_phase, self._row = self._phase("y", self._y_phase, self._row)
            self._x_phase, self._write = fields["first_x_phase"], self._row
        return position

    def _phase(self, axis: str, phase: int, place: Place) -> tuple[int, Place]:
        """The next phase of an axis, and the place there."""
        if phase + 1 < self._fields[f"{axis}_phases"]:
            return phase + 1, self._step(place, f"write_{axis}")
        return 0, self._step(place, f"write_{axis}_wrap")

    def _step(self, place: Place, name: str) -> Place:
        return self._add(place, fields_place(self._fields, name))

    def _add(self, a: Place, b: Place) -> Place:
        """Banks modulo their number, with a carry into the word."""
        word, bank = a[0] + b[0], a[1] + b[1]
        if bank >= self._clusters:
            return word + 1, bank - self._clusters
        return word, bank


def tiles(fields: Fields, clusters: int, stages: int, streams: int) -> Iterator[list[Item]]:
    """The items of each tile, one for each stage from the first one on; where these are apart, an
    item for all of the `stages` that have a picture."""
    tile: list[Item] = []
    groups = list(Walker(fields, clusters).groups())
    if fields["apart"]:
        for row_group, (number, group) in product(range(fields["row_groups"]), enumerate(groups)):
            yield [Item(row_group, number, group)] * stages
        return
    for row_group in range(fields["row_groups"]):
        for number, group in enumerate(groups):
            spread = row_group - tile[0].row_group if tile else 0
            if len(tile) == stages or (spread >= streams and not fields["shared"]):
                yield tile
                tile = []
            tile.append(Item(row_group, number, group))
    yield tile
