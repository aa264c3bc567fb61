"""What is proved: a block, its properties, how deep; and the bugs that must break them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dpnet.sim.formal.harness import Harness
from dpnet.sim.formal.sby import ANEW


@dataclass(frozen=True)
class Proof:
    """A block with its properties, proved together by k-induction with k = `depth`.

    `build` takes the harness' keyword arguments.  Its covers are reached within `cover_depth`
    cycles after reset (0: it has none).  `meaning` is one line for the report.  `like` names the
    proof of the same properties at another size, whose planted bugs count for this one too.
    `engine` proves it (`dpnet.sim.formal.sby`).
    """

    name: str
    meaning: str
    build: Callable[..., Harness]
    depth: int = 2
    cover_depth: int = 0
    like: str = ""
    engine: str = ANEW


@dataclass(frozen=True)
class Bug:
    """`old` in `file` becomes `new`; within `depth` cycles after reset it breaks `property` of
    `proof`.  What it breaks before cycle `first` is not looked for, which saves the time of showing
    that it is nothing."""

    name: str
    proof: str
    property: str
    depth: int
    file: str
    old: str
    new: str
    first: int = 0
