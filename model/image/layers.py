"""A layer of a compressed network in memory, and what its numbers must be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.golden.align import align_codebook
from dpnet.model.image.header import (
    LARGEST_COLUMNS,
    LARGEST_K,
    LARGEST_RANK,
    LARGEST_ROWS,
    check_name,
    require,
)
from dpnet.model.image.packing import Indices, Packed, pack
from dpnet.model.indices import packed_bits

RANGES = {
    "entries": (-(1 << 24), (1 << 24) - 1),
    "exponent": (-2048, 2047),
    "bias": (-(1 << 39), (1 << 39) - 1),
    "multiplier": (0, (1 << 16) - 1),
    "shift": (0, 63),
}
"""The row parameters of an integer layer, and what they may be, both ends included."""


_INDICES = Indices()


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageLayer:
    """One layer: y = W x (fp32), or requantize(W x) in integers, with W made of codebook and
    indices.

    `indices` (R, C) uint8 below `k`; `shape` is the weight's own shape, (R, …) with C values per
    row. fp32 layers have `codebook` (R, K) float32.  Integer layers have `entries` (R, K) and
    `exponent` (R,), and the row parameters of `dpnet.model.golden.requantize`: `bias`,
    `multiplier`, `shift` (R,), `relu`, `out_bits`; all of them integers within `RANGES`.
    Raises `ImageError` where these do not fit each other.
    """

    name: str
    shape: tuple[int, ...]
    indices: Indices = _INDICES
    k: int
    codebook: NDArray[np.float32] | None = None
    entries: NDArray[np.int64] | None = None
    exponent: NDArray[np.int64] | None = None
    bias: NDArray[np.int64] | None = None
    multiplier: NDArray[np.int64] | None = None
    shift: NDArray[np.int64] | None = None
    relu: bool = False
    out_bits: int = 8

    def __post_init__(self) -> None:
        check_layer(self)

    @property
    def rows(self) -> int:
        return int(Indices.given(self).shape[0])

    @property
    def columns(self) -> int:
        return int(Indices.given(self).shape[1])

    @property
    def weights(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    @property
    def packed(self) -> Packed:
        """The indices as a file has them."""
        given = Indices.given(self)
        return given if isinstance(given, Packed) else pack(given, self.k)

    @property
    def is_fp32(self) -> bool:
        return self.codebook is not None

    @property
    def entry_bits(self) -> int:
        """Bits of the widest entry in two's complement, at least 2: what an engine must have for
        an integer layer.  -2^(bits - 1) fits `bits`."""
        if self.entries is None:
            raise ValueError(f"layer {self.name} has no entries: it is fp32")
        low, high = int(self.entries.min()), int(self.entries.max())
        return max(2, 1 + max(high, ~low, 0).bit_length())

    def aligned(self, bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Entries (R, K) of at most `bits` bits and exponents (R,), as the engine holds them."""
        if self.codebook is not None:
            return align_codebook(self.codebook, bits)
        assert self.entries is not None and self.exponent is not None
        return self.entries, self.exponent


def check_layer(layer: ImageLayer) -> None:
    """Raise `ImageError` unless the arrays of `layer` fit each other and are in range."""
    check_name(layer.name)
    for what, value, low, high in (
        ("k", layer.k, 1, LARGEST_K),
        ("out_bits", layer.out_bits, 2, 25),
    ):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        require(whole and low <= value <= high, f"{what} must be {low} to {high}, not {value!r}")
    require(isinstance(layer.relu, (bool, np.bool_)), f"relu must be a bool, not {layer.relu!r}")
    _check_indices(layer)
    _check_shape(layer)
    if layer.codebook is not None:
        _check_fp32(layer, layer.codebook)
    else:
        _check_integers(layer)


def _check_indices(layer: ImageLayer) -> None:
    indices, k = Indices.given(layer), layer.k
    if isinstance(indices, Packed):
        # Where k is a power of two the bits of an index hold no other value.
        largest = k - 1 if k == 1 << packed_bits(k) else indices.largest()
    else:
        require(
            isinstance(indices, np.ndarray)
            and indices.ndim == 2
            and indices.dtype == np.uint8
            and indices.size > 0,
            "indices must be a filled (R, C) uint8 array, not "
            f"{getattr(indices, 'dtype', type(indices))} {getattr(indices, 'shape', '')}",
        )
        largest = int(indices.max())
    require(largest < k, f"an index is {largest}, but there are only {k} entries")


def _check_shape(layer: ImageLayer) -> None:
    shape, rows, columns = layer.shape, layer.rows, layer.columns
    require(
        isinstance(shape, tuple)
        and 1 <= len(shape) <= LARGEST_RANK
        and all(isinstance(side, (int, np.integer)) and side >= 1 for side in shape),
        f"shape must be one to five positive numbers, not {shape!r}",
    )
    require(
        (shape[0], math.prod(map(int, shape[1:]))) == (rows, columns),
        f"shape {shape} is not that of indices of {rows} × {columns}",
    )
    require(
        rows <= LARGEST_ROWS and columns <= LARGEST_COLUMNS,
        f"a layer has at most {LARGEST_ROWS} rows and {LARGEST_COLUMNS} columns, not {rows} × "
        f"{columns}",
    )


def _check_fp32(layer: ImageLayer, codebook: NDArray[np.float32]) -> None:
    integer = [getattr(layer, name) for name in RANGES]
    require(all(part is None for part in integer), "an fp32 layer has no integer parameters")
    wanted = (layer.rows, layer.k)
    require(
        isinstance(codebook, np.ndarray) and codebook.shape == wanted, f"codebook must be {wanted}"
    )
    # Narrowing at the writing would make infinities of large values.
    require(codebook.dtype == np.float32, f"codebook must be float32, not {codebook.dtype}")
    require(bool(np.isfinite(codebook).all()), "a codebook holds a NaN or an infinity")


def _check_integers(layer: ImageLayer) -> None:
    for name, (low, high) in RANGES.items():
        values = getattr(layer, name)
        require(values is not None, f"{name} is missing")
        wanted = (layer.rows, layer.k) if name == "entries" else (layer.rows,)
        require(
            isinstance(values, np.ndarray) and values.shape == wanted,
            f"{name} must have shape {wanted}, not {getattr(values, 'shape', values)}",
        )
        require(values.dtype.kind in "iu", f"{name} must be integers, not {values.dtype}")
        require(
            low <= int(values.min()) and int(values.max()) <= high,
            f"{name} must be from {low} to {high}",
        )
