"""Published weights: state dicts and MLPerf Tiny's files, made here for the purpose; damaged ones,
those of other networks and graphs that compute something else are refused, in a line."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save, save_file
from torch import Tensor, nn

from dpnet.model.data.places import DataError
from dpnet.model.networks.catalog import find
from dpnet.model.networks.googlenet import GoogLeNet
from dpnet.model.networks.published import (
    MLPERF,
    WeightsError,
    load_cifar_resnet,
    load_googlenet,
    load_mlperf,
    trained,
)
from dpnet.model.networks.residual import CifarResNet
from dpnet.model.networks.safetensors_file import read_floats


def says(error: type[ValueError], message: str) -> Any:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def shuffled(net: nn.Module, seed: int = 3) -> nn.Module:
    """Other numbers everywhere, statistics of batch norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            numbers = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(numbers + 0.5 if "running_var" in name else numbers - 0.5)
    return net.eval()


def as_published(net: nn.Module) -> dict[str, Tensor]:
    """Keys with ``module.``, no step counters."""
    state = net.state_dict().items()
    return {f"module.{n}": t.clone() for n, t in state if not n.endswith("num_batches_tracked")}


# ResNets for CIFAR


@pytest.mark.parametrize("depth", [8, 20])
def test_a_residual_network_comes_back_as_it_was_saved(depth: int, tmp_path: Path) -> None:
    net = shuffled(CifarResNet(depth))
    torch.save({"state_dict": as_published(net), "best_prec1": 91.7}, tmp_path / "net.th")
    loaded = load_cifar_resnet(tmp_path / "net.th")
    x = torch.rand(2, 3, 32, 32)
    assert not loaded.training and torch.equal(loaded(x), net(x))


def test_trained_finds_the_file_of_a_depth(tmp_path: Path) -> None:
    folder = tmp_path / "resnet-cifar10"
    folder.mkdir()
    with says(
        DataError,
        f"{folder} must have one file resnet20-*.th, not 0: "
        "akamaster/pytorch_resnet_cifar10 has it",
    ):
        trained("resnet-20", tmp_path)
    net = shuffled(CifarResNet(20))
    torch.save({"state_dict": as_published(net)}, folder / "resnet20-123.th")
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(trained("resnet-20", tmp_path)(x), net(x))


Edit = Callable[[dict[str, Tensor]], Any]


@pytest.mark.parametrize(
    "edit, message",
    [
        (
            lambda s: s.pop("module.bn1.running_var"),
            "not the weights of CifarResNet: bn1.running_var is missing",
        ),
        (
            lambda s: s.update({"module.fc.weight": torch.zeros(3)}),
            "not the weights of CifarResNet: fc.weight is of no layer of the net",
        ),
        (
            lambda s: s.update({"module.linear.weight": torch.zeros(100, 64)}),
            "linear.weight must be (10, 64), not (100, 64)",
        ),
        (
            lambda s: s["module.linear.bias"].fill_(float("nan")),
            "linear.bias holds NaN or an infinity",
        ),
        (lambda s: s.clear(), "no ResNet for CIFAR: layer1.0.conv1.weight is missing"),
        (lambda s: s.update({"module.epoch": 3}), "must hold a state dict, tensors by name"),
    ],
)
def test_state_dicts_of_other_nets_are_refused(edit: Edit, message: str, tmp_path: Path) -> None:
    state = as_published(CifarResNet(8))
    edit(state)
    path = tmp_path / "net.th"
    torch.save({"state_dict": state}, path)
    with says(WeightsError, f"{path}: {message}"):
        load_cifar_resnet(path)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_no_code_of_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.th"
    for write in (
        lambda: torch.save(Evil(), path),
        lambda: path.write_bytes(pickle.dumps(Evil(), 2)),
    ):
        write()
        with pytest.raises(
            WeightsError, match=rf"^{re.escape(str(path))}: no state dict of PyTorch"
        ):
            load_cifar_resnet(path)
    assert not Path("ran").exists()


def test_what_is_no_file_of_pytorch_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "net.th"
    with says(DataError, f"{path} is missing: a state dict of PyTorch"):
        load_cifar_resnet(path)
    path.write_text("<!doctype html>")
    with pytest.raises(WeightsError) as error:
        load_cifar_resnet(path)
    assert str(error.value).startswith(f"{path}: no state dict of PyTorch: ")
    assert "\n" not in str(error.value)


