"""How a map lies in the banks: its form, made for consumers of one stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpnet.model.engine.maps.dispatch import IDLE, Dispatch
from dpnet.model.engine.parameters import ceil_div

Integers = NDArray[np.int64]
Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Form:
    """A tensor (C, H, W) in the banks, for consumers of stride `stride`.

    Position (y, x) lies in plane (y mod sy, x mod sx) at row y div sy, column x div sx.  A plane is
    `planes`[0] places behind the one above it, `planes`[1] behind the one to its left; a row of it
    is `pitch` places behind the row before.  Place n of a channel is in bank n mod `clusters`, word
    n div `clusters`; channels are `words` words apart.
    """

    tensor: str
    shape: tuple[int, int, int]
    stride: Pair
    pitch: int
    planes: Pair
    clusters: int

    @property
    def words(self) -> int:
        """Words of a channel in each bank."""
        (_, height, width), (sy, sx) = self.shape, self.stride
        y, x = min(height, sy) - 1, min(width, sx) - 1
        rows, columns = ceil_div(height, sy), ceil_div(width, sx)
        last = y * self.planes[0] + x * self.planes[1] + (rows - 1) * self.pitch + columns - 1
        return last // self.clusters + 1

    @property
    def size(self) -> int:
        """Words of the whole map in each bank."""
        return self.shape[0] * self.words

    def place(self, y: ArrayLike, x: ArrayLike) -> Integers:
        """Places of positions; rows and columns of planes may lie outside of the map."""
        row, py = np.divmod(np.asarray(y), self.stride[0])
        column, px = np.divmod(np.asarray(x), self.stride[1])
        places: Integers = (
            py * self.planes[0] + px * self.planes[1] + row * self.pitch + column
        ).astype(np.int64)
        return places

    def step(self, width: int) -> int:
        """From the last position of a row to the next one's first, for a consumer whose output has
        rows of `width` positions."""
        return self.pitch - width + 1


@dataclass(frozen=True)
class Reader:
    """Reads a form at positions beside each other, all of them displaced alike."""

    dispatch: Dispatch

    def residue(self, clusters: int) -> int | None:
        """What the form's pitch must be modulo `clusters`, so that the positions of a group always
        lie in different banks; None if that does not matter."""
        return self.dispatch.width % clusters if self.dispatch.crosses else None


@dataclass(frozen=True)
class Writer:
    """Writes positions of a form, a window's that begins at (`top`, `left`)."""

    dispatch: Dispatch
    top: int
    left: int

    def patterns(self, stride: Pair) -> Integers:
        """How the positions of a group lie to each other (patterns, positions, 4): planes, and rows
        and columns in them."""
        y, x = self.dispatch.positions
        row, py = np.divmod(y + self.top, stride[0])
        column, px = np.divmod(x + self.left, stride[1])
        group = np.stack([py, px, row - row[:, :1], column - column[:, :1]], axis=2)
        group[y == IDLE] = IDLE - 1
        return np.unique(group.reshape(len(group), -1), axis=0).reshape(-1, *group.shape[1:])


def find_form(
    tensor: str,
    shape: tuple[int, int, int],
    stride: Pair,
    clusters: int,
    users: Sequence[Reader | Writer],
) -> Form | None:
    """A form that all `users` can read or write without two positions of a group in one bank, its
    rows as short as can be; None if there is none."""
    (_, height, width), (sy, sx) = shape, stride
    rows, columns = ceil_div(height, sy), ceil_div(width, sx)
    residues = {user.residue(clusters) for user in users if isinstance(user, Reader)} - {None}
    if len(residues) > 1:
        return None
    patterns = [user.patterns(stride) for user in users if isinstance(user, Writer)]
    twists = range(clusters if sy > 1 else 1), range(clusters if sx > 1 else 1)
    for pitch, ty, tx in product(range(columns, columns + clusters), *twists):
        if residues <= {pitch % clusters} and not any(
            _collide(one, (ty, tx, pitch, 1), clusters) for one in patterns
        ):
            across = _congruent(rows * pitch, tx, clusters)
            down = _congruent(min(width, sx) * across, ty, clusters)
            return Form(
                tensor=tensor,
                shape=shape,
                stride=stride,
                pitch=pitch,
                planes=(down, across),
                clusters=clusters,
            )
    return None


def _collide(patterns: Integers, steps: tuple[int, int, int, int], clusters: int) -> bool:
    """Whether two positions of a group lie in one bank."""
    banks = (patterns @ np.array(steps)) % clusters
    idle = -1 - np.arange(banks.shape[1])
    ordered = np.sort(np.where(patterns[..., 0] < 0, idle, banks), axis=1)
    return bool((ordered[:, 1:] == ordered[:, :-1]).any())


def _congruent(least: int, residue: int, modulus: int) -> int:
    """The smallest number of at least `least` with this residue."""
    return least + (residue - least) % modulus
