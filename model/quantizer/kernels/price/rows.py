"""The compiled half of the exact quantizer: shortest paths with a price for every centroid.

With a price for each cluster the best partition needs no limit on their number:
``cost[j] = min over i of cost[i] + error(i, j) + price``. The error of a cluster is concave Monge,
so the best i never decreases with j, and the least error of k clusters is convex in k: there is a
price at which the best partition has k clusters, and then no other k clusters are better
(Aggarwal, Schieber, Tokuyama 1994). One price takes O(n) steps, eight candidates in each.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.apart import cost_at_gaps
from dpnet.model.quantizer.kernels.points import SQUARED, is_plain, merge, power_of_two
from dpnet.model.quantizer.kernels.price.paths import Room, room_for
from dpnet.model.quantizer.kernels.price.search import (
    BARELY,
    BELL,
    FINELY,
    HOPELESS,
    TRIES,
    first_price,
    search,
)
from dpnet.model.quantizer.kernels.price.table import (
    LIGHT,
    PAD,
    SQUARES,
    WEIGHT,
    Table,
    inverses,
    rounding_error,
    tabulate,
)
from dpnet.model.quantizer.kernels.price.windows import excess, windows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SPREAD = 64.0  # errors times k**3: a middle half as wide as this hides nothing
DOUBTS = 16.0  # errors of a break that seems the best: its own, and one for each halving of a block


@compiled
def are_hidden(points: Floats, heavy: Floats, scale: float, k: int, error: float) -> bool:
    """Whether the price may be no more than `error`, since some points are so far from the others.

    Most rows pass by their middle half; others by what is left with breaks at the widest gaps.
    """
    n = len(points)
    middle = (points[3 * n // 4] - points[n // 4]) * scale
    if middle * middle * n > SPREAD * k**3 * error:
        return False
    left = cost_at_gaps(points, heavy, scale, SQUARED, k, np.empty(n))
    return bool(BELL * left < HOPELESS * k**3 * error)


@compiled
def solve_points(
    points: Floats,
    heavy: Floats,
    whole: bool,
    scale: float,
    k: int,
    price: float,
    sums: Floats,
    inverse: Floats,
    room: Room,
    first: Ints,
    last: Ints,
) -> float:
    """Where the breaks of every best partition of distinct points into k clusters are.

    points (n,), k in 2..n - 1, times `scale`; heavy (n,), `whole` where these are whole numbers, or
    (0,) for 1 each; `price` where to begin, or 0. sums (3, n + 1 + PAD) and the room are written;
    first and last (k + 1,): break c is between these points. Returns a price that ends with k
    clusters, whose path the room's bounds are; 0 where there is none: then first and last leave all
    breaks, and bounds are the first ones.
    """
    n = len(points)
    light, mass = 1.0, float(n)
    reach, largest = tabulate(points, heavy, n, whole, scale, sums)
    if not whole:
        light, mass = heavy.min(), sums[WEIGHT, n]
    error = rounding_error(
        sums[WEIGHT, n], sums[SQUARES, n], reach, largest, 0.0 if whole else light
    )
    table = Table(sums, inverse, len(heavy) > 0, n, error)
    power, done = BARELY, False
    if not are_hidden(points, heavy, scale, k, error):
        if not 0.0 < price < math.inf:
            price, power = first_price(table, k, room), FINELY
        done, price = search(table, k, price, power, TRIES, room)
    for cluster in range(1, k):
        first[cluster], last[cluster] = cluster, n - k + cluster
    first[0] = last[0] = 0
    first[k] = last[k] = n
    if not done or not light > LIGHT * mass:
        room.bounds[: k + 1] = first[: k + 1]
        return 0.0
    doubt = excess(table, k, price, room) + DOUBTS * (k + 2.0) * error
    windows(table, k, doubt, room, first, last)
    return price


@compiled
def solve_rows(
    ordered: Floats,
    weights: Floats,
    k: int,
    prices: Floats,
    bounds: Ints,
    k_eff: Ints,
    first: Ints,
    last: Ints,
) -> None:
    """The best partition of each sorted row, or where its breaks are.

    ordered (rows, n); weights the same, or (rows, 0); prices (rows,): 0 or a guess on entry, that
    of the solution afterwards. Cluster c of a row is the sorted values bounds[c] .. bounds[c+1]-1
    for c < k_eff. Where first and last (rows, k + 1) differ, float64 has not decided: then the
    breaks of every best partition lie between these points, counted as `merge` counts.
    """
    n = ordered.shape[1]
    merged, heavy, ends_at = np.empty(n), np.empty(n), np.empty(n + 1, np.int64)
    sums, inverse, room = np.empty((3, n + 1 + PAD)), np.empty((2, 0)), room_for(n)
    found, whole = room.bounds, weights.shape[1] == 0
    for row in range(len(ordered)):
        plain = is_plain(ordered[row], weights[row])
        m = n if plain else merge(ordered[row], weights[row], merged, heavy, ends_at)
        points = ordered[row] if plain else merged
        clusters = min(k, m)
        if plain and inverse.shape[1] == 0:
            inverse = inverses(n)
        k_eff[row] = clusters
        if clusters == m or clusters == 1:
            found[0], found[clusters] = 0, m
            for cluster in range(1, clusters):
                found[cluster] = cluster
            first[row], last[row] = 0, 0
        else:
            counted = heavy[: 0 if plain else m]
            scale = power_of_two(max(abs(points[0]), abs(points[m - 1])))
            prices[row] = solve_points(
                points[:m],
                counted,
                whole,
                scale,
                clusters,
                prices[row],
                sums,
                inverse,
                room,
                first[row],
                last[row],
            )
        for cluster in range(clusters + 1):
            bounds[row, cluster] = found[cluster] if plain else ends_at[found[cluster]]
        bounds[row, 0], bounds[row, clusters] = 0, n
