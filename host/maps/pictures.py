"""Pictures and labels of a user's files, for an image; and whether they are scaled as its
calibration was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.host.commands import InputError, read_array, read_labels
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.calibration.pictures import PictureError

__all__ = ["check_scaled", "labels_of", "pictures_of"]

FAR = 2.0
"""Times what an image holds: pictures most of whose values are cut off, and that reach that far,
are of another scale."""
MOST_CUT_OFF = 0.5
SMALL = 100.0
"""Times less than what calibration saw: so are pictures that reach no further."""


def pictures_of(path: Path, image: MapImage) -> NDArray[Any]:
    """The pictures (n, C, H, W) of an `.npy` file, of its own type; `InputError` for other files,
    shapes, NaN and infinities, and for pictures scaled otherwise than the calibration."""
    try:
        found = image.pictures(str(path), read_array(path))
    except PictureError as error:
        raise InputError(str(error)) from error
    check_scaled(str(path), found, image)
    return found


def labels_of(path: Path, count: int, image: MapImage) -> NDArray[np.int64]:
    """A class for each of `count` pictures; `InputError` for others."""
    labels = read_labels(path, count)
    if image.classes is None:
        raise InputError(
            f"{path}: labels are for networks that give a vector; this one gives maps of shape "
            f"{image.network.tensor(image.network.output).shape}"
        )
    if len(labels) and labels.max() >= image.classes:
        raise InputError(
            f"{path} holds the label {labels.max()}; the network tells {image.classes} classes, 0 "
            f"to {image.classes - 1}"
        )
    return labels


def check_scaled(what: str, pictures: NDArray[Any], image: MapImage) -> None:
    """`InputError` for pictures that are scaled quite otherwise than the calibration was: most of
    their values would be cut off, or all of them be next to 0."""
    low, high = image.input_range
    least, largest = float(pictures.min()), float(pictures.max())
    seen = image.calibration[image.network.input.name]
    told = (
        f"{what}: these pictures are {least:g} to {largest:g}, the calibration was {seen.low:g} to "
        f"{seen.high:g}"
    )
    cut_off = float(((pictures < low) | (pictures > high)).mean())
    if cut_off > MOST_CUT_OFF and (largest > FAR * max(high, 0) or least < FAR * min(low, 0)):
        raise InputError(
            f"{told}: {cut_off:.0%} of their values would be cut off; scale them as the "
            "calibration, or calibrate with pictures like these"
        )
    reach = max(abs(least), abs(largest))
    if 0 < reach * SMALL < max(abs(seen.low), abs(seen.high)):
        raise InputError(
            f"{told}: hardly a value would differ from 0; scale them as the calibration, or "
            "calibrate with pictures like these"
        )
