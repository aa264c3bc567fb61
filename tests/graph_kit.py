"""Random graphs for the tests of what reads them, without PyTorch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dpnet.model.graph.builder import Builder
from dpnet.model.graph.compounds import (
    affine,
    average,
    clamp,
    concatenate,
    convolve,
    linear,
    pad,
    pool,
    slice_axis,
)
from dpnet.model.graph.nodes import Add, Convolution, Graph, GraphError, Shape, Source
from dpnet.model.graph.pooling import Windows, average_pool, max_pool

RELU = (0.0, math.inf)


def one_node(
    shape: Shape, *operations: object, inputs: tuple[str, ...] = (), name: str = ""
) -> Graph:
    """Operations one after the other on an input of this shape; `inputs` of the last one."""
    builder = Builder(name)
    last = builder.input(shape, Source("x"))
    for place, operation in enumerate(operations):
        ends = place == len(operations) - 1
        read = inputs if inputs and ends else (last,)
        last = builder.add(operation, read, Source(f"n{place}"))  # type: ignore[arg-type]
    return builder.graph(last)


class RandomGraph:
    """A graph of random operations that a small network may have, on a map or a signal.

    `layouts`: with reshapes and permutations in odd orders too, which `simplify` may refuse.
    """

    def __init__(
        self, seed: int, *, shape: Shape | None = None, steps: int = 8, layouts: bool = False
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.layouts = layouts
        self.builder = Builder(f"random{seed}")
        if shape is None:
            shape = (self._from(1, 5), self._from(1, 10), self._from(1, 10))
        self.maps = [self.builder.input(shape, Source("x"))]
        for step in range(steps):
            self._step(Source(f"n{step}"))

    @property
    def graph(self) -> Graph:
        """The graph of what the last step made."""
        return self.builder.graph(self.maps[-1])

    def pictures(self, count: int) -> NDArray[np.float64]:
        """Inputs of it."""
        shape = self.builder.shape(self.maps[0])
        return self.random.standard_normal((count, *shape))

    def _from(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def _step(self, source: Source) -> None:
        """One more map; an operation that does not fit is none."""
        kinds = [
            self._convolution,
            self._convolution,
            self._depthwise,
            self._pool,
            self._norm,
            self._clamp,
            self._add,
            self._concatenate,
            self._cut,
            self._average,
            self._shortcut,
            *([self._permute, self._reshape, self._linear, self._shuffle] if self.layouts else []),
        ]
        kind = kinds[self._from(0, len(kinds) - 1)]
        name = self.maps[-1 - self._from(0, min(1, len(self.maps) - 1))]
        try:
            self.maps.append(kind(name, source))
        except GraphError:
            return

    def _numbers(self, *shape: int) -> NDArray[np.float64]:
        return self.random.standard_normal(shape) / 2

    def _convolution(self, name: str, source: Source, groups: int = 0) -> str:
        channels = self.builder.shape(name)[0]
        groups = groups or int(self.random.choice([g for g in (1, 1, 2) if channels % g == 0]))
        rows = groups * self._from(1, 4)
        kernel = (self._from(1, 4), self._from(1, 4))
        operator = Convolution(
            self._numbers(rows, channels // groups, *kernel),
            self._numbers(rows),
            (self._from(1, 2), self._from(1, 3)),
            (self._from(1, 2), self._from(1, 2)),
            (self._from(0, 2), self._from(0, 2), self._from(0, 2), self._from(0, 1)),
            groups,
        )
        return convolve(self.builder, name, operator, source)

    def _depthwise(self, name: str, source: Source) -> str:
        return self._convolution(name, source, self.builder.shape(name)[0])

    def _pool(self, name: str, source: Source) -> str:
        shape = self.builder.shape(name)
        if len(shape) != 3:
            raise GraphError("only maps are pooled")
        rows, columns = (self._windows(size) for size in shape[1:])
        choice = self._from(0, 2)
        if choice == 0:
            return pool(self.builder, name, max_pool(rows, columns), source)
        operator = average_pool(rows, columns, with_padding=choice == 1)
        return pool(self.builder, name, operator, source)

    def _windows(self, size: int) -> Windows:
        kernel = self._from(1, 3)
        padding = self._from(0, kernel // 2)
        return Windows(size, kernel, self._from(1, 3), padding, ceil=bool(self._from(0, 1)))

    def _norm(self, name: str, source: Source) -> str:
        shape = (-1, *[1] * (len(self.builder.shape(name)) - 1))
        values = [self._numbers(self.builder.shape(name)[0]).reshape(shape) for _ in "ab"]
        return affine(self.builder, name, values[0], values[1], source)

    def _clamp(self, name: str, source: Source) -> str:
        bounds = [RELU, (0.0, 0.5), (-0.3, 0.3), (0.1, math.inf), (-math.inf, 0.2)]
        low, high = bounds[self._from(0, len(bounds) - 1)]
        return clamp(self.builder, name, low, high, source)

    def _add(self, name: str, source: Source) -> str:
        like = [one for one in self.maps if self.builder.shape(one) == self.builder.shape(name)]
        other = like[self._from(0, len(like) - 1)]
        return self.builder.add(Add(), (name, other), source)

    def _concatenate(self, name: str, source: Source) -> str:
        shape = self.builder.shape(name)
        like = [one for one in self.maps if self.builder.shape(one)[1:] == shape[1:]]
        return concatenate(self.builder, [name, like[self._from(0, len(like) - 1)]], 0, source)

    def _cut(self, name: str, source: Source) -> str:
        """A strided slice, or zeros around."""
        shape = self.builder.shape(name)
        if self._from(0, 1):
            axis = self._from(0, len(shape) - 1)
            start, step = self._from(0, 1), self._from(1, 2)
            return slice_axis(self.builder, name, axis, start, shape[axis], step, source)
        sides = [(self._from(-1, 2), self._from(-1, 2)) for _ in shape]
        return pad(self.builder, name, sides, source)

    def _shortcut(self, name: str, source: Source) -> str:
        """A convolution of stride 2 and, added to it, its input's every second position with
        channels of zeros, as the ResNets of CIFAR have it."""
        shape = self.builder.shape(name)
        if len(shape) != 3:
            raise GraphError("only maps have shortcuts")
        before, after = self._from(0, 2), self._from(0, 2)
        rows = shape[0] + before + after
        weight = self._numbers(rows, shape[0], 3, 3)
        operator = Convolution(weight, self._numbers(rows), (2, 2), padding=(1, 1, 1, 1))
        found = convolve(self.builder, name, operator, source)
        for axis in (1, 2):
            name = slice_axis(self.builder, name, axis, 0, shape[axis], 2, source)
        name = pad(self.builder, name, [(before, after), (0, 0), (0, 0)], source)
        return self.builder.add(Add(), (found, name), source)

    def _average(self, name: str, source: Source) -> str:
        return average(self.builder, name, [1, 2], keep=True, total=False, source=source)

    def _permute(self, name: str, source: Source) -> str:
        order = self.random.permutation(len(self.builder.shape(name)))
        return self.builder.permute(name, order.tolist(), source)

    def _reshape(self, name: str, source: Source) -> str:
        size = int(np.prod(self.builder.shape(name)))
        first = int(self.random.choice([n for n in range(1, size + 1) if size % n == 0]))
        rest = size // first
        second = int(self.random.choice([n for n in range(1, rest + 1) if rest % n == 0]))
        shape = ((first, second, rest // second), (first, rest), (size,))[self._from(0, 2)]
        return self.builder.reshape(name, shape, source)

    def _linear(self, name: str, source: Source) -> str:
        columns, rows = self.builder.shape(name)[-1], self._from(1, 5)
        weight = self._numbers(rows, columns)
        return linear(self.builder, name, weight, self._numbers(rows), "", source)

    def _shuffle(self, name: str, source: Source) -> str:
        """Channels in another order, as ShuffleNet has it."""
        channels, *places = shape = self.builder.shape(name)
        groups = next(g for g in (2, 3, 1) if channels % g == 0)
        name = self.builder.reshape(name, (groups, channels // groups, *places), source)
        name = self.builder.permute(name, (1, 0, *range(2, len(places) + 2)), source)
        return self.builder.reshape(name, shape, source)
