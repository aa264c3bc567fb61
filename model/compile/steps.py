"""A chain of fully connected layers as plain arithmetic, and how its batch norms are folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dpnet.model.compile.errors import CompileError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Linear:
    """y = W x + bias: `weight` (R, C), `bias` (R,); `names` are all by which the layer goes."""

    name: str
    weight: Floats
    bias: Floats
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Affine:
    """y = scale · x + shift, each (C,): a batch norm that has learned."""

    name: str
    scale: Floats
    shift: Floats


@dataclass(frozen=True)
class Relu:
    """y = max(x, 0)."""

    name: str


Step = Linear | Affine | Relu


def evaluate(steps: Sequence[Step], x: Floats) -> Floats:
    """What the steps give for the rows of x (n, C), in float64."""
    for step in steps:
        if isinstance(step, Linear):
            x = x @ step.weight.T + step.bias
        elif isinstance(step, Affine):
            x = x * step.scale + step.shift
        else:
            x = np.maximum(x, 0)
    return x


@dataclass(eq=False)
class Stage:
    """y = gain · f(scale · (W u) + bias) + offset, f being ReLU if `relu`, where u is what the
    stage before gives, or for the first one the input times `in_scale` plus `in_shift`.

    All are per row, `in_scale` and `in_shift` per column.
    """

    linear: Linear
    in_scale: Floats
    in_shift: Floats
    scale: Floats = field(init=False)
    bias: Floats = field(init=False)
    gain: Floats = field(init=False)
    offset: Floats = field(init=False)
    relu: bool = False
    last: str = ""
    """The name of the batch norm behind the ReLU, if there is one."""

    def __post_init__(self) -> None:
        rows = len(self.linear.weight)
        self.scale, self.bias = np.ones(rows), self.linear.bias
        self.gain, self.offset = np.ones(rows), np.zeros(rows)

    def add(self, step: Affine | Relu) -> None:
        """One more step behind the stage."""
        if isinstance(step, Affine):
            if self.relu:
                self.gain, self.last = self.gain * step.scale, step.name
                self.offset = self.offset * step.scale + step.shift
            else:
                self.scale = self.scale * step.scale
                self.bias = self.bias * step.scale + step.shift
        elif self.last:
            raise CompileError(
                f"{step.name} (ReLU) follows {self.last} (BatchNorm1d) and that a ReLU; the engine "
                "has one ReLU behind each Linear"
            )
        else:
            self.relu = True


def stages(steps: Sequence[Step]) -> list[Stage]:
    """The steps as stages, a Linear each; `CompileError` where they are no such chain.

    A batch norm behind a Linear joins its rows.  Behind a ReLU its factors become the rows' gains
    and its shifts go into the next stage's bias; in front of all it belongs to the first stage.
    """
    found: list[Stage] = []
    before: list[Affine] = []
    for step in steps:
        if isinstance(step, Linear):
            columns = step.weight.shape[1]
            found.append(Stage(step, *_joined(before if not found else [], columns)))
        elif found:
            found[-1].add(step)
        elif isinstance(step, Affine):
            before.append(step)
        else:
            raise CompileError(
                f"{step.name} (ReLU) stands in front of the first Linear; the engine has a ReLU "
                "only behind one"
            )
    if not found:
        raise CompileError("the network has no Linear layer; there is nothing to compile")
    if found[-1].offset.any() or (found[-1].gain < 0).any():
        raise CompileError(
            f"{found[-1].last} (BatchNorm1d) stands behind the last ReLU; it can be folded only "
            "into a Linear behind it: leave it out, or put it in front of the ReLU"
        )
    return found


def _joined(affine: Sequence[Affine], columns: int) -> tuple[Floats, Floats]:
    """The factors and shifts of batch norms one after the other."""
    scale, shift = np.ones(columns), np.zeros(columns)
    for step in affine:
        scale, shift = scale * step.scale, shift * step.scale + step.shift
    return scale, shift
