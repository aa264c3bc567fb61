"""BucketProduct against plain Python integers and a dense product of the integers it stands for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpnet.model.golden.array import BucketProduct


@st.composite
def products(draw):
    """Widths and a product: extremes as likely as anything."""
    activation_bits = draw(st.integers(2, 25))
    entry_bits = draw(st.integers(2, 25))
    rows, columns, k = draw(st.integers(1, 5)), draw(st.integers(1, 12)), draw(st.integers(1, 16))

    def integers(bits, shape):
        low = -(1 << bits - 1)
        value = st.sampled_from([low, -low - 1, 0, -1]) | st.integers(low, -low - 1)
        count = int(np.prod(shape))
        return np.array(draw(st.lists(value, min_size=count, max_size=count))).reshape(shape)

    flat = draw(st.lists(st.integers(0, k - 1), min_size=rows * columns, max_size=rows * columns))
    return (
        BucketProduct(activation_bits=activation_bits, entry_bits=entry_bits),
        integers(entry_bits, (rows, k)),
        np.array(flat).reshape(rows, columns),
        integers(activation_bits, (columns,)),
    )


@settings(max_examples=200, deadline=None)
@given(products())
def test_equals_python_integers(case):
    product, entries, indices, x = case
    got = product.compute(entries, indices, x)
    assert got.dtype == np.int64
    for row, result in enumerate(got.tolist()):
        weights = [int(entries[row, index]) for index in indices[row]]
        assert result == sum(w * int(value) for w, value in zip(weights, x, strict=True))


@settings(max_examples=100, deadline=None)
@given(products())
def test_buckets_split_the_vector(case):
    product, entries, indices, x = case
    k = entries.shape[1]
    buckets = product.buckets(indices, x, k)
    for row in range(len(indices)):
        for n in range(k):
            chosen = [int(x[j]) for j in range(len(x)) if indices[row, j] == n]
            assert int(buckets[row, n]) == sum(chosen)
    # What the engine checks itself by: every input is in exactly one bucket.
    assert (buckets.sum(1) == int(x.sum())).all()


@pytest.mark.parametrize("seed", range(3))
def test_equals_a_dense_product(seed):
    rng = np.random.default_rng(seed)
    entries = rng.integers(-(1 << 24), 1 << 24, (70, 16))
    indices = rng.integers(0, 16, (70, 900), dtype=np.uint8)
    x = rng.integers(-(1 << 24), 1 << 24, 900)
    dense = np.take_along_axis(entries, indices.astype(np.int64), 1).astype(object) @ x
    assert BucketProduct().compute(entries, indices, x).tolist() == dense.tolist()


def test_the_largest_sum_is_exact():
    low = -(1 << 24)
    entries, x = np.full((1, 1), low), np.full(4096, low)
    indices = np.zeros((1, 4096), np.uint8)
    assert BucketProduct().compute(entries, indices, x).tolist() == [2**60]


@pytest.mark.parametrize(
    "entries, indices, x, message",
    [
        ([[1]], [[0, 0]], [1], "x must have shape (2,), not (1,)"),
        ([[1]], [[1]], [1], "indices must be from 0 to 0, not up to 1"),
        ([[128]], [[0]], [1], "entries must have at most 8 signed bits, not array([[128]])"),
        ([[1]], [[0]], [-9], "x must have at most 4 signed bits, not array([-9])"),
    ],
)
def test_refuses(entries, indices, x, message):
    product = BucketProduct(activation_bits=4, entry_bits=8)
    with pytest.raises(ValueError) as caught:
        product.compute(np.array(entries), np.array(indices), np.array(x))
    assert str(caught.value) == message
