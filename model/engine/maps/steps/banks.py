"""The banks of maps, pictures and results: what they hold, and when it was written and read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

NEVER = -1


class ScheduleError(RuntimeError):
    """The words of the stores ask for what the engine cannot do."""


class Banks:
    """A bank of `depth` bytes for each cluster, one write a cycle; each stage has a copy of it, one
    read a cycle.

    A read sees what was written before its cycle.  `writer` is the pass that wrote a byte last, in
    this run; `NEVER` for those that were there before.
    """

    def __init__(self, clusters: int, depth: int) -> None:
        self.bytes = np.zeros((clusters, depth), np.uint8)
        self.writer = np.full((clusters, depth), NEVER)
        self._written = np.full((clusters, depth), NEVER)
        self._read = np.full((clusters, depth), NEVER)
        self._last_write = NEVER

    def start(self) -> None:
        """A run begins: cycles count from 0."""
        for stamps in (self.writer, self._written, self._read):
            stamps.fill(NEVER)
        self._last_write = NEVER

    def read(self, cycle: Integers, bank: Integers, word: Integers, used: Bools) -> Integers:
        """The bytes at `bank` and `word` (n, clusters), read by one stage in the cycles (n,), each
        of them one of its own; 0 where they are not `used`."""
        _distinct(bank, used, "read")
        self._within(word[used])
        at = bank[used], word[used]
        when = np.broadcast_to(cycle[:, None], bank.shape)[used]
        early = self._written[at] >= when
        if early.any():
            late = int(self._written[at][early][0])
            raise ScheduleError(f"cycle {when[early][0]} reads what cycle {late} writes")
        np.maximum.at(self._read, at, when)
        values = np.zeros(bank.shape, np.int64)
        values[used] = self.bytes[at]
        return values

    def write(
        self, first: int, bank: Integers, word: Integers, used: Bools, values: Integers, number: int
    ) -> None:
        """From cycle `first` on, pass `number` writes `values` (n, clusters) at `bank` (clusters,)
        and `word` (n, clusters), n cycles long, a byte a cycle for each cluster that is `used`."""
        if first <= self._last_write:
            raise ScheduleError(f"cycle {first} writes, but results come until {self._last_write}")
        self._last_write = first + len(word) - 1
        _distinct(bank[None], used[None], "written")
        at = np.broadcast_to(bank[used], (len(word), used.sum())), word[:, used]
        self._within(at[1])
        cycle = np.broadcast_to(first + np.arange(len(word))[:, None], at[1].shape)
        if (self._read[at] > cycle).any():
            raise ScheduleError(f"cycle {first} or later writes what is still to be read")
        if (self.writer[at] == number).any():
            raise ScheduleError(f"pass {number} writes a byte twice")
        self.bytes[at] = values[:, used]
        self._written[at], self.writer[at] = cycle, number

    def _within(self, word: Integers) -> None:
        wrong = word[(word < 0) | (word >= self.bytes.shape[1])]
        if wrong.size:
            raise ScheduleError(f"there is no word {int(wrong[0])} in the banks")


def _distinct(bank: Integers, used: Bools, done: str) -> None:
    """Refuses a bank that two clusters want in one cycle."""
    ordered = np.sort(np.where(used, bank, -1 - np.arange(bank.shape[-1])), axis=-1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        raise ScheduleError(f"bank {int(ordered[:, 1:][twice][0])} is {done} twice in a cycle")