def test_googlenet_loads_without_the_heads_of_its_file(tmp_path: Path) -> None:
    net = GoogLeNet(heads=True)
    torch.save(net.state_dict(), tmp_path / "googlenet.pth")
    loaded = load_googlenet(tmp_path / "googlenet.pth")
    state = net.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in loaded.state_dict().items())


# MLPerf Tiny

RELU, LATER, ONE = "relu", [0, 1, 0, 1], [1, 1, 1, 1]


def operation(name: str, inputs: list[str], shape: list[int], **more: Any) -> dict[str, Any]:
    op = more.pop("op", re.sub(r"\d+$", "", name))
    return {"name": name, "op": op, "inputs": inputs, "output_shape_nhwc": [1, *shape], **more}


def conv(
    name: str, source: str, size: int, channels: int, stride: int, pad: list[int], act: str | None
) -> dict[str, Any]:
    return operation(
        name,
        [source],
        [size, size, channels],
        stride=[stride, stride],
        pad_left_right_top_bottom=pad,
        activation=act,
    )


def resnet8() -> list[dict[str, Any]]:
    none = [0, 0, 0, 0]
    return [
        conv("conv1", "input", 32, 16, 1, ONE, RELU),
        conv("conv2", "conv1", 32, 16, 1, ONE, RELU),
        conv("conv3", "conv2", 32, 16, 1, ONE, None),
        operation("add1", ["conv1", "conv3"], [32, 32, 16], activation=RELU),
        conv("conv4", "add1", 16, 32, 2, LATER, RELU),
        conv("conv5", "conv4", 16, 32, 1, ONE, None),
        conv("conv6", "add1", 16, 32, 2, none, None),
        operation("add2", ["conv6", "conv5"], [16, 16, 32], activation=RELU),
        conv("conv7", "add2", 8, 64, 2, LATER, RELU),
        conv("conv8", "conv7", 8, 64, 1, ONE, None),
        conv("conv9", "add2", 8, 64, 2, none, None),
        operation("add3", ["conv9", "conv8"], [8, 8, 64], activation=RELU),
        operation("average_pool1", ["add3"], [1, 1, 64]),
        operation("reshape1", ["average_pool1"], [64]),
        operation("linear1", ["reshape1"], [10], activation=None),
        operation("softmax1", ["linear1"], [10]),
    ]


def autoencoder() -> list[dict[str, Any]]:
    widths = [128] * 4 + [8] + [128] * 4 + [640]
    return [
        operation(
            f"linear{n}",
            [f"linear{n - 1}" if n > 1 else "input"],
            [width],
            activation=RELU if n < 10 else None,
        )
        for n, width in enumerate(widths, 1)
    ]


def write(folder: Path, name: str, graph: list[dict[str, Any]]) -> nn.Module:
    """A graph and random weights for it; the net that has them."""
    net = shuffled(find(name).make())
    (folder / f"{MLPERF[name]}.json").write_text(json.dumps(graph))
    arrays = {n: np.ascontiguousarray(t.numpy()) for n, t in net.state_dict().items()}
    save_file(arrays, folder / f"{MLPERF[name]}.safetensors")
    return net


