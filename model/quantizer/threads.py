"""Parts of a task for several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numba import config


def thread_count() -> int:
    """As many as numba has (NUMBA_NUM_THREADS).

    Threads of our own, not numba's parallel loops: those abort when two threads enter them at once.
    To ask numba for its number of threads would start them, which sets PyTorch's number too.
    """
    return int(vars(config)["NUMBA_NUM_THREADS"])


def in_threads(action: Callable[[Any], Any], parts: Sequence[Any], threads: int) -> list[Any]:
    """`action` of each part, by up to `threads` threads; in this one if there is no other."""
    if min(threads, len(parts)) < 2:
        return [action(part) for part in parts]
    with ThreadPoolExecutor(min(threads, len(parts))) as pool:
        return list(pool.map(action, parts))


def slices(count: int, parts: int) -> list[slice]:
    """0..count - 1 in parts of about the same size."""
    edges = np.linspace(0, count, parts + 1).astype(int)
    return [slice(int(start), int(stop)) for start, stop in pairwise(edges)]
