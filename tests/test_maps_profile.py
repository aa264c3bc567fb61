"""The profile of a network: its numbers are those of PyTorch's own operators, and what is read is
believed only if it is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from maps_kit import graphs, slow, torch_graph, torch_layers, torch_requantized, torch_sums
from profile_kit import Case, small_case

from dpnet.model.graph.nodes import Graph, GraphError
from dpnet.model.maps.calibration.pictures import PictureError
from dpnet.model.maps.compile import compile_maps
from dpnet.model.maps.layers import Window
from dpnet.model.maps.profile.measuring import SAMPLE, SAMPLE_OF_RESULTS, profile
from dpnet.model.maps.profile.records import Histogram, Profile, ProfileError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def case() -> Case:
    return small_case()


def counts_of(values: np.ndarray, found: Histogram) -> list[int]:
    """How many values lie in each bin, by the bins' ends."""
    low, high, bins = found.low, found.high, len(found.counts)
    place = np.floor((values.reshape(-1) - low) / (high - low) * bins)
    return [int((np.clip(place, 0, bins - 1) == n).sum()) for n in range(bins)]


def assert_counts(values: np.ndarray, found: Histogram) -> None:
    """A value at a bin's end may be in either: six digits of the ends, and rounding."""
    assert sum(found.counts) == values.size
    moved = np.cumsum(np.array(counts_of(values, found)) - np.array(found.counts))
    assert np.abs(moved).max() <= max(1, 0.001 * values.size)


def power(values: Any) -> float:
    return float((np.asarray(values) ** 2).mean())


def test_it_is_about_the_network(case: Case) -> None:
    found, network = case.profile, case.compiled.network
    found.check(network)
    assert found.pictures == min(SAMPLE, 20)
    # An average is a convolution whose rows have one value.
    assert [one.bits for one in found.layers] == [3, 3, None, 3, 3, 3]
    assert [one.weights is None for one in found.layers] == [n == 2 for n in range(6)]


