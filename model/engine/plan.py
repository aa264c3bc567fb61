"""Which engine for a network and a chip: a search over stages × columns × segments.

Cycles are `EngineParameters`' formulas, which the benches prove exact, resources
`dpnet.model.engine.estimate`'s.  Standard library only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from typing import Any

from dpnet.model.engine.devices import KINDS, LIMITS, Device
from dpnet.model.engine.estimate import Estimate, estimate, lane
from dpnet.model.engine.estimate_ecp5 import estimate_ecp5, lane_luts, lane_memories
from dpnet.model.engine.parameters import EngineParameters, ceil_div
from dpnet.model.indices import packed_bits

MOST_STAGES = 16
MOST_SEGMENTS = 32
BANKS = (16, 10, 8)
ROW_BEATS = (8, 32, 64)
VECTORS = 8
"""Vectors back to back that the stores of an engine for a repeated layer hold."""

LARGEST_ROWS = 1 << 16
LARGEST_COLUMNS = 4096
LARGEST_POSITIONS = 1 << 20

MOST_VECTORS = 256
"""Vectors that an engine takes in one run."""

_WIDTHS = {
    "fp32": {"activation_bits": 24, "entry_bits": 25, "edges": "fp32"},
    "int8": {"activation_bits": 8, "entry_bits": 16, "edges": "integer"},
}
ACTIVATIONS = tuple(_WIDTHS)
FULL = 0.8
"""From this part of its limit on a resource binds."""


@dataclass(frozen=True)
class Layer:
    """A matrix of `rows` × `columns` with `k` values a row; one of a convolution is multiplied by
    a vector at each of its `positions`, the pixels of its output."""

    rows: int
    columns: int
    k: int
    positions: int = 1

    def __post_init__(self) -> None:
        for name, high in (
            ("rows", LARGEST_ROWS),
            ("columns", LARGEST_COLUMNS),
            ("k", 16),
            ("positions", LARGEST_POSITIONS),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= high:
                raise ValueError(f"{name} must be an integer from 1 to {high}, not {value!r}")


@dataclass(frozen=True)
class Proposal:
    """An engine that the chip holds.

    `cycles` is what `plan` minimized; `latency` one input through the network, with all positions
    of its convolutions, `work`, `drain` and `wait` its parts: cycles with a beat, those spent on
    drains, and the rest; `loads` the part taken of what may be taken of each kind; `binds` what
    stands against fewer cycles.
    """

    engine: EngineParameters
    cycles: int
    latency: int
    work: int
    drain: int
    resources: Estimate
    loads: Mapping[str, float]

    @property
    def wait(self) -> int:
        return self.latency - self.work - self.drain

    @property
    def binds(self) -> str:
        """A resource that is (nearly) used up, else 'drain' or 'latency', whichever takes more
        cycles."""
        kind = max(self.loads, key=lambda kind: self.loads[kind])
        if self.loads[kind] >= FULL:
            return kind
        return "drain" if self.drain > self.wait else "latency"


def plan(
    layers: Sequence[Layer],
    device: Device,
    *,
    activation: str,
    limits: Mapping[str, Fraction] = LIMITS,
    repeated: bool = False,
    widths: Mapping[str, int] | None = None,
    count: int = 5,
) -> list[Proposal]:
    """The `count` fastest engines that hold `layers` within `limits` of `device`, the fastest
    first, of equally fast ones the smallest; none if none fits.

    Integer layers feed each other in one run, fp32 matrices are runs of their own; `repeated`: a
    single layer, and cycles from one vector to the next, times its positions.  Layers of several
    positions run as many vectors back to back as the stores hold; a chain has none.  `widths`
    replaces bits of activations and entries.  Raises `ValueError`.
    """
    if activation not in _WIDTHS:
        raise ValueError(f"activation must be one of {', '.join(_WIDTHS)}, not {activation!r}")
    if not layers:
        raise ValueError("layers must have at least one layer")
    if repeated and len(layers) > 1:
        raise ValueError(f"only a single layer can be repeated, not {len(layers)}")
    if activation != "fp32" and len(layers) > 1 and any(x.positions > 1 for x in layers):
        raise ValueError("a chain of integer layers runs one vector: each must have one position")
    room = {kind: device.sizes[kind] * limits[kind] for kind in KINDS}
    if index_blocks(layers) > room["bram36"]:
        return []
    search = _Search(layers, activation, repeated, room, dict(widths or {}), device.family)
    return search.best(count)


class _Search:
    """Engines in the order of their cycles, estimated until enough of them fit."""

    def __init__(
        self,
        layers: Sequence[Layer],
        activation: str,
        repeated: bool,
        room: Mapping[str, Fraction],
        widths: Mapping[str, int],
        family: str = "xc7",
    ) -> None:
        self.layers, self.fp32, self.repeated = layers, activation == "fp32", repeated
        self.room = room
        self.sizes: dict[str, Any] = {
            **_WIDTHS[activation],
            **widths,
            "index_bits": packed_bits(max(layer.k for layer in layers)),
            "max_columns": max(layer.columns for layer in layers),
            "layers": max(8, len(layers)),
            "packed": False,
            "multiplier": "18x18" if family == "ecp5" else "25x18",
        }
        self.ecp5 = family == "ecp5"

    def best(self, count: int) -> list[Proposal]:
        """The `count` best of those that fit."""
        found: list[Proposal] = []
        shapes: set[tuple[int, int, int]] = set()
        ranked = sorted(self._candidates(), key=lambda one: one[:2])
        for _, equal in groupby(ranked, key=lambda one: one[0]):
            fitting = [made for one in equal if (made := self._fitted(one[2]))]
            fitting.sort(key=lambda one: one.resources.lut)
            for made in fitting:
                shape = made.engine.stages, made.engine.columns, made.engine.segments
                if shape not in shapes:
                    shapes.add(shape)
                    found.append(made)
            if len(found) >= count:
                break
        return found[:count]

    def _candidates(self) -> Iterator[tuple[int, int, EngineParameters]]:
        """(cycles, lanes, engine) of every shape whose lanes alone fit."""
        small = EngineParameters(stages=1, columns=1, segments=1, **self.sizes)
        part, adder = lane(small, dsp=True), small.sum_bits
        most = min(
            int(self.room["lutram"]) // part.lutram,
            int(self.room["lut"] + adder * self.room["dsp"]) // (part.lut + adder),
        )
        if self.ecp5:
            most = min(
                int(self.room["lutram"]) // lane_memories(small),
                int(self.room["lut"]) // lane_luts(small),
            )
        for stages in range(1, MOST_STAGES + 1):
            for columns in sorted(set(self._columns(stages))):
                for segments in range(1, MOST_SEGMENTS + 1):
                    lanes = stages * columns * segments
                    if lanes <= most:
                        for engine in self._variants(stages, columns, segments):
                            yield self._cycles(engine), lanes, engine

    def _columns(self, stages: int) -> Iterator[int]:
        """Just as many as some number of tiles needs: more would idle."""
        for layer in self.layers:
            for tiles in range(1, layer.rows + 1):
                columns = ceil_div(layer.rows, stages * tiles)
                if columns <= min(1024, int(self.room["dsp"])):
                    yield columns
                if columns == 1:
                    break

    def _variants(self, stages: int, columns: int, segments: int) -> Iterator[EngineParameters]:
        if self._indices(stages, columns, segments) > 2 * self.room["bram36"]:
            return
        for bank in BANKS if columns > min(BANKS) else BANKS[:1]:
            for row_beats in ROW_BEATS if self.fp32 else (1,):
                shape = EngineParameters(
                    stages=stages,
                    columns=columns,
                    segments=segments,
                    bank=bank,
                    row_beats=row_beats,
                    **self.sizes,
                )
                # Stores that no engine has are no candidates.
                with contextlib.suppress(ValueError):
                    yield replace(shape, **self._stores(shape))

    def _indices(self, stages: int, columns: int, segments: int) -> int:
        """Halves of a block RAM that indices, codebooks and old values take at least."""
        rows = sum(
            ceil_div(layer.rows, stages * columns) * ceil_div(layer.columns, segments)
            for layer in self.layers
        )
        bits = columns * self.sizes["index_bits"]
        # Several short rows share a word.
        blocks = ceil_div(rows, 512) if bits > 16 else ceil_div(rows * bits, 32 * 512)
        return stages * segments * ceil_div(bits, 32) * blocks + columns

    def _stores(self, engine: EngineParameters) -> dict[str, Any]:
        """Stores for the network: an integer network has vectors and results after each other,
        fp32 matrices share them; indices and codebooks of all layers are there together."""
        tiles = [engine.tiles(layer.rows) for layer in self.layers]
        beats = [engine.beats(layer.columns) for layer in self.layers]
        rows = [ceil_div(count, engine.row_beats) for count in beats]
        slots = [count * engine.stages for count in tiles]
        times = [VECTORS if self.repeated else min(VECTORS, x.positions) for x in self.layers]
        together = max if self.fp32 else sum
        return {
            "index_depth": sum(t * b for t, b in zip(tiles, beats, strict=True)),
            "slots": sum(slots),
            "result_slots": together(t * count for t, count in zip(times, slots, strict=True)),
            "vector_words": together(t * count for t, count in zip(times, rows, strict=True))
            * engine.row_beats
            * engine.segments,
        }

    def _cycles(self, engine: EngineParameters) -> int:
        if self.repeated:
            [layer] = self.layers
            each = engine.interval_cycles(layer.rows, layer.columns, layer.k, fp32_in=self.fp32)
            return layer.positions * each
        return self._latency(engine)

    def _latency(self, engine: EngineParameters) -> int:
        """One input through all layers: a run adds a cycle; a chain is one, an fp32 matrix one for
        as many positions as the stores hold."""
        if not self.fp32 and len(self.layers) > 1:
            last = len(self.layers) - 1
            return 1 + sum(
                self._run(engine, layer, 1, forward=n < last) for n, layer in enumerate(self.layers)
            )
        return sum(self._runs(engine, layer) for layer in self.layers)

    def _runs(self, engine: EngineParameters, layer: Layer) -> int:
        """A layer that stands alone, at all of its positions."""
        rows = ceil_div(engine.beats(layer.columns), engine.row_beats)
        slots = engine.tiles(layer.rows) * engine.stages
        most = min(MOST_VECTORS, engine.vector_rows // rows, engine.result_slots // slots)
        whole, rest = divmod(layer.positions, most)
        counts = [(whole, most), (1, rest)] if rest else [(whole, most)]
        return sum(times * (1 + self._run(engine, layer, vectors)) for times, vectors in counts)

    def _run(
        self, engine: EngineParameters, layer: Layer, vectors: int, forward: bool = False
    ) -> int:
        return engine.layer_cycles(
            layer.rows,
            layer.columns,
            layer.k,
            fp32_in=self.fp32,
            fp32_out=self.fp32,
            forward=forward,
            vectors=vectors,
        )

    def _fitted(self, engine: EngineParameters) -> Proposal | None:
        """The proposal, with as many adders in DSP slices as LUTs run short; None if too large."""
        taken = estimate_ecp5(engine) if self.ecp5 else estimate(engine)
        short = taken.lut - self.room["lut"]
        spare = int(self.room["dsp"]) - taken.dsp
        # An ECP5's multipliers do not add up what a lane does.
        if short > 0 and spare >= engine.stages and not self.ecp5:
            needed = ceil_div(int(short) + 1, engine.stages * engine.sum_bits)
            dsp = min(engine.columns, spare // engine.stages, needed)
            engine = replace(engine, dsp_columns=dsp)
            taken = estimate(engine)
        loads = {kind: float(getattr(taken, kind) / self.room[kind]) for kind in KINDS}
        if max(loads.values()) > 1:
            return None
        work = sum(
            x.positions * engine.tiles(x.rows) * engine.beats(x.columns) for x in self.layers
        )
        spent = sum(
            x.positions * engine.tiles(x.rows) * engine.tile_cycles(x.columns, x.k)
            for x in self.layers
        )
        return Proposal(
            engine, self._cycles(engine), self._latency(engine), work, spent - work, taken, loads
        )


def index_blocks(layers: Sequence[Layer]) -> int:
    """The least number of block RAMs that hold the indices of `layers`, with their parity."""
    bits = packed_bits(max(layer.k for layer in layers))
    weights = sum(layer.rows * layer.columns for layer in layers)
    return ceil_div(weights * bits, 2 * 512 * 32)
