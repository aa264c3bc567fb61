"""The interleaved fp32 golden model: its order of additions, short rows, signs of zero."""

import numpy as np
import pytest

from dpnet.model.golden.fp32 import SequentialFp32
from dpnet.model.golden.interleaved import PARTIALS, InterleavedFp32


def fp32(*values):
    return np.array(values, np.float32)


def dot(row):
    return InterleavedFp32().compute(fp32(*row)[None], np.ones(len(row), np.float32))[0]


BIG = 2.0**24  # BIG + 1 is BIG in fp32


@pytest.mark.parametrize(
    "row, result",
    [
        # Column 8 is added to column 0 before anything else is: 1 survives.
        ([BIG, 1, 0, 0, 0, 0, 0, 0, -BIG], 1),
        # The partial sums of columns 0 and 1 meet first: 1 is lost.
        ([BIG, 1, -BIG], 0),
        # Those of 2 and 3 meet each other before they meet 0 and 1.
        ([1, 0, BIG, -BIG], 1),
        ([1, BIG, 0, -BIG], 0),
        # Those of 4 to 7 meet before they meet 0 to 3.
        ([1, 0, 0, 0, BIG, 0, 0, -BIG], 1),
        ([BIG, 0, 0, 1, -BIG], 0),
        # One without a partner goes on as it is: ((1 + 0) + BIG) and not (1 + (0 + BIG)) + ...
        ([0, 0, 0, 0, BIG, 1, -BIG], 0),
    ],
)
def test_order_of_the_additions(row, result):
    assert dot(row) == result


def test_sums_that_do_not_round_are_exact():
    rng = np.random.default_rng(3)
    for columns in [*range(1, 40), 1000]:
        matrix = rng.integers(-99, 100, (3, columns)).astype(np.float32)
        vector = rng.integers(-99, 100, columns).astype(np.float32)
        exact = matrix.astype(np.int64) @ vector.astype(np.int64)
        assert InterleavedFp32().compute(matrix, vector).tolist() == exact.tolist()


def test_it_differs_from_the_sequential_sum_and_is_nearer():
    rng = np.random.default_rng(4)
    matrix, vector = rng.normal(size=(200, 2000)), rng.normal(size=2000)
    matrix, vector = matrix.astype(np.float32), vector.astype(np.float32)
    exact = matrix.astype(np.float64) @ vector.astype(np.float64)
    errors = [
        np.sqrt(np.mean((golden.compute(matrix, vector) - exact) ** 2))
        for golden in (InterleavedFp32(), SequentialFp32())
    ]
    assert 0 < errors[0] < errors[1]


def test_sums_start_from_positive_zero():
    for columns in (1, 2, 3, PARTIALS, PARTIALS + 1):
        assert not np.signbit(dot([-0.0] * columns))
    assert InterleavedFp32().compute(np.zeros((2, 0), np.float32), fp32()).tolist() == [0, 0]


def test_every_nan_is_canonical():
    result = InterleavedFp32().compute(fp32([np.inf, 1, -np.inf]), fp32(1, 1, 1))
    assert result.view(np.uint32).tolist() == [0x7FC00000]
    negative = np.array([[0xFFFFFFFF]], np.uint32).view(np.float32)
    result = InterleavedFp32().compute(negative, fp32(1))
    assert result.view(np.uint32).tolist() == [0x7FC00000]


def test_refusals():
    message = r"^matrix and vector must be \(R, C\) and \(C,\), not \(2, 3\) and \(2,\)$"
    with pytest.raises(ValueError, match=message):
        InterleavedFp32().compute(np.zeros((2, 3), np.float32), np.zeros(2, np.float32))
    with pytest.raises(TypeError, match=r"^matrix must be float32, not float64$"):
        InterleavedFp32().compute(np.zeros((2, 3)), np.zeros(3, np.float32))
