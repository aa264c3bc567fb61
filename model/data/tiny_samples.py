"""The samples of MLPerf Tiny's networks, as the nets take them (NumPy only).

In `mlperf-tiny/` of the folder that `dpnet.model.data.places` describes: `kws_test.npz` with the
1,000 official spoken words, `samples.npz` with four pictures and six sounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.data.places import DataError, needed, weights_folder

FOLDER = "mlperf-tiny"
WORDS = 12
SOUND_ZERO, SOUND_SCALE = 89, 0.39101523


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs x (n, …), float32, and what they are, y (n,), int64."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


def spoken_words(folder: Path | None = None) -> Samples:
    """1,000 features 1 x 49 x 10 for `ds-cnn`, and the number of the word, 0 to 11.

    `folder` is by default `mlperf-tiny` in the one of `weights_folder`, here and below;
    `DataError` for files that are missing or hold something else.
    """
    path = _path(folder, "kws_test.npz")
    found = _arrays(path, {"features": "i1", "labels": "u1", "scale": "f8", "zero_point": "i8"})
    q, y = found["features"], found["labels"]
    _check(path, "features", q, (1000, 49, 10))
    _check(path, "labels", y, (1000,))
    _check(path, "scale", found["scale"], ())
    _check(path, "zero_point", found["zero_point"], ())
    scale = float(found["scale"])
    if not (math.isfinite(scale) and scale > 0):
        raise DataError(f"{path}: scale must be finite and positive, not {scale}")
    if y.max() >= WORDS:
        raise DataError(f"{path}: labels must be 0 to {WORDS - 1}, not {y.max()}")
    x = (q.astype(np.float64) - int(found["zero_point"])) * scale
    return Samples(x.astype(np.float32)[:, None], y.astype(np.int64))


def wake_words(folder: Path | None = None) -> Samples:
    """Four pictures 3 x 96 x 96 in 0..1 for `mobilenet-vww`, and 1 where a person is in it."""
    path = _path(folder, "samples.npz")
    found = _arrays(path, {"vww": "i1", "vww_person": "b1"})
    _check(path, "vww", found["vww"], (4, 96, 96, 3))
    _check(path, "vww_person", found["vww_person"], (4,))
    pixels = (found["vww"].astype(np.float32) + 128.0) / 255.0
    x = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return Samples(x, found["vww_person"].astype(np.int64))


def machine_sounds(folder: Path | None = None) -> Samples:
    """Six sounds (6, 40, 640) for `autoencoder`, which takes each of the 40 frames alone; and 1
    where the machine is broken."""
    path = _path(folder, "samples.npz")
    found = _arrays(path, {"ad": "i1", "ad_anomaly": "b1"})
    _check(path, "ad", found["ad"], (6, 40, 640))
    _check(path, "ad_anomaly", found["ad_anomaly"], (6,))
    x = (found["ad"].astype(np.float64) - SOUND_ZERO) * SOUND_SCALE
    return Samples(x.astype(np.float32), found["ad_anomaly"].astype(np.int64))


def _path(folder: Path | None, name: str) -> Path:
    folder = weights_folder() / FOLDER if folder is None else folder
    return needed(folder / name, "samples of MLPerf Tiny's networks")


def _arrays(path: Path, types: dict[str, str]) -> dict[str, NDArray[Any]]:
    """The arrays of these names and types; nothing in the file is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in types}
    except Exception as error:  # zipfile, zlib and NumPy raise a type for every kind of damage
        raise DataError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    for name, array in found.items():
        if array.dtype != np.dtype(types[name]):
            wanted = np.dtype(types[name])
            raise DataError(f"{path}: {name} must be {wanted}, not {array.dtype}")
    return found


def _check(path: Path, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise DataError(f"{path}: {name} must be {shape}, not {array.shape}")
