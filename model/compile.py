"""From a quantized network to an image: integer arithmetic, scales, requantization."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.golden.align import align_codebook
from dpnet.model.golden.requantize import Requantize
from dpnet.model.image import Image, ImageLayer
from dpnet.model.quantizer.quantized import Quantized

Floats = NDArray[np.floating[Any]]


class CompileError(ValueError):
    """A network that the engine's arithmetic cannot hold; the message says which layer and why."""


@dataclass(frozen=True, eq=False)
class DenseLayer:
    """A fully connected layer to compile: y = W x + bias, then ReLU if asked."""

    name: str
    quantized: Quantized
    bias: Floats
    relu: bool


def compile_integer(
    layers: Sequence[DenseLayer],
    calibration: Floats,
    *,
    activation_bits: int = 8,
    entry_bits: int = 16,
    output_bits: int = 16,
    about: Mapping[str, Any] | None = None,
) -> Image:
    """An integer image of a chain of dense layers.

    `calibration` (n, C) are real inputs; the scale of every activation is the largest magnitude
    that they cause, mapped to 2^(activation_bits - 1) - 1.  Entries have `entry_bits`, under one
    exponent per row; the last layer's results `output_bits`.  Raises `CompileError` where an
    accumulator, a bias or a multiplier would not fit the requantizer.
    """
    values = np.asarray(calibration, np.float64)
    input_scale = scale = _scale(values, activation_bits, "the input")
    compiled = []
    for n, layer in enumerate(layers):
        last = n == len(layers) - 1
        out_bits = output_bits if last else activation_bits
        entries, exponent = _room_for_bias(
            *align_codebook(layer.quantized.codebook, entry_bits),
            np.asarray(layer.bias, np.float64) / scale,
        )
        dense = np.take_along_axis(
            np.ldexp(entries.astype(np.float64), exponent[:, None]),
            layer.quantized.indices.astype(np.intp),
            1,
        )
        values = values @ dense.T + layer.bias
        if layer.relu:
            values = np.maximum(values, 0)
        next_scale = _scale(values, out_bits, f"layer {layer.name}")
        compiled.append(
            _integer_layer(layer, entries, exponent, scale, next_scale, out_bits, activation_bits)
        )
        scale = next_scale
    return Image(
        layers=tuple(compiled),
        input_scale=input_scale,
        input_bits=activation_bits,
        output_scale=scale,
        about=about or {},
    )


def compile_fp32(
    quantized: Mapping[str, tuple[Quantized, tuple[int, ...]]],
    about: Mapping[str, Any] | None = None,
) -> Image:
    """An image of matrices for fp32 vectors: name -> (quantized rows, the weight's own shape)."""
    layers = tuple(
        ImageLayer(
            name=name,
            shape=shape,
            indices=rows.indices,
            k=rows.k,
            codebook=rows.codebook.astype(np.float32),
        )
        for name, (rows, shape) in quantized.items()
    )
    return Image(layers=layers, about=about or {})


def _scale(values: Floats, bits: int, what: str) -> float:
    largest = float(np.abs(values).max(initial=0.0))
    if not math.isfinite(largest):
        raise CompileError(f"{what} holds a NaN or an infinity")
    return largest / ((1 << bits - 1) - 1) or 1.0


def _room_for_bias(
    entries: NDArray[np.int64], exponent: NDArray[np.int64], bias: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Entries and exponents under which the bias takes at most a quarter of an accumulator's range.

    A row of weights that have all but died would have units too small for its bias otherwise, and a
    row of zeros, whose exponent means nothing, units too large.
    """
    least = np.frexp(bias)[1].astype(np.int64) - (Requantize().acc_bits - 2)
    exponent = np.where(entries.any(1), exponent, least)
    coarser = np.maximum(least - exponent, 0)
    rounded = np.rint(np.ldexp(entries.astype(np.float64), -coarser[:, None]))
    return rounded.astype(np.int64), exponent + coarser


def _integer_layer(
    layer: DenseLayer,
    entries: NDArray[np.int64],
    exponent: NDArray[np.int64],
    scale: float,
    next_scale: float,
    out_bits: int,
    activation_bits: int,
) -> ImageLayer:
    unit = np.ldexp(scale, exponent)  # what one step of a row's accumulator is worth
    bias = np.rint(np.asarray(layer.bias, np.float64) / unit)
    largest = np.abs(np.take_along_axis(entries, layer.quantized.indices.astype(np.intp), 1)).sum(1)
    limit = 1 << Requantize().acc_bits - 1
    if (largest * float(1 << activation_bits - 1) + np.abs(bias) >= limit).any():
        raise CompileError(
            f"layer {layer.name}: its accumulators need more than {Requantize().acc_bits} bits; "
            "use fewer entry or activation bits"
        )
    multiplier, shift = _fixed_point(layer.name, unit / next_scale)
    rows, columns = layer.quantized.indices.shape
    return ImageLayer(
        name=layer.name,
        shape=(rows, columns),
        indices=layer.quantized.indices,
        k=layer.quantized.k,
        entries=entries,
        exponent=exponent,
        bias=bias.astype(np.int64),
        multiplier=multiplier,
        shift=shift,
        relu=layer.relu,
        out_bits=out_bits,
    )


def _fixed_point(name: str, factor: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """multiplier · 2^-shift ≈ factor, with all bits of the multiplier used."""
    bits = Requantize().multiplier_bits
    mantissa, exponent = np.frexp(factor)
    multiplier = np.rint(np.ldexp(mantissa, bits)).astype(np.int64)
    shift = bits - exponent.astype(np.int64)
    carried = multiplier >> bits
    multiplier, shift = multiplier >> carried, shift - carried
    if (shift < 0).any():
        raise CompileError(f"layer {name}: a scale of {factor.max():g} is too large to requantize")
    # A row whose results all round to 0 keeps the smallest factor that there is.
    tiny = np.maximum(shift - 63, 0)
    return multiplier >> np.minimum(tiny, bits), np.minimum(shift, 63)
