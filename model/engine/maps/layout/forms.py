"""How a map lies in the banks: its form, made for consumers of one stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpnet.model.engine.maps.dispatch import IDLE, Dispatch
from dpnet.model.engine.maps.limits import SPREAD_BITS
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

    def step(self, dispatch: Dispatch) -> int:
        """From the last place of a row, the gap behind it included, to the next one's first."""
        return self.pitch - dispatch.row + 1


@dataclass(frozen=True)
class Reader:
    """Reads a form at positions beside each other, all of them displaced alike."""

    dispatch: Dispatch

    def residue(self, clusters: int) -> int | None:
        """What the form's pitch must be modulo `clusters`, so that the positions of a group always
        lie in banks beside each other; None if that does not matter."""
        return self.dispatch.row % clusters if self.dispatch.crosses else None

    def spans(self, pitch: int, clusters: int) -> bool:
        """Whether a group's words are near each other: none before the first one's, and none so far
        behind it that `SPREAD_BITS` do not say how far."""
        more, least = divmod(pitch - self.dispatch.row, clusters)
        if not self.dispatch.crosses:
            return True
        return least == 0 <= more and self.dispatch.crossings * more + 1 < 1 << SPREAD_BITS


@dataclass(frozen=True)
class Writer:
    """Writes positions of a form, a window's that begins at (`top`, `left`)."""

    dispatch: Dispatch
    top: int
    left: int

    def differences(self, stride: Pair) -> Integers:
        """How far two positions of a group are from each other (n, 4), each distance once: planes
        down and across, rows and columns in them."""
        y, x = self.dispatch.positions
        row, py = np.divmod(y + self.top, stride[0])
        column, px = np.divmod(x + self.left, stride[1])
        one, other = np.triu_indices(y.shape[1], 1)
        both = (y[:, one] != IDLE) & (y[:, other] != IDLE)
        apart = [(at[:, one] - at[:, other])[both] for at in (py, px, row, column)]
        least = [int(part.min(initial=0)) for part in apart]
        sizes = [int(part.max(initial=0)) - low + 1 for part, low in zip(apart, least, strict=True)]
        found = np.zeros(sizes, bool)
        found[tuple(part - low for part, low in zip(apart, least, strict=True))] = True
        differences: Integers = np.argwhere(found) + np.array(least)
        return differences


def twists(
    differences: Integers, stride: Pair, clusters: int, residues: Sequence[int]
) -> NDArray[np.bool_]:
    """Which forms have no two positions that differ so in one bank (residues, planes down, planes
    across): by pitch and by what their planes are displaced, modulo `clusters`."""
    down, across = (np.arange(clusters if step > 1 else 1) for step in stride)
    pitch = np.array(residues)[:, None, None]
    found = np.ones((len(pitch), len(down), len(across)), bool)
    new = np.any(np.diff(differences[:, :3], axis=0, prepend=IDLE * clusters), axis=1)
    for same in np.split(differences, np.nonzero(new)[0][1:]) if len(differences) else ():
        py, px, row, _ = same[0]
        met = np.zeros(clusters, bool)
        met[-same[:, 3] % clusters] = True
        found &= ~met[(py * down[:, None] + px * across + row * pitch) % clusters]
    return found


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
    readers = [user for user in users if isinstance(user, Reader)]
    written = [user.differences(stride) for user in users if isinstance(user, Writer)]
    least = max([columns, *(user.dispatch.row for user in readers if user.dispatch.crosses)])
    for pitch in range(least, least + clusters):
        if not all(user.spans(pitch, clusters) for user in readers):
            continue
        fit = np.ones((clusters if sy > 1 else 1, clusters if sx > 1 else 1), bool)
        for one in written:
            fit &= twists(one, stride, clusters, [pitch % clusters])[0]
        if fit.any():
            down, across = (int(n) for n in np.argwhere(fit)[0])
            across = _congruent(rows * pitch, across, clusters)
            down = _congruent(min(width, sx) * across, down, clusters)
            return Form(
                tensor=tensor,
                shape=shape,
                stride=stride,
                pitch=pitch,
                planes=(down, across),
                clusters=clusters,
            )
    return None


def _congruent(least: int, residue: int, modulus: int) -> int:
    """The smallest number of at least `least` with this residue."""
    return least + (residue - least) % modulus
