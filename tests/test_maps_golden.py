"""The golden model of layers, against PyTorch's operators in float64 and against sums by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maps_kit import map_networks, slow, torch_layers

from dpnet.model.golden.checks import RangeError
from dpnet.model.maps import windows
from dpnet.model.maps.checks import MapError
from dpnet.model.maps.golden import MapGolden, compute
from dpnet.model.maps.layers import MapLayer, MapNetwork, MapTensor, Skip, Window


@slow
@given(map_networks())
def test_every_tensor_is_what_pytorch_gives(made: tuple[MapNetwork, np.ndarray]) -> None:
    network, pictures = made
    wanted = torch_layers(network, pictures)
    found = compute(network, pictures)
    assert list(found) == [tensor.name for tensor in network.tensors]
    for name, values in found.items():
        assert values.dtype == np.int64
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)


@settings(slow, max_examples=5)
@given(map_networks(), st.integers(1, 40))
def test_it_does_not_matter_how_many_pictures_are_laid_out_at_once(
    made: tuple[MapNetwork, np.ndarray], chunk: int
) -> None:
    network, pictures = made
    pictures = pictures.repeat(3, axis=0)
    wanted = compute(network, pictures)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "CHUNK", chunk)
        for name, values in compute(network, pictures).items():
            np.testing.assert_array_equal(values, wanted[name])


def layer(**changes: object) -> MapLayer:
    """A sum of two channels of one position, in one row: 3 · x0 - 5 · x1 + 7."""
    given = {
        "name": "sum",
        "input": "x",
        "output": "y",
        "entries": np.array([[3, -5]]),
        "indices": np.array([[0, 1]]),
        "bias": np.array([7]),
        "multiplier": np.array([1]),
        "shift": np.array([0]),
        "low": -128,
        "high": 127,
    }
    return MapLayer(**(given | changes))


X = MapTensor("x", (2, 1, 1), 1.0, True)
Y = MapTensor("y", (1, 1, 1), 1.0, True)


def network(*layers: MapLayer, tensors: tuple[MapTensor, ...] = (X, Y)) -> MapNetwork:
    return MapNetwork(tensors, layers, "y")


def run(one: MapLayer, *pictures: tuple[int, int]) -> list[int]:
    x = np.array(pictures).reshape(-1, 2, 1, 1)
    return compute(network(one), x)["y"].ravel().tolist()


def test_a_sum_by_hand() -> None:
    assert run(layer(), (1, 2), (-1, -1), (127, -128), (-128, 127)) == [0, 9, 127, -128]


@pytest.mark.parametrize("multiplier, shift", [(1, 1), (3, 2), (65535, 16), (40000, 17), (1, 63)])
def test_halves_go_to_the_even_integer(multiplier: int, shift: int) -> None:
    one = layer(multiplier=np.array([multiplier]), shift=np.array([shift]))
    pictures = [(a, b) for a in range(-9, 9) for b in (-3, 0, 5)]
    wanted = [round(Fraction((3 * a - 5 * b + 7) * multiplier, 1 << shift)) for a, b in pictures]
    assert run(one, *pictures) == [min(max(value, -128), 127) for value in wanted]


def test_a_clamp_within_the_range() -> None:
    assert run(layer(low=-2, high=5), (1, 2), (-1, -1), (0, 4)) == [0, 5, -2]


def test_skip_values_join_the_sum_before_its_rounding() -> None:
    skip = Skip("x", np.array([9]))
    one = layer(skip=skip, shift=np.array([1]))
    assert run(one, (1, 2), (2, 1)) == [round(Fraction(9, 2)), round(Fraction(26, 2))]
    assert run(replace(one, skip=Skip("x", np.array([0]), channel=1)), (1, 2)) == [0]


@pytest.mark.parametrize("signed", [True, False])
def test_a_maximum_changes_no_integer(signed: bool) -> None:
    first = MapTensor("x", (1, 16, 16), 1.0, signed)
    y = replace(first, name="y")
    rows = {"bias": np.zeros(1, np.int64), "multiplier": np.array([1 << 15])}
    one = MapLayer(
        name="max", input="x", output="y", **rows, shift=np.array([15]), low=y.low, high=y.high
    )
    x = np.arange(first.low, first.high + 1).reshape(1, 1, 16, 16)
    found = compute(MapNetwork((first, y), (one,), "y"), x)["y"]
    np.testing.assert_array_equal(found, x)


def test_saturation_counts_what_the_range_cuts_off_and_no_clamp_of_the_network() -> None:
    x = np.array([(127, -128), (-128, 127), (1, 2)]).reshape(-1, 2, 1, 1)
    for one, y, wanted in [
        (layer(), Y, 2),
        (layer(high=100), Y, 1),
        (layer(low=0), Y, 1),
        (layer(low=0, high=255), replace(Y, signed=False), 1),
        (layer(low=0, high=254), replace(Y, signed=False), 0),
    ]:
        saturated: dict[str, int] = {}
        MapGolden(network(one, tensors=(X, y))).compute(x, saturated)
        assert saturated == {"y": wanted}


def test_a_sum_beyond_the_accumulator_names_its_layer() -> None:
    largest = (1 << 39) - 1
    one = layer(bias=np.array([largest - 8 * 127 + 1]), multiplier=np.array([0]))
    assert run(one, (126, -127)) == [0]
    with pytest.raises(RangeError, match=r"^layer sum: its accumulators need more than 40 bits$"):
        run(one, (127, -127), (127, -128))


def test_pictures_must_be_of_the_first_tensors_range_and_shape() -> None:
    with pytest.raises(RangeError, match=r"^pictures must be in -128\.\.127, not 128$"):
        run(layer(), (128, 0))
    with pytest.raises(ValueError, match=r"^pictures must be \(N, \(2, 1, 1\)\), not \(1, 2\)$"):
        compute(network(layer()), np.zeros((1, 2), np.int64))


WRONG = {
    "a name twice": (network(layer(), tensors=(X, X)), "a network must have tensors, each name .*"),
    "no layer": (network(), "tensor 'y' is not computed"),
    "no such input": (network(layer(input="z")), "layer sum: there is no tensor 'z'"),
    "read too early": (
        network(layer(output="y", input="z"), tensors=(X, replace(X, name="z"), Y)),
        "layer sum: it reads z before all of it is written",
    ),
    "written twice": (
        network(layer(), layer(name="again")),
        "layer again: values of y are written twice",
    ),
    "part of a tensor": (
        network(layer(), tensors=(X, replace(Y, shape=(2, 1, 1)))),
        "tensor 'y' is not computed",
    ),
    "another size": (
        network(layer(padding=(1, 0, 0, 0))),
        r"layer sum: it makes maps of \(2, 1\), y has \(1, 1\)",
    ),
    "negative padding": (
        network(layer(padding=(0, 0, 0, -1))),
        r"layer sum: padding must be 0 or more, not \(0, 0, 0, -1\)",
    ),
    "no kernel": (network(layer(kernel=(0, 1))), "layer sum: kernel, stride, dilation must be .*"),
    "too many channels": (
        network(layer(output_channel=1)),
        "layer sum: y has no channels for its 1 rows",
    ),
    "a window beyond": (
        network(layer(window=Window(0, 2, 0, 1))),
        r"layer sum: Window\(top=0, bottom=2, left=0, right=1\) is no part of y",
    ),
    "groups": (network(layer(groups=3)), "layer sum: 3 groups divide no 2 and 1"),
    "no entries": (network(layer(entries=None)), r"layer sum: entries must be \(R, K\)"),
    "17 entries": (
        network(layer(entries=np.ones((1, 17), int))),
        r"layer sum: K must be in 1\.\.16, not 17",
    ),
    "wide entries": (
        network(layer(entries=np.array([[3, 1 << 17]]))),
        r"layer sum: entries must be in -131072\.\.131071",
    ),
    "float entries": (
        network(layer(entries=np.array([[3.0, 1.0]]))),
        r"layer sum: entries must be integers \(1, 2\), not float64 \(1, 2\)",
    ),
    "an index": (
        network(layer(indices=np.array([[0, 2]]))),
        "layer sum: an index names none of 2 entries",
    ),
    "columns": (
        network(layer(indices=np.array([[0]]))),
        r"layer sum: indices must be integers \(1, 2\), not int64 \(1, 1\)",
    ),
    "shift": (network(layer(shift=np.array([64]))), r"layer sum: shift must be in 0\.\.63"),
    "multiplier": (
        network(layer(multiplier=np.array([1 << 16]))),
        r"layer sum: multiplier must be in 0\.\.65535",
    ),
    "clamp": (
        network(layer(high=128)),
        r"layer sum: its clamp -128\.\.128 must be within -128\.\.127",
    ),
    "a maximum with entries": (
        network(layer(indices=None)),
        "layer sum: a maximum has a row for each channel, no entries and no skip values",
    ),
    "its own output": (
        network(layer(skip=Skip("y", np.array([1])))),
        "layer sum: it reads y before all of it is written",
    ),
    "a skip's stride": (
        network(
            layer(skip=Skip("x", np.array([1]), (2, 1))),
            tensors=(replace(X, shape=(2, 2, 1)), replace(Y, shape=(1, 2, 1))),
        ),
        "layer sum: x has no value for every position of y",
    ),
    "a skip's channel": (
        network(layer(skip=Skip("x", np.array([1]), channel=1))),
        "layer sum: x has no channel for every factor",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_network(case: str) -> None:
    wrong, message = WRONG[case]
    with pytest.raises(MapError, match=f"^{message}$"):
        MapGolden(wrong)


def test_a_maximum_of_nothing_but_padding() -> None:
    x, y = MapTensor("x", (1, 1, 1), 1.0, True), MapTensor("y", (1, 1, 2), 1.0, True)
    rows = {"bias": np.zeros(1, np.int64), "multiplier": np.array([1]), "shift": np.array([0])}
    one = MapLayer(
        name="max", input="x", output="y", padding=(0, 0, 0, 1), **rows, low=-128, high=127
    )
    with pytest.raises(MapError, match=r"^layer max: a window holds nothing but padding$"):
        MapGolden(MapNetwork((x, y), (one,), "y"))
