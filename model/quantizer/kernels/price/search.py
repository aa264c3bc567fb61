"""The price at which the best partition has k clusters."""

from __future__ import annotations

import math

from dpnet.model.quantizer.compiled import unchecked
from dpnet.model.quantizer.kernels.price.paths import Room, cross, follow, shortest
from dpnet.model.quantizer.kernels.price.table import SQUARES, Table, coarse

COARSE = 8  # points for one where a price is looked for
TRIES, COARSE_TRIES = 60, 12
# Powers of the number of clusters by which a price moves first: on coarse tables, from their price
# on, and from that of a row which has moved a little.
COARSELY, FINELY, BARELY = 3.0, 2.0, 1.0
HOPELESS = 16.0  # errors of a table: breaks are told apart by more, see `DOUBTS`
BELL = 5.0  # the price of a bell shape is about so many of its squares, by k**3
NEAR = 4  # clusters between two partitions: the slope between them is a price for one of these
RAISES = 4  # of a price that does: the higher it is, the longer are the blocks


@unchecked
def search(
    table: Table, k: int, price: float, power: float, tries: int, room: Room
) -> tuple[bool, float]:
    """A price at which the room's bounds are those of the best k clusters: (found, price).

    The price falls like a power of the number of clusters, the third for a density; `power` is the
    first that is tried. Once there is one partition with more and one with fewer clusters, and not
    many numbers between the two, or else every other time, the slope between them is tried: if
    nothing is better there, all numbers of clusters between cost the same (equal values, regular
    grids), and no price ends with exactly k. Then the two paths cross, and one half of each makes
    k clusters.

    Where there are fewer than k clusters at a price of some of the table's errors, there is none to
    find that would tell the breaks.
    """
    low_price, high_price = 0.0, math.inf
    low_count, high_count, low_cost, high_cost = 0, 0, 0.0, 0.0
    on_slope = False
    for attempt in range(tries):
        shortest(table, price, room)
        count = follow(room.origin, table.n, room.bounds)
        if count == k:
            return True, price
        squared = room.cost[table.n] - price * count
        if on_slope and count in (low_count, high_count):
            return cross(room, low_count, high_count, k), price
        if count > k:
            low_price, low_count, low_cost = price, count, squared
            room.more[: count + 1] = room.bounds[: count + 1]
        else:
            high_price, high_count, high_cost = price, count, squared
            room.fewer[: count + 1] = room.bounds[: count + 1]
        on_slope = (
            low_count > 0
            and high_count > 0
            and (low_count - high_count <= NEAR or (attempt > 6 and attempt % 2 == 0))
        )
        if low_count == 0 or high_count == 0:
            price *= (count / k) ** power
            power *= 1.5
        elif on_slope:
            price = (high_cost - low_cost) / (low_count - high_count)
        else:
            share = math.log(low_count / (k + 0.1)) / math.log(low_count / high_count)
            share = min(max(share, 0.1), 0.9)
            price = low_price * (high_price / low_price) ** share
        if not 0.0 < price < math.inf or high_price < HOPELESS * table.error:
            break
    return False, price


@unchecked
def first_price(table: Table, k: int, room: Room) -> float:
    """A price near the one looked for, from coarser and coarser tables."""
    stride = 1
    while table.n // (stride * COARSE) >= 4 * k:
        stride *= COARSE
    price = BELL * table.sums[SQUARES, table.n] / k**3
    while stride > 1:
        few = coarse(table, stride)
        done, price = search(few, k, price, COARSELY, COARSE_TRIES, room)
        for _ in range(RAISES if done else 0):  # where clusters are apart, prices span decades
            shortest(few, 3.0 * price, room)
            if follow(room.origin, few.n, room.bounds) != k:
                break
            price *= 3.0
        stride //= COARSE
    return float(price)
