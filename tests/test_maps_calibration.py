"""Scales from calibration pictures: what is chosen, what is printed, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from maps_kit import GraphMaker

from dpnet.model.graph.nodes import Clamp, Graph, Input
from dpnet.model.maps.calibration.observed import BINS, Observed
from dpnet.model.maps.calibration.pictures import PictureError, check_pictures, to_integers
from dpnet.model.maps.calibration.scales import calibrate
from dpnet.model.maps.floats.fuse import fuse
from dpnet.model.maps.layers import MapTensor

RNG = np.random.default_rng(9)
CONV = {"kernel": (1, 1), "stride": (1, 1), "dilation": (1, 1), "padding": (0, 0, 0, 0)}


def graph(channels: int = 2, size: int = 8) -> Graph:
    maker = GraphMaker(np.random.default_rng(0))
    x = maker.convolution(maker.put(Input(), [], (channels, size, size)), CONV, 1, 3)
    x = maker.put(Clamp(0, np.inf), [x], x.shape)
    maker.convolution(x, CONV, 1, 2)
    return maker.graph()


def test_a_histogram_grows_and_keeps_count() -> None:
    observed = Observed(2)
    parts = [np.zeros((1, 2, 2, 2)), *(RNG.normal(size=(3, 2, 4, 4)) * 7**n for n in range(5))]
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
    np.testing.assert_allclose(observed.mean, [c.mean() for c in channels])
    np.testing.assert_allclose(observed.energy, [(c**2).mean() for c in channels])


def test_the_loss_is_the_mean_squared_error_of_the_integers() -> None:
    values, observed = RNG.normal(size=(1, 1, 300, 300)), Observed(1)
    observed.add(values)
    for scale in (0.005, 0.02, 0.04):
        steps = values / scale
        wanted = ((np.clip(np.rint(steps), -128, 127) * scale - values) ** 2).mean()
        error, beyond = observed.loss(scale, -128, 127)
        np.testing.assert_allclose(error, wanted, rtol=0.05)
        np.testing.assert_allclose(beyond, ((steps < -128.5) | (steps > 127.5)).mean(), atol=2e-3)


def test_the_percentile_that_loses_least_is_chosen_and_said() -> None:
    x = RNG.normal(size=(400, 2, 8, 8))
    x[0, 0, 0, 0] = 300.0
    scales = calibrate(fuse(graph()), x)
    first = scales["n0"]
    assert first.scale < 0.1 < 300 / 127 and first.signed
    assert first.choice.endswith("% of the magnitudes") and 0 < first.saturated < 0.01
    assert (first.high, first.low) == (300, x.min())
    assert str(first).startswith(f"n0: {x.min():.5g} to 300, signed, scale {first.scale:.6g} (99.")
    even = calibrate(fuse(graph()), RNG.uniform(-1, 1, (400, 2, 8, 8)))["n0"]
    assert even.choice == "largest magnitude" and abs(even.scale - 1 / 127) < 1e-4


def test_the_result_keeps_its_largest_magnitude() -> None:
    x = RNG.standard_t(2, size=(400, 2, 8, 8))
    scales = calibrate(fuse(graph()), x)
    assert scales["n3"].choice == "largest magnitude" and scales["n3"].saturated == 0
    assert not scales["n2"].signed and scales["n3"].signed


@pytest.mark.parametrize("dtype, low, signed", [(np.uint8, 0, False), (np.int8, -128, True)])
def test_integer_pictures_are_the_integers(dtype: type, low: int, signed: bool) -> None:
    x = RNG.integers(low // 2, low + 200, (9, 2, 8, 8)).astype(dtype)
    found = calibrate(fuse(graph()), x)["n0"]
    assert (found.scale, found.signed) == (1.0, signed)
    assert found.choice == f"the pictures are {np.dtype(dtype)}"


def test_pictures_of_0_to_255_are_unsigned() -> None:
    x = RNG.integers(0, 256, (50, 2, 8, 8)).astype(float)
    found = calibrate(fuse(graph()), x)["n0"]
    assert (found.scale, found.signed, found.choice) == (1.0, False, "largest magnitude")


def test_progress_ends_with_all_pictures() -> None:
    steps: list[tuple[int, int]] = []
    calibrate(fuse(graph()), RNG.normal(size=(5, 2, 8, 8)), lambda *done: steps.append(done))
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
    "ragged": ([[1], [1, 2]], "the calibration must be an array, not lists of .*"),
    "infinite results": (
        RNG.choice([-1e308, 1e308], (1, 2, 8, 8)),
        "tensor n[123] is a NaN or an infinity for the calibration",
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
    found, beyond = to_integers(np.array([[[[-1.0, 0.25, 0.75, 1.3, 127.6, 128]]]]), tensor)
    assert found.ravel().tolist() == [0, 0, 2, 3, 255, 255] and beyond == 2
