"""Golden model of a network of layers: every value of every tensor, as the engine computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.golden.checks import RangeError, check_integers
from dpnet.model.golden.rounding import shift_right_even
from dpnet.model.maps.checks import ACC_BITS, check_network, whole
from dpnet.model.maps.layers import MapLayer, MapNetwork, MapTensor
from dpnet.model.maps.windows import maxima, skip_values, sums

__all__ = ["MapGolden", "compute"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_EXACT = 2.0**52
"""Of sums of products; with bias and skip values they stay where float64 has every integer."""


def compute(network: MapNetwork, pictures: NDArray[np.integer]) -> dict[str, Integers]:
    """The tensors (N, C, H, W), int64, by name, for `pictures` (N, C, H, W) in the first one's
    range.  Raises as `MapGolden` does."""
    return MapGolden(network).compute(pictures)


@dataclass(frozen=True)
class MapGolden:
    """The golden model of a network, checked once.

    Raises `MapError` for what is no network of layers, and where a sum does not fit the
    accumulator `RangeError` with the layer's name.
    """

    network: MapNetwork

    def __post_init__(self) -> None:
        check_network(self.network)

    def compute(
        self, pictures: NDArray[np.integer], saturated: dict[str, int] | None = None
    ) -> dict[str, Integers]:
        """As `compute`.  How many values of each tensor lie outside its range before they are
        clamped is added to `saturated`: values that a layer's own, narrower clamp cuts off (a
        ReLU's) do not count."""
        network = self.network
        found = {tensor.name: _empty(tensor, len(pictures)) for tensor in network.tensors}
        first = network.input
        x = check_integers("pictures", pictures, first.low, first.high)
        if x.shape[1:] != first.shape:
            raise ValueError(f"pictures must be (N, {first.shape}), not {x.shape}")
        found[first.name][:] = x
        for layer in network.layers:
            output = network.tensor(layer.output)
            beyond = self._write(layer, output, found)
            if saturated is not None:
                saturated[output.name] = saturated.get(output.name, 0) + beyond
        return found

    def _write(self, layer: MapLayer, output: MapTensor, found: Mapping[str, Integers]) -> int:
        """Compute a layer's part of its output; how many values saturate."""
        window = whole(layer, output)
        rows = slice(layer.output_channel, layer.output_channel + layer.rows)
        places = np.s_[:, :, window.top : window.bottom, window.left : window.right]
        acc = self._accumulators(layer, found, output)[places].astype(np.int64)
        values = _requantized(layer, acc)
        found[output.name][:, rows][places] = np.clip(values, layer.low, layer.high)
        above = int((values > output.high).sum()) if layer.high == output.high else 0
        below = output.signed and layer.low == output.low
        return above + (int((values < output.low).sum()) if below else 0)

    def _accumulators(
        self, layer: MapLayer, found: Mapping[str, Integers], output: MapTensor
    ) -> Floats:
        """Sums with bias and skip values, or maxima; integers of 40 bits in float64."""
        x = found[layer.input].astype(np.float64)
        if layer.indices is None:
            acc = maxima(x, layer) + _by_row(layer.bias)
        else:
            acc = sums(x, _dense(layer, x.shape[1]), layer) + _by_row(layer.bias)
        if layer.skip is not None:
            skip, shape = layer.skip, (layer.rows, *output.shape[1:])
            other = found[skip.tensor].astype(np.float64)
            acc += _by_row(skip.factor) * skip_values(other, skip.stride, skip.channel, shape)
        limit = 2.0 ** (ACC_BITS - 1)
        if acc.size and not (-limit <= acc.min() and acc.max() < limit):
            raise RangeError(f"layer {layer.name}: its accumulators need more than {ACC_BITS} bits")
        return acc


def _empty(tensor: MapTensor, count: int) -> Integers:
    return np.empty((count, *tensor.shape), np.int64)


def _by_row(values: Integers) -> Floats:
    return values.astype(np.float64)[:, None, None]


def _dense(layer: MapLayer, channels: int) -> Floats:
    """The weights (R, C / groups, kh, kw)."""
    assert layer.entries is not None and layer.indices is not None
    rows = np.take_along_axis(layer.entries, layer.indices.astype(np.intp), axis=1)
    # The largest sum that float64 can meet on the way, in whatever order it adds.
    if rows.size and 256.0 * np.abs(rows.astype(np.float64)).sum(axis=1).max() >= _EXACT:
        raise RangeError(f"layer {layer.name}: its sums need more than {ACC_BITS} bits")
    return rows.reshape(layer.rows, channels // layer.groups, *layer.kernel).astype(np.float64)


def _requantized(layer: MapLayer, acc: Integers) -> Integers:
    product = acc * layer.multiplier[:, None, None]
    return shift_right_even(product, np.broadcast_to(layer.shift[:, None, None], acc.shape))
