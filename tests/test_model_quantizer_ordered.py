"""Rows in ascending order by digits, against NumPy's."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dpnet.model.quantizer.ordered import LONG, SHORT, digits_in_order, in_order

SEED = 4


def _rows(kind: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    random = np.random.default_rng([SEED, len(kind)])
    if kind == "any bits":
        bits = random.integers(0, 2**32, shape, dtype=np.uint32).view(np.float32)
        return np.where(np.isnan(bits), 0, bits).astype(np.float64)
    if kind == "one digit differs":
        return 1.0 + random.integers(0, 2, shape) * 2.0**-20
    if kind == "all equal":
        return np.full(shape, -0.1)
    return random.normal(size=shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["normal", "any bits", "one digit differs", "all equal"])
@pytest.mark.parametrize("shape", [(3, 1), (5, 2), (2, SHORT), (1, LONG + 1), (0, 7)])
def test_digits_give_the_order_of_numpy(dtype: type, kind: str, shape: tuple[int, int]) -> None:
    rows = _rows(kind, shape).astype(dtype)
    before = rows.copy()
    np.testing.assert_array_equal(digits_in_order(rows), np.sort(rows, axis=1))
    np.testing.assert_array_equal(rows, before)
    found = in_order(rows)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.sort(rows, axis=1).astype(np.float64))


def test_what_is_no_number_is_at_the_ends() -> None:
    for bad in (np.nan, -np.nan, np.inf, -np.inf):
        rows = np.array([[1.0, bad, -2.0, 1e300, -1e300]])
        ordered = digits_in_order(rows)
        assert not np.isfinite(ordered[0, [0, -1]]).all()
