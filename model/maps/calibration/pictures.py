"""Pictures as a user has them: checked, and as the integers of a network's first tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.maps.layers import MapNetwork
from dpnet.model.maps.windows import padded
from dpnet.model.quantizer.quantized import is_masked

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Shape = tuple[int, int, int]


class PictureError(ValueError):
    """Pictures or labels that do not fit the network; the message says what they must be."""


def check_pictures(what: str, values: object, shape: Shape) -> NDArray[Any]:
    """`values` as an array (N, C, H, W) of its own type, N at least 1.  A network of vectors takes
    (N, C) too.  Raises `PictureError` for others, and for NaN and infinities."""
    if is_masked(values):
        raise PictureError(f"{what} must have no masked entries: leave these pictures out")
    try:
        array = np.asarray(values)
    except ValueError:
        raise PictureError(f"{what} must be an array, not lists of different lengths") from None
    if array.dtype.kind not in "fiub":
        raise PictureError(f"{what} must be real numbers, not {array.dtype}")
    vectors = array.ndim == 2 and shape[1:] == (1, 1)
    fits = array.shape[1:] == shape or (vectors and array.shape[1] == shape[0])
    if not fits:
        wanted = f"(n, {', '.join(map(str, shape))})"
        raise PictureError(f"{what} must have the shape {wanted}, not {array.shape}")
    if not len(array):
        raise PictureError(f"{what} must have at least one picture, there is none")
    if array.dtype.kind == "f" and not np.isfinite([array.min(), array.max()]).all():
        place = tuple(int(n) for n in np.argwhere(~np.isfinite(array))[0])
        raise PictureError(f"{what} must be finite, not {array[place]} at {place}")
    return array.reshape(len(array), *shape)


def check_labels(labels: object, count: int, classes: int) -> Integers:
    """`labels` as (count,) integers from 0 to classes - 1; raises `PictureError` for others."""
    array = np.asarray(labels)
    if array.shape != (count,):
        raise PictureError(f"labels must be one for each of {count} pictures, not {array.shape}")
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= classes:
        raise PictureError(f"labels must be integers from 0 to {classes - 1}")
    return array.astype(np.int64)


def to_integers(pictures: NDArray[Any], network: MapNetwork) -> tuple[Integers, int]:
    """Real pictures as a network's first tensor: in steps of its scale, to nearest even, clamped to
    its range, padded; and how many values the clamp changed."""
    tensor = network.input
    steps = np.rint(np.asarray(pictures, np.float64) / tensor.scale) + tensor.zero
    found = np.clip(steps, tensor.low, tensor.high)
    integers = padded(found, network.padding, tensor.zero).astype(np.int64)
    return integers, int((found != steps).sum())
