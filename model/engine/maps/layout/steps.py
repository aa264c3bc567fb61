"""What the choice of layouts is about: passes, the forms that they read and write, their ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from dpnet.model.engine.maps.dispatch import Dispatch, dispatches
from dpnet.model.engine.maps.layout.forms import Reader, Writer
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.passes import Pass
from dpnet.model.engine.maps.timing import Schedule

Key: TypeAlias = tuple[str, tuple[int, int]]
"""A tensor, and the stride of the consumers that a form of it is for."""


class Way(NamedTuple):
    """A dispatch of a pass, and the cycles of its tiles with it."""

    cycles: int
    dispatch: Dispatch


@dataclass(frozen=True)
class Step:
    """A pass, and the forms that it reads, takes skip values from and writes."""

    work: Pass
    read: Key
    skip: Key | None
    write: Key

    @property
    def sources(self) -> tuple[Key, ...]:
        """The forms that it reads, each once."""
        return tuple(dict.fromkeys([self.read, *([self.skip] if self.skip else [])]))

    @property
    def keys(self) -> tuple[Key, ...]:
        """All of its forms, each once."""
        return tuple(dict.fromkeys([*self.sources, self.write]))

    def users(self, key: Key, way: Dispatch) -> Iterator[Reader | Writer]:
        """What it asks of a form, dispatched that way."""
        if key in self.sources:
            yield Reader(way)
        if key == self.write:
            yield Writer(way, self.work.window.top, self.work.window.left)

    def ways(self, params: MapEngineParameters) -> list[Way]:
        """Its dispatches, the fastest ones first."""
        window, cycles = self.work.window, dict[int, int]()
        found = list(dispatches(window.width, window.height, params.clusters))
        for one in found:
            if one.groups not in cycles:
                cycles[one.groups] = Schedule.of(params, self.work, one).cycles
        return sorted((Way(cycles[one.groups], one) for one in found), key=lambda way: way.cycles)
