"""Indices as they lie in a file: a few bits each, row after row, lowest bit first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from dpnet.model.indices import packed_bits

Bytes = NDArray[np.uint8]

BLOCK = 1 << 15
"""Indices that are packed or unpacked at once; a multiple of 8, so that blocks are whole bytes."""


def packed_bytes(count: int, k: int) -> int:
    """Bytes that `count` indices below k take in the file."""
    return -(-count * packed_bits(k) // 8)


@dataclass(frozen=True, eq=False)
class Packed:
    """Indices (rows, columns) below `k`, as bytes of a file; `k` is not checked, see `largest`."""

    data: Bytes
    rows: int
    columns: int
    k: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.columns

    @property
    def size(self) -> int:
        return self.rows * self.columns

    def blocks(self) -> Iterator[Bytes]:
        """All indices in order, unpacked, `BLOCK` of them at a time."""
        width = packed_bits(self.k)
        for start in range(0, self.size, BLOCK):
            count = min(BLOCK, self.size - start)
            part = self.data[start * width // 8 : -(-(start + count) * width // 8)]
            bits = np.unpackbits(part, count=count * width, bitorder="little").reshape(-1, width)
            found = bits[:, 0].copy()
            for place in range(1, width):
                found |= bits[:, place] << place
            yield found

    def largest(self) -> int:
        """The largest index."""
        return max(int(block.max()) for block in self.blocks())

    def unpacked(self) -> Bytes:
        """The indices (rows, columns), uint8."""
        found, start = np.empty(self.size, np.uint8), 0
        for block in self.blocks():
            found[start : start + len(block)] = block
            start += len(block)
        return found.reshape(self.rows, self.columns)


def pack(indices: Bytes, k: int) -> Packed:
    """Indices (R, C) below k, `packed_bits(k)` bits each."""
    width, flat = packed_bits(k), np.ascontiguousarray(indices).reshape(-1)
    data, places = np.empty(packed_bytes(flat.size, k), np.uint8), np.arange(width, dtype=np.uint8)
    for start in range(0, flat.size, BLOCK):
        bits = flat[start : start + BLOCK, None] >> places & 1
        part = np.packbits(bits.reshape(-1), bitorder="little")
        data[start * width // 8 : start * width // 8 + len(part)] = part
    return Packed(data, len(indices), indices.shape[1], k)


class Indices:
    """A field of a data class: indices (R, C) uint8, given as an array or packed.

    Packed ones stay so until they are first looked at: an image that is read takes the memory of
    its file, not 8 times that.
    """

    _KEPT = "indices"

    def __set__(self, layer: Any, given: Bytes | Packed) -> None:
        vars(layer)[self._KEPT] = given

    @overload
    def __get__(self, layer: None, kind: type) -> Bytes: ...
    @overload
    def __get__(self, layer: object, kind: type) -> Bytes: ...
    def __get__(self, layer: Any, kind: type) -> Bytes:
        if layer is None:
            raise AttributeError("the indices have no default")
        given = vars(layer)[self._KEPT]
        if isinstance(given, Packed):
            vars(layer)[self._KEPT] = given = given.unpacked()
        found: Bytes = given
        return found

    @classmethod
    def given(cls, layer: object) -> Bytes | Packed:
        """The indices of `layer` as they are kept; nothing is unpacked."""
        kept: Bytes | Packed = vars(layer)[cls._KEPT]
        return kept
