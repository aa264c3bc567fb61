"""What a network of layers must be, so that every engine and the golden model can compute it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.golden.requantize import SHIFT_LIMIT, Requantize
from dpnet.model.maps.layers import MapLayer, MapNetwork, MapTensor, Skip, Window
from dpnet.model.maps.windows import maxima, output_size

ACC_BITS = Requantize().acc_bits
"""Of an accumulator and of a bias, signed."""
ENTRY_BITS = 18
"""Of an entry and of a skip value's factor, signed: the narrow side of a DSP48E1."""
LARGEST_K = 16

Integers = NDArray[np.int64]


class MapError(ValueError):
    """Layers that no engine computes; the message names the layer and says what it must be."""


def check_network(network: MapNetwork) -> None:
    """Raise `MapError` unless the network keeps every promise of `dpnet.model.maps.layers`: its
    tensors are there once, and every value of each is written once, by one layer, before it is
    read; shapes fit; numbers are within their widths.  Sums are looked at when they are computed.
    """
    tensors = {tensor.name: tensor for tensor in network.tensors}
    if not tensors or len(tensors) < len(network.tensors):
        raise MapError("a network must have tensors, each name once")
    written = {name: np.zeros(tensor.shape, bool) for name, tensor in tensors.items()}
    written[network.input.name][:] = True
    for layer in network.layers:
        for name in (layer.output, layer.input, *([layer.skip.tensor] if layer.skip else [])):
            _require(name in tensors, layer, f"there is no tensor {name!r}")
        for name in (layer.input, *([layer.skip.tensor] if layer.skip else [])):
            ready = written[name].all()
            _require(ready, layer, f"it reads {name} before all of it is written")
        _check_layer(layer, tensors)
        values = written[layer.output][_written(layer, tensors[layer.output])]
        _require(not values.any(), layer, f"values of {layer.output} are written twice")
        values[:] = True
    missing = [name for name, values in written.items() if not values.all()]
    if missing or network.output not in tensors:
        raise MapError(f"tensor {(missing or [network.output])[0]!r} is not computed")


def whole(layer: MapLayer, output: MapTensor) -> Window:
    """The positions that a layer writes."""
    return layer.window or Window(0, output.shape[1], 0, output.shape[2])


def _written(layer: MapLayer, output: MapTensor) -> tuple[slice, slice, slice]:
    window = whole(layer, output)
    return (
        slice(layer.output_channel, layer.output_channel + layer.rows),
        slice(window.top, window.bottom),
        slice(window.left, window.right),
    )


def _check_layer(layer: MapLayer, tensors: dict[str, MapTensor]) -> None:
    x, y = tensors[layer.input], tensors[layer.output]
    _check_places(layer, x, y)
    _check_numbers(layer, y)
    if layer.indices is not None:
        _check_weights(layer, x)
    else:
        same = layer.rows == x.shape[0] and layer.entries is None and layer.skip is None
        _require(same, layer, "a maximum has a row for each channel, no entries and no skip values")
        found = maxima(np.zeros((1, 1, *x.shape[1:])), layer)
        _require(np.isfinite(found).all(), layer, "a window holds nothing but padding")
    if layer.skip is not None:
        _check_skip(layer, layer.skip, tensors[layer.skip.tensor], y)


def _check_places(layer: MapLayer, x: MapTensor, y: MapTensor) -> None:
    pairs = (layer.kernel, layer.stride, layer.dilation)
    _require(all(min(pair) > 0 for pair in pairs), layer, "kernel, stride, dilation must be 1 up")
    _require(min(layer.padding) >= 0, layer, f"padding must be 0 or more, not {layer.padding}")
    size = output_size(layer, *x.shape[1:])
    _require(size == y.shape[1:], layer, f"it makes maps of {size}, {y.name} has {y.shape[1:]}")
    room = 0 <= layer.output_channel <= y.shape[0] - layer.rows
    _require(room, layer, f"{y.name} has no channels for its {layer.rows} rows")
    window = whole(layer, y)
    inside = (
        0 <= window.top < window.bottom <= y.shape[1]
        and 0 <= window.left < window.right <= y.shape[2]
    )
    _require(inside, layer, f"{window} is no part of {y.name}")


def _check_numbers(layer: MapLayer, y: MapTensor) -> None:
    _within(layer, "bias", layer.bias, (layer.rows,), ACC_BITS)
    bits = Requantize().multiplier_bits
    _within(layer, "multiplier", layer.multiplier, (layer.rows,), bits, signed=False)
    _within(layer, "shift", layer.shift, (layer.rows,), SHIFT_LIMIT.bit_length(), signed=False)
    clamp = y.low <= layer.low <= layer.high <= y.high
    _require(clamp, layer, f"its clamp {layer.low}..{layer.high} must be within {y.low}..{y.high}")


def _check_weights(layer: MapLayer, x: MapTensor) -> None:
    assert layer.indices is not None
    shared = layer.groups > 0 and x.shape[0] % layer.groups == 0 == layer.rows % layer.groups
    _require(shared, layer, f"{layer.groups} groups divide no {x.shape[0]} and {layer.rows}")
    columns = x.shape[0] // layer.groups * layer.kernel[0] * layer.kernel[1]
    held = layer.entries is not None and layer.entries.ndim == 2
    _require(held, layer, "entries must be (R, K)")
    assert layer.entries is not None
    k = layer.entries.shape[1]
    _require(1 <= k <= LARGEST_K, layer, f"K must be in 1..{LARGEST_K}, not {k}")
    _within(layer, "entries", layer.entries, (layer.rows, k), ENTRY_BITS)
    _within(layer, "indices", layer.indices, (layer.rows, columns), 8, signed=False)
    _require(layer.indices.max(initial=0) < k, layer, f"an index names none of {k} entries")


def _check_skip(layer: MapLayer, skip: Skip, x: MapTensor, y: MapTensor) -> None:
    _within(layer, "factors", skip.factor, (layer.rows,), ENTRY_BITS)
    spans = [stride * (size - 1) for stride, size in zip(skip.stride, y.shape[1:], strict=True)]
    fits = min(skip.stride) > 0 and spans[0] < x.shape[1] and spans[1] < x.shape[2]
    _require(fits, layer, f"{x.name} has no value for every position of {y.name}")
    rows = np.arange(layer.rows)
    there = (rows >= skip.channel) & (rows < skip.channel + x.shape[0])
    _require(not skip.factor[~there].any(), layer, f"{x.name} has no channel for every factor")


def _within(
    layer: MapLayer,
    what: str,
    values: NDArray[np.integer],
    shape: tuple[int, ...],
    bits: int,
    signed: bool = True,
) -> None:
    fits = values.shape == shape and values.dtype.kind in "iu"
    _require(fits, layer, f"{what} must be integers {shape}, not {values.dtype} {values.shape}")
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    wrong = (values < low) | (values > high)
    _require(not wrong.any(), layer, f"{what} must be in {low}..{high}")


def _require(condition: bool | np.bool_, layer: MapLayer, message: str) -> None:
    if not condition:
        raise MapError(f"layer {layer.name}: {message}")
