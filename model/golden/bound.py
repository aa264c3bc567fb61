"""How far an fp32 result of the engine can be from the exact product: a proved bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpnet.model.golden.align import BITS_LIMIT, Align, align_codebook, codebook_fp32
from dpnet.model.golden.checks import check_fp32


def error_bound(
    codebook: ArrayLike,
    indices: ArrayLike,
    vector: ArrayLike,
    *,
    bits: int = BITS_LIMIT,
    entry_bits: int = BITS_LIMIT,
) -> NDArray[np.float64]:
    """Per row, an upper bound of |engine's fp32 result - product in float64|, (R,) float64.

    `codebook` (R, K) is rounded to fp32, as `align_codebook` does; `indices` (R, C) select from
    it; `vector` (C,) is float32.  The bound holds for every result that does not overflow.

    Derivation.  Let c_j be the fp32 weights of a row, x_j the inputs, y = sum of c_j x_j exactly;
    c'_j = E_j u_c and x'_j = X_j u_x the aligned values with units u_c, u_x.  By the rounding of
    `Align` and `align_codebook`

        |x'_j - x_j| <= d_x = u_x / 2 (u_x below 25 bits: saturation),   |c'_j - c_j| <= u_c / 2.

    The engine's sum t = sum of c'_j x'_j is exact (integers), so that

        |t - y| <= sum |c'_j| |x'_j - x_j| + |c'_j - c_j| |x_j|
                <= B = d_x * sum |c'_j|  +  u_c / 2 * sum |x_j|.

    Normalizing rounds t once: by at most 2**-24 |t|, or 2**-150 (half the smallest subnormal)
    where that is more; |t| <= A + B with A = sum |c_j x_j|.  A float64 sum of the exact products
    in any order differs from y by at most C * 2**-53 * A (1 + 2**-20) for C <= 2**32.  Hence

        bound = (B + 2**-24 (A + B) + C * 2**-53 * A) (1 + 2**-20) + 2**-150,

    where the factor also covers the rounding of this formula itself in float64.
    """
    values = codebook_fp32(codebook).astype(np.float64)
    entries, exponents = align_codebook(codebook, entry_bits)
    chosen = np.asarray(indices).astype(np.intp)
    inputs = np.abs(check_fp32("vector", vector).astype(np.float64))
    weights = np.take_along_axis(np.abs(values), chosen, axis=1)
    aligned_values = np.ldexp(np.abs(entries).astype(np.float64), exponents[:, None])
    aligned = np.take_along_axis(aligned_values, chosen, axis=1)
    align = Align(bits)
    unit = np.ldexp(1.0, align.scale(align.exponent(vector)))
    farthest = unit / 2 if bits == BITS_LIMIT else unit
    alignment = farthest * aligned.sum(axis=1) + np.ldexp(0.5, exponents) * inputs.sum()
    magnitude = weights @ inputs
    rounding = 2.0**-24 * (magnitude + alignment) + inputs.size * 2.0**-53 * magnitude
    bound: NDArray[np.float64] = (alignment + rounding) * (1 + 2.0**-20) + 2.0**-150
    return bound
