"""Histograms of weights and values, and the row that stands for a layer's others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.maps.codebooks import Codebook
from dpnet.model.maps.profile.fields import six_digits
from dpnet.model.maps.profile.records import Histogram, Row, Weights

__all__ = ["histogram", "weights_profile"]

Floats = NDArray[np.float64]

BINS = 64
ROW_BINS = 48


def histogram(values: Floats, low: float, high: float, bins: int = BINS) -> Histogram:
    """The values in `bins` from `low` to `high`, those beyond in the outermost ones."""
    low, high = six_digits(low), six_digits(high)
    if low == high:
        return Histogram(low, high, (int(values.size),))
    # A range that six digits made a little narrower still holds its ends.
    counts = np.histogram(np.clip(values, low, high), bins, (low, high))[0]
    return Histogram(low, high, tuple(counts.tolist()))


def weights_profile(weight: Floats, codebook: Codebook) -> Weights:
    """Of a layer's weights (R, …) and their codebook."""
    rows, after = weight.reshape(len(weight), -1), codebook.weights
    low, high = float(rows.min()), float(rows.max())
    errors = ((rows - after) ** 2).mean(axis=1)
    middle = int(np.argsort(errors, kind="stable")[(len(errors) - 1) // 2])
    return Weights(
        before=histogram(rows, low, high),
        after=histogram(after, low, high),
        power=six_digits((rows**2).mean()),
        noise=six_digits(errors.mean()),
        kept=codebook.kept,
        codebooks=len(rows) // codebook.every,
        row=_row(middle, rows[middle], codebook),
    )


def _row(number: int, weights: Floats, codebook: Codebook) -> Row:
    """Values that are there several times, as in rows that have fewer, count as one."""
    centroids, places = np.unique(codebook.values[number], return_inverse=True)
    uses = np.bincount(places[codebook.indices[number]], minlength=len(centroids))
    return Row(
        number,
        histogram(weights, float(weights.min()), float(weights.max()), ROW_BINS),
        tuple(six_digits(value) for value in centroids),
        tuple(uses.tolist()),
    )
