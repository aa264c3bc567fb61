"""A chain of quantized layers to an image: integer arithmetic, scales, requantization."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpnet.model.compile.checks import calibration_rows, check_bits, check_quantized, real
from dpnet.model.compile.errors import CompileError
from dpnet.model.golden.align import align_codebook
from dpnet.model.golden.requantize import Requantize
from dpnet.model.image import Image, ImageLayer
from dpnet.model.quantizer.quantized import Quantized

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_NO_BIAS = -(1 << 20)
"""The exponent of a bias of 0, for which any unit is small enough."""


@dataclass(frozen=True, eq=False)
class DenseLayer:
    """A fully connected layer to compile: y = gain · f(W x + bias), f being ReLU if `relu`.

    `bias` and `gain` have a value for each row, or are None: no bias, a gain of 1. Gains are 0 or
    more; they cost nothing, for they are part of the row's multiplier.
    """

    name: str
    quantized: Quantized
    bias: NDArray[np.floating[Any]] | None = None
    relu: bool = False
    gain: NDArray[np.floating[Any]] | None = None


@dataclass(frozen=True, eq=False)
class _Layer:
    """A `DenseLayer` whose arrays are there, float64, and of the right shapes."""

    name: str
    quantized: Quantized
    bias: Floats
    relu: bool
    gain: Floats

    @property
    def rows(self) -> int:
        return len(self.bias)


def compile_integer(
    layers: Sequence[DenseLayer],
    calibration: ArrayLike,
    *,
    activation_bits: int = 8,
    entry_bits: int = 16,
    output_bits: int = 16,
    about: Mapping[str, Any] | None = None,
) -> Image:
    """An integer image of a chain of dense layers.

    `calibration` (n, C) are real inputs; the scale of every activation is the largest magnitude
    that they cause, mapped to 2^(activation_bits - 1) - 1.  Entries have `entry_bits`, under one
    exponent per row; the last layer's results `output_bits`.  Raises `CompileError` for layers
    that do not fit each other or the calibration, for what is not finite, and where an
    accumulator, a bias or a multiplier would not fit the requantizer.
    """
    check_bits("activation_bits", activation_bits, 2, 25)
    check_bits("entry_bits", entry_bits, 2, 25)
    check_bits("output_bits", output_bits, 2, 25)
    chain = _checked(layers)
    values = calibration_rows(calibration, chain[0].quantized.indices.shape[1])
    input_scale = scale = _scale(values, activation_bits, "the input")
    compiled = []
    for n, layer in enumerate(chain):
        out_bits = output_bits if n == len(chain) - 1 else activation_bits
        entries, exponent = _entries(layer, entry_bits, scale)
        values = _results(layer, values, np.ldexp(entries.astype(np.float64), exponent[:, None]))
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


def _checked(layers: Sequence[DenseLayer]) -> list[_Layer]:
    """The layers, checked; `CompileError` where they are none, or do not fit each other."""
    if not layers:
        raise CompileError("there must be at least one layer to compile")
    chain: list[_Layer] = []
    for layer in layers:
        name, quantized = layer.name, check_quantized(layer.name, layer.quantized)
        columns = quantized.indices.shape[1]
        if chain and chain[-1].rows != columns:
            raise CompileError(
                f"layer {name} takes {columns} values, but {chain[-1].name} before it gives "
                f"{chain[-1].rows}"
            )
        bias, gain = _per_row(layer, "bias", 0.0), _per_row(layer, "gain", 1.0)
        if (gain < 0).any():
            raise CompileError(f"layer {name}: gain must be 0 or more, not {gain.min():g}")
        chain.append(_Layer(name, quantized, bias, bool(layer.relu), gain))
    return chain


def _per_row(layer: DenseLayer, what: str, default: float) -> Floats:
    given, rows = getattr(layer, what), len(layer.quantized.indices)
    if given is None:
        return np.full(rows, default)
    values = real(f"layer {layer.name}", given)
    if values.shape != (rows,):
        raise CompileError(
            f"layer {layer.name}: {what} must have a value for each of its {rows} rows, not the "
            f"shape {values.shape}"
        )
    return values


def _scale(values: Floats, bits: int, what: str) -> float:
    largest = float(np.abs(values).max(initial=0.0))
    if not math.isfinite(largest):
        raise CompileError(f"{what} holds a NaN or an infinity")
    scale = largest / ((1 << bits - 1) - 1)
    if largest and scale < np.finfo(np.float64).tiny:
        raise CompileError(f"{what} holds nothing above {largest:g}, too little to be scaled")
    return scale or 1.0


def _entries(layer: _Layer, bits: int, scale: float) -> tuple[Integers, Integers]:
    """Entries and exponents of a layer whose inputs come in steps of `scale`."""
    book = layer.quantized.codebook
    # Under an exponent of its own a row may hold any float64, not only what fp32 has.
    own = np.frexp(np.abs(book).max(axis=1))[1].astype(np.int64)
    entries, exponent = align_codebook(np.ldexp(book, -own[:, None]), bits)
    with np.errstate(over="ignore"):
        bias = layer.bias / scale
    return _room_for_bias(entries, exponent + own, bias)


def _results(layer: _Layer, values: Floats, books: Floats) -> Floats:
    """What a layer gives for `values` (n, C), with real codebooks."""
    dense = np.take_along_axis(books, layer.quantized.indices.astype(np.intp), 1)
    with np.errstate(over="ignore", invalid="ignore"):  # infinities are found by their scale
        found = values @ dense.T + layer.bias
        return (np.maximum(found, 0) if layer.relu else found) * layer.gain


def _room_for_bias(
    entries: Integers, exponent: Integers, bias: Floats
) -> tuple[Integers, Integers]:
    """Entries and exponents under which the bias takes at most a quarter of an accumulator's range.

    A row of weights that have all but died would have units too small for its bias otherwise, and a
    row of zeros, whose exponent means nothing, units too large.
    """
    room = Requantize().acc_bits - 2
    least = np.frexp(bias)[1].astype(np.int64) - room
    exponent = np.where(entries.any(1), exponent, least)
    least = np.where(bias == 0, _NO_BIAS, least)
    coarser = np.maximum(least - exponent, 0)
    rounded = np.rint(np.ldexp(entries.astype(np.float64), -coarser[:, None]))
    return rounded.astype(np.int64), exponent + coarser


def _integer_layer(
    layer: _Layer,
    entries: NDArray[np.int64],
    exponent: NDArray[np.int64],
    scale: float,
    next_scale: float,
    out_bits: int,
    activation_bits: int,
) -> ImageLayer:
    unit = np.ldexp(scale, exponent)  # what one step of a row's accumulator is worth
    with np.errstate(all="ignore"):
        bias = np.where(layer.bias == 0, 0, np.rint(layer.bias / unit))
    largest = np.abs(np.take_along_axis(entries, layer.quantized.indices.astype(np.intp), 1)).sum(1)
    limit = 1 << Requantize().acc_bits - 1
    if (largest * float(1 << activation_bits - 1) + np.abs(bias) >= limit).any():
        raise CompileError(
            f"layer {layer.name}: its accumulators need more than {Requantize().acc_bits} bits; "
            "use fewer entry or activation bits"
        )
    multiplier, shift = _fixed_point(layer.name, unit / next_scale * layer.gain)
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
    try:
        return Requantize().factors(factor)
    except ValueError:
        raise CompileError(
            f"layer {name}: a scale of {factor.max():g} is too large to requantize"
        ) from None
