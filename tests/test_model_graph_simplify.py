"""Simplified graphs compute what the graphs did, and consist of what an engine has."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from graph_kit import RandomGraph, one_node

from dpnet.model.graph.evaluate import evaluate
from dpnet.model.graph.nodes import (
    Add,
    AveragePool,
    BatchNorm,
    Clamp,
    Convolution,
    Graph,
    GraphError,
    Input,
    MaxPool,
    Node,
    Pad,
    Permute,
    Reshape,
    Select,
    Source,
)
from dpnet.model.graph.pooling import Windows, adaptive
from dpnet.model.graph.simplify import LEFT, simplify

GRAPHS = int(os.environ.get("DPNET_RANDOM_GRAPHS", "150"))


def same(graph: Graph, simple: Graph, pictures: np.ndarray) -> None:
    wanted = evaluate(graph, pictures)[graph.output.name]
    found = evaluate(simple, pictures)[simple.output.name]
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-9, atol=1e-9)


def kinds(graph: Graph) -> list[str]:
    return [type(node.operator).__name__ for node in graph]


@pytest.mark.parametrize("layouts", [False, True])
def test_random_graphs(layouts: bool) -> None:
    simplified = 0
    for seed in range(GRAPHS):
        made = RandomGraph(seed, steps=4 + seed % 8, layouts=layouts)
        graph, pictures = made.graph, made.pictures(2)
        try:
            simple = simplify(graph)
        except GraphError as error:
            assert "the values come in an order that no map has" in str(error)
            continue
        assert all(isinstance(node.operator, LEFT) for node in simple)
        assert all(len(node.shape) == 3 for node in simple)
        same(graph, simple, pictures)
        simplified += 1
    assert simplified > GRAPHS * (0.3 if layouts else 0.9)


def test_sums_of_windows_are_what_they_say() -> None:
    """A convolution written out by hand, with everything at once."""
    weight = np.arange(8.0).reshape(2, 1, 2, 2)
    operator = Convolution(
        weight, np.array([1.0, -1.0]), (2, 1), (1, 2), padding=(1, 0, 0, 1), groups=2
    )
    graph = one_node((2, 3, 3), operator)
    x = np.arange(18.0).reshape(1, 2, 3, 3)
    found = evaluate(graph, x)["n0"]
    padded = np.pad(x[0], ((0, 0), (1, 0), (0, 1)))
    for row, y, z in np.ndindex(2, 2, 2):
        taps = padded[row, 2 * y : 2 * y + 2, z : z + 3 : 2]
        assert found[0, row, y, z] == (taps * weight[row, 0]).sum() + (1, -1)[row]
    assert found.shape == (1, 2, 2, 2)


def test_maxima_of_negative_numbers_are_not_the_padding() -> None:
    graph = one_node((1, 2, 2), MaxPool((2, 2), (2, 2), padding=(1, 1, 1, 1)))
    x = np.array([[-1.0, -2.0], [-3.0, -4.0]]).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(evaluate(graph, x)["n0"], x)


def test_a_batch_norm_goes_where_nothing_else_reads() -> None:
    conv = Convolution(np.ones((2, 1, 1, 1)), np.array([1.0, 2.0]))
    norm = BatchNorm(np.array([2.0, -3.0]), np.array([0.5, 0.25]))
    simple = simplify(one_node((1, 2, 2), conv, norm))
    assert kinds(simple) == ["Input", "Convolution"]
    assert simple.output.name == "n0"
    np.testing.assert_array_equal(simple.output.operator.bias, [2.5, -5.75])
    branch = Graph(
        (
            Node("x", Input(), (), (1, 2, 2), Source("x")),
            Node("c", conv, ("x",), (2, 2, 2), Source("c")),
            Node("b", norm, ("c",), (2, 2, 2), Source("b")),
            Node("a", Add(), ("b", "c"), (2, 2, 2), Source("a")),
        )
    )
    simple = simplify(branch)
    assert kinds(simple) == ["Input", "Convolution", "Convolution", "Add"]
    np.testing.assert_array_equal(simple["c"].operator.weight, conv.weight)
    assert simple["b"].operator.groups == 2


def test_clamps_become_one_in_their_order() -> None:
    high = simplify(one_node((1, 2, 2), Clamp(2, 3), Clamp(0, 1)))
    assert [node.operator for node in high][1:] == [Clamp(1, 1)]
    low = simplify(one_node((1, 2, 2), Clamp(-1, 0.5), Clamp(0, math.inf)))
    assert [node.operator for node in low][1:] == [Clamp(0, 0.5)]
    crossed = one_node((1, 2, 2), Clamp(3, 1), Clamp(0, 2))
    same(crossed, simplify(crossed), np.linspace(-5, 5, 4).reshape(1, 1, 2, 2))
    nothing = simplify(one_node((1, 2, 2), Clamp(0, 1), Clamp(-math.inf, math.inf)))
    assert kinds(nothing) == ["Input", "Clamp"]


def test_averages_with_one_divisor_are_convolutions() -> None:
    one = AveragePool((2, 2), (2, 2), np.full((2, 2), 4.0))
    simple = simplify(one_node((3, 4, 4), one))
    assert simple.output.operator.groups == 3
    assert set(simple.output.operator.weight.flat) == {0.25}
    several = AveragePool((2, 2), (2, 2), np.array([[4.0, 2.0], [4.0, 2.0]]))
    assert kinds(simplify(one_node((3, 4, 4), several))) == ["Input", "AveragePool"]


def test_selections_stay_for_additions_only() -> None:
    select = Select((0, 0, 0), (2, 4, 4), (1, 2, 2))
    pad = Pad(channels=(1, 0))
    conv = Convolution(np.ones((3, 2, 1, 1)), np.zeros(3), (2, 2))
    x = Node("x", Input(), (), (2, 4, 4), Source("x"))
    nodes = (
        x,
        Node("s", select, ("x",), (2, 2, 2), Source("s")),
        Node("p", pad, ("s",), (3, 2, 2), Source("p")),
        Node("c", conv, ("x",), (3, 2, 2), Source("c")),
        Node("a", Add(), ("c", "p"), (3, 2, 2), Source("a")),
    )
    simple = simplify(Graph(nodes))
    assert kinds(simple) == ["Input", "Convolution", "Select", "Pad", "Add"]
    simple = simplify(Graph(nodes[:3]))
    assert kinds(simple) == ["Input", "Convolution"]
    assert sorted(simple.output.operator.weight.flat) == [0, 0, 0, 0, 1, 1]


def test_zeros_where_values_were_cut_off() -> None:
    cut = Select((0, 0, 0), (1, 3, 3), (1, 1, 1))
    graph = one_node((1, 4, 4), cut, Pad((0, 1, 0, 1)))
    simple = simplify(graph)
    same(graph, simple, np.arange(16.0).reshape(1, 1, 4, 4) + 1)


def test_orders_that_no_map_has() -> None:
    pool = MaxPool((2, 2), (2, 2))
    with pytest.raises(GraphError) as error:
        simplify(one_node((2, 4, 6), Clamp(0, 1), Permute((0, 2, 1)), pool))
    assert str(error.value) == (
        "node n1: the values come in an order that no map has, and node n2 reads them so; the "
        "engine stores maps channel by channel; arrange values where a Linear reads them, or keep "
        "the maps as they are"
    )


def test_channels_in_another_order_are_a_convolution_of_zeros_and_ones() -> None:
    source = Source("n")
    nodes = (
        Node("x", Input(), (), (4, 3, 3), source),
        Node("c", Clamp(-1, 1), ("x",), (4, 3, 3), source),
        Node("r", Reshape(), ("c",), (2, 2, 3, 3), source),
        Node("p", Permute((1, 0, 2, 3)), ("r",), (2, 2, 3, 3), source),
        Node("b", Reshape(), ("p",), (4, 3, 3), source),
        Node("m", MaxPool((2, 2), (1, 1)), ("b",), (4, 2, 2), source),
    )
    graph = Graph(nodes)
    simple = simplify(graph)
    assert kinds(simple) == ["Input", "Clamp", "Convolution", "MaxPool"]
    same(graph, simple, np.random.default_rng(0).standard_normal((2, 4, 3, 3)))


def test_pictures_of_another_size() -> None:
    graph = one_node((1, 2, 2), Clamp(0, 1))
    with pytest.raises(GraphError) as error:
        evaluate(graph, np.zeros((3, 5)))
    assert str(error.value) == "pictures must have the shape (N, 1, 2, 2), not (3, 5)"


@pytest.mark.parametrize(
    "size, count, kernel, stride", [(8, 1, 8, 1), (8, 4, 2, 2), (3, 2, 2, 1), (5, 5, 1, 1)]
)
def test_adaptive_windows(size: int, count: int, kernel: int, stride: int) -> None:
    found = adaptive(size, count)
    assert (found.kernel, found.stride, found.count) == (kernel, stride, count)


def test_windows_of_nothing_but_padding() -> None:
    with pytest.raises(GraphError) as error:
        Windows(2, 2, 1, 1, 3).check_values()
    assert str(error.value) == "a window holds nothing but padding; use less padding"
