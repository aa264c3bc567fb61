"""Compiling to integers: against the float network, by hand, against plain integer arithmetic."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpnet.model.compile import CompileError, DenseLayer, compile_fp32, compile_integer
from dpnet.model.golden.network import fp32_layer, integer_network
from dpnet.model.image import Image, ImageLayer, read_image, write_image
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import Quantized

Floats = NDArray[np.float64]


def quantized(codebook: object, indices: object) -> Quantized:
    values = np.array(codebook, np.float64)
    return Quantized(
        codebook=values,
        indices=np.array(indices, np.uint8),
        cost=np.zeros(len(values)),
        k_eff=np.full(len(values), values.shape[1]),
    )


def random_layers(seed: int, sizes: tuple[int, ...], k: int) -> list[DenseLayer]:
    rng = np.random.default_rng(seed)
    layers = []
    for n, (columns, rows) in enumerate(pairwise(sizes)):
        weights = rng.standard_normal((rows, columns)) * 2.0 ** rng.integers(-4, 4, (rows, 1))
        weights /= math.sqrt(columns)
        found = quantize(weights.astype(np.float32), k)
        book = found.codebook.astype(np.float32).astype(np.float64)
        layers.append(
            DenseLayer(
                f"fc{n}",
                Quantized(book, found.indices, found.cost, found.k_eff),
                rng.standard_normal(rows),
                relu=n < len(sizes) - 2,
            )
        )
    return layers


def float_network(layers: list[DenseLayer], x: Floats) -> Floats:
    for layer in layers:
        x = x @ layer.quantized.dequantized.T + layer.bias
        x = np.maximum(x, 0) if layer.relu else x
    return x


def error_bound(layers: list[DenseLayer], image: Image, x: Floats) -> Floats:
    """The largest difference that rounding can make, layer by layer, in real numbers.

    Half a step for each activation, entry and bias, 2^-16 of a result for its multiplier.
    """
    half = 0.5 * image.input_scale
    error: Floats = np.full_like(x, half)
    scale = image.input_scale
    for layer, compiled in zip(layers, image.layers, strict=True):
        assert compiled.exponent is not None and compiled.multiplier is not None
        assert compiled.shift is not None
        step = np.ldexp(1.0, compiled.exponent)
        weights = layer.quantized.dequantized
        magnitudes = np.abs(x) + error
        before = (
            error @ np.abs(weights).T + 0.5 * step * magnitudes.sum(1)[:, None] + 0.5 * scale * step
        )
        y = x @ weights.T + layer.bias
        # The next scale, from what the row's multiplier says.
        row = int(np.argmax(compiled.multiplier))
        factor = compiled.multiplier[row] / 2.0 ** int(compiled.shift[row])
        scale = scale * step[row] / factor
        error = before + 2.0**-15 * (np.abs(y) + before) + 0.5 * scale * (1 + 2.0**-15)
        x = np.maximum(y, 0) if layer.relu else y
    return error


@pytest.mark.parametrize("k, activation_bits, entry_bits", [(16, 8, 16), (4, 9, 9), (2, 12, 12)])
@pytest.mark.parametrize("seed", range(4))
def test_within_the_rounding_errors_of_the_float_network(
    seed: int, k: int, activation_bits: int, entry_bits: int
) -> None:
    layers = random_layers(seed, (20, 30, 5), k)
    x = np.random.default_rng(seed + 100).standard_normal((40, 20))
    image = compile_integer(
        layers, x, activation_bits=activation_bits, entry_bits=entry_bits, output_bits=20
    )
    found = np.array([integer_network(image, row)[-1] for row in image.quantize_input(x)])
    error = np.abs(found * image.output_scale - float_network(layers, x))
    bound = error_bound(layers, image, x)
    assert (error <= bound).all()
    # A bound that everything keeps would prove nothing.
    assert bound.max() < 0.6 * np.abs(float_network(layers, x)).max()


def test_more_bits_are_more_exact() -> None:
    layers = random_layers(7, (20, 30, 5), 16)
    x = np.random.default_rng(7).standard_normal((50, 20))
    worst = []
    for bits in (6, 10, 14):
        image = compile_integer(layers, x, activation_bits=bits, output_bits=20)
        found = np.array([integer_network(image, row)[-1] for row in image.quantize_input(x)])
        worst.append(np.abs(found * image.output_scale - float_network(layers, x)).max())
    assert worst[0] > 8 * worst[1] > 64 * worst[2]


def test_a_layer_by_hand() -> None:
    # Entries of 8 bits hold these weights exactly, under 2^-6.
    layer = DenseLayer(
        "fc",
        quantized([[-1 / 64, 127 / 64], [0.5, 1.0]], [[0, 1, 1], [1, 0, 0]]),
        np.array([0.25, -3.0]),
        relu=True,
    )
    calibration = np.array([[1.27, -0.5, 0.0], [0.1, 0.2, 0.3]])
    image = compile_integer([layer], calibration, entry_bits=8, output_bits=10, about={"a": 1})
    (found,) = image.layers
    assert image.input_scale == pytest.approx(1.27 / 127) and image.input_bits == 8
    assert image.about == {"a": 1} and not image.is_fp32
    assert (found.name, found.shape, found.k, found.relu) == ("fc", (2, 3), 2, True)
    assert found.out_bits == 10
    assert found.entries is not None and found.exponent is not None and found.bias is not None
    assert found.entries.tolist() == [[-1, 127], [32, 64]]
    assert found.exponent.tolist() == [-6, -6]
    # One step of an accumulator is worth 0.01 / 64.
    assert found.bias.tolist() == [1600, -19200]
    # The largest result, of the second input: -0.1/64 + 0.5 * 127/64 + 0.25.
    assert image.output_scale == pytest.approx(1.240625 / 511)
    x = image.quantize_input(calibration)
    assert x.tolist() == [[127, -50, 0], [10, 20, 30]]
    assert integer_network(image, x[0])[0].tolist() == [0, 0]
    assert integer_network(image, x[1])[0].tolist() == [511, 0]
    # (0.005 - 0.0 * 127/64 + 0.25) / output_scale = 104.7; beyond the calibration it saturates.
    assert integer_network(image, np.array([-32, 0, 0]))[0].tolist() == [105, 0]
    assert integer_network(image, np.array([-127, 127, 127]))[0].tolist() == [511, 0]


def test_scales_are_the_largest_magnitudes_of_every_layer() -> None:
    one = DenseLayer("one", quantized([[2.0]], [[0]]), np.array([1.0]), relu=False)
    two = DenseLayer("two", quantized([[-4.0]], [[0]]), np.array([0.5]), relu=False)
    image = compile_integer([one, two], np.array([[-3.0], [1.0]]), output_bits=12)
    assert image.input_scale == pytest.approx(3 / 127)
    assert image.output_scale == pytest.approx(20.5 / 2047)  # -4 (2 · -3 + 1) + 0.5
    outputs = integer_network(image, np.array([-127]))
    assert [output.tolist() for output in outputs] == [[-127], [2047]]  # of -5 and 20.5
    assert integer_network(image, np.array([42]))[0].tolist() == [76]  # 2 · 0.9921 + 1 over 5/127


def test_the_scale_of_nothing_is_one() -> None:
    layer = DenseLayer("fc", quantized([[0.5]], [[0, 0]]), np.zeros(1), relu=False)
    image = compile_integer([layer], np.zeros((3, 2)))
    assert (image.input_scale, image.output_scale) == (1.0, 1.0)
    assert integer_network(image, np.array([3, 4]))[0].tolist() == [4]  # 3.5, to even


@pytest.mark.parametrize("weight", [0.0, 1e-37, 1e-25, 1e-12])
def test_rows_of_dead_weights_keep_their_bias(weight: float) -> None:
    book = quantized([[weight, 2 * weight], [-0.5, 0.5]], [[0, 1, 1], [1, 0, 0]])
    layer = DenseLayer("fc", book, np.array([300.0, 0.0]), relu=False)
    x = np.random.default_rng(0).uniform(-1000, 1000, (20, 3))
    image = compile_integer([layer], x, output_bits=8)
    found = [integer_network(image, row)[0][0] for row in image.quantize_input(x)]
    largest = np.abs(x @ book.dequantized.T + layer.bias).max()
    assert image.output_scale == pytest.approx(largest / 127, rel=1e-3)
    assert set(found) == {round(300.0 / image.output_scale)}


def test_a_row_whose_results_all_round_to_zero() -> None:
    book = quantized([[-1e-20, 1e-20], [-1.0, 1.0]], [[0, 1], [1, 0]])
    layer = DenseLayer("fc", book, np.zeros(2), relu=False)
    image = compile_integer([layer], np.eye(2))
    shift, multiplier = image.layers[0].shift, image.layers[0].multiplier
    assert shift is not None and multiplier is not None
    assert shift.max() <= 63 and multiplier.min() >= 0
    assert integer_network(image, np.array([127, -127]))[0].tolist() == [0, 32767]


# What does not fit


def test_accumulators_that_do_not_fit() -> None:
    weights = quantize(np.random.default_rng(0).standard_normal((4, 600)), 16)
    layer = DenseLayer("fc", weights, np.zeros(4), relu=True)
    x = np.random.default_rng(1).standard_normal((5, 600))
    compile_integer([layer], x, activation_bits=8, entry_bits=16)
    message = (
        "layer fc: its accumulators need more than 40 bits; use fewer entry or activation bits"
    )
    with pytest.raises(CompileError, match=f"^{message}$"):
        compile_integer([layer], x, activation_bits=12, entry_bits=25)


def test_a_scale_that_does_not_fit() -> None:
    layer = DenseLayer("big", quantized([[2.0**40]], [[0]]), np.zeros(1), relu=True)
    with pytest.raises(CompileError, match=r"^layer big: a scale of .* is too large to requant"):
        compile_integer([layer], np.zeros((1, 1)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(bad: float) -> None:
    layer = DenseLayer("fc", quantized([[1.0]], [[0]]), np.zeros(1), relu=False)
    with pytest.raises(CompileError, match=r"^the input holds a NaN or an infinity$"):
        compile_integer([layer], np.array([[1.0], [bad]]))
    broken = DenseLayer("fc", quantized([[1.0]], [[0]]), np.array([bad]), relu=False)
    with pytest.raises(CompileError, match=r"^layer fc holds a NaN or an infinity$"):
        compile_integer([broken], np.ones((1, 1)))


ONE = quantized([[1.0, -1.0]], [[0, 1, 0]])
X3 = np.ones((2, 3))

WRONG: list[tuple[list[DenseLayer], object, dict[str, int], str]] = [
    ([], X3, {}, "there must be at least one layer to compile"),
    ([DenseLayer("a", ONE)], X3[:0], {}, "the calibration must have at least one row, it has none"),
    (
        [DenseLayer("a", ONE)],
        X3[0],
        {},
        r"the calibration must have the shape \(n, 3\), as the first layer takes 3 .*, not \(3,\)",
    ),
    ([DenseLayer("a", ONE)], np.ones((2, 4)), {}, r"the calibration must .*, not \(2, 4\)"),
    ([DenseLayer("a", ONE)], X3 + 1j, {}, "the input must be real numbers, not complex128"),
    ([DenseLayer("a", ONE)], [["x"] * 3], {}, "the input must be real numbers, not <U1"),
    ([DenseLayer("a", ONE)], [[1, 2, 3], [1]], {}, "the input must be an array, not lists .*"),
    ([DenseLayer("a", ONE)], np.full((1, 3), 1e-320), {}, "the input holds nothing above 9.99.*"),
    (
        [DenseLayer("a", ONE), DenseLayer("b", ONE)],
        X3,
        {},
        "layer b takes 3 values, but a before it gives 1",
    ),
    (
        [DenseLayer("a", ONE, np.zeros(2))],
        X3,
        {},
        r"layer a: bias must have a value for each of its 1 rows, not the shape \(2,\)",
    ),
    ([DenseLayer("a", ONE, gain=np.ones((1, 1)))], X3, {}, "layer a: gain must have a value .*"),
    ([DenseLayer("a", ONE, gain=-np.ones(1))], X3, {}, "layer a: gain must be 0 or more, not -1"),
    ([DenseLayer("a", ONE, np.array(["x"]))], X3, {}, "layer a must be real numbers, not <U1"),
    (
        [DenseLayer("a", quantized([[1.0, 2.0]], [[0, 2, 0]]))],
        X3,
        {},
        "layer a: an index does not name one of its 2 values",
    ),
    (
        [DenseLayer("a", quantized(np.zeros((1, 17)), [[0, 2, 0]]))],
        X3,
        {},
        "layer a has 17 values a row, the engine holds 16: quantize it with a smaller k",
    ),
    (
        [DenseLayer("a", quantized([[1.0], [2.0]], [0, 0, 0]))],
        X3,
        {},
        r"layer a: its weights must be quantized by rows, .* not indices \(3,\) with codebooks .*",
    ),
    ([DenseLayer("a", quantized([[np.nan]], [[0]]))], X3, {}, "layer a holds a NaN or an infinity"),
    ([DenseLayer("a", ONE)], X3, {"entry_bits": 26}, "entry_bits must be a whole number from 2 .*"),
    ([DenseLayer("a", ONE, np.array([1e300]))], X3 * 1e-9, {}, "layer a: .* more than 40 bits; .*"),
]


@pytest.mark.parametrize("layers, calibration, bits, message", WRONG)
def test_what_cannot_be_compiled(
    layers: list[DenseLayer], calibration: object, bits: dict[str, int], message: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CompileError, match=f"^{message}$"):
            compile_integer(layers, calibration, **bits)  # type: ignore[arg-type]


def test_no_bias_is_a_bias_of_zero() -> None:
    layer = quantize(np.random.default_rng(0).standard_normal((4, 6)), 4)
    x = np.random.default_rng(1).standard_normal((5, 6))
    none = compile_integer([DenseLayer("fc", layer)], x)
    zero = compile_integer([DenseLayer("fc", layer, np.zeros(4))], x)
    for row in none.quantize_input(x):
        one, other = integer_network(none, row), integer_network(zero, row)
        assert one[0].tolist() == other[0].tolist()


@pytest.mark.parametrize("size", [1e-60, 1e-25, 1e60, 1e200])
def test_weights_beyond_fp32(size: float) -> None:
    """Inputs that make up for it: the same integers as of ordinary weights."""
    weights = np.random.default_rng(0).standard_normal((4, 6))
    x = np.random.default_rng(1).standard_normal((5, 6))
    power = 2.0 ** round(math.log2(size))
    found = quantize(weights, 4)
    large = quantized(found.codebook * power, found.indices)
    usual = compile_integer([DenseLayer("fc", found)], x)
    image = compile_integer([DenseLayer("fc", large)], x / power)
    assert image.output_scale == usual.output_scale
    for row, other in zip(image.quantize_input(x / power), usual.quantize_input(x), strict=True):
        found_row = integer_network(image, row)[0].tolist()
        assert found_row == integer_network(usual, other)[0].tolist() and any(found_row)


FP32: list[tuple[dict[str, tuple[Quantized, tuple[int, ...]]], str]] = [
    ({}, "there must be at least one matrix to compile"),
    (
        {"a": (quantized([[1e39]], [[0]]), (1, 1))},
        "layer a: its codebook holds values that fp32 .*",
    ),
    ({"a": (ONE, (3, 1))}, r"layer a: shape \(3, 1\) is not that of indices of 1 × 3"),
    ({"a": (quantized(np.zeros((1, 17)), [[0]]), (1, 1))}, "layer a has 17 values a row, .*"),
]


@pytest.mark.parametrize("matrices, message", FP32)
def test_matrices_that_cannot_be_compiled(
    matrices: dict[str, tuple[Quantized, tuple[int, ...]]], message: str
) -> None:
    with pytest.raises(CompileError, match=f"^{message}$"):
        compile_fp32(matrices)


# The golden network is plain integer arithmetic


def plain_layer(layer: ImageLayer, x: list[int]) -> list[int]:
    """A layer in Python's integers and fractions, weight by weight."""
    assert layer.entries is not None and layer.bias is not None
    assert layer.multiplier is not None and layer.shift is not None
    out = []
    for r in range(layer.rows):
        total = int(layer.bias[r])
        for j, value in enumerate(x):
            total += int(layer.entries[r, layer.indices[r, j]]) * value
        if layer.relu:
            total = max(total, 0)
        # round() of a Fraction is exact, half to even.
        result = round(Fraction(total * int(layer.multiplier[r]), 1 << int(layer.shift[r])))
        limit = 1 << layer.out_bits - 1
        out.append(min(max(result, -limit), limit - 1))
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_golden_network_is_plain_integer_arithmetic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, 4)
    layers = []
    for n in range(3):
        rows, columns, k = int(sizes[n + 1]), int(sizes[n]), int(rng.integers(1, 17))
        layers.append(
            ImageLayer(
                name=str(n),
                shape=(rows, columns),
                k=k,
                indices=rng.integers(0, k, (rows, columns), dtype=np.uint8),
                entries=rng.integers(-(1 << 12), 1 << 12, (rows, k)),
                exponent=rng.integers(-20, 3, rows),
                bias=rng.integers(-(1 << 20), 1 << 20, rows),
                multiplier=rng.integers(0, 1 << 16, rows),
                shift=rng.integers(8, 40, rows),
                relu=bool(rng.integers(2)),
                out_bits=int(rng.integers(2, 21)),
            )
        )
    vector = rng.integers(-(1 << 19), 1 << 19, sizes[0])
    expected, x = [], vector.tolist()
    for layer in layers:
        x = plain_layer(layer, x)
        expected.append(x)
    found = integer_network(Image(layers=tuple(layers)), vector)
    assert [output.tolist() for output in found] == expected


