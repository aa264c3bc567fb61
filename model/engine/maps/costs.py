"""What each layer of a network costs on an engine: cycles and bytes by what they are for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.maps.placement import Placement
from dpnet.model.engine.maps.plan import Plan, PlannedPass
from dpnet.model.engine.maps.records import MAP_ROW, PASS, TAP
from dpnet.model.engine.maps.words import codebook_words, stored_words

__all__ = ["Bytes", "Cycles", "layer_costs"]

WORD = 4
"""Bytes of a word of the link, of which an entry and a parameter take whole ones."""
INDEX_WORD = 2 * WORD
"""Bytes of a word of indices, a nibble for each lane."""


@dataclass(frozen=True)
class Cycles:
    """A layer's cycles: `adds`, while stage 0 adds; `drains`, until its tile's buckets are read, as
    far as nothing is added meanwhile; `waits` for values of the layer before; `start`, before the
    first layer's first command; `end`, until the last layer's last result is written."""

    adds: int = 0
    drains: int = 0
    waits: int = 0
    start: int = 0
    end: int = 0

    @property
    def total(self) -> int:
        return sum(astuple(self))

    def __add__(self, other: Cycles) -> Cycles:
        return Cycles(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Bytes:
    """What is loaded for a layer: `indices`, `codebooks`, parameters of `rows`, and `descriptors`
    with the taps that no layer before it has."""

    indices: int = 0
    codebooks: int = 0
    rows: int = 0
    descriptors: int = 0

    @property
    def total(self) -> int:
        return sum(astuple(self))

    def __add__(self, other: Bytes) -> Bytes:
        return Bytes(*map(sum, zip(astuple(self), astuple(other), strict=True)))


def layer_costs(placement: Placement) -> tuple[tuple[Cycles, Bytes], ...]:
    """Of each layer of the network, in order; cycles add up to the plan's, bytes to the words that
    the placement has, without the gaps between them.  A copy for readers of another stride counts
    for the layer that is the last to write what it copies."""
    plan = placement.plan
    last = {layer.output: n for n, layer in enumerate(plan.network.layers)}
    places = {id(layer): n for n, layer in enumerate(plan.network.layers)}
    found = [(Cycles(), Bytes()) for _ in plan.network.layers]
    costs = zip(plan.passes, _cycles(plan), _bytes(placement), strict=True)
    for one, cycles, bytes_ in costs:
        n = places.get(id(one.work.layer), last[one.write[0]])
        found[n] = found[n][0] + cycles, found[n][1] + bytes_
    return tuple(found)


def _cycles(plan: Plan) -> Iterable[Cycles]:
    first, last = plan.passes[0], plan.passes[-1]
    for one in plan.passes:
        adds = one.schedule.tiles * one.work.adds
        yield Cycles(
            adds=adds,
            drains=one.schedule.cycles - adds,
            waits=one.wait,
            start=first.start - first.wait if one is first else 0,
            end=plan.cycles - last.start - last.schedule.cycles if one is last else 0,
        )


def _bytes(placement: Placement) -> Iterable[Bytes]:
    """Of each pass; the taps by the first pass that has them."""
    tapped: set[int] = set()
    entry_bits = placement.params.entry_bits
    for one, at in zip(placement.plan.passes, placement.places, strict=True):
        taps = 0 if at.first_tap in tapped else TAP.words * len(one.work.window.taps)
        tapped.add(at.first_tap)
        yield Bytes(
            indices=INDEX_WORD * _index_words(one),
            codebooks=WORD * len(codebook_words(one.work, entry_bits)),
            rows=WORD * MAP_ROW.words * LANES * one.work.row_groups,
            descriptors=WORD * (PASS.words + taps),
        )


def _index_words(one: PlannedPass) -> int:
    return stored_words(one.work) * one.work.index_groups
