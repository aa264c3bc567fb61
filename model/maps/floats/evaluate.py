"""What the layers give in real numbers (float64): for calibration, and to see what integers cost.

The result of a network of these layers is that of the PyTorch net, to the rounding of floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from dpnet.model.maps.floats.network import FloatLayer, FloatNetwork
from dpnet.model.maps.layers import Window
from dpnet.model.maps.windows import maxima, padded, skip_values, sums

Floats = NDArray[np.float64]

BATCH_VALUES = 1 << 23
"""Values of all tensors that are held at once: 64 MiB."""


def evaluate(network: FloatNetwork, pictures: Floats) -> dict[str, Floats]:
    """The tensors (N, C, H, W) by name, for pictures (N, C, H, W) as the user has them."""
    found = {t.name: np.empty((len(pictures), *t.shape)) for t in network.tensors}
    found[network.input.name][:] = padded(pictures, network.padding)
    for layer in network.layers:
        whole = found[layer.output]
        window = layer.window or Window(0, whole.shape[2], 0, whole.shape[3])
        places = np.s_[:, :, window.top : window.bottom, window.left : window.right]
        values = values_of(layer, found, (layer.rows, *whole.shape[2:]))
        rows = whole[:, layer.output_channel : layer.output_channel + layer.rows]
        rows[places] = values[places]
    return found


def batches(network: FloatNetwork, count: int) -> Iterator[slice]:
    """Parts of `count` pictures that can be evaluated at once in bounded memory."""
    each = sum(int(np.prod(tensor.shape)) for tensor in network.tensors)
    step = min(256, max(1, BATCH_VALUES // each))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def values_of(
    layer: FloatLayer, found: Mapping[str, Floats], shape: tuple[int, int, int]
) -> Floats:
    """What one layer gives at all positions of `shape` (R, oh, ow), from the tensors `found`."""
    x, bias = found[layer.input], layer.bias[:, None, None]
    made = (maxima(x, layer) if layer.weight is None else sums(x, layer.weight, layer)) + bias
    if layer.skip is not None:
        skip = layer.skip
        values = skip_values(found[skip.tensor], skip.stride, skip.channel, shape)
        made += skip.factor[:, None, None] * values
    return np.minimum(np.maximum(made, layer.low), layer.high)
