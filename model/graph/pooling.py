"""The windows of PyTorch's poolings: how many, how far, how many values each (NumPy only)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.graph.nodes import AveragePool, GraphError, MaxPool, Pair

__all__ = ["Windows", "adaptive", "average_pool", "max_pool"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Windows:
    """The windows along one axis of `size` values, as PyTorch counts them; `padding` is before and
    behind them, unless `behind` is another number.

    With `ceil` a last window may be partial, unless it would begin in the padding
    behind the values.
    """

    size: int
    kernel: int
    stride: int
    padding: int = 0
    dilation: int = 1
    ceil: bool = False
    behind: int | None = None

    @property
    def after(self) -> int:
        return self.padding if self.behind is None else self.behind

    @property
    def reach(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    @property
    def count(self) -> int:
        span = self.size + self.padding + self.after - self.reach
        if span < 0 and not self.ceil:
            raise GraphError(f"a window of {self.reach} is larger than {self.size} values")
        count = (-(-span // self.stride) if self.ceil else span // self.stride) + 1
        if self.ceil and (count - 1) * self.stride >= self.size + self.padding:
            count -= 1
        if count < 1:
            raise GraphError(f"a window of {self.reach} is larger than {self.size} values")
        return count

    @property
    def starts(self) -> NDArray[np.int64]:
        return np.arange(self.count) * self.stride - self.padding

    @property
    def sides(self) -> Pair:
        """The padding (before, after) with which every window is whole."""
        needed = int(self.starts[-1]) + self.reach - self.size
        return self.padding, max(self.after, needed)

    def check_values(self) -> None:
        """`GraphError` if a window holds nothing but padding."""
        taps = self.starts[:, None] + self.dilation * np.arange(self.kernel)
        if not ((taps >= 0) & (taps < self.size)).any(axis=1).all():
            raise GraphError("a window holds nothing but padding; use less padding")

    def lengths(self, with_padding: bool) -> Floats:
        """How many values each window counts; those beyond the padding never do."""
        ends = np.minimum(self.starts + self.kernel, self.size + self.after)
        if with_padding:
            return (ends - self.starts).astype(np.float64)
        inside = np.minimum(ends, self.size) - np.maximum(self.starts, 0)
        return inside.astype(np.float64)


def max_pool(rows: Windows, columns: Windows) -> MaxPool:
    """The operator with these windows in height and width."""
    rows.check_values()
    columns.check_values()
    return MaxPool(
        (rows.kernel, columns.kernel),
        (rows.stride, columns.stride),
        (rows.dilation, columns.dilation),
        (*rows.sides, *columns.sides),
    )


def average_pool(
    rows: Windows, columns: Windows, *, with_padding: bool = True, override: int | None = None
) -> AveragePool:
    """The operator with these windows; `override` is a divisor for all of them."""
    if override is None and not with_padding:
        rows.check_values()
        columns.check_values()
    divisor = np.outer(rows.lengths(with_padding), columns.lengths(with_padding))
    if override is not None:
        divisor = np.full_like(divisor, override)
    kernel, stride = (rows.kernel, columns.kernel), (rows.stride, columns.stride)
    return AveragePool(kernel, stride, divisor, (*rows.sides, *columns.sides))


def adaptive(size: int, count: int) -> Windows:
    """The windows that adaptive pooling to `count` values has; `GraphError` unless they are all of
    one length and evenly apart."""
    places = np.arange(count)
    starts = places * size // count
    ends = -(-(places + 1) * size // count)
    lengths, steps = set((ends - starts).tolist()), set(np.diff(starts).tolist())
    if len(lengths) != 1 or len(steps) > 1 or 0 in steps:
        raise GraphError(
            f"adaptive pooling of {size} values to {count} has windows that differ; "
            "choose a size that divides the map's"
        )
    return Windows(size, lengths.pop(), steps.pop() if steps else 1)
