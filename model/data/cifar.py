"""CIFAR-10, from the six files of its binary version (NumPy only)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpnet.model.data.labeled import Labeled
from dpnet.model.data.places import DataError, data_folder, needed
from dpnet.model.files import opened

PICTURES = 10_000
SHAPE = (3, 32, 32)
ROW = 1 + 3 * 32 * 32  # the label, then red, green and blue
TRAIN = tuple(f"data_batch_{n}.bin" for n in range(1, 6))
TEST = "test_batch.bin"


def cifar10(folder: Path | None = None) -> Labeled:
    """50,000 pictures to train with and 10,000 to test, 3 x 32 x 32, ten classes.

    `folder` is by default the one of `DPNET_DATA`.  `DataError` for files that are missing, short
    or long, or with labels above 9.
    """
    batches = (data_folder() if folder is None else folder) / "cifar-10-batches-bin"
    train = [_batch(batches / name) for name in TRAIN]
    test_x, test_y = _batch(batches / TEST)
    x, y = (np.concatenate(part) for part in zip(*train, strict=True))
    return Labeled(x, y, test_x, test_y)


def cifar10_test(folder: Path | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pictures to test and their classes alone, as `cifar10`."""
    batches = (data_folder() if folder is None else folder) / "cifar-10-batches-bin"
    return _batch(batches / TEST)


def _batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    needed(path, "CIFAR-10's binary version has its six files there")
    wanted = PICTURES * ROW
    try:
        with opened(path) as (file, size):
            data = file.read(wanted)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if size != wanted or len(data) != wanted:
        raise DataError(f"{path}: must have {wanted:,} bytes, not {size:,}")
    rows = np.frombuffer(data, np.uint8).reshape(PICTURES, ROW)
    labels = rows[:, 0].astype(np.int64)
    if labels.max() > 9:
        raise DataError(f"{path}: labels must be 0 to 9, not {labels.max()}")
    return rows[:, 1:].reshape(PICTURES, *SHAPE), labels
