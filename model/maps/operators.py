"""What a layer is called: the operator that its numbers are, in a few words."""

from __future__ import annotations

import numpy as np

from dpnet.model.maps.checks import whole
from dpnet.model.maps.layers import MapLayer, MapNetwork, Pair

__all__ = ["additions", "operator"]


def operator(layer: MapLayer, network: MapNetwork) -> str:
    """The operator with its kernel and stride ("convolution 3 × 3 / 2", "linear", "maximum 2 × 2 /
    2"), its groups and dilation where it has any, and whether it adds skip values or ends with a
    ReLU: "depthwise 3 × 3, ReLU"."""
    parts = [_named(layer, network)]
    if layer.dilation != (1, 1):
        parts.append(f"dilation {_pair(layer.dilation)}")
    if layer.skip is not None:
        parts[0] += " + skip"
    output = network.tensor(layer.output)
    if layer.low == 0 and not (layer.indices is None or _one_value(layer)):
        parts.append("ReLU" if layer.high == output.high else "ReLU with a limit")
    return ", ".join(parts)


def additions(layer: MapLayer, network: MapNetwork) -> int:
    """Additions of the layer's rows at all positions that it writes, padding counted too, as if
    every one had a lane; 0 for a maximum."""
    if layer.indices is None:
        return 0
    window = whole(layer, network.tensor(layer.output))
    positions = (window.bottom - window.top) * (window.right - window.left)
    return int(layer.indices.size) * positions


def _named(layer: MapLayer, network: MapNetwork) -> str:
    channels, height, width = network.tensor(layer.input).shape
    size = _pair(layer.kernel) + (
        f" / {_pair(layer.stride, True)}" if max(layer.stride) > 1 else ""
    )
    alone = layer.groups == channels == layer.rows
    if layer.indices is None:
        return f"maximum {size}"
    if alone and _one_value(layer):
        return "copy" if layer.kernel == layer.stride == (1, 1) else f"average {size}"
    if (height, width) == layer.kernel == (1, 1) and layer.groups == 1:
        return "linear"
    if layer.groups == channels > 1:
        return f"depthwise {size}"
    return f"convolution {size}" + (f" in {layer.groups} groups" if layer.groups > 1 else "")


def _one_value(layer: MapLayer) -> bool:
    """Whether all weights of each row are the same: an average, a sum or a copy."""
    return layer.indices is not None and bool((np.ptp(layer.indices, axis=1) == 0).all())


def _pair(pair: Pair, short: bool = False) -> str:
    return str(pair[0]) if short and pair[0] == pair[1] else f"{pair[0]} × {pair[1]}"
