"""What the quantizer is asked for, checked: which error, and what restricts the centroids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.kernels.points import LATTICE
from dpnet.model.quantizer.quantized import CodebookSizeError

Floats = NDArray[np.float64]

LARGEST_BITS = 32
SMALLEST_STEP = 1e-300  # its inverse has a float64


@dataclass(frozen=True)
class Lattice:
    """Centroids that are whole multiples of a step: entries of `bits`, two's complement.

    Without a step each row has its own, the smallest power of two at which the largest
    magnitude of the row that counts (a weight above 0) is within the entries.
    """

    bits: int
    step: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int):
            raise TypeError(f"bits must be an integer, not {self.bits!r}")
        if not 2 <= self.bits <= LARGEST_BITS:
            raise ValueError(f"bits must be in 2..{LARGEST_BITS}, not {self.bits!r}")
        if self.step is not None and not 0 < self.step < np.inf:
            raise ValueError(f"step must be positive and finite, not {self.step!r}")
        if self.step is not None and self.step < SMALLEST_STEP:
            raise ValueError(f"step must be at least {SMALLEST_STEP}, not {self.step!r}")

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest entry."""
        return -(2.0 ** (self.bits - 1)), 2.0 ** (self.bits - 1) - 1.0

    def steps(self, rows: NDArray[Any], weights: Floats | None = None) -> Floats:
        """The step of each row."""
        if self.step is not None:
            return np.full(len(rows), float(self.step))
        magnitudes = np.abs(np.asarray(rows, np.float64))
        if weights is not None:
            magnitudes[weights == 0] = 0.0
        largest = magnitudes.max(axis=1)
        mantissa, exponent = np.frexp(largest / self.limits[1])
        exponent = np.where(mantissa == 0.5, exponent - 1, exponent)
        return np.ldexp(1.0, np.where(largest == 0, 0, np.maximum(exponent, -1000)))


@dataclass(frozen=True)
class Task:
    """What `quantize` is asked for, checked."""

    k: int
    norm: int = 2
    zero: bool = False
    symmetric: bool = False
    lattice: Lattice | None = None
    curve: bool = False

    def __post_init__(self) -> None:
        if self.norm not in (1, 2):
            raise ValueError(f"norm must be 1 or 2, not {self.norm!r}")
        if self.lattice is not None and not isinstance(self.lattice, Lattice):
            raise TypeError(f"lattice must be a Lattice, not {self.lattice!r}")
        if self.lattice is not None and self.norm != 2:
            raise ValueError(f"norm must be 2 with a lattice, not {self.norm!r}")
        if self.symmetric and self.curve:
            raise ValueError("curve must be False with symmetric: half of the k have no codebook")
        if self.symmetric and self.zero and self.k % 2 == 0:
            raise CodebookSizeError(f"k must be odd for a symmetric codebook with 0, not {self.k}")

    @property
    def kind(self) -> int:
        """Of the error, for the compiled programs."""
        return LATTICE if self.lattice is not None else self.norm

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest entry of the lattice; 0 and 0 without one."""
        return self.lattice.limits if self.lattice is not None else (0.0, 0.0)

    @property
    def fast(self) -> bool:
        """Whether the program with a price per centroid solves it."""
        return self.norm == 2 and not self.zero and self.lattice is None
