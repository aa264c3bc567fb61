"""Each layer by itself: what it gives of float inputs, in integers and with its codebooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dpnet.model.golden.rounding import shift_right_even
from dpnet.model.maps.checks import whole
from dpnet.model.maps.compile import Compiled
from dpnet.model.maps.floats.evaluate import values_of
from dpnet.model.maps.floats.network import FloatLayer, FloatNetwork, FloatSkip
from dpnet.model.maps.layers import MapLayer, MapTensor

__all__ = ["computed", "following", "in_integers", "place_of", "real", "steps"]

Floats = NDArray[np.float64]
Place = tuple[slice, slice, slice, slice]


def place_of(layer: FloatLayer, network: FloatNetwork) -> Place:
    """Where in its output (N, C, H, W) a layer writes."""
    window, first = layer.window, layer.output_channel
    _, height, width = network.tensor(layer.output).shape
    rows = slice(first, first + layer.rows)
    if window is None:
        return slice(None), rows, slice(0, height), slice(0, width)
    return (
        slice(None),
        rows,
        slice(window.top, window.bottom),
        slice(window.left, window.right),
    )


def computed(layer: FloatLayer, network: FloatNetwork, found: Mapping[str, Floats]) -> Floats:
    """What a layer writes, computed from the tensors `found`."""
    shape = (layer.rows, *network.tensor(layer.output).shape[1:])
    _, _, down, across = place_of(layer, network)
    return values_of(layer, found, shape)[:, :, down, across]


def following(
    network: FloatNetwork, found: Mapping[str, Floats], after: int, values: Floats
) -> Floats:
    """The network's result where layer `after` writes `values` instead of what it does; `found` are
    all tensors as they would be."""
    layer = network.layers[after]
    changed = {layer.output: _changed(found[layer.output], place_of(layer, network), values)}
    for one in network.layers[after + 1 :]:
        read = {one.input, *([one.skip.tensor] if one.skip else [])}
        if read & changed.keys():
            made = computed(one, network, {**found, **changed})
            before = changed.get(one.output, found[one.output])
            changed[one.output] = _changed(before, place_of(one, network), made)
    return changed.get(network.output, found[network.output])


def _changed(tensor: Floats, place: Place, values: Floats) -> Floats:
    made = tensor.copy()
    made[place] = values
    return made


def in_integers(compiled: Compiled, number: int, found: Mapping[str, Floats]) -> Floats:
    """The real values that layer `number` writes in integers, of the real tensors `found` rounded
    to the integers of theirs."""
    network, layer = compiled.network, compiled.network.layers[number]
    names = {layer.input, *([layer.skip.tensor] if layer.skip else [])}
    inputs = {name: steps(found[name], network.tensor(name)) for name in names}
    output = network.tensor(layer.output)
    window = whole(layer, output)
    sums = values_of(_exact(compiled, number), inputs, (layer.rows, *output.shape[1:]))
    acc = sums[:, :, window.top : window.bottom, window.left : window.right].astype(np.int64)
    product = acc * layer.multiplier[:, None, None]
    shift = np.broadcast_to(layer.shift[:, None, None], acc.shape)
    return real(np.clip(shift_right_even(product, shift), layer.low, layer.high), output)


def _exact(compiled: Compiled, number: int) -> FloatLayer:
    """Layer `number` up to its accumulators, which float64 has exactly."""
    float_layer, layer = compiled.floats.layers[number], compiled.network.layers[number]
    skip = layer.skip
    return replace(
        float_layer,
        weight=_dense(layer, float_layer),
        bias=layer.bias.astype(np.float64),
        low=-np.inf,
        high=np.inf,
        skip=None
        if skip is None
        else FloatSkip(skip.tensor, skip.factor.astype(np.float64), skip.stride, skip.channel),
    )


def _dense(layer: MapLayer, float_layer: FloatLayer) -> Floats | None:
    if layer.entries is None or layer.indices is None:
        return None
    assert float_layer.weight is not None
    rows = np.take_along_axis(layer.entries, layer.indices.astype(np.intp), axis=1)
    return rows.astype(np.float64).reshape(float_layer.weight.shape)


def steps(values: Floats, tensor: MapTensor) -> Floats:
    """Real values as a tensor's integers, in float64."""
    found = np.rint(values / tensor.scale) + tensor.zero
    clipped: Floats = np.clip(found, tensor.low, tensor.high)
    return clipped


def real(integers: NDArray[np.int64], tensor: MapTensor) -> Floats:
    """A tensor's integers as real values."""
    found: Floats = (integers - tensor.zero).astype(np.float64) * tensor.scale
    return found
