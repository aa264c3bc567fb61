"""From the bounds of clusters to centroids, costs and indices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.lanes import LANES, distances, sixteen_indices, squared_distances
from dpnet.model.quantizer.kernels.points import power_of_two

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK = 1024  # so many are added up one after the other, then these sums


@compiled
def _mean(ordered: Floats, weights: Floats, a: int, b: int, scale: float) -> float:
    """The weighted mean of the scaled values a..b-1, of which some count."""
    first = a
    while len(weights) and weights[first] == 0.0:
        first += 1
    origin = ordered[first] * scale
    total, weight = 0.0, 0.0
    for start in range(a, b, CHUNK):
        part, heavy = 0.0, 0.0
        stop = min(start + CHUNK, b)
        if len(weights):
            for j in range(start, stop):
                if weights[j] > 0.0:
                    part += (ordered[j] * scale - origin) * weights[j]
                    heavy += weights[j]
        else:
            middle = stop - (stop - start) % LANES
            part = distances(ordered, start, middle, scale, origin)
            for j in range(middle, stop):
                part += ordered[j] * scale - origin
            heavy = float(stop - start)
        total += part
        weight += heavy
    return float(origin + total / weight)


@compiled
def _error(
    ordered: Floats, weights: Floats, a: int, b: int, scale: float, center: float, norm: int
) -> float:
    """Sum of weight * |scaled value - center| ** norm over a..b-1."""
    total = 0.0
    for start in range(a, b, CHUNK):
        part = 0.0
        stop = min(start + CHUNK, b)
        if len(weights):
            for j in range(start, stop):
                if weights[j] > 0.0:
                    distance = abs(ordered[j] * scale - center)
                    part += (distance * distance if norm == 2 else distance) * weights[j]
        elif norm == 2:
            middle = stop - (stop - start) % LANES
            part = squared_distances(ordered, start, middle, scale, center)
            for j in range(middle, stop):
                distance = ordered[j] * scale - center
                part += distance * distance
        else:
            for j in range(start, stop):
                part += abs(ordered[j] * scale - center)
        total += part
    return total


@compiled
def _lower_median(ordered: Floats, weights: Floats, a: int, b: int) -> float:
    """The lower median of a..b-1, weighted."""
    if len(weights) == 0:
        return float(ordered[(a + b - 1) // 2])
    half = 0.5 * weights[a:b].sum()
    total, j = 0.0, a
    while j < b - 1:
        total += weights[j]
        if total >= half:
            break
        j += 1
    return float(ordered[j])


@compiled
def _threshold(ordered: Floats, weights: Floats, start: int, low: float, high: float) -> float:
    """The smallest value that gets the index of the cluster that begins at `start`.

    Values of no weight at its beginning belong to the nearer centroid.
    """
    j, n = start, len(ordered)
    while j < n and len(weights) and weights[j] == 0.0 and ordered[j] - low <= high - ordered[j]:
        j += 1
    return ordered[j] if j < n else np.inf


@compiled
def _indices(values: Floats, thresholds: Floats, count: int, indices: NDArray[np.integer]) -> None:
    """How many of the ascending thresholds[1:count] are at most each value; infinite after these.

    Without a branch: which way a value goes cannot be foreseen.
    """
    if count <= 16:
        middle = len(values) - len(values) % LANES
        sixteen_indices(values, middle, thresholds, indices)
        for j in range(middle, len(values)):
            index = 8 * (values[j] >= thresholds[8])
            index += 4 * (values[j] >= thresholds[index + 4])
            index += 2 * (values[j] >= thresholds[index + 2])
            indices[j] = index + 1 * (values[j] >= thresholds[index + 1])
        return
    top = 16
    while 2 * top < count:
        top *= 2
    for j in range(len(values)):
        index, step = 0, top
        while step > 0:
            index += step * (values[j] >= thresholds[index + step])
            step //= 2
        indices[j] = index


@compiled
def _largest(ordered: Floats, weights: Floats, a: int, b: int) -> float:
    """The largest magnitude that counts of the values a..b-1; -1 if none does."""
    if len(weights):
        while a < b and weights[a] == 0.0:
            a += 1
        while b > a and weights[b - 1] == 0.0:
            b -= 1
    return max(abs(ordered[a]), abs(ordered[b - 1])) if b > a else -1.0


@compiled
def _fit(
    ordered: Floats, weights: Floats, a: int, b: int, norm: int, fixed: bool, centroid: float
) -> tuple[float, float, float]:
    """The centroid of the values a..b-1, their error times a scale (to the power of `norm`), and
    this scale. Where nothing counts, or `fixed`, the centroid is that which is given."""
    largest = _largest(ordered, weights, a, b)
    if largest < 0.0:
        return centroid, 0.0, 1.0
    scale = power_of_two(max(largest, abs(centroid)) if fixed else largest)
    if fixed:
        center = centroid * scale
    elif norm == 1:
        center = _lower_median(ordered, weights, a, b) * scale
    else:
        center = _mean(ordered, weights, a, b, scale)
    error = _error(ordered, weights, a, b, scale, center, norm)
    return center * (1.0 / scale) + 0.0, error, scale


@compiled
def finish_rows(
    values: Floats,
    ordered: Floats,
    weights: Floats,
    norm: int,
    fixed: bool,
    bounds: Ints,
    k_eff: Ints,
    codebook: Floats,
    indices: NDArray[np.integer],
    cost: Floats,
    scaled: Floats,
) -> None:
    """Centroids (unless `fixed`: those of `codebook`), indices and costs of some rows.

    values, ordered (rows, n), `weights` of the ordered ones, (rows, n) or (rows, 0). The cost is
    computed from the centroids as they are returned, in a second pass; `scaled` is that of the row
    times `power_of_two` of its largest magnitude that counts. Rows repeat their last centroid up
    to the width of the codebook.
    """
    n, k = ordered.shape[1], codebook.shape[1]
    thresholds = np.empty(2 * max(k, 16))
    for row in range(len(ordered)):
        line, heavy, count = ordered[row], weights[row], k_eff[row]
        whole = power_of_two(_largest(line, heavy, 0, n))
        cost[row] = scaled[row] = 0.0
        for cluster in range(count):
            a, b = bounds[row, cluster], bounds[row, cluster + 1]
            centroid, error, scale = _fit(line, heavy, a, b, norm, fixed, codebook[row, cluster])
            codebook[row, cluster] = centroid
            back, ratio = 1.0 / scale, whole / scale
            cost[row] += error * back if norm == 1 else error * back * back
            scaled[row] += error * ratio if norm == 1 else error * ratio * ratio
        thresholds[:] = np.inf
        for cluster in range(1, count):
            low, high = codebook[row, cluster - 1], codebook[row, cluster]
            thresholds[cluster] = _threshold(line, heavy, bounds[row, cluster], low, high)
        codebook[row, count:] = codebook[row, count - 1]
        _indices(values[row], thresholds, count, indices[row])
