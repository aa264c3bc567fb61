"""The scale of each tensor, from what calibration pictures make of it.

    scales = calibrate(network, pictures)
    print(*scales.values(), sep="\\n")

A tensor's integers reach to the largest magnitude that the pictures cause, or to the percentile of
the magnitudes that loses least, in mean squared error over these pictures.  Tensors that cannot be
negative are unsigned.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.maps.calibration.input import Counted
from dpnet.model.maps.calibration.observed import Observed
from dpnet.model.maps.calibration.pictures import PictureError, check_pictures
from dpnet.model.maps.floats.evaluate import batches, evaluate
from dpnet.model.maps.floats.network import FloatLayer, FloatNetwork, FloatTensor
from dpnet.model.maps.layers import MapTensor

__all__ = ["TensorScale", "calibrate", "observe"]

PERCENTILES = (100.0, 99.999, 99.99, 99.95, 99.9, 99.8, 99.5)
LARGEST = "largest magnitude"
LARGEST_VALUE, LEAST_VALUE = 1e100, 1e-100
"""Of a tensor's largest magnitude: squares and ratios of all that lies between have a float64."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TensorScale:
    """A tensor's scale, and why.

    `low` and `high` are the least and the largest value seen, `choice` says in words what the
    scale was taken from, `saturated` is the share of the values beyond the range, `error` the root
    of the mean squared error that the integers make, relative to that of the values.  `zero` is
    the integer of the value 0.
    """

    tensor: str
    scale: float
    signed: bool
    low: float
    high: float
    choice: str
    saturated: float
    error: float
    zero: int = 0

    def __str__(self) -> str:
        kind = "signed" if self.signed else "unsigned"
        kind += f" from {-self.zero}" if self.zero else ""
        return (
            f"{self.tensor}: {self.low:.5g} to {self.high:.5g}, {kind}, scale {self.scale:.6g} "
            f"({self.choice}), {self.saturated:.3%} saturated, error {self.error:.2%}"
        )


def calibrate(
    network: FloatNetwork,
    pictures: object,
    counted: Counted | None = None,
    *,
    progress: Progress | None = None,
) -> dict[str, TensorScale]:
    """The scale of each tensor, by name, in the order of the tensors.

    `pictures` (n, C, H, W) are such as the network will see.  If they are 8-bit integers (uint8,
    int8), these are the integers of the first tensor, and its scale is 1; `counted` says otherwise
    what its integers are.  Raises `PictureError` for pictures that are none, constant, of another
    shape, or not finite.
    """
    array = check_pictures("the calibration", pictures, network.picture)
    return _scales(network, observe(network, array, progress), array.dtype, counted)


def observe(
    network: FloatNetwork, pictures: NDArray[Any], progress: Progress | None = None
) -> dict[str, Observed]:
    """What all tensors are over `pictures`; raises `PictureError` where they are constant, or make
    a NaN, an infinity, or what is too large or too small for a scale."""
    if pictures.min() == pictures.max():
        raise PictureError(
            f"the calibration holds {pictures.flat[0]:g} and nothing else; give pictures such as "
            "the network will see"
        )
    found = {tensor.name: Observed(tensor.shape[0]) for tensor in network.tensors}
    for part in batches(network, len(pictures)):
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found below
            values = evaluate(network, np.asarray(pictures[part], np.float64))
        for name, observed in found.items():
            if not np.abs(values[name]).max() < LARGEST_VALUE:  # NaN is not
                raise PictureError(
                    f"tensor {name} is no number, or beyond {LARGEST_VALUE:g}, for the calibration"
                )
            observed.add(values[name])
        if progress is not None:
            progress(part.stop, len(pictures))
    for name, observed in found.items():
        if 0 < observed.magnitude(1) < LEAST_VALUE:
            raise PictureError(
                f"tensor {name} holds nothing above {observed.magnitude(1):g} for the calibration, "
                "too little to be scaled"
            )
    return found


