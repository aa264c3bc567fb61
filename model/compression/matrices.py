"""The weights of a state dict as the matrices of an image: solved, or kept where they already are.

    weights, others = weights_in(tensors)
    matrices = [matrix_of(weight, 16) for weight in weights]
    image = compile_fp32({m.name: (m.quantized, m.shape) for m in matrices})

What was decided before stays: a weight whose rows have no more than K different values, as one
that `dpnet.model.compression.network.compress_` has written, keeps exactly these, with its zeros,
its own K and the codebooks that rows share. In all others a row with a 0 keeps its 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.compression.allocate import rows_per_codebook
from dpnet.model.compression.axis import has_few_values
from dpnet.model.compression.groups import wide
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.compression.ratios import ratio_eq1
from dpnet.model.compression.solver import Solver, per_row, relative_error, rows_of
from dpnet.model.compression.weights import Weight
from dpnet.model.quantizer.quantized import Quantized

Rows = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Matrix:
    """A weight as an image has it.

    `quantized` has a codebook for each row, `shape` the outputs first. `every` consecutive rows
    have the same codebook. `kept`: the values are those of the weight. `relative_error` is the
    share of its norm that is lost, `note` what was concluded, in words.
    """

    name: str
    names: tuple[str, ...]
    shape: tuple[int, ...]
    quantized: Quantized
    every: int
    kept: bool
    relative_error: float
    note: str

    @property
    def values(self) -> int:
        """How many weights there are."""
        return int(self.quantized.indices.size)

    @property
    def groups(self) -> tuple[int, int]:
        """(codebooks, weights of each), with codebooks that rows share counted once."""
        rows, n = self.quantized.indices.shape
        return rows // self.every, n * self.every

    @property
    def ratio(self) -> float:
        """Eq. (1)."""
        return ratio_eq1([self.groups], self.quantized.k)


def matrix_of(weight: Weight, k: int, config: CompressConfig | None = None) -> Matrix:
    """`weight` on at most `k` values per row, as few as it has if these are no more.

    `config` says norm, zero and sensitivity; its K are not looked at. Raises a `QuantizeError`
    that names the weight.
    """
    rows = rows_of(weight, weight.values)
    found = kept_rows(weight, k)
    if found is not None:
        quantized, every = found
        lost, said = 0.0, _kept_text(quantized.k, every)
    else:
        quantized, every = Solver(config or CompressConfig()).uniform(weight, k, 1), 1
        lost, said = relative_error(rows, quantized), ""
    return Matrix(
        weight.name,
        weight.names,
        weight.form.outputs_first,
        quantized,
        every,
        found is not None,
        lost,
        "; ".join(filter(None, (said, weight.describe()))),
    )


def kept_rows(weight: Weight, k: int) -> tuple[Quantized, int] | None:
    """The rows as they are, and how many of them share a codebook; None if one has more than `k`
    values. K is that of the widest codebook."""
    if not has_few_values(weight.to_rows(wide(weight.values)), k):
        return None
    rows = rows_of(weight, weight.values)
    every = rows_per_codebook(rows, k)
    assert every is not None, "no row has more values"
    groups = rows.reshape(len(rows) // every, -1)
    books = [np.unique(group) for group in groups]
    width = max(len(book) for book in books)
    indices = [np.searchsorted(book, group) for book, group in zip(books, groups, strict=True)]
    quantized = Quantized(
        np.array([np.pad(book, (0, width - len(book)), "edge") for book in books], np.float64),
        np.array(indices, np.uint8 if width <= 256 else np.uint16),
        np.zeros(len(books)),
        np.array([len(book) for book in books], np.int64),
    )
    return per_row(quantized, rows), every


def _kept_text(k: int, every: int) -> str:
    values = "1 value" if k == 1 else f"{k} values"
    shared = f"{every} rows to a codebook" if every > 1 else "per row"
    return f"kept as it is, {values} {shared}"
