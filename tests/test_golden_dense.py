"""The dense int8 golden model: exact sums, requantized; the engine's sizes, cycles, address map."""

from fractions import Fraction

import numpy as np
import pytest

from dpnet.model.engine.dense import DenseParameters
from dpnet.model.engine.regions import Region
from dpnet.model.golden.checks import RangeError
from dpnet.model.golden.dense import Dense, RowParameters
from dpnet.model.golden.requantize import Requantize

GOLDEN = Dense(Requantize(acc_bits=27, bias_bits=27))


def rows_of(*rows):
    return RowParameters(*(np.array(column, np.int64) for column in zip(*rows, strict=True)))


def test_results_are_the_rounded_fractions():
    rng = np.random.default_rng(7)
    matrix, vectors = rng.integers(-128, 128, (9, 50)), rng.integers(-128, 128, (4, 50))
    rows = rows_of(
        *(
            (int(rng.integers(-90_000, 90_000)), int(rng.integers(1, 1 << 16)), 25, n % 2)
            for n in range(9)
        )
    )
    found = GOLDEN.compute(matrix, vectors, rows)
    assert found.shape == (4, 9)
    for v, vector in enumerate(vectors.tolist()):
        for r, weights in enumerate(matrix.tolist()):
            total = sum(w * x for w, x in zip(weights, vector, strict=True)) + int(rows.bias[r])
            total = max(total, 0) if rows.relu[r] else total
            exact = round(Fraction(total * int(rows.multiplier[r]), 1 << 25))
            assert found[v, r] == min(max(exact, -128), 127)


def test_golden_refuses():
    one = rows_of((0, 1, 0, 0))
    with pytest.raises(ValueError, match=r"^matrix and vectors must be \(R, C\) and \(V, C\), "):
        GOLDEN.compute(np.ones((1, 3), np.int64), np.ones((1, 2), np.int64), one)
    with pytest.raises(RangeError, match=r"^matrix must be in -128..127, not 128$"):
        GOLDEN.compute(np.full((1, 1), 128), np.ones((1, 1), np.int64), one)
    with pytest.raises(RangeError, match=r"^vectors must be in -128..127, not -129$"):
        GOLDEN.compute(np.ones((1, 1), np.int64), np.full((1, 1), -129), one)


def test_cycles_at_full_size():
    params = DenseParameters()
    assert params.macs == 1792
    # The slices of the multiplications, and two for each requantizer.
    assert params.macs // 2 + 2 * params.requantizers == 900
    assert params.interval_cycles(1000, 1024) == 576
    assert params.cycles(1000, 1024) == 613
    assert params.cycles(1000, 1024, 8) == 4645
    narrow = DenseParameters(tile_rows=32, segments=56, weight_depth=512)
    assert (narrow.interval_cycles(384, 1728), narrow.cycles(384, 1728)) == (372, 411)


def test_tiles_wait_for_slow_requantizers():
    params = DenseParameters(tile_rows=28, segments=64, requantizers=1)
    assert (params.tile_steps, params.tile_cycles(1024), params.tile_cycles(1793)) == (28, 28, 29)


def test_sums_fit_the_accumulators():
    for columns in (1, 2, 1000, 1024, 1025, 4096):
        bits = DenseParameters(max_columns=columns).requantize.acc_bits
        assert 128 * 128 * columns < 1 << (bits - 1)


def test_stores_of_a_small_engine():
    params = DenseParameters(tile_rows=4, segments=3, requantizers=3, max_columns=8)
    matrix = np.arange(1, 36).reshape(7, 5)
    addresses, words = params.weight_store(matrix)
    found = dict(zip((addresses - Region.INDEX.base // 4).tolist(), words.tolist(), strict=True))
    # Tile 1, beat 1 is depth 3; pair 0 of 2; word 0 has columns 3 and 4 of rows 4 and 5.
    assert found[3 << 2] == 24 | 29 << 8 | 25 << 16 | 30 << 24
    # Word 1 has the third column of the beat, behind the end of the row.
    assert found[3 << 2 | 1] == 0
    assert found[2 << 2 | 1] == 23 | 28 << 8
    addresses, words = params.vector_store(np.array([[1, 2, 3, -4, 5], [6, 7, 8, 9, -10]]))
    assert words.tolist() == [0x030201, 0x0005FC, 0x080706, 0x00F609]
    assert addresses.tolist() == [Region.VECTOR.base // 4 + n for n in range(4)]
    addresses, words = params.row_store(rows_of(*((-n, 100 + n, n, n % 2) for n in range(7))))
    found = dict(zip((addresses - Region.ROWS.base // 4).tolist(), words.tolist(), strict=True))
    # Row 5 is row 1 of tile 1: step 2 of both tiles' four, requantizer 1 of 4 addresses.
    assert found[(2 << 2 | 1) << 1] == 2**32 - 5
    assert found[(2 << 2 | 1) << 1 | 1] == 105 | 5 << 16 | 1 << 22
    # Row 3 is alone in step 1.
    assert found[(1 << 2) << 1] == 2**32 - 3 and found[(1 << 2 | 1) << 1] == 0
    results = params.result_addresses(7, 2) - Region.RESULT.base // 4
    assert results.tolist() == [[0, 1, 2, 4, 8, 9, 10], [16, 17, 18, 20, 24, 25, 26]]


@pytest.mark.parametrize(
    "name, low, high",
    [
        ("tile_rows", 2, 1024),
        ("segments", 1, 1024),
        ("requantizers", 1, 64),
        ("max_columns", 1, 4096),
        ("weight_depth", 1, 65536),
        ("vector_depth", 1, 32768),
        ("tiles", 1, 4096),
        ("result_tiles", 1, 65536),
    ],
)
def test_sizes_refuse(name, low, high):
    for value in (low - 1, high + 1, 2.0, None):
        with pytest.raises(ValueError) as caught:
            DenseParameters(**{name: value})
        assert str(caught.value) == f"{name} must be an integer from {low} to {high}, not {value!r}"


def test_odd_tiles_refuse():
    with pytest.raises(ValueError, match=r"^tile_rows must be even, not 7$"):
        DenseParameters(tile_rows=7)


@pytest.mark.parametrize(
    "product, message",
    [
        ((1000, 2049), "needs 2049 columns, there is room for 2048"),
        ((1820, 1024), "needs 1040 words of weights, there is room for 1024"),
        ((28, 1024, 17), "needs 272 words of activations, there is room for 256"),
        ((1793, 64), "needs 65 tiles, there is room for 64"),
        ((1000, 64, 15), "needs 540 tiles of results, there is room for 512"),
    ],
)
def test_products_that_do_not_fit(product, message):
    with pytest.raises(ValueError) as caught:
        DenseParameters().check(*product)
    vectors = product[2] if len(product) > 2 else 1
    assert str(caught.value) == f"{product[0]} × {product[1]} with {vectors} vectors {message}"


def test_empty_products_refuse():
    for product, name in (((0, 1, 1), "rows"), ((1, 0, 1), "columns"), ((1, 1, 0), "vectors")):
        with pytest.raises(ValueError, match=f"^{name} must be at least 1, not 0$"):
            DenseParameters().check(*product)
