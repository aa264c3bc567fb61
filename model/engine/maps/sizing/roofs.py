"""How near each layer comes to what its engine can do, and what the cycles between are lost to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from dpnet.model.engine.maps.figures import operator_text
from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.maps.passes import Pass
from dpnet.model.engine.maps.plan import Plan, PlannedPass
from dpnet.model.engine.maps.words import stored_words

__all__ = ["LOSSES", "ROOFS", "LayerRoofs", "layer_roofs"]

ROOFS = {
    "lanes": "one addition each a cycle",
    "reads": "a value of a map for 16 lanes of a unit a cycle",
    "indices": "a word of 16 indices a stream and cycle, each of them once",
    "results": "a value a cluster and cycle: its multipliers and its bank's port",
}
"""What bounds a layer's cycles from below, whatever the order of its work is."""

LOSSES = {
    "groups": "lanes of another group of channels than the one that is read",
    "rows": "lanes without a row, where rows are no multiple of 16",
    "positions": "clusters without a position",
    "stages": "stages without work in a pass's tiles",
    "drains": "buckets that are read while nothing is added",
    "waits": "for values of the layer before, or for its last results",
    "ends": "before the first command, and until the last result is written",
}
"""What cycles are lost to, beyond those of "lanes"."""


@dataclass(frozen=True, kw_only=True)
class LayerRoofs:
    """A layer's `cycles` in a run, with copies of what it makes; by the names of `ROOFS` the fewest
    that each resource allows, by those of `LOSSES` what they were lost to: these and the roof of
    the lanes add up to `cycles`."""

    name: str
    operator: str
    cycles: int
    roofs: Mapping[str, Fraction] = field(repr=False)
    lost: Mapping[str, Fraction] = field(repr=False)

    @property
    def limit(self) -> str:
        """The resource whose roof is the highest."""
        return max(self.roofs, key=lambda name: self.roofs[name])

    @property
    def reached(self) -> float:
        """The part, 0 to 1, of the cycles that the highest roof asks for."""
        return float(self.roofs[self.limit] / self.cycles) if self.cycles else 0.0

    def largest(self) -> tuple[tuple[str, float], ...]:
        """What a tenth of the cycles or more are lost to, the most first, with their parts."""
        parts = {name: float(lost / self.cycles) for name, lost in self.lost.items() if self.cycles}
        found = [(name, part) for name, part in parts.items() if part >= 0.1]
        return tuple(sorted(found, key=lambda one: -one[1]))


def layer_roofs(plan: Plan) -> tuple[LayerRoofs, ...]:
    """Of each layer that has a pass, in order, of a run of all pictures; a copy for readers of
    another stride has a row of its own."""
    found: dict[str, LayerRoofs] = {}
    network = plan.network
    own = {layer.name for layer in network.layers}
    for one in plan.passes:
        layer = one.work.layer
        is_own = layer.name in own
        operator = operator_text(layer, network.tensor(layer.input)) if is_own else "copy"
        roofs, lost = _roofs(plan, one), _lost(plan, one)
        before = found.get(layer.name)
        if before is not None:
            roofs = {name: roofs[name] + before.roofs[name] for name in roofs}
            lost = {name: lost[name] + before.lost[name] for name in lost}
        cycles = roofs["lanes"] + sum(lost.values())
        found[layer.name] = LayerRoofs(
            name=layer.name, operator=operator, cycles=int(cycles), roofs=roofs, lost=lost
        )
    return tuple(found.values())


def _roofs(plan: Plan, one: PlannedPass) -> dict[str, Fraction]:
    work, params = one.work, plan.params
    positions = work.window.height * work.window.width * plan.pictures
    results = work.count * positions
    words = stored_words(work) * work.index_groups
    return {
        "lanes": Fraction(results * _own_adds(work), params.lanes),
        "reads": Fraction(work.row_groups * positions * work.adds, params.units),
        "indices": Fraction(words, params.streams),
        "results": Fraction(results, params.clusters),
    }


def _lost(plan: Plan, one: PlannedPass) -> dict[str, Fraction]:
    work, params, schedule = one.work, plan.params, one.schedule
    positions = work.window.height * work.window.width
    groups, pictures = one.dispatch.groups, plan.pictures
    items = work.row_groups * groups * pictures
    idle_rows = LANES * work.row_groups - work.count
    idle_positions = groups * params.clusters - positions
    adds = schedule.tiles * work.adds
    first, last = plan.passes[0], plan.passes[-1]
    ends = first.start - first.wait if one is first else 0
    ends += plan.cycles - last.start - last.schedule.cycles if one is last else 0
    each = Fraction(pictures, params.lanes)
    return {
        "groups": each * work.count * positions * (work.adds - _own_adds(work)),
        "rows": each * idle_rows * positions * work.adds,
        "positions": each * idle_positions * LANES * work.row_groups * work.adds,
        "stages": adds - Fraction(items, params.stages) * work.adds,
        "drains": Fraction(schedule.cycles - adds),
        "waits": Fraction(one.wait),
        "ends": Fraction(ends),
    }


def _own_adds(work: Pass) -> int:
    """Values that a row adds, or takes the maximum of, at a position."""
    if not work.block:
        return work.adds
    layer = work.layer
    kernel = layer.kernel[0] * layer.kernel[1]
    wide = 1 if layer.indices is None else layer.indices.shape[1] // kernel
    return len(work.window.taps) * wide
