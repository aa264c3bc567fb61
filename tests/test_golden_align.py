"""Align and align_codebook against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpnet.model.golden.align import Align, align_codebook
from dpnet.model.golden.checks import NonFiniteError, RangeError

FP32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def test_align_of_known_values():
    # 1.5 has the exponent 127, so one unit is 2**-23; the third is a tie (to even: 4), the fourth
    # (6 units and a half and a bit) not.
    vector = np.array([1.5, -1.0, 4.5 * 2**-23, 6.5 * 2**-23 + 2**-40, 2.0**-24, 0.0], np.float32)
    x, e_max = Align().compute(vector)
    assert e_max == 127
    assert x.tolist() == [12582912, -8388608, 4, 7, 0, 0]
    assert x.dtype == np.int64
    assert Align().scale(e_max) == -23


def test_exponent_counts_zero_and_subnormals_as_one():
    align = Align()
    tiny = np.array([0, 1, 0x807FFFFF], np.uint32).view(np.float32)
    assert align.exponent(tiny) == 1
    x, e_max = align.compute(tiny)
    assert (x.tolist(), e_max) == ([0, 1, -0x7FFFFF], 1)
    assert align.exponent(np.array([np.finfo(np.float32).max], np.float32)) == 254


@settings(max_examples=300, deadline=None)
@given(values=st.lists(FP32, min_size=1, max_size=8), bits=st.integers(2, 25))
def test_align_rounds_to_nearest_even_or_saturates(values, bits):
    align = Align(bits)
    x, e_max = align.compute(np.array(values, np.float32))
    largest = 2 ** (bits - 1) - 1
    for value, integer in zip(values, x.tolist(), strict=True):
        exact = Fraction(value) / Fraction(2) ** (e_max - 125 - bits)
        nearest = round(exact)  # Python rounds fractions half to even
        assert integer == max(-largest, min(largest, nearest))
        assert bits < 25 or integer == nearest


@settings(max_examples=300, deadline=None)
@given(
    row=st.lists(st.one_of(FP32, st.sampled_from([0, 1, 1 - 2.0**-20])), min_size=1, max_size=6),
    bits=st.integers(2, 25),
)
def test_codebook_rounds_to_nearest_even(row, bits):
    entries, exponents = align_codebook(np.array([row]), bits)
    unit = Fraction(2) ** int(exponents[0])
    assert entries.tolist()[0] == [round(Fraction(value) / unit) for value in row]
    largest = max(abs(entry) for entry in entries.tolist()[0])
    assert largest < 2 ** (bits - 1)
    # No bit of the entries is wasted.
    assert largest >= 2 ** (bits - 2) or max(map(abs, row)) < 2.0**-126 or not any(row)


def test_codebook_steps_to_the_next_exponent_where_rounding_carries():
    entries, exponents = align_codebook([[1 - 2.0**-20, 0.25, 3.0**-1]], 8)
    # 127.99 of 2**-7 would be 128: the unit is 2**-6 instead.
    assert (entries.tolist(), exponents.tolist()) == ([[64, 16, 21]], [-6])


def test_codebook_of_zeros_has_exponent_zero_and_rows_are_independent():
    entries, exponents = align_codebook([[0.0, -0.0], [2.0**100, -(2.0**80)]])
    assert (entries.tolist(), exponents.tolist()) == ([[0, 0], [2**23, -8]], [0, 77])


def test_codebook_goes_through_fp32():
    value = 1 + 2.0**-24 + 2.0**-50  # fp32: 1 + 2**-23
    entries, _ = align_codebook(np.array([[value]]))
    assert entries.tolist() == [[2**23 + 1]]


def test_integers_pass():
    assert Align(8).compute_integers(np.array([-128, 127], np.int16)).tolist() == [-128, 127]
    with pytest.raises(RangeError, match=r"^integers must be in -128..127, not 128$"):
        Align(8).compute_integers([5, 128])


def test_align_refuses():
    align = Align()
    with pytest.raises(NonFiniteError, match=r"^vector must be finite, not nan at \(1,\)$"):
        align.compute(np.array([1, np.nan], np.float32))
    with pytest.raises(NonFiniteError, match=r"^vector must be finite, not -inf at \(0,\)$"):
        align.compute_at(np.array([-np.inf], np.float32), 254)
    with pytest.raises(RangeError, match=r"^exponents must be at most e_max = 127, not 128$"):
        align.compute_at(np.array([2], np.float32), 127)
    with pytest.raises(TypeError, match=r"^vector must be float32, not float64$"):
        align.compute(np.array([1.0]))
    message = r"^vector must hold at least one value, not shape \(0,\)$"
    with pytest.raises(ValueError, match=message):
        align.compute(np.zeros(0, np.float32))
    with pytest.raises(ValueError, match=r"^e_max must be in 1..254, not 0$"):
        align.compute_at(np.zeros(1, np.float32), 0)
    with pytest.raises(ValueError, match=r"^bits must be in 2..25, not 26$"):
        Align(26)
    with pytest.raises(TypeError, match=r"^bits must be an integer, not 8.0$"):
        Align(8.0)


def test_codebook_refuses():
    message = r"^rows must be finite in fp32, not 1e\+39 at \(0, 1\)$"
    with pytest.raises(NonFiniteError, match=message):
        align_codebook([[1.0, 1e39]])
    with pytest.raises(
        ValueError, match=r"^rows must be a filled two-dimensional array, not \(3,\)$"
    ):
        align_codebook([1.0, 2.0, 3.0])