@pytest.mark.parametrize("place, layer", [(0, 0), (1, 1), (2, 3), (3, 5)])
def test_weights_and_centroids(case: Case, place: int, layer: int) -> None:
    found = case.profile.layers[layer].weights
    assert found is not None
    before, after = case.weights[place].numpy(), case.codebooks[place].numpy()
    assert found.before.low == pytest.approx(before.min(), rel=1e-5)
    assert found.before.high == pytest.approx(before.max(), rel=1e-5)
    assert (found.after.low, found.after.high) == (found.before.low, found.before.high)
    assert_counts(before, found.before)
    assert_counts(after, found.after)
    assert found.power == pytest.approx(power(before), rel=1e-5)
    assert found.noise == pytest.approx(power(before - after), rel=1e-5, abs=1e-300)
    rows = before.reshape(len(before), -1)
    assert found.codebooks == len(rows) and found.kept == (layer == 5)
    errors = ((rows - after.reshape(rows.shape)) ** 2).mean(axis=1)
    assert errors[found.row.number] == pytest.approx(np.sort(errors)[(len(rows) - 1) // 2])


@pytest.mark.parametrize("place, layer", [(0, 0), (1, 1), (2, 3), (3, 5)])
def test_the_row_in_the_middle(case: Case, place: int, layer: int) -> None:
    found = case.profile.layers[layer].weights
    assert found is not None
    before = case.weights[place].numpy()[found.row.number].reshape(-1)
    after = case.codebooks[place].numpy()[found.row.number].reshape(-1)
    assert_counts(before, found.row.weights)
    wanted = {value: int((after == value).sum()) for value in np.unique(after)}
    used = {
        value: uses for value, uses in zip(found.row.centroids, found.row.uses, strict=True) if uses
    }
    assert list(used.values()) == list(wanted.values())
    np.testing.assert_allclose(list(used), list(wanted), rtol=1e-5)


def test_tensors(case: Case) -> None:
    x, network = case.calibration, case.compiled.network
    values = [torch.from_numpy(x).double(), *case.steps(x, case.codebooks)]
    integers = torch_layers(network, as_integers(case, x))
    for place, (one, tensor) in enumerate(zip(case.profile.tensors, network.tensors, strict=True)):
        assert_counts(values[place].numpy(), one.values)
        scale = case.compiled.scales[tensor.name]
        assert one.values.low == pytest.approx(scale.low, rel=1e-5)
        assert one.values.high == pytest.approx(scale.high, rel=1e-5)
        # What saturates is at the end of the range.
        ends = (integers[tensor.name] == tensor.high) | (integers[tensor.name] == tensor.low)
        assert 0 <= one.saturated <= ends.mean()


def test_saturated_pictures_are_counted(case: Case) -> None:
    first = case.compiled.network.input
    steps = np.rint(case.calibration.astype(float) / first.scale)
    beyond = ((steps > first.high) | (steps < first.low)).mean()
    assert case.profile.tensors[0].saturated == pytest.approx(beyond, rel=1e-5)


def as_integers(case: Case, x: np.ndarray) -> np.ndarray:
    first = case.compiled.network.input
    assert not first.zero and not any(case.compiled.network.padding)
    steps = np.rint(x.astype(np.float64) / first.scale)
    return np.clip(steps, first.low, first.high).astype(np.int64)


def in_integers(case: Case, number: int, values: list[torch.Tensor]) -> np.ndarray:
    """What a layer gives in integers, of these real tensors rounded to theirs."""
    network, layer = case.compiled.network, case.compiled.network.layers[number]
    rounded = {
        tensor.name: (value / tensor.scale).round().clamp(tensor.low, tensor.high)
        for tensor, value in zip(network.tensors, values, strict=True)
    }
    made = torch_requantized(layer, torch_sums(layer, rounded))
    return (made.double() * network.tensor(layer.output).scale).numpy()


def test_errors_of_all_layers(case: Case) -> None:
    x, network = case.calibration, case.compiled.network
    real = [one.numpy() for one in case.steps(x, case.weights)]
    clustered = [one.numpy() for one in case.steps(x, case.codebooks)]
    integers = torch_layers(network, as_integers(case, x))
    for n, one in enumerate(case.profile.layers):
        tensor = network.tensors[n + 1]
        made = integers[tensor.name] * tensor.scale
        assert one.noise.signal == pytest.approx(power(real[n]), rel=1e-5)
        assert one.noise.codebooks == close(power(clustered[n] - real[n]))
        assert one.noise.integers == close(power(made - real[n]))
    assert case.profile.result == pytest.approx(power(real[-1]), rel=1e-5)


def test_errors_of_each_layer_alone(case: Case) -> None:
    x = case.calibration
    real = case.steps(x, case.weights)
    values = [torch.from_numpy(x).double(), *real]
    places = {0: 0, 1: 1, 3: 2, 5: 3}
    for n, one in enumerate(case.profile.layers):
        weights = list(case.weights)
        if n in places:
            weights[places[n]] = case.codebooks[places[n]]
        given = {k: step.numpy() for k, step in enumerate(real) if k < n}
        alone = case.steps(x, weights, given)[n]
        assert one.noise.alone_codebooks == close(power(alone - real[n]))
        made = in_integers(case, n, values)
        assert one.noise.alone == close(power(made - real[n].numpy()))
        few = case.steps(x[:SAMPLE_OF_RESULTS], case.weights, {n: made[:SAMPLE_OF_RESULTS]})
        difference = few[-1] - real[-1][:SAMPLE_OF_RESULTS]
        assert one.noise.output == close(power(difference))


def close(value: float) -> Any:
    """Six digits; what float64 leaves of exact results is nothing."""
    return pytest.approx(value, rel=2e-5, abs=1e-28)


def test_accuracies(case: Case) -> None:
    found, x = case.profile.accuracy, case.pictures
    assert found is not None and found.pictures == 30
    integers = torch_layers(case.compiled.network, as_integers(case, x))
    output = integers[case.compiled.network.output][:, :, 0, 0]
    wanted = [
        int((answers.argmax(1) == case.labels).sum())
        for answers in (
            case.steps(x, case.weights)[-1][:, :, 0, 0].numpy(),
            case.steps(x, case.codebooks)[-1][:, :, 0, 0].numpy(),
            output,
        )
    ]
    assert [found.floats, found.codebooks, found.integers] == wanted


def test_progress_ends_at_all_steps(case: Case) -> None:
    seen: list[tuple[int, int]] = []
    labeled = (case.pictures[:5], case.labels[:5])
    made = profile(
        case.compiled,
        case.calibration,
        labeled=labeled,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (6 + 15, 6 + 15) and seen == sorted(set(seen))
    assert made.accuracy is not None and made.accuracy.pictures == 5
    assert replace(made, accuracy=None) == replace(case.profile, accuracy=None)


@pytest.mark.parametrize(
    "pictures, labels, message",
    [
        (30, 29, r"labels must be one for each of 30 pictures, not \(29,\)"),
        (0, 0, "the pictures must have at least one picture, there is none"),
    ],
)
def test_labels_must_fit(case: Case, pictures: int, labels: int, message: str) -> None:
    labeled = (case.pictures[:pictures], case.labels[:labels])
    with pytest.raises(PictureError, match=f"^{message}$"):
        profile(case.compiled, case.calibration, labeled=labeled)


def test_it_is_the_same_after_json(case: Case) -> None:
    text = json.dumps(case.profile.to_json(), allow_nan=False)
    assert Profile.from_json(json.loads(text)) == case.profile
    assert len(text) < 4000 * len(case.profile.layers)


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: d.pop("result"), "the profile must have pictures, result, layers, tensors, acc"),
        (lambda d: d.update(more=1), "the profile must have pictures, result"),
        (lambda d: d.update(pictures=True), "pictures must be a whole number from 0 to"),
        (lambda d: d.update(pictures=-1), "pictures must be a whole number from 0 to"),
        (lambda d: d.update(pictures=1 << 53), "pictures must be a whole number from 0 to"),
        (lambda d: d.update(result=float("nan")), r"result must be a finite number up to 1e\+250"),
        (lambda d: d.update(result=1e300), "result must be a finite number"),
        (lambda d: d.update(result=10**400), "result must be a finite number"),
        (lambda d: d.update(result="1"), "result must be a finite number.* not '1'"),
        (lambda d: d.update(layers={}), "layers must be a list of at most 1024, not {}"),
        (lambda d: d.update(layers=[d["layers"][0]] * 1025), "layers must be a list of at most"),
        (lambda d: d["layers"][0].update(name=7), "layers: name must be text of at most"),
        (lambda d: d["layers"][0].update(name="\ud800"), "layers: name must be text of at most"),
        (lambda d: d["layers"][0]["noise"].update(alone=-1.0), "mean squares must be 0 or more"),
        (lambda d: weights(d)["before"].update(counts=[]), "a histogram must have bins"),
        (lambda d: weights(d)["before"].update(low=1e9), "a histogram must have bins from low to"),
        (lambda d: weights(d)["before"].update(counts=[1.5]), "counts must be a whole number"),
        (lambda d: weights(d)["row"]["uses"].pop(), "a row must have as many centroids as uses"),
        (lambda d: d["tensors"][0].update(saturated=1.5), "a share must be from 0 to 1"),
        (lambda d: d["accuracy"].update(floats=31), "of 1 picture or more not more may be right"),
        (lambda d: d["accuracy"].update(pictures=0), "of 1 picture or more not more may be right"),
    ],
)
def test_what_is_no_profile_is_refused(case: Case, change: Change, message: str) -> None:
    document = case.profile.to_json()
    change(document)
    with pytest.raises(ProfileError, match=message) as caught:
        Profile.from_json(document)
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)


