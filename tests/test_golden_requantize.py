"""Requantize against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpnet.model.golden.checks import RangeError
from dpnet.model.golden.requantize import Requantize

ACC = st.integers(-(2**39), 2**39 - 1)


def expected(acc, bias, multiplier, shift, relu, out_bits):
    """By fractions; Python's `round` rounds them half to even."""
    total = max(acc + bias, 0) if relu else acc + bias
    limit = 2 ** (out_bits - 1)
    return max(-limit, min(limit - 1, round(Fraction(total * multiplier, 2**shift))))


@settings(max_examples=500, deadline=None)
@given(
    acc=st.one_of(ACC, st.integers(-2000, 2000)),
    bias=st.one_of(ACC, st.integers(-2000, 2000)),
    multiplier=st.integers(0, 2**16 - 1),
    shift=st.integers(0, 63),
    relu=st.booleans(),
    out_bits=st.integers(2, 25),
)
def test_equals_fractions(acc, bias, multiplier, shift, relu, out_bits):
    arguments = (acc, bias, multiplier, shift, relu, out_bits)
    assert Requantize().compute(*arguments) == expected(*arguments)


@settings(max_examples=300, deadline=None)
@given(odd=st.integers(-(2**12), 2**12), shift=st.integers(1, 20), near=st.integers(-1, 1))
def test_ties_go_to_even(odd, shift, near):
    acc = ((2 * odd + 1) << (shift - 1)) + near
    arguments = (acc, 0, 1, shift, False, 25)
    assert Requantize().compute(*arguments) == expected(*arguments)


def test_known_values():
    # 2.5, 3.5, -2.5, -3.5 and one quarter above 2.5
    result = Requantize().compute([10, 14, -10, -14, 11], 0, 1, 2, False, 8)
    assert result.tolist() == [2, 4, -2, -4, 3]
    assert result.dtype == np.int64
    assert Requantize().compute([127, 128, -128, -129], 0, 1, 0, False, 8).tolist() == [
        127,
        127,
        -128,
        -128,
    ]
    assert Requantize().compute([-5, 5], [0, -9], 3, 0, True, 8).tolist() == [0, 0]
    assert Requantize().compute([-5, 5], [0, 9], 3, 0, [False, True], 8).tolist() == [-15, 42]


def test_extremes_do_not_wrap():
    low, high = -(2**39), 2**39 - 1
    for shift in (0, 1, 31, 55, 56, 57, 62, 63):
        for acc, bias in ((low, low), (high, high), (low, high)):
            arguments = (acc, bias, 2**16 - 1, shift, False, 25)
            assert Requantize().compute(*arguments) == expected(*arguments)


def test_refusals():
    golden = Requantize()
    with pytest.raises(RangeError, match=f"^acc must be in {-(2**39)}..{2**39 - 1}, not {2**39}$"):
        golden.compute([0, 2**39], 0, 1, 0, False, 8)
    with pytest.raises(RangeError, match=r"^multiplier must be in 0..65535, not -1$"):
        golden.compute(0, 0, -1, 0, False, 8)
    with pytest.raises(RangeError, match=r"^shift must be in 0..63, not 64$"):
        golden.compute(0, 0, 1, 64, False, 8)
    with pytest.raises(RangeError, match=r"^out_bits must be in 2..25, not 26$"):
        golden.compute(0, 0, 1, 0, False, 26)
    with pytest.raises(ValueError, match=r"^acc_bits must be in 24..48, not 8$"):
        Requantize(acc_bits=8)
    with pytest.raises(ValueError, match=r"^the product must have at most 62 bits, not 66 "):
        Requantize(acc_bits=48, multiplier_bits=17)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.floats(2**-70, 2**16 - 0.5, exclude_max=True),
        st.sampled_from([0.5, 1.0, 1 - 2**-53, 2**-47]),
    )
)
def test_a_factor_is_the_next_one_that_there_is(factor):
    """To half a step of a multiplier that uses all its bits, or of the smallest factor."""
    (multiplier,), (shift,) = Requantize().factors([factor])
    assert 0 <= multiplier < 1 << 16 and 0 <= shift <= 63
    error = abs(Fraction(int(multiplier), 2 ** int(shift)) - Fraction(factor))
    if factor >= 2**-47:
        assert multiplier >= 1 << 15
        assert error <= Fraction(factor) / 2**16
    else:
        assert shift == 63 and error <= Fraction(1, 2**63)


@pytest.mark.parametrize("factor", [70000.0, 65535.5])
def test_factors_that_are_too_large_are_refused(factor):
    with pytest.raises(ValueError, match=rf"^factors must be below 2\^16, not {factor:g}$"):
        Requantize().factors([1.0, factor])
