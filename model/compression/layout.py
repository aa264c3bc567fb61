"""How a weight is laid out: the K of each codebook, the rows that share one, and the bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.compression.allocate import allocate
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.compression.search import Weight
from dpnet.model.indices import index_bits

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ENTRY_BYTES = 4  # a centroid in fp32
FLOAT_BYTES = 4


class ExpansionError(ValueError):
    """A layer would not get smaller; the message says which and what it would take."""


@dataclass(frozen=True, eq=False)
class Layout:
    """A weight with `every` rows to a codebook, whose K are `k`: none if it is left as it is.

    Codebooks with an `own` K are packed to whole bytes each and take a byte more, which says K;
    the others have the same K and are packed together. `why` tells what was rejected before.
    """

    weight: Weight
    k: Integers
    every: int
    own: bool = False
    why: str = ""

    @property
    def fp32_bytes(self) -> int:
        """Of the weight as it is."""
        return FLOAT_BYTES * self.weight.rows * self.weight.n

    @property
    def sizes(self) -> Integers:
        """Bytes of the indices of each codebook, or of all of them together."""
        values = self.weight.n * self.every
        if self.own:
            return np.array([-(-values * index_bits(int(k)) // 8) for k in self.k], np.int64)
        count = len(self.k)
        return np.array([-(-values * count * index_bits(int(self.k[0])) // 8)] if count else [0])

    @property
    def index_bytes(self) -> int:
        """Of all indices."""
        return int(self.sizes.sum())

    @property
    def codebook_bytes(self) -> int:
        """Of the centroids, and of the K where they are their own."""
        return ENTRY_BYTES * int(self.k.sum()) + len(self.k) * self.own

    @property
    def bytes(self) -> int:
        """Of indices and codebooks."""
        return self.index_bytes + self.codebook_bytes

    @property
    def smaller(self) -> bool:
        """Whether it pays."""
        return self.bytes < self.fp32_bytes

    def describe(self) -> str:
        """In words."""
        if not len(self.k):
            return f"left as it is: {self.why}"
        return share(self.every) + (f": {self.why}" if self.why else "")


def share(every: int) -> str:
    """How many rows to a codebook, in words."""
    return "a codebook per row" if every == 1 else f"{every} rows to a codebook"


def fixed_layouts(weights: Sequence[Weight], config: CompressConfig) -> list[Layout]:
    """The layouts with the K that the configuration names; raises `ExpansionError`."""
    layouts = []
    for weight in weights:
        k = config.k_of(weight.names)
        assert k is not None, "weights without a K are left out before"
        layouts.append(layout_of(weight, k, config))
    _refuse(layouts, config)
    return layouts


def layout_of(weight: Weight, k: int, config: CompressConfig, own: bool = False) -> Layout:
    """The first layout that makes the weight smaller, or the one that leaves it as it is."""
    first = None
    for every in _shares(weight, config):
        tried = Layout(weight, np.full(weight.rows // every, k, np.int64), every, own)
        first = first or tried
        if tried.smaller:
            grows = f"{share(first.every)} would take {first.bytes:,} bytes"
            return tried if tried is first else replace(tried, why=grows)
        if config.on_expand != "share":
            break
    assert first is not None, "all rows can share a codebook"
    why = f"{share(first.every)} with K = {k} would take {first.bytes:,} bytes"
    return replace(first, k=first.k[:0], why=why)


def _shares(weight: Weight, config: CompressConfig) -> Iterator[int]:
    """How many rows may share a codebook: numbers that divide the rows, as asked or more."""
    asked = config.rows_per_codebook
    least = weight.rows if asked == "all" else min(asked, weight.rows)
    return (every for every in range(least, weight.rows + 1) if weight.rows % every == 0)


def _refuse(layouts: Sequence[Layout], config: CompressConfig) -> None:
    for layout in layouts:
        if config.on_expand == "error" and not len(layout.k):
            raise ExpansionError(
                f"{layout.weight.name} must get smaller than {layout.fp32_bytes:,} bytes: "
                f"{layout.why}"
            )


def options_of(weight: Weight, config: CompressConfig) -> list[Layout]:
    """The layouts that a budget may choose between, or the one that leaves the weight as it is.

    One for each K that makes it smaller; where codebooks have their own K, all of the same rows.
    """
    if config.per == "layer":
        layouts = [layout_of(weight, k, config) for k in config.choices]
    else:
        widest = layout_of(weight, config.choices[-1], config, own=True)
        layouts = [replace(widest, k=np.full_like(widest.k, k)) for k in config.choices]
    fitting = [layout for layout in layouts if len(layout.k)] or layouts[:1]
    _refuse(fitting, config)
    return fitting


def choose(
    options: Sequence[Sequence[Layout]], costs: Sequence[Sequence[Floats]], budget: int
) -> list[Layout]:
    """Of each weight's options, those with the least total cost that take `budget` bytes.

    `costs`, by weight and option, are those of its codebooks. Raises `BudgetError`.
    """
    items = [_items(layouts, cost) for layouts, cost in zip(options, costs, strict=True)]
    width = max(map(len, options))
    errors = [_padded(error, width, np.inf) for error, _ in items]
    sizes = [_padded(size, width, 0) for _, size in items]
    found = allocate(np.concatenate(errors), np.concatenate(sizes), budget)
    edges = np.cumsum([len(error) for error in errors])[:-1]
    return [
        _chosen(layouts, choice)
        for layouts, choice in zip(options, np.split(found.choice, edges), strict=True)
    ]


def _items(layouts: Sequence[Layout], costs: Sequence[Floats]) -> tuple[Floats, Integers]:
    """(items, options) errors and bytes: of the codebooks, where K are their own, or of all."""
    if not layouts[0].own:
        error = np.array([[cost.sum() for cost in costs]])
        return error, np.array([[layout.bytes for layout in layouts]])
    sizes = [layout.sizes + ENTRY_BYTES * layout.k + 1 for layout in layouts]
    return np.stack(costs, axis=1), np.stack(sizes, axis=1)


def _chosen(layouts: Sequence[Layout], choice: Integers) -> Layout:
    """One of the layouts, or the one with the K of several."""
    if not layouts[0].own:
        return layouts[int(choice[0])]
    table = np.stack([layout.k for layout in layouts])
    return replace(layouts[0], k=table[choice, np.arange(len(choice))])


def _padded(table: NDArray[Any], width: int, value: float) -> NDArray[Any]:
    """More columns, of `value`."""
    return np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=value)
