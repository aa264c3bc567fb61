"""Normalize against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpnet.model.golden.checks import RangeError
from dpnet.model.golden.normalize import Normalize

SMALLEST = Fraction(1, 2**149)
# Half a unit above the largest finite number: from here on results are infinite.
OVERFLOW = Fraction(2**128 - 2**103)


def nearest_word(exact):
    """The bits of the fp32 number nearest to the non-negative fraction `exact`, ties to even.

    The words of non-negative fp32 numbers are in the order of the numbers: search among them.
    """
    if exact >= OVERFLOW:
        return 0x7F800000
    low, high = 0, 0x7F7FFFFF
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if number(middle) <= exact else (low, middle - 1)
    if low == 0x7F7FFFFF:
        return low
    below, above = exact - number(low), number(low + 1) - exact
    return low + (above < below or (above == below and low % 2 == 1))


def number(word):
    """The finite non-negative fp32 number with these bits."""
    exponent, fraction = divmod(word, 2**23)
    return (fraction + (2**23 if exponent else 0)) * SMALLEST * 2 ** max(exponent - 1, 0)


def check(values, scales):
    words, overflow = Normalize().compute(np.array(values), np.array(scales))
    for value, scale, word, flag in zip(
        values, scales, words.view(np.uint32).tolist(), overflow.tolist(), strict=True
    ):
        expected = nearest_word(abs(value) * Fraction(2) ** scale) | (value < 0) << 31
        assert word == expected, (value, scale)
        assert flag == (expected & 0x7FFFFFFF == 0x7F800000)


@settings(max_examples=400, deadline=None)
@given(value=st.integers(-(2**61), 2**61 - 1), scale=st.integers(-260, 130))
def test_any_integer_and_scale(value, scale):
    check([value], [scale])


@settings(max_examples=600, deadline=None)
@given(
    lead=st.integers(0, 2**25),
    zeros=st.integers(0, 35),
    near=st.sampled_from([-1, 0, 0, 1]),
    place=st.one_of(st.integers(-152, -120), st.integers(124, 130), st.integers(-20, 20)),
    negative=st.booleans(),
)
def test_ties_and_their_neighbors(lead, zeros, near, place, negative):
    value = min(max((lead << zeros) + near, 0), 2**61 - 1)
    check([-value if negative else value], [place - value.bit_length()])


def test_boundaries():
    check(
        [0, 1, -1, 1, 1, 3, -(2**61), 2**61 - 1, 2**24 - 1, 2**25 - 1, 2**25 - 1, -1, 1, 1],
        [5, -149, -149, -150, -151, -150, 0, 0, 104, 103, 102, -2048, 2047, 127],
    )


def test_zero_is_positive_and_underflow_keeps_the_sign():
    words, overflow = Normalize().compute([0, -1, 1], -2048)
    assert words.view(np.uint32).tolist() == [0, 0x80000000, 0]
    assert words.dtype == np.float32
    assert not overflow.any()


def test_overflow_is_reported():
    words, overflow = Normalize().compute([2**24 - 1, -(2**25 - 1)], [104, 103])
    assert words.tolist() == [float(np.finfo(np.float32).max), -np.inf]
    assert overflow.tolist() == [False, True]


def test_refusals():
    with pytest.raises(RangeError, match=r"^integers must be in -512..511, not 512$"):
        Normalize(10).compute([1, 512], 0)
    with pytest.raises(RangeError, match=r"^scale must be in -2048..2047, not -2049$"):
        Normalize().compute([1], -2049)
    with pytest.raises(TypeError, match=r"^integers must be integers, not float64$"):
        Normalize().compute([1.5], 0)
    with pytest.raises(ValueError, match=r"^width must be in 2..62, not 63$"):
        Normalize(63)
    with pytest.raises(RangeError, match=r"not beyond 64 bits$"):
        Normalize().compute([2**70], 0)
