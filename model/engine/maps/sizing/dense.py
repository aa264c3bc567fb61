"""The engine that a map engine is compared with: the same shape and the same supply of values, but
each lane multiplies a value by an int8 weight of its own (decision 0014).  It has no RTL yet."""

from __future__ import annotations

from dataclasses import dataclass

from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters

__all__ = ["DenseMapParameters"]

FINISH_SLICES = 3
"""DSP slices of a cluster's way from sums to bytes, as in the map engine."""


@dataclass(frozen=True)
class DenseMapParameters(MapEngineParameters):
    """Sizes of the dense engine; `dpnet.model.engine.maps.plan.plan` plans it as it plans a map
    engine.  A lane hands its sum over and goes on in the next cycle, so that a tile has no cycles
    of its own for the drain."""

    def tile_cycles(self, adds: int, stages: int) -> int:
        """Cycles from one tile to the next: the products of stage 0, or the drains of the `stages`
        that have work, 16 rows one after the other, which share a cluster's way out."""
        return max(adds, LANES * stages)

    @property
    def slices(self) -> int:
        """DSP slices, two products of 8 bits in each."""
        return self.lanes // 2 + FINISH_SLICES * self.clusters
