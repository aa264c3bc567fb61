"""Which map engine for a network and a chip: a search over clusters, stages and streams.

Cycles are the planner's, to which the engine keeps, resources those of `estimate_maps`, or for an
ECP5 of `estimate_maps_ecp5`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from dpnet.model.engine.devices import KINDS, LIMITS, Device
from dpnet.model.engine.estimate import Estimate
from dpnet.model.engine.maps.allocate import map_bases, picture_bases, words_needed
from dpnet.model.engine.maps.costs import Cycles, layer_costs
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge, Placement, place, taps_at
from dpnet.model.engine.maps.records import MAP_ROW, TAP
from dpnet.model.engine.maps.sizing.estimate import estimate_maps
from dpnet.model.engine.maps.sizing.estimate_ecp5 import LINK, estimate_maps_ecp5
from dpnet.model.engine.parameters import ceil_div, ceil_log2
from dpnet.model.engine.regions import Region
from dpnet.model.maps.layers import MapNetwork

CLUSTERS = (*range(1, 13), 14, 16, 18, 20, 22, 24, 28, 32, 36, 40, 44, 48)
STAGES = (1, 2, 3, 4, 6, 8, 10, 12, 16)
STREAMS = (2, 4)
APART_STREAMS = (1,)
"""With a picture in each stage no tile has more than one row group."""
FULL = 0.8
"""From this part of its limit on a resource binds."""


@dataclass(frozen=True)
class Family:
    """How engines are made for chips of a family: the size of its `multiplier`, the `estimate` of
    an engine, and the `room` that is left for what every design has besides."""

    multiplier: str
    estimate: Callable[[MapEngineParameters], Estimate]
    room: Estimate


FAMILIES = {
    "xc7": Family("25x18", estimate_maps, Estimate()),
    "ecp5": Family("18x18", estimate_maps_ecp5, LINK),
}


@dataclass(frozen=True)
class MapProposal:
    """An engine that the chip and that holds the network: `cycles` of a run of its `pictures` by
    what they are for, `resources`, and `loads`, the part taken of what may be taken of each kind.
    """

    engine: MapEngineParameters
    cycles: Cycles
    resources: Estimate
    loads: Mapping[str, float]
    pictures: int = 1

    @property
    def each(self) -> float:
        """Cycles of a picture."""
        return self.cycles.total / self.pictures

    @property
    def binds(self) -> str:
        """A resource that is (nearly) used up, else what most of the cycles are for."""
        kind = max(self.loads, key=lambda kind: self.loads[kind])
        if self.loads[kind] >= FULL:
            return kind
        spent = {name: getattr(self.cycles, name) for name in ("adds", "drains", "waits")}
        return max(spent, key=lambda name: spent[name])


def propose(
    network: MapNetwork,
    device: Device,
    *,
    limits: Mapping[str, Fraction] = LIMITS,
    count: int = 5,
    apart: bool = False,
) -> list[MapProposal]:
    """The `count` fastest engines that hold `network` within `limits` of `device`, the fastest
    first, of equally fast ones the smallest; none if none fits.  A picture is in all stages, or
    pictures are `apart`, one in each.

    For each number of stages and streams the largest number of clusters is planned that the chip
    holds, with stores as large as the network needs; shapes of less than two thirds of the lanes
    of the largest one that fits are left out.
    Raises `ValueError` naming the layer for a network that no engine computes.
    """
    family = FAMILIES[device.family]
    room = {kind: device.sizes[kind] * limits[kind] - getattr(family.room, kind) for kind in KINDS}
    found: list[MapProposal] = []
    columns = _columns(network, family, room, APART_STREAMS if apart else STREAMS)
    for shapes in sorted(columns, key=lambda shapes: -shapes[0].lanes):
        most = max((one.engine.lanes for one in found), default=0)
        for shape in shapes:
            if 3 * shape.lanes < 2 * most:
                break
            if made := _fitted(shape, network, family, room, apart):
                found.append(made)
                break
    return sorted(found, key=lambda one: (one.each, one.resources.lut))[:count]


def sized(
    shape: MapEngineParameters, network: MapNetwork, apart: bool = False
) -> tuple[MapEngineParameters, Placement]:
    """The engine of this shape whose stores are as large as the network needs, and the network in
    one of larger stores; with pictures `apart` or not.  Raises `NetworkTooLarge` where no engine of
    the shape holds it."""
    made = place(replace(shape, **_LARGEST, index_depth=shape.streams << 20), network, apart)
    plan, streams = made.plan, shape.streams
    needed = {
        "max_columns": 1 << ceil_log2(max(one.work.bucket_adds for one in plan.passes)),
        "index_depth": streams * (len(made.words[Region.INDEX]) >> 1 + ceil_log2(streams)),
        "row_groups": len(made.words[Region.ROWS]) // (MAP_ROW.words * LANES),
        "taps": (len(made.words[Region.LAYERS]) - taps_at(made.params)) // TAP.words,
        "passes": len(plan.passes),
        "map_depth": words_needed(plan, map_bases(plan)),
        "picture_depth": 2 * words_needed(plan, picture_bases(plan)),
        "result_depth": 8 * (made.result_words >> shape.cluster_bits),
    }
    steps = _STEPS | {"index_depth": 64 * streams}
    sizes: dict[str, Any] = {
        name: max(1, ceil_div(size, steps[name])) * steps[name] for name, size in needed.items()
    }
    return replace(shape, **sizes), made


_LARGEST: dict[str, Any] = {
    "max_columns": 4096,
    "row_groups": 1 << 12,
    "taps": 1 << 16,
    "passes": 1 << 10,
    "map_depth": 1 << 17,
    "picture_depth": 1 << 17,
    "result_depth": 1 << 17,
}
_STEPS = {
    "max_columns": 1,
    "row_groups": 8,
    "taps": 32,
    "passes": 8,
    "map_depth": 64,
    "picture_depth": 64,
    "result_depth": 64,
}
"""Stores are multiples of this."""


def _columns(
    network: MapNetwork,
    family: Family,
    room: Mapping[str, Fraction],
    several: tuple[int, ...],
) -> Iterator[list[MapEngineParameters]]:
    """For each number of streams and stages, shapes that fit with stores below which no plan can
    be, the most clusters first."""
    for streams in several:
        for stages in STAGES:
            shapes = [
                shape
                for clusters in CLUSTERS
                if (shape := _least(network, clusters, stages, streams, family)) is not None
                and max(_loads(family.estimate(shape), room).values()) <= 1
            ]
            if shapes:
                yield shapes[::-1]


def _least(
    network: MapNetwork, clusters: int, stages: int, streams: int, family: Family
) -> MapEngineParameters | None:
    """The shape with stores that hold all weights, and what any layer reads and writes; None if no
    engine has them."""
    sizes = {tensor.name: math.prod(tensor.shape) for tensor in network.tensors}
    weights = sum(layer.indices.size for layer in network.layers if layer.indices is not None)
    sizes[network.input.name], picture = 0, sizes[network.input.name]
    held = [
        sizes[layer.input] + sizes[layer.output]
        for layer in network.layers
        if layer.output != network.output
    ]
    try:
        return MapEngineParameters(
            clusters=clusters,
            stages=stages,
            streams=streams,
            max_columns=1,
            taps=1,
            index_depth=streams * max(1, ceil_div(weights, 4 * LANES * streams)),
            row_groups=len(network.layers),
            passes=len(network.layers),
            map_depth=4 * ceil_div(max([4, *held]), 4 * clusters),
            picture_depth=8 * ceil_div(2 * picture, 8 * clusters),
            result_depth=8 * ceil_div(2 * sizes[network.output], 8 * clusters),
            multiplier=family.multiplier,
        )
    except ValueError:
        return None


def _fitted(
    shape: MapEngineParameters,
    network: MapNetwork,
    family: Family,
    room: Mapping[str, Fraction],
    apart: bool,
) -> MapProposal | None:
    """The proposal; None if the network or the engine is too large."""
    try:
        engine, placement = sized(shape, network, apart)
    except NetworkTooLarge:
        return None
    taken = family.estimate(engine)
    loads = _loads(taken, room)
    if max(loads.values()) > 1:
        return None
    cycles = sum((cost for cost, _ in layer_costs(placement)), Cycles())
    return MapProposal(engine, cycles, taken, loads, placement.plan.pictures)


def _loads(taken: Estimate, room: Mapping[str, Fraction]) -> dict[str, float]:
    return {kind: float(getattr(taken, kind) / room[kind]) for kind in KINDS}
