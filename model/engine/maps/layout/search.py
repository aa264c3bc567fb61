"""The ways of all passes that cost the fewest cycles together, pitch by pitch.

A pass is fast where the rows of what it reads and writes have the right length modulo the number of
banks, and what suits the writer of a map need not suit its readers.  The sum over all passes, a
function of all maps' pitches, is minimized exactly, one map after the other (elimination of
variables, as in dynamic programming).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.maps.dispatch import Dispatch
from dpnet.model.engine.maps.layout.forms import Reader, Writer, twists
from dpnet.model.engine.maps.layout.steps import Key, Step, Way
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import ceil_div
from dpnet.model.maps.layers import MapNetwork

__all__ = ["best_ways"]

Costs = NDArray[np.float64]

TABLE = 1 << 22
"""Entries of a table at most: maps that need a larger one are given up to `Choice`."""


@dataclass(frozen=True)
class _Table:
    """Costs by the pitches of `keys` modulo the number of banks, a dimension each."""

    keys: tuple[Key, ...]
    costs: Costs

    def over(self, keys: Sequence[Key]) -> Costs:
        """The costs as an array over these keys, which hold all of its own."""
        order = sorted(range(len(self.keys)), key=lambda n: keys.index(self.keys[n]))
        shape = [self.costs.shape[0] if key in self.keys else 1 for key in keys]
        return self.costs.transpose(order).reshape(shape)


def best_ways(
    params: MapEngineParameters, network: MapNetwork, steps: Sequence[Step]
) -> list[list[Way]]:
    """Each pass's ways, from the one that is chosen on to the slowest one."""
    searches = [_Ways(params, network, step) for step in steps]
    pitches = _least([search.table for search in searches] + _sizes(params, network, steps))
    return [search.left(pitches) for search in searches]


class _Ways:
    """A pass's ways, and which of them the pitches of its maps allow."""

    def __init__(self, params: MapEngineParameters, network: MapNetwork, step: Step) -> None:
        self.params, self.network, self.step = params, network, step
        self.ways = step.ways(params)
        shape = (params.clusters,) * len(step.keys)
        self.number = np.full(shape, -1)
        for n, way in enumerate(self.ways):
            open_ = self._readable(way.dispatch) & (self.number < 0)
            if open_.any():
                self.number[open_ & self._writable(way.dispatch)] = n
            if (self.number >= 0).all():
                break

    @property
    def table(self) -> _Table:
        cycles = np.array([way.cycles for way in self.ways], float)
        return _Table(self.step.keys, cycles[self.number])

    def left(self, pitches: dict[Key, int]) -> list[Way]:
        """The ways from the first one on that these pitches allow; all where they do not say."""
        if not pitches:
            return self.ways
        return self.ways[int(self.number[tuple(pitches[key] for key in self.step.keys)]) :]

    def _along(self, key: Key, values: Sequence[bool]) -> NDArray[np.bool_]:
        shape = [len(values) if key == other else 1 for other in self.step.keys]
        return np.array(values, bool).reshape(shape)

    def _readable(self, way: Dispatch) -> NDArray[np.bool_]:
        found = np.ones_like(self.number, bool)
        clusters, reader = self.params.clusters, Reader(way)
        for key in self.step.sources if way.crosses else ():
            least = max(way.row, _columns(self.network, key))
            pitches = least + (np.arange(clusters) - least) % clusters
            found &= self._along(key, [reader.spans(int(pitch), clusters) for pitch in pitches])
        return found

    def _writable(self, way: Dispatch) -> NDArray[np.bool_]:
        key, clusters, window = self.step.write, self.params.clusters, self.step.work.window
        differences = Writer(way, window.top, window.left).differences(key[1])
        fit = twists(differences, key[1], clusters, range(clusters))
        return self._along(key, [bool(one.any()) for one in fit])


def _columns(network: MapNetwork, key: Key) -> int:
    """The least pitch of a form."""
    return ceil_div(network.tensor(key[0]).shape[2], key[1][1])


def _sizes(params: MapEngineParameters, network: MapNetwork, steps: Sequence[Step]) -> list[_Table]:
    """Of pitches that cost equal cycles the one that takes the fewest words: less than a cycle."""
    found = []
    for key in dict.fromkeys(key for step in steps for key in step.keys):
        least = _columns(network, key)
        more = (np.arange(params.clusters) - least) % params.clusters
        channels, height, _ = network.tensor(key[0]).shape
        found.append(_Table((key,), np.array(more * channels * height * 2.0**-32, float)))
    return found


def _least(tables: Sequence[_Table]) -> dict[Key, int]:
    """The pitches of least cost; none if a table would be too large."""
    open_tables, steps = list(tables), []
    keys = {key for table in tables for key in table.keys}
    while keys:
        near = {key: _neighbors(open_tables, key) for key in sorted(keys)}
        key = min(near, key=lambda one: len(near[one]))
        taken = [table for table in open_tables if key in table.keys]
        over = (*near[key], key)
        if taken[0].costs.shape[0] ** len(over) > TABLE:
            return {}
        total = sum((table.over(over) for table in taken), np.zeros(1))
        steps.append((key, near[key], total.argmin(axis=-1)))
        open_tables = [table for table in open_tables if key not in table.keys]
        open_tables.append(_Table(near[key], total.min(axis=-1)))
        keys.remove(key)
    pitches: dict[Key, int] = {}
    for key, others, best in reversed(steps):
        pitches[key] = int(best[tuple(pitches[other] for other in others)])
    return pitches


def _neighbors(tables: Sequence[_Table], key: Key) -> tuple[Key, ...]:
    found = {other for table in tables if key in table.keys for other in table.keys}
    return tuple(sorted(found - {key}))
