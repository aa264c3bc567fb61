"""Bit allocation: how many centroids each row or layer gets under a budget of bytes.

    curves = {name: Curves(q.indices.shape[1], q.curve) for name, q in quantized.items()}
    plan = allocate_codebooks(curves, budget=100_000)                # K of every row
    plan = allocate_codebooks(curves, budget=100_000, per="layer")   # K of every layer
    plan.k["fc1.weight"], plan.size, plan.error, plan.gap

`q.curve`, the least error for every k up to K, costs one full run of the dynamic program. Of all
plans that fit the budget the one with the least total error is sought; how far it may be above the
least is proved and reported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from dpnet.model.indices import index_bits

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SHARE = 0.75  # of the rows' values that a group of them may have
PRICE_STEPS = 120  # halvings of the price of a byte: more than float64 can tell apart
CORE = 20_000  # choices that are given to the integer program at most


class BudgetError(ValueError):
    """No plan fits the budget; `least` is the smallest budget that one fits."""

    def __init__(self, budget: int, least: int) -> None:
        super().__init__(f"budget must be at least {least} bytes, not {budget!r}")
        self.least = least


@dataclass(frozen=True, eq=False)
class Allocation:
    """One choice per item: the sum of errors is `error`, of sizes `size`, within the budget.

    No choice within the budget has an error below `bound`, apart from rounding (1e-9 relative
    where the integer program ran, else 1e-12).
    """

    choice: Integers
    error: float
    size: int
    bound: float

    @property
    def gap(self) -> float:
        """How far the error may be above the least, relative to it; 0 means proved least."""
        return (self.error - self.bound) / self.error if self.error > self.bound else 0.0


@dataclass(frozen=True, eq=False)
class Curves:
    """The errors of a layer's rows of `n` weights: ``error[r, k - 1]`` with k centroids.

    `importance` multiplies them: a number for the layer, or one for each row.
    """

    n: int
    error: Floats
    importance: float | Floats = 1.0

    def __post_init__(self) -> None:
        error = np.asarray(self.error)
        if error.ndim != 2 or error.size == 0 or error.dtype.kind != "f":
            raise ValueError(f"error must be a filled (rows, K) float array, not {error.shape!r}")
        if isinstance(self.n, bool) or not isinstance(self.n, (int, np.integer)) or self.n < 1:
            raise ValueError(f"n must be a positive integer, not {self.n!r}")
        importance = np.asarray(self.importance, np.float64)
        if importance.shape not in ((), (len(error),)) or not (importance >= 0).all():
            raise ValueError(
                f"importance must be a number or one for each of {len(error)} rows, not negative"
            )

    @property
    def weighted(self) -> Floats:
        """(rows, K): the errors times their importance."""
        importance = np.broadcast_to(np.asarray(self.importance, np.float64), len(self.error))
        return np.asarray(self.error, np.float64) * importance[:, None]


@dataclass(frozen=True, eq=False)
class CodebookPlan:
    """K of every row, (rows,) by layer, and what `Allocation` says of the whole."""

    k: dict[str, Integers]
    error: float
    size: int
    bound: float
    gap: float = field(default=0.0)


def matrix_bytes(
    rows: int, n: int, k: int, *, entry_bytes: int = 4, scale_bytes_per_row: int = 0
) -> int:
    """Bytes of a matrix of rows of n weights with K = k, as `ratios.stored_bytes` says."""
    return -(-rows * n * index_bits(k) // 8) + rows * (k * entry_bytes + scale_bytes_per_row)


def rows_per_codebook(rows: NDArray[np.floating[Any]], k: int) -> int | None:
    """How many consecutive rows (R, n) share a codebook of at most `k` values, in the fewest bytes;
    None if one row has more values.

    Rows whose values have nothing to do with each other do not share, whatever their number: a
    group must have fewer values than its rows have, a 0 apart.
    """
    best, least, alone = None, math.inf, 0
    for every in (number for number in range(1, len(rows) + 1) if len(rows) % number == 0):
        ordered = np.sort(rows.reshape(len(rows) // every, -1), axis=1)
        new = ordered[:, 1:] != ordered[:, :-1]
        width = int(new.sum(axis=1).max()) + 1
        several = int((new & (ordered[:, 1:] != 0)).sum() + (ordered[:, 0] != 0).sum())
        alone = alone or several
        size = matrix_bytes(len(ordered), ordered.shape[1], width)
        shared = every == 1 or several <= SHARE * alone
        if width <= k and shared and size < least:
            best, least = every, size
        if best is None:
            break
    return best


def allocate_codebooks(
    layers: Mapping[str, Curves],
    budget: int,
    *,
    k: Sequence[int] = (2, 4, 8, 16),
    per: Literal["row", "layer"] = "row",
    entry_bytes: int = 4,
    scale_bytes_per_row: int = 0,
    seconds: float = 5.0,
) -> CodebookPlan:
    """K of every row or of every layer, out of `k`, with the least weighted error in `budget`.

    The budget is for indices, codebooks and scales: what `stored_bytes` counts less `other`. Per
    layer a K costs `matrix_bytes`, exactly as there. Per row it costs that of a matrix of one row
    and a byte that tells the row's K. `seconds` limits the search; the gap says what it left.

    Raises `BudgetError` where not even the smallest K fit, ValueError for bad arguments.
    """
    choices = _check_choices(k, layers)
    if per not in ("row", "layer"):
        raise ValueError(f"per must be 'row' or 'layer', not {per!r}")
    errors, sizes = [], []
    for curves in layers.values():
        weighted = curves.weighted[:, np.array(choices) - 1]
        rows = 1 if per == "row" else len(weighted)
        size = [
            matrix_bytes(
                rows,
                curves.n,
                c,
                entry_bytes=entry_bytes,
                scale_bytes_per_row=scale_bytes_per_row,
            )
            + (per == "row")
            for c in choices
        ]
        errors.append(weighted if per == "row" else weighted.sum(0, keepdims=True))
        sizes.append(np.tile(size, (len(errors[-1]), 1)))
    found = allocate(np.concatenate(errors), np.concatenate(sizes), budget, seconds=seconds)
    chosen = np.array(choices, np.int64)[found.choice]
    edges = np.cumsum([len(part) for part in errors])[:-1]
    plan = {
        name: np.broadcast_to(part, len(curves.error)).copy()
        for (name, curves), part in zip(layers.items(), np.split(chosen, edges), strict=True)
    }
    return CodebookPlan(plan, found.error, found.size, found.bound, found.gap)


def allocate(error: ArrayLike, size: ArrayLike, budget: int, *, seconds: float = 5.0) -> Allocation:
    """One choice for each item: the least sum of `error` with a sum of `size` within `budget`.

    Both are (items, choices); sizes are integers, an infinite error rules a choice out. First the
    best price of a byte (Lagrange's dual, which is the lower bound), then what is left of the
    budget is spent greedily; choices whose price rules them out go, and what remains is solved
    as an integer program (HiGHS, scipy) for up to `seconds`. 10,000 items with 5 choices take
    about a second.

    Raises `BudgetError`, ValueError for arrays that do not fit each other.
    """
    errors, sizes = _check_items(error, size)
    order = np.lexsort((errors, sizes), axis=1)
    errors = np.take_along_axis(errors, order, axis=1)
    sizes = np.take_along_axis(sizes, order, axis=1)
    first = _cheapest(errors)
    budget = _check_budget(budget, int(_pick(sizes, first).sum()))
    unit = float(errors[np.isfinite(errors)].max()) or 1.0
    scaled = errors / unit
    choice, bound = np.argmin(scaled, axis=1), 0.0
    if int(_pick(sizes, choice).sum()) > budget:
        choice, bound = _constrained(scaled, sizes, budget, seconds)
        bound *= unit
    else:
        bound = float(_pick(errors, choice).sum())
    total = float(_pick(errors, choice).sum())
    return Allocation(
        choice=_pick(order, choice),
        error=total,
        size=int(_pick(sizes, choice).sum()),
        bound=min(max(bound, 0.0), total),
    )


def _constrained(
    errors: Floats, sizes: Integers, budget: int, seconds: float
) -> tuple[Integers, float]:
    """(choice, lower bound of the error) where the budget does not allow the best of each."""
    price, choice = _price(errors, sizes, budget)
    choice = _spend(errors, sizes, budget, choice)
    reduced = errors + price * sizes
    least = reduced.min(axis=1)
    bound = float(least.sum()) - price * budget
    slack = float(_pick(errors, choice).sum()) - bound
    keep = reduced - least[:, None] <= slack * (1 + 1e-9)
    keep[np.arange(len(choice)), choice] = True
    if slack <= 1e-12 * abs(bound) or keep.sum() - len(keep) > CORE or seconds <= 0:
        return choice, bound
    return _integer_program(errors, sizes, budget, keep, choice, bound, seconds)


def _price(errors: Floats, sizes: Integers, budget: int) -> tuple[float, Integers]:
    """The price of a byte at which the items just fit the budget, and their choice then."""
    finite = np.isfinite(errors)
    low, high = 0.0, 1.0 + float(errors[finite].max())  # sizes are integers: then the smallest
    choice = _cheapest(errors)
    for _ in range(PRICE_STEPS):
        middle = 0.5 * (low + high)
        found = np.argmin(errors + middle * sizes, axis=1)
        if int(_pick(sizes, found).sum()) <= budget:
            high, choice = middle, found
        else:
            low = middle
        if not low < 0.5 * (low + high) < high:
            break
    return high, choice


def _spend(errors: Floats, sizes: Integers, budget: int, choice: Integers) -> Integers:
    """Better choices, largest gain per byte first, as long as they fit."""
    choice = choice.copy()
    left = budget - int(_pick(sizes, choice).sum())
    more = sizes - _pick(sizes, choice)[:, None]
    gain = _pick(errors, choice)[:, None] - errors
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((gain > 0) & (more <= left), gain / np.maximum(more, 1e-9), 0.0)
    moves = np.argwhere(ratio > 0)
    for item, option in moves[np.argsort(-ratio[ratio > 0], kind="stable")]:
        step = int(sizes[item, option] - sizes[item, choice[item]])
        if step <= left and errors[item, option] < errors[item, choice[item]]:
            left -= step
            choice[item] = option
    return choice


def _integer_program(
    errors: Floats,
    sizes: Integers,
    budget: int,
    keep: NDArray[np.bool_],
    choice: Integers,
    bound: float,
    seconds: float,
) -> tuple[Integers, float]:
    """(choice, lower bound) after HiGHS has looked at the choices that `keep` leaves."""
    rows, options = np.nonzero(keep)
    base = _pick(errors, choice)
    before = float(base.sum())
    unit = before - bound  # HiGHS stops at an absolute gap of 1e-6
    smallest = np.where(keep, sizes, np.iinfo(np.int64).max).min(axis=1)
    taken, dual = _solve_core(
        (errors[rows, options] - base[rows]) / unit,
        sizes[rows, options] - smallest[rows],
        rows,
        budget - int(smallest.sum()),
        seconds,
    )
    bound = max(bound, before + (dual - 1e-6) * unit)
    if taken is None:
        return choice, bound
    better = choice.copy()
    better[rows[taken]] = options[taken]
    total = float(_pick(errors, better).sum())
    if int(_pick(sizes, better).sum()) > budget or total >= before:
        return choice, bound
    return better, bound


def _solve_core(
    cost: Floats, extra: Integers, rows: Integers, left: int, seconds: float
) -> tuple[NDArray[np.bool_] | None, float]:
    """(which are taken, lower bound of their cost) with one of each row, `extra` within `left`.

    Nothing is taken where time is over before anything was found.
    """
    ones = np.ones(len(rows))
    one_each = csr_array((ones, (rows, np.arange(len(rows)))))
    factor = max(int(np.gcd.reduce(extra)), 1)
    within = csr_array((extra // factor)[None, :].astype(float))
    result = milp(
        cost,
        integrality=ones,
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(within, -np.inf, left // factor),
        ],
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    dual = result.mip_dual_bound
    found = -math.inf if dual is None or not math.isfinite(dual) else float(dual)
    return None if result.x is None else result.x > 0.5, found


def _pick(table: NDArray[Any], choice: Integers) -> NDArray[Any]:
    """table[item, choice[item]] of every item."""
    return np.take_along_axis(table, choice[:, None], axis=1)[:, 0]


def _cheapest(errors: Floats) -> Integers:
    """The first choice of each item that is not ruled out: the smallest, once sorted by size."""
    return np.asarray(np.argmax(np.isfinite(errors), axis=1), np.int64)


def _check_items(error: ArrayLike, size: ArrayLike) -> tuple[Floats, Integers]:
    errors, sizes = np.asarray(error, np.float64), np.asarray(size)
    if errors.ndim != 2 or errors.shape != sizes.shape or errors.size == 0:
        raise ValueError(
            "error and size must be filled (items, choices) arrays, not "
            f"{errors.shape!r} and {sizes.shape!r}"
        )
    if sizes.dtype.kind not in "iu" or sizes.min() < 0 or sizes.max() > 1 << 48:
        raise ValueError(f"size must hold integers from 0 to 2**48, not {sizes.dtype}")
    if not (errors >= 0).all() or not np.isfinite(errors).any(axis=1).all():
        raise ValueError("error must not be negative or NaN, with a finite choice for every item")
    return errors, sizes.astype(np.int64)


def _check_budget(budget: int, least: int) -> int:
    if isinstance(budget, bool) or not isinstance(budget, (int, np.integer)):
        raise TypeError(f"budget must be a number of bytes, not {budget!r}")
    if budget < least:
        raise BudgetError(int(budget), least)
    return int(budget)


def _check_choices(k: Sequence[int], layers: Mapping[str, Curves]) -> list[int]:
    choices = sorted(set(k))
    if not layers:
        raise ValueError("layers must not be empty")
    most = min(curves.error.shape[1] for curves in layers.values())
    whole = all(isinstance(c, (int, np.integer)) for c in choices)
    if not choices or not whole or not 1 <= choices[0] <= choices[-1] <= most:
        raise ValueError(f"k must hold integers from 1 to {most}, as the curves do, not {k!r}")
    return [int(c) for c in choices]
