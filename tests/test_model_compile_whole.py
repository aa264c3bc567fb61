"""`dpnet.compile` on whole networks: what they compute, codebooks that are kept, refusals."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from map_image_kit import assert_same
from torch import Tensor, nn

import dpnet
from dpnet.model.compile import CompileError, compile_net
from dpnet.model.compile.whole import compile_network
from dpnet.model.compression.network import compress_
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge, place
from dpnet.model.image import Image
from dpnet.model.image.maps import MapImage
from dpnet.model.maps import codebooks
from dpnet.model.maps.accuracy import results

pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    """A convolution, a norm, a depthwise one, a shortcut, a pool, a linear layer."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv1 = nn.Conv2d(2, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.dw = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.conv2 = nn.Conv2d(8, 6, 3)
        self.fc = nn.Linear(6 * 9, 5)
        if norm:
            with torch.no_grad():
                self.bn.weight.copy_(torch.tensor([1.5, -0.5, 2.0, 1.0, -1.0, 0.7, 0.3, 1.1]))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.conv1(x)))
        x = F.relu6(x + self.dw(x))
        x = F.max_pool2d(self.conv2(x), 2)
        return self.fc(x.flatten(1))


X = torch.from_numpy(np.random.default_rng(0).normal(size=(24, 2, 8, 8)).astype(np.float32))


def given_by(image: MapImage, x: Tensor = X) -> np.ndarray:
    values = results(image.network, image.pictures("x", x)).values
    return image.outputs(values)


@torch.no_grad()
def wanted(net: nn.Module, x: Tensor = X) -> np.ndarray:
    return net.eval()(x).double().numpy()


def compiled(net: Any, *arguments: Any, **options: Any) -> MapImage:
    image = compile_network(net, *arguments, **options)
    assert isinstance(image, MapImage)
    return image


@pytest.mark.parametrize("norm", [False, True])
def test_the_image_computes_what_the_net_does(norm: bool, tmp_path: Path) -> None:
    net = Net(norm).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    image = dpnet.compile(net, X[:1], calibration=X, bits=4)
    assert isinstance(image, MapImage) and net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert (image.input_shape, image.output_shape, image.classes) == ((2, 8, 8), (5,), 5)
    assert image.about["bits"] == {"conv1": 4, "dw": 4, "conv2": 4, "fc": 4}
    found, float_net = given_by(image), wanted(net)
    assert found.shape == (24, 5)
    assert np.abs(found - float_net).mean() < 0.1 * np.abs(float_net).mean()
    assert image.sources["conv1"].line and image.sources["conv1"].file == Path(__file__).name
    image.save(tmp_path / "net.dpnet")
    read = dpnet.read_image(tmp_path / "net.dpnet")
    assert isinstance(read, MapImage)
    assert_same(read, image)


def test_from_files_as_from_the_module(tmp_path: Path) -> None:
    net = Net().eval()
    torch.export.save(torch.export.export(net, (X[:1],)), tmp_path / "net.pt2")
    program = torch.export.load(tmp_path / "net.pt2")
    first = compiled(net, calibration=X)
    for given in (tmp_path / "net.pt2", str(tmp_path / "net.pt2"), program):
        np.testing.assert_array_equal(given_by(compiled(given, calibration=X)), given_by(first))


def test_an_onnx_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(4, 2, 3, 3)), rng.normal(size=4)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], name="/conv/Conv"),
        onnx.helper.make_node("Relu", ["y"], ["z"]),
    ]
    infos = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size, 8, 8])
        for name, size in (("x", 2), ("z", 4))
    ]
    held = [
        onnx.numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in (("w", weight), ("b", bias))
    ]
    graph = onnx.helper.make_graph(nodes, "g", infos[:1], infos[1:], held)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "net.onnx")
    image = compiled(tmp_path / "net.onnx", calibration=X)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(torch.from_numpy(weight))
        net[0].bias.copy_(torch.from_numpy(bias))
    np.testing.assert_array_equal(given_by(image), given_by(compiled(net, calibration=X)))


