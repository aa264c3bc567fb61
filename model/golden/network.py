"""Golden model of an image: every output of every layer, as the engine computes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.golden.align import Align
from dpnet.model.golden.array import BucketProduct
from dpnet.model.golden.normalize import Normalize
from dpnet.model.golden.requantize import Requantize
from dpnet.model.image import Image, ImageLayer
from dpnet.model.image.header import require
from dpnet.model.image.inputs import activations

ACTIVATION_BITS = 25
"""Of the widest engine."""


def integer_layer(layer: ImageLayer, x: NDArray[np.int64]) -> NDArray[np.int64]:
    """x (C,) integers -> requantized results (R,); `ImageError` for what is no such vector, of at
    most `ACTIVATION_BITS` bits."""
    x = activations(x, ACTIVATION_BITS, f"the input of layer {layer.name}")
    require(
        x.shape == (layer.columns,),
        f"layer {layer.name} takes a vector of shape ({layer.columns},), not {x.shape}",
    )
    entries, _ = layer.aligned(25)
    accumulators = BucketProduct().compute(entries, layer.indices, x)
    assert layer.bias is not None and layer.multiplier is not None and layer.shift is not None
    return Requantize().compute(
        accumulators, layer.bias, layer.multiplier, layer.shift, layer.relu, layer.out_bits
    )


def integer_network(image: Image, x: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """x (C,) quantized inputs -> the results of every layer, first layer first; errors as
    `integer_layer`."""
    outputs = []
    for layer in image.layers:
        x = integer_layer(layer, x)
        outputs.append(x)
    return outputs


def fp32_layer(
    layer: ImageLayer, x: NDArray[np.float32], *, bits: int = 25, entry_bits: int = 25
) -> NDArray[np.float32]:
    """x (C,) fp32 -> y (R,) fp32: align, exact product, normalize."""
    align = Align(bits=bits)
    integers, exponent = align.compute(x)
    entries, scale = layer.aligned(entry_bits)
    product = BucketProduct(activation_bits=bits, entry_bits=entry_bits)
    accumulators = product.compute(entries, layer.indices, integers)
    words, _ = Normalize(width=62).compute(accumulators, align.scale(exponent) + scale)
    return words