def weights(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["layers"][0]["weights"]
    return found


@pytest.mark.parametrize("document", [None, 1, "", [], [[]], {}])
def test_other_json_is_refused(document: object) -> None:
    with pytest.raises(ProfileError, match=r"^the profile must have pictures, result, layers"):
        Profile.from_json(document)


ODD = st.sampled_from(
    [None, True, -1, 1.5, 10**400, float("inf"), "", "\ud800", [], [1, [2]], {}, {"low": 1}]
)


@settings(deadline=None)
@given(st.data())
def test_whatever_is_in_its_place(data: st.DataObject) -> None:
    document = small_case().profile.to_json()
    at: Any = document
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], (dict, list)) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    at[key] = data.draw(ODD)
    try:
        found = Profile.from_json(document)
    except ProfileError as error:
        assert "\n" not in str(error)
    else:
        json.dumps(found.to_json(), allow_nan=False)


def test_a_profile_of_another_network(case: Case) -> None:
    network = case.compiled.network
    fewer = replace(network, layers=network.layers[:-1])
    with pytest.raises(ProfileError, match=r"^the profile has other layers than the network$"):
        case.profile.check(fewer)
    renamed = replace(network.tensors[0], name="other")
    with pytest.raises(ProfileError, match=r"^the profile has other tensors than the network$"):
        case.profile.check(replace(network, tensors=(renamed, *network.tensors[1:])))


@settings(parent=slow, max_examples=max(8, slow.max_examples // 4))
@given(graphs())
def test_errors_of_layers_that_write_parts_of_tensors(graph: Graph) -> None:
    x = np.random.default_rng(1).normal(size=(3, *graph.input.shape))
    try:
        made = compile_maps(graph, x)
    except GraphError:  # a layer that sees next to nothing but padding
        return
    found, network = profile(made, x), made.network
    nodes = torch_graph(graph, x)
    top, bottom, left, right = network.padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    first = network.input
    steps = np.rint(padded / first.scale) + first.zero
    integers = torch_layers(network, np.clip(steps, first.low, first.high).astype(np.int64))
    for one, layer in zip(found.layers, network.layers, strict=True):
        tensor = network.tensor(layer.output)
        window = layer.window or Window(0, tensor.shape[1], 0, tensor.shape[2])
        rows = slice(layer.output_channel, layer.output_channel + layer.rows)
        part = np.s_[:, rows, window.top : window.bottom, window.left : window.right]
        wanted = nodes[layer.output].numpy().reshape(3, *tensor.shape)[part]
        assert one.noise.signal == pytest.approx(power(wanted), rel=2e-5, abs=1e-200)
        values = integers[layer.output][part] * tensor.scale
        error = pytest.approx(power(values - wanted), rel=1e-4, abs=1e-12 * power(wanted))
        assert one.noise.integers == error
    json.dumps(found.to_json(), allow_nan=False)
    assert Profile.from_json(found.to_json()) == found