def test_bits_by_layer_and_pictures_of_bytes() -> None:
    pictures = (X.numpy() * 40 + 128).clip(0, 255).astype(np.uint8)
    bits = {"conv1": 2, "dw.weight": 3, "fc": 1}
    image = compiled(Net(), calibration=pictures, bits=3, bits_of=bits)
    ks = {layer.name: layer.entries.shape[1] for layer in image.network.layers
          if layer.entries is not None}  # fmt: skip
    assert (ks["conv1"], ks["conv2"], ks["fc"]) == (4, 8, 2) and ks["dw"] <= 8
    assert (image.network.input.scale, image.network.input.signed) == (1.0, False)
    assert image.input_range == (0, 255)


# Codebooks that are there are kept


def never(*arguments: Any, **options: Any) -> None:
    raise AssertionError("something is solved a second time")


def assert_kept(net: nn.Module, image: MapImage, names: dict[str, nn.Module]) -> None:
    """Weights have the same index where they had the same value, in every row."""
    layers = {layer.name: layer for layer in image.network.layers}
    for name, module in names.items():
        layer = layers[name]
        assert layer.indices is not None and layer.entries is not None
        weight = module.weight.detach().double().numpy().reshape(layer.rows, -1)
        for row in range(layer.rows):
            entries = layer.entries[row][layer.indices[row]]
            values, places = np.unique(weight[row], return_inverse=True)
            per_value = [set(entries[places == n].tolist()) for n in range(len(values))]
            assert all(len(one) == 1 for one in per_value)
            largest = np.abs(entries).argmax()
            # One step; its sign turns where a batch norm has a negative factor.
            unit = weight[row][largest] / entries[largest]
            # Half a step each, and as much of the largest one in its step.
            assert np.abs(entries * unit - weight[row]).max() <= 1.01 * abs(unit)
            np.testing.assert_array_equal(entries[weight[row] == 0], 0)


def test_a_net_of_compress_keeps_codebooks_zeros_and_sharing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Net(norm=False)
    with torch.no_grad():  # pruned
        net.conv2.weight[torch.rand(net.conv2.weight.shape) < 0.5] = 0
    plan = compress_(net, CompressConfig(bits={"conv1": 2, "dw": 4, "*": 3}))
    monkeypatch.setattr(codebooks, "quantize", never)
    image = compiled(net, X[:1], X, bits=4)
    assert image.about["kept"] == ["conv1", "dw", "conv2", "fc"]
    assert_kept(net, image, {"conv1": net.conv1, "dw": net.dw, "conv2": net.conv2, "fc": net.fc})
    # Rows of 9 weights share a codebook, or it would be larger than they are.
    (shared,) = [layer for layer in image.network.layers if layer.name == "dw"]
    assert shared.entries is not None
    assert len(np.unique(shared.entries, axis=0)) == plan["dw.weight"].codebooks < 8


def test_a_net_of_the_regularizer_keeps_its_codebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    regularizer = dpnet.ClusterRegularizer(net, k=8, n_train=24, optimizer=optimizer)
    labels = torch.arange(24) % 5
    for epoch in range(2):
        regularizer.step(epoch)
        loss = F.cross_entropy(net(X), labels) + regularizer()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    regularizer.finalize()
    monkeypatch.setattr(codebooks, "quantize", never)
    image = compiled(net, X[:1], X, bits=3)
    assert set(image.about["kept"]) == {"conv1", "dw", "conv2", "fc"}
    # Batch norms scale a row's values, which stay as many, and each where it was.
    assert_kept(net, image, {"conv1": net.conv1, "dw": net.dw, "conv2": net.conv2, "fc": net.fc})


# The array, as before


def test_a_chain_on_rows_is_for_the_array_unless_it_is_said() -> None:
    net = nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4))
    rows = torch.randn(30, 12)
    for image in (
        dpnet.compile(net, rows),
        dpnet.compile(net, calibration=rows, activation_bits=8),
        dpnet.compile(net, rows[:1], rows),
        dpnet.compile(net, rows, engine="array"),
    ):
        assert isinstance(image, Image)
        same = compile_net(net, rows)
        for one, other in zip(image.layers, same.layers, strict=True):
            np.testing.assert_array_equal(one.indices, other.indices)
            np.testing.assert_array_equal(one.entries, other.entries)
    maps = compiled(net, rows, engine="maps")
    np.testing.assert_allclose(given_by(maps, rows), wanted(net, rows), atol=0.1)
    other = compiled(nn.Sequential(net, nn.Softmax(1)), rows)
    assert other.network.host == ("softmax",) and other.input_shape == (12,)
    np.testing.assert_allclose(given_by(other, rows).sum(1), 1)


