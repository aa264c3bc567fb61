"""MNIST, from the four files of its site (NumPy only)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpnet.model.data.labeled import Labeled
from dpnet.model.data.places import DataError, MissingDataError, data_folder
from dpnet.model.files import opened

SIDE = 28
COUNTS = {"train": 60_000, "t10k": 10_000}
IMAGES, LABELS = 0x0803, 0x0801  # unsigned bytes in three dimensions and in one


def mnist(folder: Path | None = None) -> Labeled:
    """60,000 digits to train with and 10,000 to test, 1 x 28 x 28.

    `folder` is by default the one of `DPNET_DATA`.  `DataError` for files that are missing, short
    or long, of another kind, or with labels above 9.
    """
    raw = (data_folder() if folder is None else folder) / "MNIST" / "raw"
    train, test = COUNTS
    return Labeled(_images(raw, train), _labels(raw, train), _images(raw, test), _labels(raw, test))


def _images(raw: Path, part: str) -> NDArray[np.uint8]:
    shape = (COUNTS[part], SIDE, SIDE)
    return _read(raw, f"{part}-images-idx3-ubyte", IMAGES, shape)[:, None]


def _labels(raw: Path, part: str) -> NDArray[np.int64]:
    name = f"{part}-labels-idx1-ubyte"
    labels = _read(raw, name, LABELS, (COUNTS[part],))
    if labels.max() > 9:
        raise DataError(f"{raw / name}: labels must be 0 to 9, not {labels.max()}")
    return labels.astype(np.int64)


def _read(raw: Path, name: str, magic: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The bytes of an idx file of this shape."""
    path = next((p for p in (raw / name, raw / f"{name}.gz") if p.exists()), None)
    if path is None:
        raise MissingDataError(
            f"{raw / name} is missing, also with .gz: MNIST has its four files there"
        )
    header = b"".join(number.to_bytes(4, "big") for number in (magic, *shape))
    wanted = len(header) + int(np.prod(shape))
    data = _content(path, wanted + 1)
    if data[: len(header)] != header:
        raise DataError(f"{path}: must be an idx file of {shape} bytes, its header is another one")
    if len(data) != wanted:
        more = "more" if len(data) > wanted else f"{len(data):,}"
        raise DataError(f"{path}: must have {wanted:,} bytes, not {more}")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)


def _content(path: Path, most: int) -> bytes:
    """At most `most` bytes of a file, or of what is packed in it."""
    try:
        with opened(path) as (file, _):
            if path.suffix != ".gz":
                return file.read(most)
            with gzip.open(file) as unpacked:
                return unpacked.read(most)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
