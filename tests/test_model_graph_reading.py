"""Networks of PyTorch read as graphs: the misreadings that others are known for, each against
PyTorch in float64; sources, names, files; and the net stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nets_kit import Calling, line_of, settled
from torch import Tensor, nn

from dpnet.model.graph.evaluate import evaluate
from dpnet.model.graph.nodes import (
    AveragePool,
    Clamp,
    Convolution,
    Graph,
    MaxPool,
    Node,
)
from dpnet.model.graph.reading import from_file, from_module
from dpnet.model.graph.simplify import simplify

PICTURES = torch.randn(2, 4, 11, 9, generator=torch.Generator().manual_seed(5)).double()


def read(net: nn.Module, pictures: Tensor = PICTURES) -> tuple[Graph, Graph]:
    """The graph and the simplified one, after both gave what PyTorch gives."""
    settled(net)
    graph = from_module(net, pictures)
    simple = simplify(graph)
    with torch.no_grad():
        wanted = net(pictures.clone()).numpy()
    for one in (graph, simple):
        found = evaluate(one, pictures.numpy())[one.output.name]
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-9, atol=1e-9)
    return graph, simple


def of(graph: Graph, kind: type) -> list[Node]:
    return [node for node in graph if isinstance(node.operator, kind)]


def calling(function: Callable[[Any, Tensor], Any], **modules: nn.Module) -> Calling:
    return Calling(function, **modules)


def test_dilation_stays() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 5, 3, dilation=(2, 3), padding=2), nn.MaxPool2d(2, 1, dilation=2)
    )
    graph, simple = read(net)
    assert of(graph, Convolution)[0].operator.dilation == (2, 3)
    assert of(simple, MaxPool)[0].operator.dilation == (2, 2)


def test_the_maximum_of_relu6_stays() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return torch.cat([net.act(9 * x), F.hardtanh(9 * x, -2, 5), F.relu6(9 * x)], 1)

    graph, _ = read(calling(forward, act=nn.ReLU6()))
    clamps = [node.operator for node in of(graph, Clamp)]
    assert clamps == [Clamp(0, 6), Clamp(-2, 5), Clamp(0, 6)]


def test_same_padding_of_even_kernels_puts_the_rest_behind() -> None:
    _, simple = read(
        nn.Sequential(
            nn.Conv2d(4, 3, (2, 4), padding="same"),
            nn.Conv2d(3, 3, 4, padding="same", dilation=(1, 3), groups=3),
            nn.Conv2d(3, 2, 2, padding="valid", stride=2),
        )
    )
    paddings = [node.operator.padding for node in of(simple, Convolution)]
    assert paddings == [(0, 1, 1, 2), (1, 2, 4, 5), (0, 0, 0, 0)]


def test_flatten_keeps_the_order_of_the_channels() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.one(x.flatten(1)) + net.two(x.permute(0, 2, 3, 1).flatten(1))

    size = 4 * 11 * 9
    _, simple = read(calling(forward, one=nn.Linear(size, 3), two=nn.Linear(size, 3)))
    assert [node.operator.weight.shape for node in of(simple, Convolution)] == [(3, 4, 11, 9)] * 2


def test_operations_of_forward_that_are_no_modules() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = F.relu(net.conv(x) * 0.5 - 1).neg()
        y = torch.max_pool2d(y, 2) + 3
        return (2 - y) / 4

    read(calling(forward, conv=nn.Conv2d(4, 4, 3)))


def test_a_skip_is_read_twice_and_a_module_used_twice() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.conv(x)
        z = net.conv(F.relu(y)) + y
        return F.relu(z) + y + z

    graph, _ = read(calling(forward, conv=nn.Conv2d(4, 4, 3, padding=1)))
    assert [node.operator.parameter for node in of(graph, Convolution)] == ["conv.weight"] * 2


@pytest.mark.parametrize("ceil", [False, True])
def test_average_pooling_counts_as_pytorch_does(ceil: bool) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        found = []
        for counted in (False, True):
            for divisor in (None, 5):
                found.append(F.avg_pool2d(x, 3, 3, 1, ceil, counted, divisor))
        return torch.cat(found, 1)

    _, simple = read(calling(forward))
    # Windows of one count are convolutions.
    kinds = [type(node.operator) for node in simple if node.name.startswith("avg")]
    whole = AveragePool if ceil else Convolution
    assert kinds == [AveragePool, Convolution, whole, Convolution]


def test_a_batch_norm_is_folded_only_where_nothing_else_reads() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        alone = net.norm(net.conv(x))
        y = net.conv(alone)
        return net.norm(y) + y

    _, simple = read(calling(forward, conv=nn.Conv2d(4, 4, 3), norm=nn.BatchNorm2d(4)))
    groups = [node.operator.groups for node in of(simple, Convolution)]
    assert groups == [1, 1, 4]


def test_a_batch_norm_before_a_convolution_with_padding() -> None:
    _, simple = read(nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1)))
    assert [node.operator.groups for node in of(simple, Convolution)] == [4, 1]


def test_padding_goes_into_a_convolution_and_into_no_maximum() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = F.pad(x, (1, 2, 0, 3))
        return net.conv(y) + F.max_pool2d(y, 3, 1)

    _, simple = read(calling(forward, conv=nn.Conv2d(4, 4, 3)))
    conv = next(node for node in simple if node.name == "conv2d")
    assert conv.inputs == ("x",) and conv.operator.padding == (0, 3, 1, 2)
    assert of(simple, MaxPool)[0].operator.padding == (0, 0, 0, 0)


def test_shortcuts_without_weights() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.conv(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2))

    _, simple = read(calling(forward, conv=nn.Conv2d(4, 7, 3, 2, 1)))
    assert [type(node.operator).__name__ for node in simple] == [
        "Input",
        "Convolution",
        "Select",
        "Pad",
        "Add",
    ]


def test_signals() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = F.max_pool1d(net.norm(net.conv(x)), 2, ceil_mode=True)
        return net.fc(F.adaptive_avg_pool1d(net.same(y), 1).flatten(1))

    net = calling(
        forward,
        conv=nn.Conv1d(4, 5, 3, 2, 1, 2),
        norm=nn.BatchNorm1d(5),
        same=nn.Conv1d(5, 6, 4, padding="same", groups=1),
        fc=nn.Linear(6, 3),
    )
    _, simple = read(net, torch.randn(3, 4, 31).double())
    assert simple.input.shape == (4, 1, 31)


def test_a_vector_that_forward_makes_a_picture() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.conv(x.view(-1, 1, 6, 8)).flatten(1)

    _, simple = read(calling(forward, conv=nn.Conv2d(1, 3, 3)), torch.randn(2, 48).double())
    assert simple.input.shape == (1, 6, 8)


def test_matrices_for_every_position_are_convolutions_of_one_tap() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.one(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        z = net.two(y.flatten(2).transpose(1, 2))
        return z.mean(1)

    _, simple = read(calling(forward, one=nn.Linear(4, 6), two=nn.Linear(6, 5)))
    shapes = [node.operator.weight.shape for node in of(simple, Convolution)]
    assert shapes == [(6, 4, 1, 1), (5, 6, 1, 1), (5, 1, 11, 9)]


def test_what_the_host_does_is_last() -> None:
    for last in (nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()):
        graph, _ = read(nn.Sequential(nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(189, 5), last))
        assert graph.output.operator.kind in ("softmax", "log_softmax", "sigmoid")

    def forward(net: Any, x: Tensor) -> Tensor:
        return F.softmax(net.conv(x), 1).argmax(1)

    graph, _ = read(calling(forward, conv=nn.Conv2d(4, 3, 3)))
    assert graph.output.operator.axis == 0


def test_operations_in_place_are_read_in_their_order() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.conv(x)
        y.relu_()
        y += 1
        z = y * 1
        z.mul_(2).clamp_(0, 3)
        return y + z

    read(calling(forward, conv=nn.Conv2d(4, 3, 3)))


def test_clamps_that_follow_each_other() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return torch.cat([x.clamp(-1, 1).clamp(min=0.2), x.clamp(2, 3).clamp(0, 1)], 1)

    _, simple = read(calling(forward))
    assert [node.operator for node in of(simple, Clamp)] == [Clamp(0.2, 1), Clamp(1, 1)]


def test_a_node_knows_where_it_was_written(tmp_path: Path) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv(x)
        return F.relu(x)

    net = settled(calling(forward, conv=nn.Conv2d(4, 3, 3)))
    program = torch.export.export(net, (PICTURES,), strict=False)
    torch.export.save(program, tmp_path / "net.pt2")
    for graph in (from_module(net, PICTURES), from_file(tmp_path / "net.pt2")):
        conv, relu = (node.source for node in graph.nodes[1:])
        assert str(conv) == (
            f"test_model_graph_reading.py:{line_of(forward)}, `x = net.conv(x)` (conv)"
        )
        assert str(relu) == f"test_model_graph_reading.py:{line_of(forward, 2)}, `return F.relu(x)`"
        assert of(graph, Convolution)[0].operator.parameter == "conv.weight"
    assert graph.name == "net"


def test_types_and_masks() -> None:
    """Weights in bfloat16 and under parametrizations are what they are."""
    net = nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU()).to(torch.bfloat16)
    graph = from_module(net, PICTURES.to(torch.bfloat16))
    weight = of(graph, Convolution)[0].operator.weight
    assert weight.dtype == np.float64
    np.testing.assert_array_equal(weight, net[0].weight.detach().double().numpy())

    conv = nn.Conv2d(4, 3, 3)
    torch.nn.utils.parametrizations.weight_norm(conv)
    read(nn.Sequential(conv))


def test_the_net_stays_as_it_is() -> None:
    net = nn.Sequential(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.Dropout()).train()
    net[2].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    from_module(net, PICTURES.float())
    assert [module.training for module in net.modules()] == [True, True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_batches_of_any_size_are_taken() -> None:
    net = settled(nn.Sequential(nn.Conv2d(4, 3, 3), nn.Flatten()))
    for count in (1, 3):
        graph = from_module(net, (PICTURES[:1].repeat(count, 1, 1, 1),))
        assert graph.output.shape == (3 * 9 * 7,)
    assert math.prod(graph.input.shape) == 396
