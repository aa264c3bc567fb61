"""What the golden network takes: finite integers of its range, whatever they are stored as."""

from __future__ import annotations

import numpy as np
import pytest
from image_kit import integer_layer

from dpnet.model.golden.array import BucketProduct
from dpnet.model.golden.network import integer_layer as golden
from dpnet.model.golden.network import integer_network
from dpnet.model.image import Image, ImageError

LAYER = integer_layer(np.random.default_rng(0), "fc", 3, 4, 2, entry_bits=4)

WRONG = {
    "1.5 is no integer": (
        [0.0, 1.5, 2, 3],
        r"the input of layer fc must be integers, not \[1.5\]: quantize it first .*",
    ),
    "nan": ([0, np.nan, 2, 3], "the input of layer fc must be finite, it holds a NaN or .*"),
    "inf": ([0, np.inf, 2, 3], "the input of layer fc must be finite, it holds a NaN or .*"),
    "complex": ([1j, 0, 0, 0], "the input of layer fc must be real numbers, not complex128"),
    "text": (["1"] * 4, "the input of layer fc must be real numbers, not <U1"),
    "ragged": ([[1], [1, 2]], "the input of layer fc must be an array of numbers: .*"),
    "too large": (
        [1 << 24, 0, 0, 0],
        r"the input of layer fc must be integers of 25 bits, not \[16777216.0\]",
    ),
    "beyond 64 bits": ([10**30, 0, 0, 0], "the input of layer fc must be real numbers, not object"),
    "masked": (
        np.ma.array([1, 2, 3, 4], mask=[0, 1, 0, 0]),
        "the input of layer fc must be an array of numbers, not a masked one",
    ),
    "short": ([1, 2, 3], r"layer fc takes a vector of shape \(4,\), not \(3,\)"),
    "a matrix": ([[1, 2, 3, 4]], r"layer fc takes a vector of shape \(4,\), not \(1, 4\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_vector_of_integers(case: str) -> None:
    x, message = WRONG[case]
    for call in (golden, lambda layer, x: integer_network(Image(layers=(layer,)), x)):
        with pytest.raises(ImageError, match=f"^{message}$"):
            call(LAYER, x)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float32, np.float64])
def test_whole_numbers_of_any_type_are_the_same(dtype: type) -> None:
    x = np.array([0, 1, 2, 127])
    assert golden(LAYER, x.astype(dtype)).tolist() == golden(LAYER, x).tolist()


def test_the_product_cuts_nothing_off() -> None:
    entries, indices, x = np.array([[1, 2]]), np.array([[0, 1]]), np.array([1, 2])
    for one, other in ((entries + 0.5, x), (entries, x + 0.5)):
        with pytest.raises(TypeError, match=r"^(x|entries) must be integers, not float64$"):
            BucketProduct().compute(one, indices, other)