def test_an_fp32_image_is_the_matrix() -> None:
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((6, 2, 3, 3)).astype(np.float32)
    rows = quantize(weights.reshape(6, 18), 4)
    image = compile_fp32({"conv": (rows, weights.shape)}, {"source": "here"})
    (layer,) = image.layers
    assert image.is_fp32 and image.about == {"source": "here"}
    assert (layer.name, layer.shape, layer.columns, layer.k) == ("conv", (6, 2, 3, 3), 18, 4)
    assert layer.codebook is not None and layer.codebook.dtype == np.float32
    dense = layer.codebook[np.arange(6)[:, None], layer.indices]
    np.testing.assert_array_equal(dense, rows.dequantized.astype(np.float32))
    x = rng.standard_normal(18).astype(np.float32)
    # Everything of one magnitude: the shared exponent costs less than 2^-20.
    np.testing.assert_allclose(fp32_layer(layer, x), dense.astype(float) @ x, rtol=0, atol=1e-5)


def test_compiled_images_go_through_files(tmp_path: Path) -> None:
    path = tmp_path / "net.dpnet"
    layers = random_layers(3, (10, 12, 4), 8)
    x = np.random.default_rng(3).standard_normal((20, 10))
    image = compile_integer(layers, x)
    write_image(image, path)
    again = read_image(path)
    for row in image.quantize_input(x):
        one, other = integer_network(image, row), integer_network(again, row)
        assert [y.tolist() for y in one] == [y.tolist() for y in other]
