"""Networks in integers for tests of the map engine: shapes with random numbers, and their
convolutions in plain int64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from dpnet.model.maps.layers import MapLayer, MapNetwork, MapTensor, Skip


class Builder:
    """Layers with random numbers, one after the other; a name is a tensor and the layer that writes
    it.  `k` entries a row; results use their range fairly well."""

    def __init__(self, shape: tuple[int, int, int], *, seed: int = 0, k: int = 16) -> None:
        self.random = np.random.default_rng(seed)
        self.k = k
        self.tensors = {"picture": MapTensor("picture", shape, 1.0, True)}
        self.layers: list[MapLayer] = []

    def tensor(self, name: str, shape: tuple[int, int, int], signed: bool = True) -> MapTensor:
        return self.tensors.setdefault(name, MapTensor(name, shape, 1.0, signed))

    def conv(
        self,
        name: str,
        source: str,
        rows: int,
        kernel: tuple[int, int],
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] | None = None,
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        k: int | None = None,
        signed: bool = False,
        skip: Mapping[str, Any] | None = None,
        shape: tuple[int, int, int] | None = None,
        **others: Any,
    ) -> str:
        """A convolution; without `padding` as much as keeps the size at stride 1 (top, bottom,
        left, right).  `skip`: tensor, stride, channel."""
        channels = self.tensors[source].shape[0]
        columns = channels // groups * kernel[0] * kernel[1]
        k = k or min(self.k, columns)
        entries = self.random.integers(-(1 << 11), 1 << 11, (rows, k))
        if k == 1:
            entries = 1 + abs(entries)
        return self._layer(
            name,
            source,
            rows,
            kernel,
            stride,
            padding,
            dilation,
            signed,
            shape,
            spread=2.0**11 * 64 * columns**0.5,
            groups=groups,
            entries=entries,
            indices=self.random.integers(0, k, (rows, columns)),
            skip=self._skip(rows, skip),
            **others,
        )

    def maximum(self, name: str, source: str, kernel: tuple[int, int], **options: Any) -> str:
        """Maximum pooling; its values stay as they are."""
        tensor = self.tensors[source]
        stride = options.pop("stride", kernel)
        padding = options.pop("padding", (0, 0, 0, 0))
        return self._layer(
            name,
            source,
            tensor.shape[0],
            kernel,
            stride,
            padding,
            options.pop("dilation", (1, 1)),
            tensor.signed,
            None,
            spread=None,
            **options,
        )

    def average(self, name: str, source: str, kernel: tuple[int, int] | None = None) -> str:
        """Average pooling, of the whole map without a kernel."""
        channels, height, width = self.tensors[source].shape
        kernel = kernel or (height, width)
        return self.conv(
            name,
            source,
            channels,
            kernel,
            stride=kernel,
            padding=(0, 0, 0, 0),
            groups=channels,
            k=1,
        )

    def made(self, output: str) -> MapNetwork:
        return MapNetwork(tuple(self.tensors.values()), tuple(self.layers), output)

    def _skip(self, rows: int, skip: Mapping[str, Any] | None) -> Skip | None:
        if skip is None:
            return None
        channel = skip.get("channel", 0)
        factor = self.random.integers(-(1 << 13), 1 << 13, rows)
        row = np.arange(rows) - channel
        factor[(row < 0) | (row >= self.tensors[skip["tensor"]].shape[0])] = 0
        return Skip(skip["tensor"], factor, skip.get("stride", (1, 1)), channel)

    def _layer(
        self,
        name: str,
        source: str,
        rows: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int, int, int] | None,
        dilation: tuple[int, int],
        signed: bool,
        shape: tuple[int, int, int] | None,
        *,
        spread: float | None,
        **options: Any,
    ) -> str:
        size = self.tensors[source].shape[1:]
        extent = [(n - 1) * d + 1 for n, d in zip(kernel, dilation, strict=True)]
        if padding is None:
            (y, x) = (n - 1 for n in extent)
            padding = (y // 2, y - y // 2, x // 2, x - x // 2)
        added = (padding[0] + padding[1], padding[2] + padding[3])
        height, width = (
            (n + more - reach) // step + 1
            for n, more, reach, step in zip(size, added, extent, stride, strict=True)
        )
        output = self.tensor(options.pop("output", name), shape or (rows, height, width), signed)
        if spread is None:
            multiplier, shift = np.ones(rows, np.int64), np.zeros(rows, np.int64)
            bias = np.zeros(rows, np.int64)
        else:
            multiplier = self.random.integers(1 << 14, 1 << 15, rows)
            shift = np.full(rows, max(0, int(np.log2(spread / 64)) + 14))
            bias = self.random.integers(-int(spread), int(spread) + 1, rows)
        self.layers.append(
            MapLayer(
                name=name,
                input=source,
                output=output.name,
                kernel=kernel,
                stride=stride,
                padding=padding,
                dilation=dilation,
                bias=bias,
                multiplier=multiplier,
                shift=shift,
                low=output.low,
                high=output.high,
                **options,
            )
        )
        return name


ONE, TWO, THREE = (1, 1), (2, 2), (3, 3)
TIGHT = (0, 0, 0, 0)


def resnet_8() -> MapNetwork:
    """MLPerf Tiny's, from resnet8.json."""
    net = Builder((3, 32, 32))
    x = net.conv("conv1", "picture", 16, THREE)
    x = net.conv("conv2", x, 16, THREE)
    x = net.conv("conv3", x, 16, THREE, skip={"tensor": "conv1"})
    for block, rows in ((1, 32), (2, 64)):
        y = net.conv(f"a{block}", x, rows, THREE, stride=TWO, padding=(0, 1, 0, 1))
        z = net.conv(f"short{block}", x, rows, ONE, stride=TWO, padding=TIGHT, signed=True)
        x = net.conv(f"b{block}", y, rows, THREE, skip={"tensor": z})
    x = net.average("pool", x)
    return net.made(net.conv("fc", x, 10, ONE, signed=True))


