"""Size and cycles of the fp32 baseline engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from dpnet.model.golden.fp32 import Fp32, SequentialFp32
from dpnet.model.golden.interleaved import PARTIALS, InterleavedFp32

CYCLES_PER_WEIGHT = 6
"""The latency of an fp32 addition that the next one waits for (Table VI: 61.5 ms at 100 MHz)."""


@dataclass(frozen=True, kw_only=True)
class BaselineParameters:
    """The paper's baseline, one multiply-add after the other.  Stores in 32-bit words: `weights`,
    `columns`, `rows`; `layers` descriptors.
    """

    kind: ClassVar[str] = "baseline"

    weights: int = 1 << 20
    columns: int = 2048
    rows: int = 1024
    layers: int = 16

    def __post_init__(self) -> None:
        for name in ("weights", "columns", "rows", "layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= 1 << 24:
                raise ValueError(f"{name} must be an integer from 1 to 2^24, not {value!r}")

    @staticmethod
    def cycles(rows: int, columns: int) -> int:
        """Cycles of a run of one layer: 6 per weight, and 19 to read the descriptor, to fetch the
        first pair and for the last pair's product and sum."""
        return CYCLES_PER_WEIGHT * rows * columns + 19

    @staticmethod
    def compute(matrix: ArrayLike, vector: ArrayLike) -> Fp32:
        """What the engine computes, bit for bit."""
        return SequentialFp32().compute(matrix, vector)


@dataclass(frozen=True, kw_only=True)
class InterleavedParameters(BaselineParameters):
    """The baseline at a weight per cycle, with interleaved partial sums; stores as above."""

    kind: ClassVar[str] = "interleaved"

    @staticmethod
    def cycles(rows: int, columns: int) -> int:
        """Cycles of a run of one layer: 1 per weight, also from row to row; 42 to read the
        descriptor, to fetch the first pair, and for the last pair's product, its sum and three
        more; and the last row's partial sums one after the other."""
        return rows * columns + min(columns, PARTIALS) + 42

    @staticmethod
    def compute(matrix: ArrayLike, vector: ArrayLike) -> Fp32:
        return InterleavedFp32().compute(matrix, vector)
