"""Training in several processes (`torchrun`, DDP): codebooks solved once, the same in all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor, distributed

__all__ = ["together"]

Found = TypeVar("Found")


def together(
    names: Iterable[str], solve: Callable[[str], Found], weights: Mapping[str, Tensor]
) -> dict[str, Found]:
    """What `solve` gives for each name, the same objects' values in every process.

    Each name is solved in one of the processes of the default group, in all at once; without a
    group, in this one.  What one raises, all raise.  `weights` are what is solved: ValueError where
    they are not the same everywhere, as DDP keeps them.
    """
    names = list(names)
    if _count() == 1:
        return {name: solve(name) for name in names}
    rank, count = distributed.get_rank(), distributed.get_world_size()
    own = {name: _tried(solve, name) for name in names[rank::count]}
    # As text, since a NaN is no other NaN's equal.
    sums = {name: repr(float(weights[name].detach().double().sum())) for name in names}
    said: list[Any] = [None] * count
    distributed.all_gather_object(said, (own, sums))
    for name in names:
        if any(others[name] != sums[name] for _, others in said):
            raise ValueError(
                f"{name} must be the same in all {count} processes: wrap the net in "
                "DistributedDataParallel before it is trained"
            )
    found = {name: value for solved, _ in said for name, value in solved.items()}
    for name in names:
        if isinstance(found[name], Exception):
            raise found[name]
    return {name: found[name] for name in names}


def _tried(solve: Callable[[str], Found], name: str) -> Found | Exception:
    """What it gives, or raises: the others wait for either."""
    try:
        return solve(name)
    except Exception as error:
        return error


def _count() -> int:
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()
