"""Random networks of layers, random graphs, and PyTorch's answer to both."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

from dpnet.model.graph.nodes import (
    Add,
    AveragePool,
    Clamp,
    Concatenate,
    Convolution,
    Graph,
    Input,
    MaxPool,
    Node,
    Pad,
    Select,
    Source,
)
from dpnet.model.maps.compile import Compiled
from dpnet.model.maps.floats.evaluate import values_of
from dpnet.model.maps.layers import MapLayer, MapNetwork, MapTensor, Skip, Window

ENTRY = (1 << 17) - 1

slow = settings(
    max_examples=int(os.environ.get("DPNET_RANDOM_NETWORKS", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""For what is drawn at random; `DPNET_RANDOM_NETWORKS` says how often."""


def torch_layers(network: MapNetwork, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of a network of layers, by PyTorch's own operators in float64, which has all
    integers below 2^53; the one rounding in integers of 64 bits."""
    found = {t.name: torch.zeros((len(pictures), *t.shape)).double() for t in network.tensors}
    found[network.input.name][:] = torch.from_numpy(pictures).double()
    for layer in network.layers:
        y = network.tensor(layer.output)
        values = torch_requantized(layer, torch_sums(layer, found))
        window = layer.window or Window(0, y.shape[1], 0, y.shape[2])
        rows = slice(layer.output_channel, layer.output_channel + layer.rows)
        places = (slice(window.top, window.bottom), slice(window.left, window.right))
        found[y.name][:, rows, places[0], places[1]] = values[:, :, places[0], places[1]].double()
    return {name: values.long().numpy() for name, values in found.items()}


def torch_sums(layer: MapLayer, found: dict[str, Tensor]) -> Tensor:
    top, bottom, left, right = layer.padding
    x = found[layer.input]
    around = (left, right, top, bottom)
    if layer.indices is None:
        padded = F.pad(x, around, value=-float("inf"))
        made = F.max_pool2d(padded, layer.kernel, layer.stride, 0, layer.dilation)
    else:
        entries, indices = map(torch.from_numpy, (layer.entries, layer.indices.astype(np.int64)))
        weight = entries.gather(1, indices).double()
        weight = weight.reshape(layer.rows, x.shape[1] // layer.groups, *layer.kernel)
        padded = F.pad(x, around)
        made = F.conv2d(padded, weight, None, layer.stride, 0, layer.dilation, layer.groups)
    made = made + torch.from_numpy(layer.bias).double()[:, None, None]
    if layer.skip is not None:
        skip = layer.skip
        other = found[skip.tensor][:, :, :: skip.stride[0], :: skip.stride[1]]
        other = other[:, :, : made.shape[2], : made.shape[3]]
        for row in range(layer.rows):
            channel = row - skip.channel
            if 0 <= channel < other.shape[1]:
                made[:, row] += int(skip.factor[row]) * other[:, channel]
    return made


def torch_requantized(layer: MapLayer, sums: Tensor) -> Tensor:
    product = sums.long() * torch.from_numpy(layer.multiplier)[:, None, None]
    rows = []
    for row, shift in enumerate(layer.shift.tolist()):
        values = product[:, row]
        # Products have 56 bits: from 58 on nothing is left, not even a half.
        step = 1 << min(shift, 58)
        whole = torch.div(values, step, rounding_mode="floor")
        twice = 2 * (values - whole * step)
        up = (twice > step) | ((twice == step) & (whole % 2 == 1))
        rows.append(whole + up)
    return torch.stack(rows, 1).clamp(layer.low, layer.high)


def torch_graph(graph: Graph, pictures: np.ndarray) -> dict[str, Tensor]:
    """What every node is for pictures (N, C, H, W), in float64."""
    found: dict[str, Tensor] = {}
    for node in graph:
        given = [found[name] for name in node.inputs]
        one = given[0] if given else torch.from_numpy(pictures).double()
        match node.operator:
            case Input():
                made = one
            case Convolution(weight, bias, stride, dilation, (top, bottom, left, right), groups):
                padded = F.pad(one, (left, right, top, bottom))
                tensors = torch.from_numpy(weight), torch.from_numpy(bias)
                made = F.conv2d(padded, *tensors, stride, 0, dilation, groups)
            case Clamp(low, high):
                made = one.clamp(low, high)
            case MaxPool(kernel, stride, dilation, (top, bottom, left, right)):
                padded = F.pad(one, (left, right, top, bottom), value=-float("inf"))
                made = F.max_pool2d(padded, kernel, stride, 0, dilation)
            case AveragePool(kernel, stride, divisor, (top, bottom, left, right)):
                padded = F.pad(one, (left, right, top, bottom))
                made = F.avg_pool2d(padded, kernel, stride, divisor_override=1)
                made = made / torch.from_numpy(divisor)
            case Add():
                made = given[0] + given[1]
            case Concatenate():
                made = torch.cat(given, 1)
            case Pad((top, bottom, left, right), (before, after)):
                made = F.pad(one, (left, right, top, bottom, before, after))
            case Select(start, stop, step):
                cuts = [slice(*cut) for cut in zip(start, stop, step, strict=True)]
                made = one[:, cuts[0], cuts[1], cuts[2]]
            case _:
                raise AssertionError(node)
        assert tuple(made.shape[1:]) == node.shape, node
        found[node.name] = made
    return found


def assert_rounded(made: Compiled, tensors: dict[str, np.ndarray], place: int) -> None:
    """A layer's results are what its weights on codebooks give of its integer inputs."""
    layer, one = made.network.layers[place], made.clustered.layers[place]
    real = {t.name: (tensors[t.name] - t.zero) * t.scale for t in made.network.tensors}
    output = made.network.tensor(layer.output)
    free = replace(one, low=-np.inf, high=np.inf)
    wanted = values_of(free, real, (layer.rows, *output.shape[1:]))
    window = layer.window or Window(0, output.shape[1], 0, output.shape[2])
    rows = slice(layer.output_channel, layer.output_channel + layer.rows)
    places = slice(window.top, window.bottom), slice(window.left, window.right)
    steps = np.clip(wanted[:, :, *places] / output.scale, layer.low, layer.high)
    limits = np.clip([one.low / output.scale, one.high / output.scale], output.low, output.high)
    assert np.abs(np.array([layer.low, layer.high]) - limits).max() <= 0.5
    assert np.abs(steps - tensors[layer.output][:, rows, *places]).max() <= 0.56


def pictures_for(tensor: MapTensor, count: int, rng: np.random.Generator) -> np.ndarray:
    """Integers of a tensor's range, often its ends."""
    values = rng.integers(tensor.low, tensor.high + 1, (count, *tensor.shape))
    ends = rng.choice([tensor.low, tensor.high], values.shape)
    return np.where(rng.random(values.shape) < rng.choice([0.0, 0.3, 1.0]), ends, values)


@st.composite
def map_networks(draw: Callable[..., Any]) -> tuple[MapNetwork, np.ndarray]:
    """A network of one to five layers with extreme values, and pictures for it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(_channels()), draw(_sides()), draw(_sides()))
    tensors = [MapTensor("picture", shape, 1.0, draw(st.booleans()))]
    layers: list[MapLayer] = []
    for place in range(draw(st.integers(1, 5))):
        x = tensors[draw(st.integers(0, len(tensors) - 1))]
        layer, y = draw(_layers(x, f"layer{place}", rng))
        layers += draw(_parts(layer, x, y, tensors, rng))
        rows = max(one.output_channel + one.rows for one in layers if one.output == y.name)
        tensors.append(replace(y, shape=(rows, *y.shape[1:])))
    network = MapNetwork(tuple(tensors), tuple(layers), tensors[-1].name)
    return network, pictures_for(tensors[0], draw(st.integers(1, 2)), rng)


def _channels() -> st.SearchStrategy[int]:
    return st.integers(1, 6) | st.integers(1, 70)


def _sides() -> st.SearchStrategy[int]:
    return st.integers(1, 9) | st.integers(1, 9) | st.integers(1, 40)


@st.composite
def _places(draw: Callable[..., Any], height: int, width: int) -> dict[str, Any]:
    """Kernel, stride, dilation and padding with at least one position."""
    pairs = st.tuples(st.integers(1, 7), st.integers(1, 7)) | st.sampled_from([(1, 1), (3, 3)])
    steps = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride = draw(pairs), draw(steps)
    dilation = draw(st.just((1, 1)) | steps)
    padding = draw(st.just((0, 0, 0, 0)) | st.tuples(*[st.integers(0, 3)] * 4))
    room = (height + padding[0] + padding[1], width + padding[2] + padding[3])
    for axis in range(2):
        if (kernel[axis] - 1) * dilation[axis] + 1 > room[axis]:
            kernel = (1, kernel[1]) if axis == 0 else (kernel[0], 1)
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}


def _size(places: dict[str, Any], height: int, width: int) -> tuple[int, int]:
    x = torch.zeros((1, 1, height, width))
    top, bottom, left, right = places["padding"]
    padded = F.pad(x, (left, right, top, bottom))
    kernel = torch.zeros((1, 1, *places["kernel"]))
    made = F.conv2d(padded, kernel, None, places["stride"], 0, places["dilation"])
    return made.shape[2], made.shape[3]


@st.composite
def _layers(
    draw: Callable[..., Any], x: MapTensor, name: str, rng: np.random.Generator
) -> tuple[MapLayer, MapTensor]:
    """A layer that reads `x`, and the tensor that it alone would make."""
    places = draw(_places(*x.shape[1:]))
    size = _size(places, *x.shape[1:])
    signed = draw(st.booleans())
    low, high = (-128, 127) if signed else (0, 255)
    if draw(st.integers(0, 3)) == 0:
        low, high = sorted(rng.integers(low, high + 1, 2).tolist())
    common: dict[str, Any] = {"name": name, "input": x.name, "output": f"{name}.out"}
    common |= {"low": low, "high": high}
    if draw(st.integers(0, 4)) == 0 and max(places["padding"]) == 0:
        rows = x.shape[0]
        layer = MapLayer(**common, **places, groups=rows, **_no_change(rows))
    else:
        groups = draw(st.sampled_from([n for n in range(1, x.shape[0] + 1) if x.shape[0] % n == 0]))
        rows = groups * draw(st.integers(1, max(1, 70 // groups)) if groups > 1 else _channels())
        layer = _weighted(common, places, x, groups, rows, draw(st.integers(1, 16)), rng)
    return layer, MapTensor(f"{name}.out", (layer.rows, *size), 1.0, signed)


def _no_change(rows: int) -> dict[str, Any]:
    one = np.ones(rows, np.int64)
    return {"bias": 0 * one, "multiplier": one, "shift": 0 * one}


def _weighted(
    common: dict[str, Any],
    places: dict[str, Any],
    x: MapTensor,
    groups: int,
    rows: int,
    k: int,
    rng: np.random.Generator,
) -> MapLayer:
    columns = x.shape[0] // groups * places["kernel"][0] * places["kernel"][1]
    entries = rng.integers(-ENTRY - 1, ENTRY + 1, (rows, k))
    if rng.random() < 0.3:
        entries = rng.choice([-ENTRY - 1, ENTRY, 0, 1, -1], (rows, k))
    indices = rng.integers(0, k, (rows, columns))
    largest = np.abs(np.take_along_axis(entries, indices, 1)).sum(1) * 255 + 1
    bias = (rng.uniform(-1, 1, rows) * largest).astype(np.int64)
    multiplier = rng.integers(1, 1 << 16, rows)
    # About as far as results of one to ten bits need.
    fitting = np.log2(largest.astype(float) * multiplier) - rng.uniform(1, 10, rows)
    shift = np.clip(fitting, 0, 63).astype(np.int64)
    if rng.random() < 0.1:
        multiplier, shift = rng.choice([0, 65535], rows), rng.choice([0, 1, 56, 57, 58, 63], rows)
    return MapLayer(
        **common,
        **places,
        groups=groups,
        entries=entries,
        indices=indices,
        bias=bias,
        multiplier=multiplier,
        shift=shift,
    )


@st.composite
def _parts(
    draw: Callable[..., Any],
    layer: MapLayer,
    x: MapTensor,
    y: MapTensor,
    tensors: list[MapTensor],
    rng: np.random.Generator,
) -> list[MapLayer]:
    """The layer, with skip values, in two rectangles, or beside another one in one tensor."""
    if layer.indices is not None and draw(st.booleans()):
        layer = _with_skip(layer, y, tensors[draw(st.integers(0, len(tensors) - 1))], rng)
    kind, (rows, height, width) = draw(st.integers(0, 4)), y.shape
    if kind == 0 and height > 1:
        cut = draw(st.integers(1, height - 1))
        other = replace(layer, name=f"{layer.name}b", window=Window(cut, height, 0, width))
        return [replace(layer, window=Window(0, cut, 0, width)), other]
    if kind == 1 and rows < 60:
        other = replace(layer, name=f"{layer.name}b", output_channel=rows, bias=-layer.bias)
        return [layer, other]
    return [layer]


def _with_skip(layer: MapLayer, y: MapTensor, x: MapTensor, rng: np.random.Generator) -> MapLayer:
    steps = [
        max((n for n in (1, 2, 3) if n * (size - 1) < other), default=0)
        for size, other in zip(y.shape[1:], x.shape[1:], strict=True)
    ]
    if not min(steps):
        return layer
    channel = int(rng.integers(0, layer.rows))
    rows = np.arange(layer.rows)
    there = (rows >= channel) & (rows < channel + x.shape[0])
    factor = rng.integers(-ENTRY - 1, ENTRY + 1, layer.rows) * there
    return replace(layer, skip=Skip(x.name, factor, (steps[0], steps[1]), channel))


@dataclass
class GraphMaker:
    """Puts nodes one after the other."""

    rng: np.random.Generator
    nodes: list[Node] = field(default_factory=list)

    def put(self, operator: Any, inputs: list[Node], shape: tuple[int, ...]) -> Node:
        name = f"n{len(self.nodes)}"
        names = tuple(node.name for node in inputs)
        self.nodes.append(Node(name, operator, names, shape, Source(name)))
        return self.nodes[-1]

    def convolution(self, x: Node, places: dict[str, Any], groups: int, rows: int) -> Node:
        shape = (rows, x.shape[0] // groups, *places["kernel"])
        weight = self.rng.normal(size=shape) * self.rng.choice([1.0, 0.01, 30.0])
        bias = self.rng.normal(size=rows)
        operator = Convolution(weight, bias, groups=groups, **_known(places))
        return self.put(operator, [x], (rows, *_size(places, *x.shape[1:])))

    def graph(self) -> Graph:
        return Graph(tuple(self.nodes))


def _known(places: dict[str, Any]) -> dict[str, Any]:
    return {name: places[name] for name in ("stride", "dilation", "padding")}


@st.composite
def graphs(draw: Callable[..., Any]) -> Graph:
    """A simplified graph: all operators that it may have, branches, and nodes read twice."""
    maker = GraphMaker(np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    shape = (draw(st.integers(1, 6)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    maker.put(Input(), [], shape)
    first = draw(_places(*shape[1:]))
    maker.convolution(maker.nodes[0], first, 1, draw(st.integers(1, 6)))
    for _ in range(draw(st.integers(1, 8))):
        maps = [n for n in maker.nodes if not isinstance(n.operator, (Select, Pad))]
        x = maps[-1] if draw(st.integers(0, 2)) else maps[draw(st.integers(0, len(maps) - 1))]
        draw(_nodes(maker, x, maps))
    last = [n for n in maker.nodes if not isinstance(n.operator, (Select, Pad))][-1]
    maker.nodes = maker.nodes[: maker.nodes.index(last) + 1]
    return maker.graph()


@st.composite
def _nodes(draw: Callable[..., Any], maker: GraphMaker, x: Node, maps: list[Node]) -> None:
    """One more operation on `x`."""
    kind = draw(st.sampled_from(["conv", "conv", "clamp", "max", "average", "add", "join", "skip"]))
    channels, height, width = x.shape
    places = draw(_places(height, width))
    if kind == "conv":
        groups = draw(st.sampled_from([n for n in range(1, channels + 1) if channels % n == 0]))
        maker.convolution(x, places, groups, groups * draw(st.integers(1, 3)))
    elif kind == "clamp":
        low, high = draw(st.sampled_from([(0, np.inf), (0, 6), (-1, 1), (-np.inf, 2.0)]))
        maker.put(Clamp(low, high), [x], x.shape)
    elif kind == "max":
        places["padding"] = (0, 0, 0, 0)
        if (places["kernel"][0] - 1) * places["dilation"][0] < height and (
            places["kernel"][1] - 1
        ) * places["dilation"][1] < width:
            operator = MaxPool(places["kernel"], **_known(places))
            maker.put(operator, [x], (channels, *_size(places, height, width)))
    elif kind == "average":
        places["dilation"] = (1, 1)
        size = _size(places, height, width)
        divisor = maker.rng.integers(1, 3, size).astype(float)
        operator = AveragePool(places["kernel"], places["stride"], divisor, places["padding"])
        maker.put(operator, [x], (channels, *size))
    elif kind == "add":
        same = [node for node in maps if node.shape == x.shape]
        maker.put(Add(), [x, same[draw(st.integers(0, len(same) - 1))]], x.shape)
    elif kind == "join":
        same = [node for node in maps if node.shape[1:] == x.shape[1:]]
        other = same[draw(st.integers(0, len(same) - 1))]
        shape = (channels + other.shape[0], height, width)
        if shape[0] <= 24:
            maker.put(Concatenate(), [x, other], shape)
    else:
        _shortcut(maker, x, draw(st.integers(0, 2)), draw(st.integers(0, 2)), draw(st.booleans()))


def _shortcut(maker: GraphMaker, x: Node, before: int, after: int, shifted: bool) -> None:
    """A strided convolution plus a strided selection with channels of zeros: option A."""
    channels, height, width = x.shape
    start = (0, min(1, height - 1), 0) if shifted else (0, 0, 0)
    picked = (channels, -(-(height - start[1]) // 2), -(-width // 2))
    places = {"kernel": (1, 1), "stride": (2, 2), "dilation": (1, 1), "padding": (0, 0, 0, 0)}
    shape = (channels + before + after, *picked[1:])
    operator = Select(start, (channels, height, width), (1, 2, 2))
    view = maker.put(operator, [x], picked)
    view = maker.put(Pad(channels=(before, after)), [view], shape)
    if _size(places, height, width) == picked[1:]:
        other = maker.convolution(x, places, 1, shape[0])
        maker.put(Add(), [view, other], shape)
    else:
        maker.put(Add(), [view, view], shape)
