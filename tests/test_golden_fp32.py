"""The fp32 golden models: canonical NaN, IEEE rounding by fractions, sequential order."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpnet.model.golden.fp32 import Fp32Add, Fp32Multiply, SequentialFp32

FP32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def fp32(*values):
    return np.array(values, np.float32)


@settings(max_examples=300, deadline=None)
@given(a=FP32, b=FP32)
def test_results_are_the_nearest_numbers(a, b):
    for golden, exact in (
        (Fp32Add(), Fraction(a) + Fraction(b)),
        (Fp32Multiply(), Fraction(a) * Fraction(b)),
    ):
        result = golden.compute(fp32(a), fp32(b))[0]
        if np.isinf(result):
            assert abs(exact) >= 2**128 - 2**103
            continue
        error = abs(Fraction(float(result)) - exact)
        for toward in (np.inf, -np.inf):
            with np.errstate(over="ignore"):
                neighbor = float(np.nextafter(result, np.float32(toward)))
            if np.isfinite(neighbor):
                other = abs(Fraction(neighbor) - exact)
                even = result.view(np.uint32) % 2 == 0
                assert error < other or (error == other and even)


def test_every_nan_is_canonical():
    nans = np.array([0x7F800001, 0xFFFFFFFF, 0x7FC00000], np.uint32).view(np.float32)
    one = fp32(1, 1, 1)
    results = [Fp32Add().compute(nans, one), Fp32Multiply().compute(one, nans)]
    results.append(Fp32Add().compute(fp32(np.inf), fp32(-np.inf)))
    results.append(Fp32Multiply().compute(fp32(0), fp32(-np.inf)))
    for result in results:
        assert set(result.view(np.uint32).tolist()) == {0x7FC00000}


def test_signs_of_zero():
    zeros = fp32(0.0, 0.0, -0.0, -0.0), fp32(0.0, -0.0, 0.0, -0.0)
    assert np.signbit(Fp32Add().compute(*zeros)).tolist() == [False, False, False, True]
    assert np.signbit(Fp32Multiply().compute(*zeros)).tolist() == [False, True, True, False]


def test_sequential_adds_in_the_order_of_the_columns():
    # 1 is lost beside 2**24 unless the large ones have cancelled first.
    matrix = fp32(2.0**24, 1, -(2.0**24)), fp32(2.0**24, -(2.0**24), 1)
    result = SequentialFp32().compute(np.array(matrix), np.ones(3, np.float32))
    assert result.tolist() == [0, 1]
    assert result.dtype == np.float32


def test_sequential_rounds_each_product():
    # (1 + 2**-12)**2 = 1 + 2**-11 + 2**-24: the last part is lost, so the sum with -1 is 2**-11.
    matrix = np.array([fp32(1 + 2.0**-12, -1)])
    assert SequentialFp32().compute(matrix, fp32(1 + 2.0**-12, 1)).tolist() == [2.0**-11]


def test_sequential_starts_from_positive_zero():
    result = SequentialFp32().compute(np.array([[-0.0], [0.0]], np.float32), fp32(1.0))
    assert not np.signbit(result).any()
    assert SequentialFp32().compute(np.zeros((2, 0), np.float32), fp32()).tolist() == [0, 0]


def test_refusals():
    with pytest.raises(TypeError, match=r"^a must be float32, not float64$"):
        Fp32Add().compute(np.ones(1), fp32(1))
    message = r"^matrix and vector must be \(R, C\) and \(C,\), not \(2, 3\) and \(2,\)$"
    with pytest.raises(ValueError, match=message):
        SequentialFp32().compute(np.zeros((2, 3), np.float32), np.zeros(2, np.float32))
