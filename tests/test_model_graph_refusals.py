"""What cannot be run exactly as it is meant is refused in one line, with the user's source."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets_kit import Calling, line_of
from torch import Tensor, nn

from dpnet.model.graph.nodes import GraphError
from dpnet.model.graph.reading import from_file, from_module, from_program
from dpnet.model.graph.simplify import simplify

X = torch.randn(2, 4, 8, 6, generator=torch.Generator().manual_seed(1))

_CLAMPS = "ReLU, ReLU6 and Hardtanh run on it"
_ORDER = (
    "the engine stores maps channel by channel; arrange values where a Linear reads them, or keep "
    "the maps as they are"
)


def silu(net: Any, x: Tensor) -> Tensor:
    return F.silu(x)


def gelu(net: Any, x: Tensor) -> Tensor:
    return F.gelu(x)


def leaky(net: Any, x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def group_norm(net: Any, x: Tensor) -> Tensor:
    return F.group_norm(x, 2)


def transposed(net: Any, x: Tensor) -> Tensor:
    return F.conv_transpose2d(x, torch.ones(4, 3, 2, 2))


def upsampled(net: Any, x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2)


def reflected(net: Any, x: Tensor) -> Tensor:
    return F.pad(x, (1, 1, 0, 0), mode="reflect")


def padded_with_one(net: Any, x: Tensor) -> Tensor:
    return F.pad(x, (1, 1), value=1.0)


def product(net: Any, x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def softmax_inside(net: Any, x: Tensor) -> Tensor:
    return F.relu(F.softmax(x, 1))


def over_the_batch(net: Any, x: Tensor) -> Tensor:
    return F.softmax(x, 0)


def mixed(net: Any, x: Tensor) -> Tensor:
    return x.reshape(8, 4, 4, 3)


def all_in_one(net: Any, x: Tensor) -> Tensor:
    return x.mean()


def over_channels(net: Any, x: Tensor) -> Tensor:
    return x.mean(1)


def uneven(net: Any, x: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(x, 3)


def position_by_position(net: Any, x: Tensor) -> Tensor:
    return x + torch.ones(8, 6)


def different_shapes(net: Any, x: Tensor) -> Tensor:
    return x + x[:, :1]


def at_random(net: Any, x: Tensor) -> Tensor:
    return F.dropout(x)


def noise(net: Any, x: Tensor) -> Tensor:
    return x + torch.randn(1)


def statistics_of_the_batch(net: Any, x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True)


def view_written(net: Any, x: Tensor) -> Tensor:
    y = F.relu(x)
    y[:, 0].mul_(2)
    return y


def indices(net: Any, x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, return_indices=True)[1]


def as_integers(net: Any, x: Tensor) -> Tensor:
    return x.int()


def compared(net: Any, x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.0)


def attention(net: Any, x: Tensor) -> Tensor:
    return x @ x.transpose(2, 3)


def turned(net: Any, x: Tensor) -> Tensor:
    return F.max_pool2d(x.transpose(2, 3), 2)


def nothing_but_padding(net: Any, x: Tensor) -> Tensor:
    return F.max_pool2d(x[:, :, :2], (2, 1), 1, (1, 0), dilation=(3, 1))


REFUSED: list[tuple[Callable[..., Any], int, str]] = [
    (silu, 1, f"the engine has no SiLU; {_CLAMPS}"),
    (gelu, 1, f"the engine has no GELU; {_CLAMPS}"),
    (leaky, 1, f"the engine has no LeakyReLU; {_CLAMPS}"),
    (group_norm, 1, "the engine has no GroupNorm; batch norm runs on it"),
    (
        transposed,
        1,
        "the engine has no conv_transpose2d; convolutions in one and two dimensions run on it",
    ),
    (
        upsampled,
        1,
        "the engine has no upsample_nearest2d; convolutions in one and two dimensions run on it",
    ),
    (
        reflected,
        1,
        "the engine pads with zeros, not by reflect; padding_mode='zeros' runs on it",
    ),
    (padded_with_one, 1, "the engine pads with zeros, not with 1.0"),
    (product, 1, "the engine multiplies no two maps; factors that are constants run on it"),
    (
        softmax_inside,
        1,
        "the engine has no softmax; it runs on the host, at the very end of a network only",
    ),
    (
        over_the_batch,
        1,
        "it works across the pictures of a batch; the engine computes each by itself",
    ),
    (
        mixed,
        1,
        "it makes (8, 4, 4, 3) of a batch of 2 and mixes its pictures; keep the batch axis in "
        "front",
    ),
    (all_in_one, 1, "it averages over the batch too; name the axes: dim=(2, 3)"),
    (
        over_channels,
        1,
        "the engine averages over height and width of a map, not over the axes (0,) of (4, 8, 6) "
        "(counted without the batch)",
    ),
    (
        uneven,
        1,
        "adaptive pooling of 8 values to 3 has windows that differ; choose a size that divides "
        "the map's",
    ),
    (
        position_by_position,
        1,
        "a constant that differs from position to position; the engine has one factor and one "
        "offset for each channel",
    ),
    (
        different_shapes,
        1,
        "the shapes (4, 8, 6) and (1, 8, 6) differ; the engine adds maps of one shape, and "
        "constants",
    ),
    (
        at_random,
        1,
        "it drops values at random in evaluation too; use nn.Dropout, or F.dropout with "
        "training=self.training",
    ),
    (noise, 1, "other is drawn at random; make it a parameter or a buffer"),
    (
        statistics_of_the_batch,
        1,
        "it takes mean and variance from the batch, not from training; the engine needs "
        "track_running_stats=True and evaluation mode",
    ),
    (
        view_written,
        2,
        "it changes in place what is read again afterwards by another name (node output); use "
        "the form that is not in place",
    ),
    (indices, 1, "the engine gives no indices of maxima"),
    (as_integers, 1, "it makes int32 of floating point; the engine's maps are real"),
    (
        compared,
        1,
        "the engine has no gt; maps can be scaled, moved and added, by constants for each channel",
    ),
    (
        attention,
        1,
        "other depends on the picture; the engine's weights are the same for every picture",
    ),
    (nothing_but_padding, 1, "a window holds nothing but padding; use less padding"),
    (turned, 1, f"the values come in an order that no map has; {_ORDER}"),
]


@pytest.mark.parametrize(
    "function, offset, message", REFUSED, ids=lambda one: getattr(one, "__name__", "")
)
def test_refused_by_its_source(function: Callable[..., Any], offset: int, message: str) -> None:
    with pytest.raises(GraphError) as error:
        simplify(from_module(Calling(function), X))
    line = line_of(function, offset)
    text = Path(__file__).read_text().splitlines()[line - 1].strip()
    assert str(error.value) == f"test_model_graph_refusals.py:{line}, `{text}`: {message}"


def data_dependent(net: Any, x: Tensor) -> Tensor:
    if x.sum() > 0:
        return x
    return -x


def conditional(net: Any, x: Tensor) -> Tensor:
    return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y - 1, (x,))


def item(net: Any, x: Tensor) -> Tensor:
    return x * x.max().item()


def wrong_shape(net: Any, x: Tensor) -> Tensor:
    return F.conv2d(x, torch.ones(3, 5, 1, 1))


def same_with_stride(net: Any, x: Tensor) -> Tensor:
    return F.conv2d(x, torch.ones(3, 4, 2, 2), stride=2, padding="same")


@pytest.mark.parametrize(
    "function, message",
    [
        (
            data_dependent,
            "what runs here depends on the picture's values; the engine does the same for every "
            "picture",
        ),
        (
            conditional,
            "what runs here depends on the picture; the engine does the same for every picture: "
            "leave the control flow out of forward",
        ),
        (item, "the engine has no max; max pooling and average pooling run on it"),
        (
            wrong_shape,
            "torch.export cannot read the network: Given groups=1, weight of size [3, 5, 1, 1], "
            "expected input[2, 4, 8, 6] to have 5 channels, but got 4 channels instead",
        ),
        (
            same_with_stride,
            "torch.export cannot read the network: padding='same' is not supported for strided "
            "convolutions",
        ),
    ],
)
def test_what_export_says_is_one_line(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(GraphError) as error:
        from_module(Calling(function), X)
    line = line_of(function)
    text = Path(__file__).read_text().splitlines()[line - 1].strip()
    assert str(error.value) == f"test_model_graph_refusals.py:{line}, `{text}`: {message}"


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return x + self.seen


def two(net: Any, x: Tensor) -> Any:
    return x, x + 1


def constant(net: Any, x: Tensor) -> Tensor:
    return torch.ones(3)


@pytest.mark.parametrize(
    "net, example, message",
    [
        (lambda x: x, X, "the network must be a torch.nn.Module, not function"),
        (nn.ReLU(), (X, X), "the engine takes one picture; there are 2 example inputs"),
        (nn.ReLU(), "x", "the example input must be a tensor, not str"),
        (
            nn.ReLU(),
            X.int(),
            "the network's input must be real floating point numbers, not int32; give pictures as "
            "float32",
        ),
        (
            nn.ReLU6(),
            X[0, 0, 0],
            "the example input must have a batch in front, not the shape (6,)",
        ),
        (
            nn.Identity(),
            X.to(torch.complex64),
            "the network's input must be real floating point numbers, not complex64; give "
            "pictures as float32",
        ),
        (
            Calling(two),
            X,
            "the network gives 2 results; the engine gives one: return a single tensor in "
            "evaluation mode",
        ),
        (Calling(constant), X, "the network's result does not depend on its input"),
        (nn.LazyLinear(3), X, "weight has no shape yet: run the network once before"),
        (
            nn.Linear(6, 3, device="meta"),
            X,
            "weight is on the meta device and has no values: load them first",
        ),
    ],
)
def test_nets_and_inputs(net: Any, example: Any, message: str) -> None:
    with pytest.raises(GraphError) as error:
        from_module(net, example)
    assert str(error.value) == message


def test_a_state_that_changes() -> None:
    with pytest.raises(GraphError) as error:
        from_module(Counting(), X)
    line = line_of(Counting.forward)
    assert str(error.value) == (
        f"test_model_graph_refusals.py:{line}, `self.seen += 1`: it changes b_seen, which the next "
        "picture would see; the engine keeps nothing from picture to picture"
    )


def test_programs_and_files(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3))
    batch = torch.export.Dim("batch")
    dynamic = torch.export.export(net.eval(), (X,), dynamic_shapes=({0: batch},))
    with pytest.raises(GraphError) as error:
        from_program(dynamic)
    assert str(error.value).endswith("is not fixed; export with fixed shapes (no dynamic_shapes)")
    with pytest.raises(GraphError) as error:
        from_program(torch.export.export(net.train(), (X,)))
    assert str(error.value) == (
        "node batch_norm (1): the network was exported in training mode; export net.eval()"
    )
    with pytest.raises(GraphError, match=r"not Sequential$"):
        from_program(net)  # type: ignore[arg-type]
    with pytest.raises(GraphError) as error:
        from_file(tmp_path / "net.pt2")
    assert str(error.value) == f"{tmp_path}/net.pt2: there is no such file"
    (tmp_path / "net.pt2").write_bytes(b"nothing")
    with pytest.raises(GraphError) as error:
        from_file(tmp_path / "net.pt2")
    start = f"{tmp_path}/net.pt2: it is no file of torch.export.save, or damaged ("
    assert str(error.value).startswith(start) and "\n" not in str(error.value)


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def lacking(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *arguments, **options)

    monkeypatch.delitem(__import__("sys").modules, "dpnet.model.graph.reading.program")
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ImportError) as error:
        from_module(nn.ReLU(), X)
    assert str(error.value) == (
        "reading a PyTorch network needs torch, which is not installed: pip install 'dpnet[torch]'"
    )
