"""The picture's integers: signed or not, and whether 0 is one of another value.

Features that lie unevenly around 0 (energies in decibels, -123 to 25) would leave half of the
signed integers unused.  Counted from their least value they use all, if what reads the picture can
do with it: 0 is then no longer the integer 0, so that the host pads the picture, and biases take
the rest.  It costs the engine nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.maps.floats.network import FloatNetwork, FloatTensor

Floats = NDArray[np.float64]

WORTH = 0.7
"""Of the error that signed integers make: as much as integers from the least value on may make."""
SAMPLE = 1 << 20
"""Values that are looked at."""
LEVELS = 256
ON_GRID = 1e-3
"""Of a step: how far from a multiple values of a grid may be."""


@dataclass(frozen=True)
class Counted:
    """value = scale · (integer - zero), for unsigned integers of 8 bits."""

    scale: float
    zero: int

    def loss(self, values: Floats) -> float:
        """The root of the mean squared error that the integers make."""
        steps = np.rint(values / self.scale) + self.zero
        found = (np.clip(steps, 0, LEVELS - 1) - self.zero) * self.scale
        return _rms(found - values)


def counted_from_least(network: FloatNetwork, pictures: NDArray[Any]) -> Counted | None:
    """How the picture's integers would count from its least value on; None where that is not worth
    it, or something but convolutions of one padding reads the picture."""
    if pictures.dtype in (np.uint8, np.int8) or padded_outside(network) is None:
        return None
    values = np.asarray(pictures.ravel()[:: max(1, pictures.size // SAMPLE)], np.float64)
    low, high = float(pictures.min()), float(pictures.max())
    if low >= 0:
        return None
    step = _step(values, low, high) or (max(high, 0.0) - low) / (LEVELS - 1)
    spare = LEVELS - 1 - round((max(high, 0.0) - low) / step)
    found = Counted(step, round(-low / step) + max(spare, 0) // 2)
    if not found.zero < LEVELS:
        return None
    scale = max(high / 127, -low / 128)
    signed = np.rint(values / scale) * scale
    return found if found.loss(values) < WORTH * _rms(signed - values) else None


def _rms(values: Floats) -> float:
    return math.sqrt(float((values**2).mean()))


def _step(values: Floats, low: float, high: float) -> float:
    """The step of a grid of at most `LEVELS` values that all values are on; 0 if there is none."""
    levels = np.unique(values)
    if not 1 < len(levels) <= LEVELS:
        return 0.0
    least = float(np.diff(levels).min())
    count = round((high - low) / least)
    if not 1 <= count < LEVELS:
        return 0.0
    places = (levels - low) * (count / (high - low))
    fits = np.abs(places - np.rint(places)).max() < ON_GRID
    return (high - low) / count if fits else 0.0


def padded_outside(network: FloatNetwork) -> FloatNetwork | None:
    """The network with the padding of what reads the picture put around the picture; None where
    anything but convolutions of one padding reads it."""
    first = network.input
    readers = [layer for layer in network.layers if layer.input == first.name]
    skipped = any(layer.skip and layer.skip.tensor == first.name for layer in network.layers)
    paddings = {layer.padding for layer in readers}
    if skipped or len(paddings) != 1 or any(layer.weight is None for layer in readers):
        return None
    (padding,) = paddings
    channels, height, width = first.shape
    top, bottom, left, right = padding
    tensor = FloatTensor(first.name, (channels, height + top + bottom, width + left + right))
    layers = [
        replace(layer, padding=(0, 0, 0, 0)) if layer in readers else layer
        for layer in network.layers
    ]
    return replace(
        network, tensors=(tensor, *network.tensors[1:]), layers=tuple(layers), padding=padding
    )
