"""The error of align, integer dot product, normalize against the bound that is claimed for it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpnet.model.golden.align import Align, align_codebook
from dpnet.model.golden.bound import error_bound
from dpnet.model.golden.normalize import Normalize

SEEDS = st.integers(0, 2**32 - 1)


def engine(codebook, indices, vector, bits, entry_bits):
    """The fp32 results of the golden chain."""
    entries, exponents = align_codebook(codebook, entry_bits)
    align = Align(bits)
    x, e_max = align.compute(vector)
    sums = np.take_along_axis(entries, indices, axis=1) @ x
    words, _ = Normalize().compute(sums, exponents + align.scale(e_max))
    return words


def exact(weights, vector):
    """Row products as fractions, of the values as they are."""
    inputs = [Fraction(float(x)) for x in vector]
    return [
        sum((Fraction(float(w)) * x for w, x in zip(row, inputs, strict=True)), Fraction(0))
        for row in weights
    ]


@settings(max_examples=150, deadline=None)
@given(
    seed=SEEDS,
    columns=st.integers(1, 60),
    bits=st.integers(4, 25),
    entry_bits=st.integers(4, 25),
    spread=st.sampled_from([0, 3, 20, 60]),
    shift=st.sampled_from([-90, -70, -20, 0, 20]),
)
def test_error_stays_below_the_bound(seed, columns, bits, entry_bits, spread, shift):
    rng = np.random.default_rng(seed)
    scales = np.ldexp(1.0, rng.integers(-spread, spread + 1, columns) + shift)
    vector = (rng.normal(size=columns) * scales).astype(np.float32)
    codebook = np.ldexp(rng.normal(size=(4, 8)), rng.integers(-spread, 1, (4, 8)) + shift)
    codebook = codebook.astype(np.float32)
    indices = rng.integers(0, 8, (4, columns))
    words = engine(codebook, indices, vector, bits, entry_bits)
    limits = error_bound(codebook, indices, vector, bits=bits, entry_bits=entry_bits)
    weights = np.take_along_axis(codebook, indices, axis=1)
    reference = weights.astype(float) @ vector.astype(float)
    for word, limit, product, value in zip(
        words, limits, exact(weights, vector), reference, strict=True
    ):
        assert abs(Fraction(float(word)) - product) <= Fraction(float(limit))
        assert abs(float(word) - value) <= limit


def test_bound_is_reached_within_a_factor_of_two():
    # Every input and every weight half a unit off, all with the same sign.
    vector = np.array([1.0] + [0.5 + 2.0**-24] * 40, np.float32)
    codebook = np.array([[1.0, 0.5 + 2.0**-24]], np.float32)
    indices = np.array([[0] + [1] * 40])
    limit = error_bound(codebook, indices, vector)[0]
    word = engine(codebook, indices, vector, 25, 25)[0]
    weights = np.take_along_axis(codebook, indices, axis=1)
    error = abs(Fraction(float(word)) - exact(weights, vector)[0])
    assert limit / 2 < error <= limit


def test_bound_follows_the_formula():
    # d_x = u_c / 2 = 2**-24, C = 2: B = 2**-24 * (1 + 1) + 2**-24 * (1 + 1) = 2**-22, A = 2.
    vector = np.ones(2, np.float32)
    limit = error_bound(np.ones((1, 1)), np.zeros((1, 2), int), vector)[0]
    expected = 2.0**-22 + 2.0**-24 * (2 + 2.0**-22) + 2 * 2.0**-53 * 2
    assert limit == pytest.approx(expected * (1 + 2.0**-20) + 2.0**-150, rel=1e-15)


def test_bound_covers_results_below_the_smallest_subnormal():
    vector = np.array([2.0**-100], np.float32)
    codebook = np.array([[2.0**-60]], np.float32)
    indices = np.zeros((1, 1), int)
    assert engine(codebook, indices, vector, 25, 25)[0] == 0
    assert 2.0**-160 < error_bound(codebook, indices, vector)[0] < 2.0**-149
