"""Layers in real numbers to layers in integers: units, entries, biases, multipliers.

A row's accumulator counts in units of its own, in which its largest entry, or the factor of its
skip values if that is larger, takes all of the 18 bits.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dpnet.model.golden.requantize import Requantize
from dpnet.model.graph.nodes import GraphError
from dpnet.model.maps.calibration.scales import TensorScale
from dpnet.model.maps.checks import ACC_BITS, ENTRY_BITS
from dpnet.model.maps.codebooks import Codebook
from dpnet.model.maps.floats.network import FloatLayer, FloatNetwork, FloatSkip
from dpnet.model.maps.layers import MapLayer, MapNetwork, MapTensor, Skip

__all__ = ["rounded"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LARGEST_ENTRY = (1 << ENTRY_BITS - 1) - 1
LARGEST_SUM = float((1 << ACC_BITS - 1) - 1)
LEAST_ENTRY = 1 << 7
"""A row whose sums would not fit is held in coarser units, but its largest entry must have this."""
COARSEST = 1 / 16
"""Steps of a layer's results in one of its sums; a bias is rounded to half of the latter."""
NEGLIGIBLE = 1e-3
"""Of a row's largest sum: if all but its bias is less, its entries may be as coarse as they get."""


def rounded(
    network: FloatNetwork, scales: Mapping[str, TensorScale], codebooks: Mapping[str, Codebook]
) -> MapNetwork:
    """The network in integers, with the scale of every tensor and a codebook for each layer that
    sums.  Raises `GraphError` with the layer's source where its numbers fit no accumulator."""
    tensors = {
        tensor.name: MapTensor(
            tensor.name,
            tensor.shape,
            scales[tensor.name].scale,
            scales[tensor.name].signed,
            scales[tensor.name].zero,
        )
        for tensor in network.tensors
    }
    layers = [_rounded(layer, tensors, codebooks.get(layer.name)) for layer in network.layers]
    return MapNetwork(
        tuple(tensors.values()), tuple(layers), network.output, network.host, network.padding
    )


def _rounded(
    layer: FloatLayer, tensors: Mapping[str, MapTensor], codebook: Codebook | None
) -> MapLayer:
    x, y = tensors[layer.input], tensors[layer.output]
    unit = np.ones(layer.rows) if codebook is None else _units(layer, codebook, tensors)
    bias = np.rint(layer.bias / (unit * x.scale)).astype(np.int64)
    entries = indices = None
    if codebook is not None:
        entries = np.rint(codebook.values / unit[:, None]).astype(np.int64)
        indices = codebook.indices.astype(np.int64)
        bias -= x.zero * np.take_along_axis(entries, indices, axis=1).sum(axis=1)
    factor = unit * (x.scale / y.scale)
    if codebook is not None and (factor > COARSEST).any():
        raise GraphError(
            f"{layer.source}: one step of layer {layer.name}'s sums is {factor.max():g} steps of "
            f"its results, and must be at most {COARSEST:g}: calibration has seen far less than "
            "the layer's weights make of its inputs"
        )
    multiplier, shift = Requantize().factors(factor)
    return MapLayer(
        name=layer.name,
        input=layer.input,
        output=layer.output,
        output_channel=layer.output_channel,
        kernel=layer.kernel,
        stride=layer.stride,
        dilation=layer.dilation,
        padding=layer.padding,
        groups=layer.groups,
        entries=entries,
        indices=indices,
        bias=bias,
        multiplier=multiplier,
        shift=shift,
        low=_limit(layer.low, y),
        high=_limit(layer.high, y),
        skip=_skip(layer.skip, tensors, unit * x.scale) if layer.skip else None,
        window=layer.window,
    )


def _skip(skip: FloatSkip, tensors: Mapping[str, MapTensor], unit: Floats) -> Skip:
    """Skip values of accumulators that count in steps of `unit`."""
    factor = np.rint(skip.factor * tensors[skip.tensor].scale / unit).astype(np.int64)
    return Skip(skip.tensor, factor, skip.stride, skip.channel)


def _limit(value: float, tensor: MapTensor) -> int:
    """A clamp's end in the tensor's integers."""
    return int(np.clip(np.rint(np.float64(value) / tensor.scale), tensor.low, tensor.high))


def _units(layer: FloatLayer, codebook: Codebook, tensors: Mapping[str, MapTensor]) -> Floats:
    """What one step of each row's entries is worth; rows that share a codebook share it."""
    x = tensors[layer.input]
    largest = np.abs(codebook.values).max(axis=1)
    products = np.abs(codebook.weights).sum(axis=1) * _magnitude(x)
    if layer.skip is not None:
        other = tensors[layer.skip.tensor]
        factor = np.abs(layer.skip.factor) * (other.scale / x.scale)
        largest = np.maximum(largest, factor)
        products = products + factor * _magnitude(other)
    sums = products + np.abs(layer.bias) / x.scale
    # Entries are rounded by half a step each: a millionth of the range is more than they add.
    unit = np.maximum(largest / LARGEST_ENTRY, sums * (1 + 1e-6) / LARGEST_SUM)
    unit = unit.reshape(-1, codebook.every).max(axis=1).repeat(codebook.every)
    coarse = (largest < LEAST_ENTRY * unit) & (products > NEGLIGIBLE * sums)
    if coarse.any():
        raise GraphError(
            f"{layer.source}: the sums of layer {layer.name} do not fit accumulators of "
            f"{ACC_BITS} bits; use fewer inputs"
        )
    return np.where(unit == 0, 1.0, unit)


def _magnitude(tensor: MapTensor) -> int:
    return max(-tensor.low, tensor.high)
