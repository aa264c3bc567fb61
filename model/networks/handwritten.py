"""Scikit-learn's handwritten digits (bundled, no download), split once; no PyTorch is needed."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

TEST_PICTURES = 360
VALIDATION_PICTURES = 240
SPLIT_SEED = 1  # a constant: the split is the same in every run, whatever the training's seed


class Handwritten(NamedTuple):
    """Pictures (n, 64) in 0..1, float32, and their digits (n,), int64."""

    train_x: NDArray[np.float32]
    train_y: NDArray[np.int64]
    validation_x: NDArray[np.float32]
    validation_y: NDArray[np.int64]
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]


def handwritten() -> Handwritten:
    """1,197 training, 240 validation and 360 test pictures, stratified.

    The split is random over pictures, not over writers, so figures are a little optimistic.
    """
    # Not at the top: the sizes are wanted without scikit-learn too.
    data: Any = importlib.import_module("sklearn.datasets")
    split: Any = importlib.import_module("sklearn.model_selection").train_test_split
    x, y = data.load_digits(return_X_y=True)
    x = (x / 16.0).astype(np.float32)
    rest_x, test_x, rest_y, test_y = split(
        x, y, test_size=TEST_PICTURES, random_state=SPLIT_SEED, stratify=y
    )
    train_x, validation_x, train_y, validation_y = split(
        rest_x, rest_y, test_size=VALIDATION_PICTURES, random_state=SPLIT_SEED, stratify=rest_y
    )
    parts = (train_x, train_y, validation_x, validation_y, test_x, test_y)
    return Handwritten(*map(np.ascontiguousarray, parts))