def resnet_20() -> MapNetwork:
    """CIFAR's, with option-A shortcuts."""
    net = Builder((3, 32, 32))
    x = net.conv("conv1", "picture", 16, THREE)
    for group, rows in enumerate((16, 32, 64)):
        for block in range(3):
            name = f"{group}.{block}"
            down = group > 0 and block == 0
            shortcut: dict[str, Any] = {"tensor": x}
            if down:
                shortcut |= {"stride": TWO, "channel": rows // 4}
            y = net.conv(
                f"{name}.a", x, rows, THREE, stride=TWO if down else ONE, padding=(1, 1, 1, 1)
            )
            x = net.conv(f"{name}.b", y, rows, THREE, skip=shortcut)
    x = net.average("pool", x)
    return net.made(net.conv("fc", x, 10, ONE, signed=True))


def tt_conv() -> MapNetwork:
    """The paper's TT-Conv."""
    net = Builder((3, 32, 32))
    x = "picture"
    same, valid = (1, 1, 1, 1), TIGHT
    for name, rows, padding in (
        ("conv1", 64, same),
        ("conv2", 64, same),
        ("pool1", 0, same),
        ("conv3", 128, same),
        ("conv4", 128, same),
        ("pool2", 0, same),
        ("conv5", 128, valid),
        ("conv6", 128, valid),
    ):
        if rows:
            x = net.conv(name, x, rows, THREE, padding=padding)
        else:
            x = net.maximum(name, x, THREE, stride=TWO, padding=(0, 1, 0, 1))
    x = net.average("pool", x)
    return net.made(net.conv("fc", x, 10, ONE, signed=True))


def ds_cnn() -> MapNetwork:
    """MLPerf Tiny's keyword spotter, from ds_cnn.json."""
    net = Builder((1, 49, 10))
    x = net.conv("conv1", "picture", 64, (10, 4), stride=TWO, padding=(4, 5, 1, 1))
    for n in range(1, 5):
        x = net.conv(f"depthwise{n}", x, 64, THREE, groups=64)
        x = net.conv(f"conv{n + 1}", x, 64, ONE)
    x = net.average("pool", x)
    return net.made(net.conv("fc", x, 12, ONE, signed=True))


def mobilenet_vww() -> MapNetwork:
    """MLPerf Tiny's visual wake words, MobileNet v1 at a quarter, from mobilenet_vww.json."""
    net = Builder((3, 96, 96))
    x = net.conv("conv1", "picture", 8, THREE, stride=TWO, padding=(0, 1, 0, 1))
    rows = (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
    for n, count in enumerate(rows, 1):
        channels = net.tensors[x].shape[0]
        stride, padding = (TWO, (0, 1, 0, 1)) if n in (2, 4, 6, 12) else (ONE, (1, 1, 1, 1))
        x = net.conv(
            f"depthwise{n}", x, channels, THREE, stride=stride, padding=padding, groups=channels
        )
        x = net.conv(f"conv{n + 1}", x, count, ONE)
    x = net.average("pool", x)
    return net.made(net.conv("fc", x, 2, ONE, signed=True))


NETWORKS: dict[str, Any] = {
    "resnet-8": resnet_8,
    "resnet-20": resnet_20,
    "tt-conv": tt_conv,
    "ds-cnn": ds_cnn,
    "mobilenet-vww": mobilenet_vww,
}


def multiply_adds(network: MapNetwork) -> dict[str, int]:
    """Multiply-adds by layer, as the field counts them: no pooling of maxima, no averages."""
    found = {}
    for layer in network.layers:
        _, height, width = network.tensor(layer.output).shape
        columns: Sequence[Any] = () if layer.indices is None else layer.indices[0]
        found[layer.name] = layer.rows * len(columns) * height * width
    return found


def convolved(network: MapNetwork, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of a network by its definition: windows of the padded map, int64, Python's own
    integers for the rounding."""
    tensors = {one.name: np.zeros(one.shape, np.int64) for one in network.tensors}
    tensors[network.input.name][:] = picture
    for layer in network.layers:
        window = layer.window
        result = _layer_results(layer, network, tensors)
        first, output = layer.output_channel, tensors[layer.output]
        box = np.s_[:, :]
        if window is not None:
            box = np.s_[window.top : window.bottom, window.left : window.right]
        output[first : first + layer.rows][(slice(None), *box)] = result[(slice(None), *box)]
    return tensors


def _layer_results(layer: MapLayer, network: MapNetwork, tensors: dict[str, Any]) -> np.ndarray:
    """At every position of the output, those outside of the window among them."""
    top, bottom, left, right = layer.padding
    _, height, width = tensors[layer.output].shape
    (kh, kw), (sy, sx), (dy, dx) = layer.kernel, layer.stride, layer.dilation
    source = tensors[layer.input]
    lowest = -(10**6)
    padded = np.pad(
        source,
        [(0, 0), (top, bottom + sy * height), (left, right + sx * width)],
        constant_values=0 if layer.indices is not None else lowest,
    )
    windows = np.array(
        [
            [
                padded[:, ky * dy :, kx * dx :][:, : sy * height : sy, : sx * width : sx]
                for kx in range(kw)
            ]
            for ky in range(kh)
        ]
    )
    acc = np.zeros((layer.rows, height, width), np.int64)
    if layer.indices is None:
        acc += windows.max((0, 1))
    else:
        per_row = layer.rows // layer.groups
        wide = len(source) // layer.groups
        for row in range(layer.rows):
            first = row // per_row * wide
            weights = layer.entries[row][layer.indices[row]].reshape(wide, kh, kw)
            acc[row] = np.einsum("ckl,klcyx->yx", weights, windows[:, :, first : first + wide])
    if layer.skip is not None:
        skipped = tensors[layer.skip.tensor]
        for row in range(layer.rows):
            channel = row - layer.skip.channel
            if 0 <= channel < len(skipped):
                ys, xs = layer.skip.stride
                part = skipped[channel, : ys * height : ys, : xs * width : xs]
                added = np.zeros((height, width), np.int64)
                added[: part.shape[0], : part.shape[1]] = part
                acc[row] += layer.skip.factor[row] * added
    return np.array(
        [[[_rounded(layer, r, a) for a in line] for line in acc[r]] for r in range(layer.rows)]
    )


def _rounded(layer: MapLayer, row: int, acc: int) -> int:
    """To nearest even, with a fraction's own rounding."""
    total = (int(acc) + int(layer.bias[row])) * int(layer.multiplier[row])
    return min(max(round(Fraction(total, 1 << int(layer.shift[row]))), layer.low), layer.high)
