"""The taps of a window: where each one reads, and for which positions that is inside of the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dpnet.model.maps.layers import MapLayer, MapTensor, Skip, Window

Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Tap:
    """Element `number` of a kernel, row by row: at position (y, x) of the window it reads (sy · y +
    `y`, sx · x + `x`), which is inside of the map for `top` ≤ y ≤ `bottom`, `left` ≤ x ≤ `right`.
    """

    number: int
    y: int
    x: int
    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Geometry:
    """A layer's window of `height` × `width` positions, the first of them (`top`, `left`) of the
    output; `stride` of what it reads, and the taps that are inside of the map somewhere."""

    top: int
    left: int
    height: int
    width: int
    stride: Pair
    taps: tuple[Tap, ...]

    @property
    def uncovered(self) -> bool:
        """Whether a position has no tap inside of the map."""
        covered = np.zeros((self.height, self.width), bool)
        for tap in self.taps:
            covered[tap.top : tap.bottom + 1, tap.left : tap.right + 1] = True
        return not covered.all()


def window_of(layer: MapLayer, output: MapTensor) -> Window:
    """The positions that the layer writes."""
    _, height, width = output.shape
    return layer.window or Window(0, height, 0, width)


def geometry(layer: MapLayer, input: MapTensor, output: MapTensor) -> Geometry:
    """The window's taps.  Of a single row or column of positions the stride is 1: what it was is in
    the taps."""
    window = window_of(layer, output)
    height, width = window.bottom - window.top, window.right - window.left
    taps = []
    (kernel_height, kernel_width), (top, _, left, _) = layer.kernel, layer.padding
    for number in range(kernel_height * kernel_width):
        ky, kx = divmod(number, kernel_width)
        y = layer.stride[0] * window.top + ky * layer.dilation[0] - top
        x = layer.stride[1] * window.left + kx * layer.dilation[1] - left
        first, last = _inside(y, layer.stride[0], input.shape[1], height)
        begin, end = _inside(x, layer.stride[1], input.shape[2], width)
        if first <= last and begin <= end:
            taps.append(Tap(number, y, x, first, last, begin, end))
    # A window that sees nothing but padding has one tap that never is inside.
    found = tuple(taps) or (Tap(0, 0, 0, 1, 0, 1, 0),)
    stride = reduced(layer.stride, height, width)
    return Geometry(window.top, window.left, height, width, stride, found)


def skip_geometry(skip: Skip, tensor: MapTensor, window: Geometry) -> Geometry:
    """The skip values of a window, as a kernel of one element."""
    (sy, sx), (_, height, width) = skip.stride, tensor.shape
    y, x = sy * window.top, sx * window.left
    if y + sy * (window.height - 1) >= height or x + sx * (window.width - 1) >= width:
        raise ValueError(f"skip values must lie in {tensor.name}, not outside of {tensor.shape!r}")
    tap = Tap(0, y, x, 0, window.height - 1, 0, window.width - 1)
    stride = reduced(skip.stride, window.height, window.width)
    return Geometry(window.top, window.left, window.height, window.width, stride, (tap,))


def reduced(stride: Pair, height: int, width: int) -> Pair:
    """The stride between positions, 1 where there is only one of them."""
    return (stride[0] if height > 1 else 1, stride[1] if width > 1 else 1)


def _inside(offset: int, stride: int, size: int, count: int) -> Pair:
    """First and last n of 0 … count - 1 with 0 ≤ stride · n + offset < size."""
    return max(0, -(offset // stride)), min(count - 1, (size - 1 - offset) // stride)