@pytest.mark.parametrize("name, graph", [("resnet-8", resnet8), ("autoencoder", autoencoder)])
def test_a_tiny_network_comes_back(
    name: str, graph: Callable[[], list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder = tmp_path / "mlperf-tiny"
    folder.mkdir()
    net = write(folder, name, graph())
    x = torch.rand(2, *find(name).shape)
    assert torch.equal(load_mlperf(folder, name)(x), net(x))
    assert torch.equal(trained(name, tmp_path)(x), net(x))


OTHER = "gives other values in the graph than in the net: its inputs, stride, padding or what comes"


@pytest.mark.parametrize(
    "place, change, message",
    [
        (4, {"pad_left_right_top_bottom": [1, 0, 1, 0]}, f"conv4 {OTHER} before it differ"),
        (4, {"pad_left_right_top_bottom": ONE}, f"conv4 {OTHER} before it differ"),
        (1, {"activation": None}, f"conv3 {OTHER} before it differ"),
        (3, {"inputs": ["conv1", "conv2"]}, f"conv4 {OTHER} before it differ"),
        (11, {"activation": None}, f"linear1 {OTHER} before it differ"),
        (14, {"activation": RELU, "inputs": ["nowhere"]}, "linear1 reads 'nowhere', which is not"),
        (3, {"inputs": ["conv1"]}, "add1 cannot be computed: list index out of range"),
        (2, {"op": "linear"}, "conv3 cannot be computed: "),
        (8, {"stride": [1, 1]}, "conv7 must give (1, 64, 8, 8), not (1, 64, 15, 15)"),
    ],
)
def test_a_graph_that_computes_something_else_is_refused(
    place: int, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    graph = resnet8()
    graph[place] |= change
    write(tmp_path, "resnet-8", graph)
    path = tmp_path / "resnet8.json"
    with pytest.raises(WeightsError, match=f"^{re.escape(f'{path}: {message}')}"):
        load_mlperf(tmp_path, "resnet-8")


def test_layers_of_one_side_alone_are_refused(tmp_path: Path) -> None:
    graph = [entry for entry in autoencoder() if entry["name"] != "linear10"]
    write(tmp_path, "autoencoder", graph)
    path = tmp_path / "autoencoder.json"
    with says(WeightsError, f"{path}: linear10 is in the graph or in the weights alone"):
        load_mlperf(tmp_path, "autoencoder")


@pytest.mark.parametrize(
    "text, message",
    [
        ("[", "no JSON: "),
        ("{}", "must be a list of operations"),
        ("[]", "must be a list of operations"),
        ('[{"name": "a"}]', "operation 0 cannot be read: KeyError('op')"),
        ("[3]", "operation 0 cannot be read: "),
        (
            json.dumps([operation("swish1", ["input"], [3])]),
            "swish1 must be one of ('conv', 'depthwise', 'linear', 'add', 'average_pool', "
            "'reshape', 'softmax'), not 'swish'",
        ),
        (
            json.dumps([operation("conv1", ["input"], [3], stride=[1])]),
            "operation 0 cannot be read: ValueError('2 numbers are needed, not [1]')",
        ),
    ],
)
def test_what_is_no_graph_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, "autoencoder", autoencoder())
    path = tmp_path / "autoencoder.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match=f"^{re.escape(f'{path}: {message}')}"):
        load_mlperf(tmp_path, "autoencoder")


def test_missing_files_and_names_are_told(tmp_path: Path) -> None:
    path = tmp_path / "ds_cnn.json"
    with says(DataError, f"{path} is missing: the graphs and weights of MLPerf Tiny's networks"):
        load_mlperf(tmp_path, "ds-cnn")
    with says(
        ValueError,
        "name must be one of resnet-8, ds-cnn, mobilenet-vww, autoencoder, not 'resnet-20'",
    ):
        load_mlperf(tmp_path, "resnet-20")
    with pytest.raises(ValueError, match=r"^name must be one of resnet-8, .*, not 'tt-conv'$"):
        trained("tt-conv", tmp_path)


# The file of tensors


def test_tensors_are_read_as_the_package_safetensors_writes_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    shapes = {"b": (3, 4), "a": (), "empty": (0, 5), "c": (2, 1, 3)}
    arrays = {n: np.asarray(rng.normal(size=s), np.float32) for n, s in shapes.items()}
    save_file(arrays, tmp_path / "x.safetensors", metadata={"by": "someone"})
    found = read_floats(tmp_path / "x.safetensors")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].shape == array.shape and np.array_equal(found[name], array)


def tensors(**arrays: NDArray[Any]) -> bytes:
    return bytes(save(arrays))


ONES = tensors(a=np.ones(4, np.float32))


def edited(old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new) and ONES.count(old) == 1
    return ONES.replace(old, new)


@pytest.mark.parametrize(
    "data, message",
    [
        (tensors(a=np.ones(3)), "tensor a must be float32, not 'F64'"),
        (tensors(a=np.array([1, np.inf], np.float32)), "tensor a holds NaN or an infinity"),
        (ONES[:-1], "tensor a is not where it should be: the file is damaged"),
        (ONES + b"\0", "1 bytes belong to no tensor: the file is damaged"),
        (edited(b"[4]", b"[5]"), "tensor a has a size that does not fit its shape [5]"),
        (edited(b"[4]", b"[.]"), "the header is no JSON: damaged, or no safetensors file"),
        (edited(b'"F32"', b"12345"), "tensor a must be float32, not 12345"),
        (edited(b"[0,16]", b"[0,-1]"), "the header's entry of a is damaged"),
        (edited(b"[0,16]", b"[true]"), "the header's entry of a is damaged"),
        (b"PK\x03\x04" + bytes(40), "no safetensors file but a zip archive"),
        (b"", "no safetensors file: it has 0 bytes"),
    ],
)
def test_damaged_files_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with says(WeightsError, f"{path}: {message}"):
        read_floats(path)


def test_a_folder_is_no_file_of_tensors(tmp_path: Path) -> None:
    with says(WeightsError, f"{tmp_path}: cannot be read: Is a directory"):
        read_floats(tmp_path)
