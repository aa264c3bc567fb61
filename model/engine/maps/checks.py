"""What a network must keep to before it is placed: values within their widths, every value written
once."""

from __future__ import annotations

import numpy as np

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.passes import Integers, Pass
from dpnet.model.engine.maps.taps import window_of
from dpnet.model.maps.layers import MapLayer, MapNetwork

ACCUMULATOR_BITS = 40
OFFSET = 128
"""Half of the bytes' range: a lane adds u - 128 of an unsigned byte u."""


def check_layer(params: MapEngineParameters, layer: MapLayer) -> None:
    """Raises `ValueError` naming the layer for what is wider than the engine's words."""
    values = {
        "multiplier": (layer.multiplier, 0, (1 << 16) - 1),
        "shift": (layer.shift, 0, 63),
    }
    if layer.entries is not None:
        values["entries"] = (layer.entries, *_signed(params.entry_bits))
    if layer.skip is not None:
        values["skip factors"] = (layer.skip.factor, *_signed(18))
    for name, (value, low, high) in values.items():
        wrong = np.asarray(value)[(value < low) | (value > high)]
        if wrong.size:
            raise ValueError(
                f"layer {layer.name}: {name} must be from {low} to {high}, not {int(wrong[0])}"
            )


def folded_bias(one: Pass, network: MapNetwork) -> Integers:
    """The pass's biases (rows,) with what the lanes' 128 less is worth.  Raises `ValueError` naming
    the layer where a sum could overflow."""
    layer, rows = one.layer, slice(one.first_row, one.first_row + one.count)
    sums, largest = np.zeros(one.count, np.int64), np.zeros(one.count, np.int64)
    if one.indices is not None and one.entries is not None:
        stored = one.indices.transpose(0, 2, 1).astype(np.int64)
        taken = np.take_along_axis(one.entries, stored, 2)[:, : one.rows].reshape(
            -1, stored.shape[2]
        )
        sums, largest = taken[: one.count].sum(1), abs(taken[: one.count]).sum(1)
    else:
        sums += 1
        largest += 1
    bias = layer.bias[rows].astype(np.int64)
    if not network.tensor(layer.input).signed:
        bias = bias + OFFSET * sums
    if layer.skip is not None:
        factor = layer.skip.factor[rows].astype(np.int64)
        largest = largest + abs(factor)
        if not network.tensor(layer.skip.tensor).signed:
            bias = bias + OFFSET * factor
    low, high = _signed(ACCUMULATOR_BITS)
    wrong = (OFFSET * largest > high) | (bias < low) | (bias > high)
    if wrong.any():
        raise ValueError(
            f"layer {layer.name}: row {one.first_row + int(np.argmax(wrong))} may need more than "
            f"the {ACCUMULATOR_BITS} bits of an accumulator"
        )
    return bias


def check_tensors(network: MapNetwork) -> None:
    """Raises `ValueError` where a value is written twice or never, or read before."""
    written = {tensor.name: np.zeros(tensor.shape, np.int8) for tensor in network.tensors}
    written[network.input.name][:] = 1
    for layer in network.layers:
        for name in (layer.input, *([layer.skip.tensor] if layer.skip else [])):
            if (written[name] != 1).any():
                raise ValueError(f"layer {layer.name} reads {name}, which is not all written")
        window = window_of(layer, network.tensor(layer.output))
        first = layer.output_channel
        part = written[layer.output][
            first : first + layer.rows, window.top : window.bottom, window.left : window.right
        ]
        if len(part) < layer.rows or part.any():
            raise ValueError(f"layer {layer.name} writes what is in {layer.output} already")
        part += 1
    if (written[network.output] != 1).any():
        raise ValueError(f"the result {network.output} is not all written")


def _signed(bits: int) -> tuple[int, int]:
    return -(1 << bits - 1), (1 << bits - 1) - 1
