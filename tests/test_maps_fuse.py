"""Graphs to layers: the same numbers as PyTorch's, and which operators a layer takes together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from maps_kit import GraphMaker, graphs, slow, torch_graph

from dpnet.model.graph.nodes import (
    Add,
    AveragePool,
    Clamp,
    Concatenate,
    Convolution,
    Graph,
    GraphError,
    HostOperator,
    Input,
    Linear,
    MaxPool,
    Node,
    Pad,
    Select,
    Source,
)
from dpnet.model.maps.floats.evaluate import evaluate
from dpnet.model.maps.floats.fuse import fuse
from dpnet.model.maps.floats.network import FloatNetwork
from dpnet.model.maps.layers import Window


@slow
@given(graphs())
def test_layers_give_what_pytorch_gives_for_the_nodes(graph: Graph) -> None:
    assert_same(graph, fuse(graph))


def assert_same(graph: Graph, network: FloatNetwork) -> None:
    """Every tensor is the node of its name, to the rounding of float64."""
    x = np.random.default_rng(0).normal(size=(2, *graph.input.shape))
    wanted = torch_graph(graph, x)
    found = evaluate(network, x)
    assert network.output == graph.output.name
    for name, values in found.items():
        numbers = wanted[name].numpy()
        np.testing.assert_allclose(values, numbers, rtol=1e-9, atol=1e-9 * np.abs(numbers).max())


CONV = {"kernel": (1, 1), "stride": (1, 1), "dilation": (1, 1), "padding": (0, 0, 0, 0)}
SHAPE = (4, 6, 5)


@pytest.fixture
def maker() -> GraphMaker:
    made = GraphMaker(np.random.default_rng(1))
    made.put(Input(), [], SHAPE)
    return made


def conv(maker: GraphMaker, x: Node) -> Node:
    return maker.convolution(x, CONV, 1, 4)


def relu(maker: GraphMaker, x: Node) -> Node:
    return maker.put(Clamp(0, np.inf), [x], x.shape)


def add(maker: GraphMaker, x: Node, y: Node) -> Node:
    return maker.put(Add(), [x, y], x.shape)


def layers(maker: GraphMaker) -> list[tuple[str, str, str, bool]]:
    """(input, output, skip, whether it is a convolution of the graph) of each layer."""
    graph = maker.graph()
    network = fuse(graph)
    assert_same(graph, network)
    return [
        (one.input, one.output, one.skip.tensor if one.skip else "", one.learned)
        for one in network.layers
    ]


def test_a_residual_block_is_two_layers(maker: GraphMaker) -> None:
    x = relu(maker, conv(maker, maker.nodes[0]))
    y = conv(maker, relu(maker, conv(maker, x)))
    relu(maker, add(maker, y, x))
    assert layers(maker) == [
        ("n0", "n2", "", True),
        ("n2", "n4", "", True),
        ("n4", "n7", "n2", True),
    ]


def test_of_two_convolutions_the_later_one_adds_the_other(maker: GraphMaker) -> None:
    x, y = conv(maker, maker.nodes[0]), conv(maker, maker.nodes[0])
    add(maker, x, y)
    assert layers(maker) == [("n0", "n1", "", True), ("n0", "n3", "n1", True)]


def test_a_convolution_that_is_read_twice_adds_nothing(maker: GraphMaker) -> None:
    x = conv(maker, maker.nodes[0])
    add(maker, add(maker, x, maker.nodes[0]), x)
    assert layers(maker) == [
        ("n0", "n1", "", True),
        ("n1", "n2", "n0", False),
        ("n2", "n3", "n1", False),
    ]


def test_a_clamp_in_front_of_an_addition_stays_in_front_of_it(maker: GraphMaker) -> None:
    add(maker, relu(maker, conv(maker, maker.nodes[0])), maker.nodes[0])
    assert layers(maker) == [("n0", "n2", "", True), ("n2", "n3", "n0", False)]


def test_a_node_added_to_itself_counts_twice(maker: GraphMaker) -> None:
    x = conv(maker, maker.nodes[0])
    add(maker, x, x)
    assert layers(maker) == [("n0", "n1", "", True), ("n1", "n2", "", False)]


def test_a_third_operand_is_a_layer_of_its_own(maker: GraphMaker) -> None:
    x = relu(maker, maker.nodes[0])
    add(maker, add(maker, conv(maker, x), x), maker.nodes[0])
    assert layers(maker) == [
        ("n0", "n1", "", False),
        ("n1", "n3", "n1", True),
        ("n3", "n4", "n0", False),
    ]


def test_clamps_behind_each_other_are_one(maker: GraphMaker) -> None:
    x = relu(maker, conv(maker, maker.nodes[0]))
    x = maker.put(Clamp(-1, 0.5), [x], x.shape)
    maker.put(Clamp(0.75, 2), [x], x.shape)
    assert layers(maker) == [("n0", "n4", "", True)]
    assert [(one.low, one.high) for one in fuse(maker.graph()).layers] == [(0.75, 0.75)]


def test_a_tensor_read_with_and_without_its_clamp(maker: GraphMaker) -> None:
    x = conv(maker, maker.nodes[0])
    add(maker, relu(maker, x), conv(maker, x))
    assert layers(maker) == [
        ("n0", "n1", "", True),
        ("n1", "n2", "", False),
        ("n1", "n4", "n2", True),
    ]


def test_operands_of_a_concatenation_write_their_channels(maker: GraphMaker) -> None:
    x, y = conv(maker, maker.nodes[0]), conv(maker, maker.nodes[0])
    inner = maker.put(Concatenate(), [relu(maker, x), maker.nodes[0]], (8, 6, 5))
    outer = maker.put(Concatenate(), [y, inner, y], (16, 6, 5))
    maker.put(Clamp(-1, 1), [outer], outer.shape)
    assert layers(maker) == [
        ("n0", "n2", "", True),
        ("n2", "n6", "", False),
        ("n0", "n6", "", True),
        ("n0", "n6", "", False),
        ("n2", "n6", "", False),
    ]
    network = fuse(maker.graph())
    assert [one.output_channel for one in network.writers("n6")] == [0, 4, 8, 12]
    assert [one.low for one in network.writers("n6")] == [-1, 0, -1, -1]


def test_a_strided_selection_with_more_channels_is_skip_values(maker: GraphMaker) -> None:
    view = maker.put(Select((0, 0, 0), SHAPE, (1, 2, 2)), [maker.nodes[0]], (4, 3, 3))
    view = maker.put(Pad(channels=(1, 3)), [view], (8, 3, 3))
    y = maker.convolution(maker.nodes[0], CONV | {"stride": (2, 2)}, 1, 8)
    add(maker, view, y)
    assert layers(maker) == [("n0", "n4", "n0", True)]
    skip = fuse(maker.graph()).layers[0].skip
    assert skip is not None and (skip.stride, skip.channel) == ((2, 2), 1)
    assert skip.factor.tolist() == [0, 1, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    "select, pad",
    [
        (Select((0, 1, 0), SHAPE, (1, 2, 2)), Pad()),
        (Select((1, 0, 0), (3, 5, 5), (1, 1, 1)), Pad(channels=(2, 0))),
        (Select((1, 2, 3), (4, 6, 4), (2, 3, 1)), Pad((1, 0, 2, 1), (0, 1))),
        (Select((0, 0, 0), SHAPE, (3, 1, 1)), Pad((0, 2, 0, 0))),
        (Select((0, 0, 0), (4, 2, 1), (1, 1, 1)), Pad(channels=(1, 1))),
    ],
)
def test_any_other_selection_is_a_layer(maker: GraphMaker, select: Select, pad: Pad) -> None:
    picked = tuple(
        len(range(*cut)) for cut in zip(select.start, select.stop, select.step, strict=True)
    )
    view = maker.put(select, [maker.nodes[0]], picked)
    (top, bottom, left, right), channels = pad.padding, pad.channels
    shape = (picked[0] + sum(channels), picked[1] + top + bottom, picked[2] + left + right)
    view = maker.put(pad, [view], shape)
    add(maker, view, relu(maker, view))
    assert not any(one[3] for one in layers(maker))


def test_an_average_is_a_layer_for_each_divisor(maker: GraphMaker) -> None:
    divisor = np.array([[4.0, 6, 4], [6, 9, 6], [6, 9, 6], [4, 6, 4]])
    operator = AveragePool((3, 3), (2, 2), divisor, (1, 2, 1, 2))
    maker.put(operator, [maker.nodes[0]], (4, 4, 3))
    network = fuse(maker.graph())
    assert_same(maker.graph(), network)
    assert [one.window for one in network.layers][:2] == [Window(0, 1, 0, 1), Window(0, 1, 1, 2)]
    assert len(network.layers) == 9
    assert len({one.name for one in network.layers}) == 9


def test_what_the_host_does_at_the_end(maker: GraphMaker) -> None:
    x = conv(maker, maker.nodes[0])
    maker.put(HostOperator("softmax"), [x], x.shape)
    maker.put(HostOperator("argmax"), [maker.nodes[-1]], x.shape)
    network = fuse(maker.graph())
    assert (network.output, network.host) == ("n1", ("softmax", "argmax"))


def refused(maker: GraphMaker, message: str) -> None:
    with pytest.raises(GraphError, match=f"^{message}$"):
        fuse(maker.graph())


Case = Callable[[GraphMaker, Node], Any]
REFUSED: dict[str, tuple[Case, str]] = {
    "nothing": (lambda m, x: None, "node n0: there is nothing for the engine to compute"),
    "another operator": (
        lambda m, x: m.put(Linear(np.ones((2, 4)), np.ones(2)), [x], (2,)),
        "node n1: the map engine has no layer for Linear",
    ),
    "shapes that differ": (
        lambda m, x: m.put(Add(), [x, m.put(MaxPool((6, 5), (1, 1)), [x], (4, 1, 1))], SHAPE),
        r"node n2: an addition must be of one shape, not .*",
    ),
    "a host operator over rows": (
        lambda m, x: m.put(HostOperator("softmax", 1), [x], SHAPE),
        "node n1: softmax must be over the channels, axis 0 of one picture's result, not 1",
    ),
    "behind the host": (
        lambda m, x: conv(m, m.put(HostOperator("sigmoid"), [x], SHAPE)),
        "node n2: nothing can follow sigmoid, which the host does",
    ),
    "weights of other channels": (
        lambda m, x: m.put(Convolution(np.ones((2, 3, 1, 1)), np.ones(2)), [x], (2, 6, 5)),
        r"node n1: weights \(2, 3, 1, 1\) in 1 groups and 2 biases do not fit 4 channels",
    ),
    "a NaN": (
        lambda m, x: m.put(Convolution(np.full((1, 4, 1, 1), np.nan), np.ones(1)), [x], (1, 6, 5)),
        "node n1: its weights hold a NaN or an infinity",
    ),
    "another shape than it makes": (
        lambda m, x: m.put(Convolution(np.ones((1, 4, 1, 1)), np.ones(1)), [x], (1, 5, 6)),
        r"node n1: it makes \(1, 6, 5\) of \(4, 6, 5\), not \(1, 5, 6\)",
    ),
    "a maximum of nothing": (
        lambda m, x: m.put(MaxPool((1, 1), (1, 1), padding=(1, 0, 0, 0)), [x], (4, 7, 5)),
        "node n1: a window holds nothing but padding, whose maximum is -inf",
    ),
    "a division by 0": (
        lambda m, x: m.put(AveragePool((1, 1), (1, 1), np.zeros((6, 5))), [x], SHAPE),
        "node n1: it divides by 0, or by what is no number",
    ),
    "channels that do not add up": (
        lambda m, x: m.put(Concatenate(), [x, x], (7, 6, 5)),
        r"node n1: channels of .* do not make \(7, 6, 5\)",
    ),
    "steps back": (
        lambda m, x: m.put(Select((3, 0, 0), SHAPE, (-1, 1, 1)), [x], SHAPE),
        r"node n1: steps must be 1 or more, not \(-1, 1, 1\)",
    ),
    "negative padding": (
        lambda m, x: m.put(Pad((-1, 0, 0, 0)), [x], (4, 5, 5)),
        "node n1: padding must be 0 or more; select values instead",
    ),
    "four axes": (
        lambda m, x: m.put(Clamp(0, 1), [x], (1, *SHAPE)),
        r"node n1: a map must have the shape \(C, H, W\), not \(1, 4, 6, 5\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_layer_holds_is_refused_with_its_source(maker: GraphMaker, case: str) -> None:
    build, message = REFUSED[case]
    build(maker, maker.nodes[0])
    refused(maker, message)


def test_layers_are_called_as_their_modules_and_weights_are(maker: GraphMaker) -> None:
    weight, bias = np.ones((4, 4, 1, 1)), np.ones(4)
    source = Source("conv2d_1", "block.conv", "nets.py", 7, "self.conv(x)")
    for name in ("conv2d", "conv2d_1"):
        operator = Convolution(weight, bias, parameter="block.conv.weight")
        before = maker.nodes[-1].name
        maker.nodes.append(Node(name, operator, (before,), SHAPE, source))
    network = fuse(maker.graph())
    assert [one.name for one in network.layers] == ["block.conv", "block.conv#2"]
    assert network.layers[1].names == ("block.conv", "block.conv.weight", "conv2d_1")
