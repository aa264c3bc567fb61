"""One operation of an exported graph with its arguments by name, and what its tensors are here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dpnet.model.graph.builder import Builder
from dpnet.model.graph.nodes import GraphError, Shape, Source

__all__ = ["Call", "Constant", "Handler", "Value"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the picture: the node that has its values for one picture, and
    whether PyTorch's tensor has a batch in front."""

    node: str
    batched: bool


@dataclass(frozen=True)
class Constant:
    """A tensor that does not: its numbers, and the parameters of the net that it is made of."""

    numbers: Floats
    parameters: frozenset[str] = frozenset()
    random: bool = False


@dataclass(frozen=True)
class Call:
    """An operation: what a handler needs to write it into `builder`.

    `batch` is the size of the batch in the exported graph.
    """

    builder: Builder
    source: Source
    operation: str
    arguments: Mapping[str, Any]
    results: Sequence[Shape]
    batch: int

    def refuse(self, why: str) -> GraphError:
        """The error to raise: `why`, with the source."""
        return GraphError(f"{self.source}: {why}")

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    def value(self, name: str) -> Value:
        """An argument that must depend on the picture."""
        found = self[name]
        if not isinstance(found, Value):
            raise self.refuse(f"{name} does not depend on the picture")
        return found

    def batched(self, name: str) -> str:
        """The node of an argument that must have the batch in front."""
        found = self.value(name)
        if not found.batched:
            raise self.refuse("it takes a tensor without the batch in front; keep the batch axis")
        return found.node

    def shape(self, value: Value) -> Shape:
        """A value's shape, without the batch."""
        return self.builder.shape(value.node)

    def constant(self, name: str) -> Floats | None:
        """An argument that must not depend on the picture, as numbers; None where none is given."""
        found = self[name]
        if found is None:
            return None
        if not isinstance(found, Constant):
            raise self.refuse(
                f"{name} depends on the picture; the engine's weights are the same for every "
                "picture"
            )
        if found.random:
            raise self.refuse(f"{name} is drawn at random; make it a parameter or a buffer")
        if np.iscomplexobj(found.numbers):
            raise self.refuse(f"{name} is complex; the engine has real numbers")
        if not np.isfinite(found.numbers).all():
            raise self.refuse(f"{name} holds a NaN or an infinity")
        return found.numbers

    def weight(self, name: str) -> tuple[Floats, str]:
        """A weight, and its parameter's name (empty if it is made of several, or of none)."""
        numbers = self.constant(name)
        if numbers is None:
            raise self.refuse(f"{name} is missing")
        parameters = self[name].parameters
        return numbers, next(iter(parameters)) if len(parameters) == 1 else ""

    def pair(self, name: str, default: Any = None, *, signal: bool = False) -> tuple[int, int]:
        """An argument of one or two numbers (height and width); of a `signal`, the width's with 1
        or 0 beside it."""
        given = self[name]
        given = default if given is None or given == [] else given
        values = [given] if isinstance(given, int) else [int(one) for one in given]
        if signal:
            return (0 if name == "padding" else 1), values[0]
        return values[0], values[-1]

    def axis(self, number: int, value: Value) -> int:
        """An axis of PyTorch's tensor as one of the node; `GraphError` for the batch's."""
        rank = len(self.shape(value)) + value.batched
        place = number % rank if rank else 0
        if value.batched and place == 0:
            raise self.refuse(
                "it works across the pictures of a batch; the engine computes each by itself"
            )
        return place - value.batched

    def result(self, place: int = 0) -> Shape:
        """A result's shape without the batch, as `reader` will take it."""
        full = self.results[place]
        if full[:1] == (self.batch,):
            return full[1:]
        if self.batch == 1:
            return full
        raise self.refuse(
            f"it makes {tuple(full)} of a batch of {self.batch} and mixes its pictures; keep the "
            "batch axis in front"
        )


Handler: TypeAlias = Callable[[Call], "str | list[str | None]"]
"""Writes an operation; the node of its result, or of each of its results (None: not had)."""
