"""A labeled data set in two parts, as its authors split it (NumPy only)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Labeled:
    """Pixels (n, channels, height, width), uint8, and classes (n,), int64, of both parts."""

    train_x: NDArray[np.uint8]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.uint8]
    test_y: NDArray[np.int64]


def holdout(count: int, held: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`count` numbers in two sorted parts, of which the second has `held`, by chance from `seed`.

    For choosing settings without a look at the test part.
    """
    if not 0 < held < count:
        raise ValueError(f"held must be 1 to {count - 1}, not {held!r}")
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])