def test_signals_and_maps_keep_the_users_shapes() -> None:
    signals = torch.randn(10, 3, 16)
    net = nn.Sequential(nn.Conv1d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv1d(5, 2, 3))
    image = compiled(net, calibration=signals)
    assert (image.input_shape, image.output_shape, image.classes) == ((3, 16), (2, 14), None)
    np.testing.assert_allclose(given_by(image, signals), wanted(net, signals), atol=0.1)
    with pytest.raises(
        ValueError, match=r"^x must have the shape \(n, 3, 16\), not \(10, 4, 16\)$"
    ):
        image.pictures("x", torch.randn(10, 4, 16))
    assert image.pictures("x", signals[0]).shape == (1, 3, 1, 16)


# What is refused


def zeros() -> nn.Module:
    net = Net()
    nn.init.zeros_(net.conv2.weight)
    return net


class Two(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x).tanh()


OTHER: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "silu": (Two, {}, r"\w+\.py:\d+, `return F.silu\(x\).tanh\(\)`: the engine has no SiLU; .*"),
    "zeros": (zeros, {}, r".*: all weights of layer conv2 are 0, so it gives the same for .*"),
    "no module": (lambda: 3, {}, "the network must be a torch.nn.Module, not int"),
    "no file": (lambda: "none.pt2", {}, "none.pt2: there is no such file"),
    "bits": (Net, {"bits": 5}, "bits must be a whole number from 1 to 4, not 5: .*"),
    "a name": (Net, {"bits_of": {"conv9": 2}}, "the network has no layer 'conv9'; there are .*"),
    "engine": (Net, {"engine": "mesh"}, "engine must be 'auto', 'array', 'maps' or .*, not 'mesh'"),
    "array": (Net, {"engine": "array"}, r"the calibration must have the shape \(n, features\), .*"),
    "widths": (Net, {"activation_bits": 9}, "activation_bits is for the array; a map engine .*"),
    "nothing": (Net, {"calibration": None}, "calibration must be given: .*"),
    "constant": (Net, {"calibration": 0 * X + 2}, "the calibration holds 2 and nothing else; .*"),
    "NaN": (Net, {"calibration": X * np.nan}, r"the calibration must be finite, not nan at .*"),
    "empty": (Net, {"calibration": X[:0]}, "the calibration must have at least one picture, .*"),
    "words": (Net, {"calibration": np.full((3, 2, 8, 8), "x")}, ".* must be real numbers, not .*"),
    "shape": (Net, {"calibration": X[:, :1]}, r"the calibration must have the shape .* not .*"),
    "flat": (Net, {"calibration": X[0, 0, 0]}, r"the calibration must have the shape \(n, …\), .*"),
    "ragged": (Net, {"calibration": [[1], [2, 3]]}, "the calibration must be an array, .*"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_what_is_refused(name: str) -> None:
    make, options, message = OTHER[name]
    with pytest.raises(CompileError) as caught:
        compile_network(make(), X[:1], **{"calibration": X, **options})
    assert re.fullmatch(message, str(caught.value)), str(caught.value)


def test_a_network_that_the_engine_does_not_hold() -> None:
    small = MapEngineParameters(map_depth=64, taps=8)
    with pytest.raises(CompileError, match=r"^the network is larger than the engine: taps 8 ") as e:
        compile_network(Net(), calibration=X, engine=small)
    cause = e.value.__cause__
    assert isinstance(cause, NetworkTooLarge) and cause.fitting is not None
    image = compiled(Net(), calibration=X, engine=cause.fitting)
    assert image.engine == cause.fitting
    place(cause.fitting, image.network)
