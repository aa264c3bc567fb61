"""Scales from calibration pictures: what is chosen, what is printed, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from maps_kit import GraphMaker

from dpnet.model.graph.nodes import Add, Clamp, Graph, Input, MaxPool
from dpnet.model.maps.calibration.input import counted_from_least
from dpnet.model.maps.calibration.observed import BINS, Observed
from dpnet.model.maps.calibration.pictures import PictureError, check_pictures, to_integers
from dpnet.model.maps.calibration.scales import calibrate
from dpnet.model.maps.floats.fuse import fuse
from dpnet.model.maps.layers import MapNetwork, MapTensor

RNG = np.random.default_rng(9)
CONV = {"kernel": (1, 1), "stride": (1, 1), "dilation": (1, 1), "padding": (0, 0, 0, 0)}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def graph(channels: int = 2, size: int = 8) -> Graph:
    maker = GraphMaker(np.random.default_rng(0))
    x = maker.convolution(maker.put(Input(), [], (channels, size, size)), CONV, 1, 3)
    x = maker.put(Clamp(0, np.inf), [x], x.shape)
    maker.convolution(x, CONV, 1, 2)
    return maker.graph()


def test_a_histogram_grows_and_keeps_count(rng: np.random.Generator) -> None:
    observed = Observed(2)
    parts = [np.zeros((1, 2, 2, 2)), *(rng.normal(size=(3, 2, 4, 4)) * 7**n for n in range(5))]
    for part in parts:
        observed.add(part)
    values = np.concatenate([part.ravel() for part in parts])
    assert observed.count == observed.bins.sum() == values.size
    assert (observed.low, observed.high) == (values.min(), values.max())
    assert observed.limit / 2 < np.abs(values).max() <= observed.limit
    # To a bin, where those that were halved have moved by up to one.
    for share in (0.5, 0.9, 0.99):
        wanted = np.quantile(np.abs(values), share, method="inverted_cdf")
        assert abs(observed.magnitude(share) - wanted) <= 2 * observed.limit / BINS
    assert observed.magnitude(1.0) == np.abs(values).max()
    channels = [np.concatenate([part[:, c].ravel() for part in parts]) for c in range(2)]
    np.testing.assert_allclose(observed.energy, [(c**2).mean() for c in channels])


def test_the_loss_is_the_mean_squared_error_of_the_integers(rng: np.random.Generator) -> None:
    values, observed = rng.normal(size=(1, 1, 300, 300)), Observed(1)
    observed.add(values)
    for scale in (0.005, 0.02, 0.04):
        steps = values / scale
        wanted = ((np.clip(np.rint(steps), -128, 127) * scale - values) ** 2).mean()
        error, beyond = observed.loss(scale, -128, 127)
        np.testing.assert_allclose(error, wanted, rtol=0.05)
        np.testing.assert_allclose(beyond, ((steps < -128.5) | (steps > 127.5)).mean(), atol=2e-3)


def test_the_percentile_that_loses_least_is_chosen_and_said(rng: np.random.Generator) -> None:
    x = rng.normal(size=(1000, 2, 8, 8))
    x[0, 0, 0, 0] = 12.0
    scales = calibrate(fuse(graph()), x)
    first = scales["n0"]
    assert first.scale < 0.05 < 12 / 127 and first.signed
    assert first.choice.endswith("% of the magnitudes") and 0 < first.saturated < 0.01
    assert (first.high, first.low) == (12, x.min())
    assert str(first).startswith(f"n0: {x.min():.5g} to 12, signed, scale {first.scale:.6g} (99.")
    even = calibrate(fuse(graph()), rng.uniform(-1, 1, (400, 2, 8, 8)))["n0"]
    # The last integer reaches half a step further than its value.
    assert abs(even.scale - 1 / 127) < 1e-4 and even.saturated < 2e-3


def test_the_result_keeps_its_largest_magnitude(rng: np.random.Generator) -> None:
    x = rng.standard_t(2, size=(400, 2, 8, 8))
    scales = calibrate(fuse(graph()), x)
    assert scales["n3"].choice == "largest magnitude" and scales["n3"].saturated == 0
    assert not scales["n2"].signed and scales["n3"].signed


@pytest.mark.parametrize("dtype, low, signed", [(np.uint8, 0, False), (np.int8, -128, True)])
def test_integer_pictures_are_the_integers(
    dtype: type, low: int, signed: bool, rng: np.random.Generator
) -> None:
    x = rng.integers(low // 2, low + 200, (9, 2, 8, 8)).astype(dtype)
    found = calibrate(fuse(graph()), x)["n0"]
    assert (found.scale, found.signed) == (1.0, signed)
    assert found.choice == f"the pictures are {np.dtype(dtype)}"


def test_pictures_of_0_to_255_are_unsigned(rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (50, 2, 8, 8)).astype(float)
    found = calibrate(fuse(graph()), x)["n0"]
    assert (found.scale, found.signed, found.choice) == (1.0, False, "largest magnitude")


def test_progress_ends_with_all_pictures(rng: np.random.Generator) -> None:
    steps: list[tuple[int, int]] = []
    x = rng.normal(size=(5, 2, 8, 8))
    calibrate(fuse(graph()), x, progress=lambda *done: steps.append(done))
    assert steps == [(5, 5)]


WRONG = {
    "constant": (np.full((3, 2, 8, 8), 4.0), "the calibration holds 4 and nothing else; .*"),
    "another shape": (
        np.zeros((3, 8, 8, 2)),
        r"the calibration must have the shape \(n, 2, 8, 8\), not \(3, 8, 8, 2\)",
    ),
    "one picture": (
        np.zeros((2, 8, 8)),
        r"the calibration must have the shape \(n, 2, 8, 8\), not \(2, 8, 8\)",
    ),
    "none": (
        np.zeros((0, 2, 8, 8)),
        "the calibration must have at least one picture, there is none",
    ),
    "missing": (None, "the calibration must be real numbers, not object"),
    "complex": (np.zeros((1, 2, 8, 8), complex), "the calibration must be real numbers, not .*"),
    "masked": (
        np.ma.masked_all((1, 2, 8, 8)),
        "the calibration must have no masked entries: leave these pictures out",
    ),
    "ragged": ([[1], [1, 2]], "the calibration must be an array, not lists of .*"),
    "infinite results": (
        RNG.choice([-1e308, 1e308], (1, 2, 8, 8)),
        r"tensor n0 is no number, or beyond 1e\+100, for the calibration",
    ),
    "infinite": (
        np.array([0, np.inf]).repeat(64).reshape(1, 2, 8, 8),
        r"the calibration must be finite, not inf at \(0, 1, 0, 0\)",
    ),
    "hardly any": (
        RNG.choice([-1e-200, 1e-200], (1, 2, 8, 8)),
        "tensor n0 holds nothing above 1e-200 for the calibration, too little to be scaled",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_calibration_that_is_none(case: str) -> None:
    wrong, message = WRONG[case]
    with pytest.raises(PictureError, match=f"^{message}$"):
        calibrate(fuse(graph()), wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_found(value: float) -> None:
    x = np.zeros((3, 2, 8, 8), np.float32)
    x[1, 0, 2, 3] = value
    message = rf"^the calibration must be finite, not {value} at \(1, 0, 2, 3\)$"
    with pytest.raises(PictureError, match=message):
        calibrate(fuse(graph()), x)


def test_a_network_of_vectors_takes_rows() -> None:
    assert check_pictures("x", np.zeros((3, 5)), (5, 1, 1)).shape == (3, 5, 1, 1)
    with pytest.raises(PictureError, match=r"^x must have the shape \(n, 5, 1, 1\), not \(3, 4\)$"):
        check_pictures("x", np.zeros((3, 4)), (5, 1, 1))


def test_pictures_become_integers_to_nearest_even_and_saturation_is_counted() -> None:
    tensor = MapTensor("x", (1, 1, 6), 0.5, False)
    x = np.array([[[[-1.0, 0.25, 0.75, 1.3, 127.6, 128]]]])
    found, beyond = to_integers(x, MapNetwork((tensor,), (), "x"))
    assert found.ravel().tolist() == [0, 0, 2, 3, 255, 255] and beyond == 2


def test_pictures_that_count_from_another_integer_are_padded_with_it() -> None:
    network = MapNetwork((MapTensor("x", (1, 2, 4), 0.5, False, 9),), (), "x", (), (0, 1, 2, 0))
    found, beyond = to_integers(np.array([[[[-5.0, 0.5]]]]), network)
    assert found[0, 0].tolist() == [[9, 9, 0, 10], [9, 9, 9, 9]] and beyond == 1
    assert network.picture == (1, 1, 2)


def features(count: int) -> np.ndarray:
    """-211 to 44 steps of 0.585, most of them low."""
    steps = np.clip(np.random.default_rng(4).normal(-90, 50, (count, 2, 8, 8)).round(), -211, 44)
    steps[0, 0, 0, :2] = -211, 44
    return steps * 0.585


def test_features_on_one_side_of_0_count_from_their_least_value() -> None:
    found = counted_from_least(fuse(graph()), features(20))
    assert found is not None and found.zero == 211
    np.testing.assert_allclose(found.scale, 0.585)
    assert found.loss(features(3)) < 1e-9
    scale = calibrate(fuse(graph()), features(20), found)["n0"]
    assert (scale.zero, scale.signed) == (211, False)
    assert "unsigned from -211, scale 0.585 (all values from the least to the largest)" in str(
        scale
    )


def test_integers_that_the_pictures_leave_over_are_on_both_sides() -> None:
    steps = np.random.default_rng(4).integers(-120, 20, (20, 2, 8, 8))
    steps[0, 0, 0, :2] = -120, 19
    found = counted_from_least(fuse(graph()), steps * 0.25)
    # 140 of 256 are taken, so that 58 are left below and above.
    assert found is not None and (found.scale, found.zero) == (0.25, 120 + 58)


@pytest.mark.parametrize(
    "x",
    [
        RNG.normal(size=(9, 2, 8, 8)),
        RNG.integers(-900, -800, (9, 2, 8, 8)) * 0.5,
        np.abs(RNG.normal(size=(9, 2, 8, 8))),
        RNG.integers(-128, 128, (9, 2, 8, 8)).astype(np.int8),
    ],
)
def test_other_pictures_do_not(x: np.ndarray) -> None:
    assert counted_from_least(fuse(graph()), x) is None


def test_nor_do_those_that_something_else_reads() -> None:
    maker = GraphMaker(np.random.default_rng(0))
    x = maker.put(Input(), [], (2, 8, 8))
    maker.put(Add(), [maker.convolution(x, CONV, 1, 2), x], x.shape)
    assert counted_from_least(fuse(maker.graph()), features(9)) is None
    maker.nodes = maker.nodes[:1]
    maker.put(MaxPool((2, 2), (2, 2)), [x], (2, 4, 4))
    assert counted_from_least(fuse(maker.graph()), features(9)) is None
