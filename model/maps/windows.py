"""Sums and maxima over windows of maps: the arithmetic that integers and their floats share.

Maps are float64 (N, C, H, W).  Sums go through BLAS and are exact where all of them, in whatever
order they are added, are integers below 2⁵³.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pair: TypeAlias = tuple[int, int]
Padding: TypeAlias = tuple[int, int, int, int]

CHUNK = 1 << 22
"""Values of windows that are laid out at once: 32 MiB."""


class Windowed(Protocol):
    """What has a kernel that moves over a map."""

    @property
    def kernel(self) -> Pair: ...
    @property
    def stride(self) -> Pair: ...
    @property
    def dilation(self) -> Pair: ...
    @property
    def padding(self) -> Padding: ...


def reach(layer: Windowed) -> Pair:
    """Rows and columns that a window spans, its gaps included."""
    (kh, kw), (dy, dx) = layer.kernel, layer.dilation
    return (kh - 1) * dy + 1, (kw - 1) * dx + 1


def output_size(layer: Windowed, height: int, width: int) -> Pair:
    """Rows and columns of positions at which a window lies within the padded map, at least 0."""
    (rows, columns), (sy, sx), (top, bottom, left, right) = (
        reach(layer),
        layer.stride,
        layer.padding,
    )
    down, across = height + top + bottom - rows, width + left + right - columns
    return max(down // sy + 1, 0), max(across // sx + 1, 0)


def sums(x: Floats, weight: Floats, layer: Windowed) -> Floats:
    """The convolution of x (N, C, H, W) with `weight` (R, C / groups, kh, kw), padding being 0;
    (N, R, oh, ow)."""
    groups = x.shape[1] // weight.shape[1]
    size = output_size(layer, *x.shape[2:])
    found = np.empty((len(x), len(weight), *size))
    matrix = weight.reshape(groups, len(weight) // groups, -1)
    for part, windows in _windows(x, layer, 0.0):
        # (C, kh, kw, n, oh, ow): the pictures side by side make one product of matrices.
        columns = windows.transpose(1, 4, 5, 0, 2, 3).reshape(groups, matrix.shape[2], -1)
        product = (matrix @ columns).reshape(len(weight), -1, *size)
        found[part] = product.transpose(1, 0, 2, 3)
    return found


def maxima(x: Floats, layer: Windowed) -> Floats:
    """The maximum of each window of x (N, C, H, W), padding being less than every number;
    (N, C, oh, ow), -inf where a window has nothing but padding."""
    found = np.empty((*x.shape[:2], *output_size(layer, *x.shape[2:])))
    for part, windows in _windows(x, layer, -np.inf):
        found[part] = windows.max(axis=(4, 5))
    return found


def skip_values(x: Floats, stride: Pair, channel: int, shape: tuple[int, int, int]) -> Floats:
    """x (N, C, H, W) at [r - channel, stride · position], for `shape` (R, oh, ow); 0 for rows that
    have no such channel."""
    rows, height, width = shape
    found = np.zeros((len(x), *shape))
    first, last = max(channel, 0), min(rows, channel + x.shape[1])
    strided = x[:, :, :: stride[0], :: stride[1]][:, :, :height, :width]
    found[:, first:last] = strided[:, first - channel : last - channel]
    return found


def padded(x: NDArray[Any], padding: Padding, value: float = 0) -> NDArray[Any]:
    """x (N, C, H, W) with values around it."""
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def _windows(x: Floats, layer: Windowed, fill: float) -> Iterator[tuple[slice, Floats]]:
    """Views (n, C, oh, ow, kh, kw) of the windows of so many pictures as `CHUNK` allows."""
    (sy, sx), (dy, dx) = layer.stride, layer.dilation
    height, width = output_size(layer, *x.shape[2:])
    each = x.shape[1] * layer.kernel[0] * layer.kernel[1] * height * width
    step = max(1, CHUNK // max(each, 1))
    for start in range(0, len(x), step):
        part = slice(start, min(start + step, len(x)))
        whole = padded(x[part], layer.padding, fill)
        every = np.lib.stride_tricks.sliding_window_view(whole, reach(layer), axis=(2, 3))
        yield part, every[:, :, ::sy, ::sx, ::dy, ::dx]
