"""A small network of layers with random numbers, for benches of the map engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.maps.layers import MapLayer, MapNetwork, MapTensor, Skip

Integers = NDArray[np.int64]

PICTURE = (3, 6, 5)
ROWS = (18, 18, 7)


def small_network(seed: int) -> MapNetwork:
    """A padded convolution of two row groups, a maximum, a pointwise one of few entries with the
    maximum as skip values, and one of the whole map."""
    rng = np.random.default_rng(seed)
    _, height, width = PICTURE
    shapes = {
        "picture": PICTURE,
        "first": (ROWS[0], height, width),
        "largest": (ROWS[0], height // 2, width // 2),
        "sum": (ROWS[1], height // 2, width // 2),
        "last": (ROWS[2], 1, 1),
    }
    tensors = {
        name: MapTensor(name, shape, 1.0, name in ("picture", "last"))
        for name, shape in shapes.items()
    }
    skip = Skip("largest", rng.integers(-(1 << 13), 1 << 13, ROWS[1]))
    whole = (height // 2, width // 2)
    around = (1, 1, 1, 1)
    layers = (
        _convolution(rng, tensors["picture"], tensors["first"], (3, 3), padding=around),
        _maximum(tensors["first"], tensors["largest"]),
        _convolution(rng, tensors["largest"], tensors["sum"], (1, 1), entries=2, skip=skip),
        _convolution(rng, tensors["sum"], tensors["last"], whole, entries=4),
    )
    return MapNetwork(tuple(tensors.values()), layers, "last")


def _convolution(
    rng: np.random.Generator,
    source: MapTensor,
    target: MapTensor,
    kernel: tuple[int, int],
    *,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    entries: int = 16,
    skip: Skip | None = None,
) -> MapLayer:
    rows, columns = target.shape[0], source.shape[0] * kernel[0] * kernel[1]
    spread = 2.0**11 * 64 * columns**0.5
    return MapLayer(
        name=target.name,
        input=source.name,
        output=target.name,
        kernel=kernel,
        stride=(1, 1),
        padding=padding,
        dilation=(1, 1),
        entries=rng.integers(-(1 << 11), 1 << 11, (rows, entries)),
        indices=rng.integers(0, entries, (rows, columns)),
        bias=rng.integers(-int(spread), int(spread), rows),
        multiplier=rng.integers(1 << 14, 1 << 15, rows),
        shift=np.full(rows, int(np.log2(spread / 64)) + 14),
        low=target.low,
        high=target.high,
        skip=skip,
    )


def _maximum(source: MapTensor, target: MapTensor) -> MapLayer:
    rows = np.ones(source.shape[0], np.int64)
    return MapLayer(
        name=target.name,
        input=source.name,
        output=target.name,
        kernel=(2, 2),
        stride=(2, 2),
        padding=(0, 0, 0, 0),
        dilation=(1, 1),
        groups=source.shape[0],
        bias=0 * rows,
        multiplier=rows,
        shift=0 * rows,
        low=target.low,
        high=target.high,
    )