def _scales(
    network: FloatNetwork,
    observed: dict[str, Observed],
    dtype: np.dtype[Any],
    counted: Counted | None = None,
) -> dict[str, TensorScale]:
    """The scales, from what was observed of pictures of the type `dtype`."""
    found: dict[str, TensorScale] = {}
    for tensor in network.tensors:
        writers, seen = network.writers(tensor.name), observed[tensor.name]
        if tensor == network.input:
            found[tensor.name] = _of_input(tensor, seen, dtype, counted)
        elif len(writers) == 1 and writers[0].weight is None:
            source = found[writers[0].input]
            found[tensor.name] = _measured(tensor, seen, replace(source, choice=_as(source)))
        else:
            signed = not all(_not_negative(layer, found) for layer in writers)
            ceiling = max(layer.high for layer in writers)
            found[tensor.name] = _chosen(
                tensor, seen, signed, ceiling, PERCENTILES if tensor.name != network.output else ()
            )
    return found


def _as(source: TensorScale) -> str:
    return f"that of {source.tensor}, whose maxima it has"


def _of_input(
    tensor: FloatTensor, seen: Observed, dtype: np.dtype[Any], counted: Counted | None
) -> TensorScale:
    if dtype in (np.uint8, np.int8):
        said, signed = f"the pictures are {dtype}", bool(dtype == np.int8)
        return _measured(tensor, seen, TensorScale(tensor.name, 1.0, signed, 0, 0, said, 0, 0))
    if counted is not None:
        said = "all values from the least to the largest"
        given = TensorScale(tensor.name, counted.scale, False, 0, 0, said, 0, 0, zero=counted.zero)
        return _measured(tensor, seen, given)
    return _chosen(tensor, seen, bool(seen.low < 0), math.inf, PERCENTILES)


def _chosen(
    tensor: FloatTensor,
    seen: Observed,
    signed: bool,
    ceiling: float,
    percentiles: tuple[float, ...],
) -> TensorScale:
    """The scale that loses least, of the largest magnitude and `percentiles`."""
    if seen.low == seen.high == 0:
        return TensorScale(tensor.name, 1.0, signed, 0, 0, "no value but 0", 0, 0)
    tried = [
        _measured(tensor, seen, _reaching(tensor, seen, signed, ceiling, percent))
        for percent in percentiles or (100.0,)
    ]
    return min(tried, key=lambda scale: scale.error)


def _reaching(
    tensor: FloatTensor, seen: Observed, signed: bool, ceiling: float, percent: float
) -> TensorScale:
    """The scale whose integers reach to a percentile of the magnitudes."""
    reach = seen.magnitude(percent / 100)
    top = 127 if signed else 255
    # -128 has no counterpart; the largest integer is left to what saturates where a clamp ends.
    top -= reach >= ceiling
    scale = float(reach / top)
    if percent == 100:
        scale = float(max(seen.high / top, -seen.low / 128))
    choice = LARGEST if percent == 100 else f"{percent:g} % of the magnitudes"
    return TensorScale(tensor.name, scale, signed, 0, 0, choice, 0, 0)


def _measured(tensor: FloatTensor, seen: Observed, given: TensorScale) -> TensorScale:
    """The scale with what was seen, and what it costs."""
    limits = MapTensor(tensor.name, tensor.shape, given.scale, given.signed)
    low, high = limits.low - given.zero, limits.high - given.zero
    error, beyond = seen.loss(given.scale, low, high) if seen.limit else (0.0, 0.0)
    power = float(seen.squares.sum()) / seen.count
    return replace(
        given,
        tensor=tensor.name,
        low=float(seen.low),
        high=float(seen.high),
        saturated=beyond,
        error=math.sqrt(error / power) if power else 0.0,
    )


def _not_negative(layer: FloatLayer, scales: dict[str, TensorScale]) -> bool:
    """Whether a layer's values are 0 or more, whatever the picture."""
    if layer.low >= 0:
        return True
    skip = layer.skip
    if skip is not None and (scales[skip.tensor].signed or (skip.factor < 0).any()):
        return False
    weights = layer.weight is None or bool((layer.weight >= 0).all())
    return weights and bool((layer.bias >= 0).all()) and not scales[layer.input].signed
