"""A compressed network in memory: its layers, and what they must be to be one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.golden.align import align_codebook
from dpnet.model.image.header import LARGEST_K, ImageError, require


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageLayer:
    """One layer: y = W x (fp32), or requantize(W x) in integers, with W made of codebook and
    indices.

    `indices` (R, C) uint8 below `k`; `shape` is the weight's own shape, (R, …) with C values per
    row. fp32 layers have `codebook` (R, K) float32.  Integer layers have `entries` (R, K) and
    `exponent` (R,), and the row parameters of `dpnet.model.golden.requantize`: `bias`,
    `multiplier`, `shift` (R,), `relu`, `out_bits`.
    """

    name: str
    shape: tuple[int, ...]
    indices: NDArray[np.uint8]
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
        return int(self.indices.shape[0])

    @property
    def columns(self) -> int:
        return int(self.indices.shape[1])

    @property
    def is_fp32(self) -> bool:
        return self.codebook is not None

    def aligned(self, bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Entries (R, K) of at most `bits` bits and exponents (R,), as the engine holds them."""
        if self.codebook is not None:
            return align_codebook(self.codebook, bits)
        assert self.entries is not None and self.exponent is not None
        return self.entries, self.exponent


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """A compiled network: `layers`, each fed by the one before (integer networks), or matrices on
    their own (fp32).  An integer network takes round(x / `input_scale`) of `input_bits` bits and
    its last layer's integers times `output_scale` are the logits.  `about` is for people (JSON
    types).
    """

    layers: tuple[ImageLayer, ...]
    input_scale: float = 1.0
    input_bits: int = 8
    output_scale: float = 1.0
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_fp32(self) -> bool:
        return self.layers[0].is_fp32

    def quantize_input(self, x: NDArray[np.floating]) -> NDArray[np.int64]:
        """Real inputs to activations: round to nearest even, saturated; refuses NaN and
        infinities.
        """
        values = np.asarray(x, np.float64)
        if not np.isfinite(values).all():
            raise ImageError("the input must be finite, it holds a NaN or an infinity")
        high = (1 << self.input_bits - 1) - 1
        return np.clip(np.rint(values / self.input_scale), -high - 1, high).astype(np.int64)


def check_layer(layer: ImageLayer) -> None:
    """Raise `ImageError` unless the arrays of `layer` fit each other and are in range."""
    indices, k = layer.indices, layer.k
    require(1 <= k <= LARGEST_K, f"k must be 1 to {LARGEST_K}, not {k!r}")
    require(
        indices.ndim == 2 and indices.dtype == np.uint8 and indices.size > 0,
        f"indices must be a filled (R, C) uint8 array, not {indices.dtype} {indices.shape}",
    )
    require(
        int(indices.max()) < k, f"an index is {int(indices.max())}, but there are only {k} entries"
    )
    rows = indices.shape[0]
    integer = (layer.entries, layer.exponent, layer.bias, layer.multiplier, layer.shift)
    if layer.codebook is not None:
        require(all(part is None for part in integer), "an fp32 layer has no integer parameters")
        require(layer.codebook.shape == (rows, k), f"codebook must be {(rows, k)}")
        require(bool(np.isfinite(layer.codebook).all()), "a codebook holds a NaN or an infinity")
        return
    ranges = {
        "entries": (-(1 << 24), (1 << 24) - 1),
        "exponent": (-2048, 2047),
        "bias": (-(1 << 39), (1 << 39) - 1),
        "multiplier": (0, (1 << 16) - 1),
        "shift": (0, 63),
    }
    for (name, (low, high)), values in zip(ranges.items(), integer, strict=True):
        require(values is not None, f"{name} is missing")
        assert values is not None
        wanted = (rows, k) if name == "entries" else (rows,)
        require(values.shape == wanted, f"{name} must have shape {wanted}, not {values.shape}")
        require(
            low <= int(values.min()) and int(values.max()) <= high,
            f"{name} must be from {low} to {high}",
        )
    require(2 <= layer.out_bits <= 25, f"out_bits must be 2 to 25, not {layer.out_bits!r}")
