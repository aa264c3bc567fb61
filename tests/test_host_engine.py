"""Connect, load, run: real numbers in, logits out, on a small simulated engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dpnet.host.engine import Engine, connect
from dpnet.host.errors import EngineError, PortError
from dpnet.model.compile import compile_fp32, compile_net
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.golden.network import fp32_layer, integer_network
from dpnet.model.image import Image, ImageError
from dpnet.model.quantizer.exact import quantize

TINY = "sim://array?stages=2&columns=4&segments=2&index_depth=512"
ENGINE = EngineParameters(stages=2, columns=4, segments=2, index_depth=512)
X = np.random.default_rng(0).uniform(-1, 1, (7, 12)).astype(np.float32)


def image(seed: int = 0) -> Image:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(12, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 4))
    return compile_net(net, X, bits=3)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with connect(TINY) as engine:
        yield engine


def test_a_net_equals_the_golden_model(engine: Engine, tmp_path: Path) -> None:
    made = image()
    made.save(tmp_path / "net.dpnet")
    wanted = [integer_network(made, x) for x in made.quantize_input(X)]
    logits = np.array([outputs[-1] for outputs in wanted]) * made.output_scale
    calls: list[tuple[int, int]] = []
    for given in (made, tmp_path / "net.dpnet", str(tmp_path / "net.dpnet")):
        loaded = engine.load(given)
        assert loaded.result is None
        found = loaded.run(X, lambda done, total: calls.append((done, total)))
        assert found.shape == (7, 4) and found.dtype == np.float64
        np.testing.assert_array_equal(found, logits)
    assert calls == 3 * [(n, 7) for n in range(1, 8)]
    result = loaded.result
    assert result is not None and result.outputs is found
    assert result.classes.tolist() == logits.argmax(1).tolist()
    assert result.cycles.tolist() == [result.predicted_cycles] * 7
    assert result.stalled.tolist() == [0] * 7
    assert engine.parameters == ENGINE


def test_inputs_of_any_kind(engine: Engine) -> None:
    loaded = engine.load(image())
    wanted = loaded.run(X)
    tensor = torch.from_numpy(X).requires_grad_()
    for given in (X.tolist(), X.astype(np.float64), tensor):
        np.testing.assert_array_equal(loaded.run(given), wanted)
    np.testing.assert_array_equal(loaded.run(X[2]), wanted[2:3])


def test_the_share_of_saturated_values_is_told(engine: Engine) -> None:
    loaded = engine.load(image())
    largest = loaded.image.largest_input
    assert largest == pytest.approx(np.abs(X).max())
    loaded.run(X)
    assert loaded.result is not None
    assert loaded.result.saturated_inputs == 0 and loaded.result.at_limits < 0.05
    far = X.copy()
    far[0, :3], far[1, 0], far[2, 0] = 100, -100, largest
    loaded.run(far)
    assert loaded.result.saturated_inputs == 4 / X.size
    loaded.run(1000 * X)
    assert loaded.result.saturated_inputs > 0.95
    # By hand: results of all layers at the largest value of their bits, or the smallest.
    ends: list[bool] = []
    for x in loaded.image.quantize_input(1000 * X):
        for layer, values in zip(
            loaded.image.layers, integer_network(loaded.image, x), strict=True
        ):
            half = 1 << layer.out_bits - 1
            ends += [value in (half - 1, -half) for value in values.tolist()]
    assert loaded.result.at_limits == pytest.approx(np.mean(ends)) and sum(ends) > 3


def test_a_matrix_of_an_fp32_image(engine: Engine) -> None:
    rng = np.random.default_rng(0)
    shapes = {"a": (5, 12), "b": (3, 6)}
    made = compile_fp32(
        {name: (quantize(rng.standard_normal(shape), 4), shape) for name, shape in shapes.items()}
    )
    loaded = engine.load(made, layer="b")
    found = loaded.run(X[:, :6])
    assert found.dtype == np.float32
    for y, x in zip(found, X[:, :6], strict=True):
        np.testing.assert_array_equal(y, fp32_layer(made.layers[1], np.ascontiguousarray(x)))
    assert loaded.result is not None and loaded.result.saturated_inputs == 0
    for name, message in (
        (None, "the image holds 2 matrices; choose a layer: a, b"),
        ("c", "the image has no layer 'c'; there are a, b"),
    ):
        with pytest.raises(ImageError, match=f"^{message}$"):
            engine.load(made, layer=name)
    with pytest.raises(ImageError, match=r"^layers are chosen of fp32 images; an integer net"):
        engine.load(image(), layer="0")


WRONG = [
    (X[:, :5], r"the input must be rows of 12 values, not \(7, 5\)"),
    (X[:0], r"the input must be rows of 12 values, not \(0, 12\)"),
    (X[None], r"the input must be rows of 12 values, not \(1, 7, 12\)"),
    (np.where(X > 0.9, np.nan, X), "the input must be finite, it holds a NaN or an infinity"),
    (X.astype(complex), "the input must be real numbers, not complex128"),
    ([[1.0], [1.0, 2.0]], "the input must be an array of numbers: .*"),
    (torch.from_numpy(X) + 2j, "the input must be real numbers, not torch.complex64"),
    (torch.from_numpy(X).to_sparse(), "the input must be a dense tensor .*, not torch.sparse_coo"),
    (torch.empty(2, 12, device="meta"), "the input must be a dense tensor .*, not meta"),
    ([np.ma.masked_less(X[0], 0.5)], "the input must be an array of numbers, not a masked one"),
]


@pytest.mark.parametrize("given, message", WRONG)
def test_inputs_that_are_none(engine: Engine, given: object, message: str) -> None:
    with pytest.raises(ImageError, match=f"^{message}$"):
        engine.load(image()).run(given)


def test_another_image_took_the_engine(engine: Engine) -> None:
    first = engine.load(image(0))
    engine.load(image(1))
    with pytest.raises(EngineError, match=r"^the engine holds another image by now"):
        first.run(X)


def test_the_port_is_given_back() -> None:
    with connect(TINY) as engine:
        engine.load(image())
    engine.close()
    with pytest.raises(PortError):
        engine.driver.registers()
