"""Random passes of a map engine's clusters: what the stores hold, what is given in which cycle, and
what must come out, reckoned with NumPy."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.layout import record_words
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.records import MAP_ROW
from dpnet.model.engine.parameters import ceil_log2
from dpnet.model.golden.rounding import shift_right_even
from dpnet.sim.kit.streams import Layout, Pause, pack, unpack

Integers = NDArray[np.int64]
Ports = dict[str, int]

LATENCY = 39
"""From a bucket's command to the result of the row with its number."""
ERRORS = 30
"""From there to `sigma` and `range` of that row."""
BITS = {0: 1, 1: 2, 3: 4}
"""Bits of an index by `mode`."""
TAG_BITS = 9


def drawn(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> Integers:
    """Integers of a range, its ends among them, or nothing but one of its ends."""
    kind = rng.random()
    if kind < 0.15:
        return np.full(shape, rng.choice([low, high]))
    if kind < 0.35:
        return rng.choice([low, high, 0, -1, 1], shape)
    return rng.integers(low, high, shape, endpoint=True)


class Contents:
    """The stores: nibbles of index words (streams, words, lanes), entries (row groups, lanes, K)
    and parameters of rows (row groups, lanes), all 0 at first."""

    def __init__(self, params: MapEngineParameters, rng: np.random.Generator) -> None:
        self.params, self.rng = params, rng
        self.nibbles = np.zeros((params.streams, params.stream_depth, LANES), np.int64)
        self.entries = np.zeros((params.row_groups, LANES, LANES), np.int64)
        names = ("bias", "multiplier", "shift", "factor")
        self.rows = {name: np.zeros((params.row_groups, LANES), np.int64) for name in names}

    def half(self, half: int) -> tuple[range, range]:
        """(words, row groups) of the first or second half."""
        words, groups = self.params.stream_depth // 2, self.params.row_groups // 2
        return range(half * words, (half + 1) * words), range(half * groups, (half + 1) * groups)

    def draw(self, half: int) -> None:
        """New contents of a half."""
        words, groups = self.half(half)
        rng, bits = self.rng, self.params.entry_bits
        for part in self.nibbles[:, words.start : words.stop]:
            part[:] = rng.integers(0, 16, part.shape)
            if rng.random() < 0.2:  # the same buckets again and again
                part[:] = part[0]
        for g in groups:
            shape = (LANES,)
            self.entries[g] = drawn(rng, -(1 << bits - 1), (1 << bits - 1) - 1, (LANES, LANES))
            wide = int(rng.choice([1 << 24, 1 << 38, 1 << 39], p=[0.7, 0.2, 0.1]))
            self.rows["bias"][g] = drawn(rng, -wide, wide - 1, shape)
            self.rows["multiplier"][g] = rng.integers(1 << 15, 1 << 16, shape)
            low, high = (0, 63) if rng.random() < 0.2 else (30, 38)
            self.rows["shift"][g] = rng.integers(low, high, shape, endpoint=True)
            self.rows["factor"][g] = drawn(rng, -(1 << 17), (1 << 17) - 1, shape)

    def index_words(self) -> Integers:
        """As the link writes them (streams, words, 2)."""
        halves = self.nibbles.reshape(*self.nibbles.shape[:2], 2, 8)
        words: Integers = (halves << np.arange(0, 32, 4)).sum(3)
        return words

    def row_words(self) -> Integers:
        """As the link writes them (row groups, lanes, words)."""
        return record_words(MAP_ROW, **self.rows).astype(np.int64)

    def writes(self, half: int) -> Iterator[Ports]:
        """What writes the contents of a half, a word a cycle."""
        words, groups = self.half(half)
        index, rows = self.index_words(), self.row_words()
        for s, n, part in np.ndindex(index.shape[0], len(words), 2):
            at = words[n]
            yield {
                "index_address": at,
                "index_write": 1 << 2 * s + part,
                "w_data": int(index[s, at, part]),
            }
        for g in groups:
            for lane, k in np.ndindex(LANES, LANES):
                yield {
                    "book_address": g * LANES + k,
                    "book_write": 1 << lane,
                    "w_data": int(self.entries[g, lane, k]) & 0xFFFFFFFF,
                }
                if k < MAP_ROW.words:
                    yield {
                        "row_address": g * LANES + lane,
                        "row_write": 1 << k,
                        "w_data": int(rows[g, lane, k]),
                    }

    def indices(self, stream: int, first: int, mode: int, adds: int) -> Integers:
        """Of the lanes (adds, lanes), from a word of a stream on."""
        bits, n = BITS[mode], np.arange(adds)
        words = self.nibbles[stream, first + n * bits // 4]
        found: Integers = words >> (n * bits % 4)[:, None] & (1 << bits) - 1
        return found

    def finished(
        self, sums: Integers, skip: Integers, slot: int, limits: tuple[int, int]
    ) -> tuple[Integers, NDArray[np.bool_]]:
        """(bytes, whether the accumulator left 40 bits) of sums and skip values (rows, n)."""
        bias, multiplier, shift, factor = (row[slot][:, None] for row in self.rows.values())
        total = sums + bias + factor * skip
        beyond = (total < -(1 << 39)) | (total >= 1 << 39)
        product = np.where(beyond, 0, total) * multiplier
        value = shift_right_even(product, np.broadcast_to(shift, product.shape))
        return np.clip(value, *limits) & 0xFF, beyond


@dataclass
class Tile:
    """Additions of a pass: `values` (stages at work, adds, clusters), the stream and the row group
    of each stage; words from `first` on."""

    values: Integers
    streams: list[int]
    slots: list[int]
    rows: list[int]
    first: int


@dataclass
class Pass:
    """`taps` × `channels` additions a tile, to the maxima or to the lanes."""

    taps: int
    channels: int
    maximum: bool
    mode: int
    limits: tuple[int, int]
    tiles: list[Tile]


class Passes:
    """Draws passes that the contents of a half are good for."""

    def __init__(self, contents: Contents, half: int) -> None:
        self.contents, self.params, self.rng = contents, contents.params, contents.rng
        self.words, self.slots = contents.half(half)

    def draw(self) -> Pass:
        rng = self.rng
        maximum, mode = bool(rng.random() < 0.3), int(rng.choice(list(BITS)))
        channels = int(rng.integers(1, LANES + 1)) if maximum else 1
        most = self.params.max_columns // channels
        if not maximum:
            most = min(most, len(self.words) * 4 // BITS[mode])
        taps = int(rng.integers(1, (most if rng.random() < 0.7 else min(most, 3)) + 1))
        low, high = sorted(rng.integers(-128, 256, 2).tolist())
        limits = [(-128, 127), (0, 255), (0, 127), (low, high)][int(rng.integers(4))]
        words = 0 if maximum else -(-taps * BITS[mode] // 4)
        rows = channels if maximum else LANES
        tiles = [self._tile(taps * channels, rows, words) for _ in range(rng.integers(1, 4))]
        if not maximum:
            channels = taps = 0
        return Pass(taps, channels, maximum, mode, limits, tiles)

    def _tile(self, adds: int, rows: int, words: int) -> Tile:
        rng, params = self.rng, self.params
        stages = params.stages if rng.random() < 0.5 else int(rng.integers(1, params.stages + 1))
        return Tile(
            values=drawn(rng, -128, 127, (stages, adds, params.clusters)),
            streams=rng.integers(0, params.streams, stages).tolist(),
            slots=rng.choice(self.slots, stages).tolist(),
            rows=rng.integers(1, rows + 1, stages).tolist(),
            first=int(rng.integers(self.words.start, self.words.stop - words + 1)),
        )


class Schedule:
    """What the clusters are given in each cycle, and what must come out when.

    `ports` has what is given beyond an idle cycle, `results` tag and bytes (None where nothing is
    promised), `ranges` the cycles of that strobe.
    """

    def __init__(self, contents: Contents, source: random.Random, pause: Pause) -> None:
        self.contents, self.params = contents, contents.params
        self.source, self.pause = source, pause
        self.ports: defaultdict[int, Ports] = defaultdict(dict)
        self.results: dict[int, tuple[int, list[int | None]]] = {}
        self.ranges: set[int] = set()
        self.drained: list[tuple[int, int, int, int]] = []
        """(cycle, stage, slot, rows) of all drains."""
        self.start = self.end = self._result = 0
        self._free = [0] * self.params.stages
        self._drain = 0
        self._command: Layout = [
            *((f"address_{s}", self._address_bits) for s in range(self.params.streams)),
            ("use", self.params.streams),
            *(("mode", 2), ("position", 2), ("maximum", 1), ("first", 1), ("channel", 4)),
        ]
        self._bucket: Layout = [
            ("stage", ceil_log2(self.params.stages) or 1),
            *(("bucket", 4), ("slot", ceil_log2(self.params.row_groups) or 1)),
            *(("row", 1), ("maximum", 1), ("tag", TAG_BITS)),
        ]

        free = {name: -1 for name, _ in self._command} | {"use": 0, "maximum": 0}
        self._unused = pack(self._command, **free)

    @property
    def _address_bits(self) -> int:
        return ceil_log2(self.params.stream_depth) or 1

    def command(self, **fields: int) -> int:
        """A command of stage 0; what is not given is rubbish, but nothing is used."""
        names = [name for name, _ in self._command]
        rubbish = dict(zip(names, unpack(self._command, self.rest()), strict=True))
        return pack(self._command, **rubbish | fields)

    def rest(self) -> int:
        """A command that is none: rubbish that uses nothing."""
        return self.source.getrandbits(sum(bits for _, bits in self._command)) & self._unused

    def rubbish(self) -> int:
        """A bucket that is none."""
        return self.source.getrandbits(sum(bits for _, bits in self._bucket))

    def reads(self, ports: Ports) -> tuple[int, int] | None:
        """(streams used, word) of a command, if there is one."""
        if "command" not in ports:
            return None
        names = [name for name, _ in self._command]
        fields = dict(zip(names, unpack(self._command, ports["command"]), strict=True))
        used = next((s for s in range(self.params.streams) if fields["use"] >> s & 1), 0)
        return fields["use"], fields[f"address_{used}"]

    def add(self, one: Pass) -> None:
        """A pass as soon as it may begin."""
        low, high = (limit & 511 for limit in one.limits)
        for number, tile in enumerate(one.tiles):
            stages, adds, _ = tile.values.shape
            offsets = self._offsets(adds)
            self.start = max([self.start, *self._earliest(stages)])
            drain = self.start + offsets[-1] + 1
            if number == 0:  # the limits are steady until the last result has left
                self.start += max(0, self._result - drain)
                drain = self.start + offsets[-1] + 1
            for n, offset in enumerate(offsets):
                self._addition(one, tile, self.start + offset, n)
            for g in range(stages):
                self._begin(tile, self.start + LANES * g + offsets[0], g)
                drain = max(drain + self._idle(), self.start + LANES * g + offsets[-1] + 1)
                drain = max(drain, self._drain)
                if number == 0 and g == 0:
                    self.ports[drain] |= {"low": low, "high": high}
                self._stage(one, tile, self.start + LANES * g, offsets, drain, g)
                self._free[g] = self._drain = drain + LANES
            self.start = max(self.start + LANES * stages, self.start + offsets[-1] + 1)

    def _earliest(self, stages: int) -> Iterator[int]:
        """When stage 0 may begin, because each stage is free 16 cycles later than that before."""
        for g, free in enumerate(self._free):
            if g < stages:
                yield free - LANES * g

    def _offsets(self, adds: int) -> list[int]:
        offsets, at = [], 0
        for _ in range(adds):
            at += self._idle()
            offsets.append(at)
            at += 1
        return offsets

    def _idle(self) -> int:
        count = 0
        while self.pause():
            count += 1
        return count

    def _addition(self, one: Pass, tile: Tile, cycle: int, n: int) -> None:
        fields: dict[str, int] = {}
        if one.maximum:
            tap, channel = divmod(n, one.channels)
            fields = {"maximum": 1, "first": int(tap == 0), "channel": channel}
        else:
            at = tile.first + n * BITS[one.mode] // 4
            used = set(tile.streams)
            fields = {f"address_{s}": at for s in used}
            fields |= {"use": sum(1 << s for s in used), "mode": one.mode, "position": n % 4}
        self.ports[cycle]["command"] = self.command(**fields)

    def _begin(self, tile: Tile, cycle: int, g: int) -> None:
        stage_bits = ceil_log2(self.params.stages) or 1
        self.ports[cycle] |= {
            "start__valid": 1,
            "start__payload": g | tile.streams[g] << stage_bits,
        }

    def _stage(
        self, one: Pass, tile: Tile, start: int, offsets: list[int], drain: int, g: int
    ) -> None:
        """A stage's bytes, drain and results."""
        values, slot, rows = tile.values[g], tile.slots[g], tile.rows[g]
        clusters = range(self.params.clusters)
        skip = drawn(self.contents.rng, -128, 127, (LANES, self.params.clusters))
        given = [(start + offset, x) for offset, x in zip(offsets, values, strict=True)]
        for cycle, x in [*given, *((drain + k, skip[k]) for k in range(LANES))]:
            self.ports[cycle + 3] |= {f"x__{g}__{c}": int(x[c]) & 0xFF for c in clusters}
        sums = self._sums(one, tile, g)
        o, beyond = self.contents.finished(sums, skip, slot, one.limits)
        for k in range(LANES):
            tag, there = self.source.getrandbits(TAG_BITS), k < rows
            self._show(drain + k, g, k, slot, int(there), int(one.maximum), tag)
            if there:
                found = [None if beyond[k, c] else int(o[k, c]) for c in clusters]
                self.results[drain + k + LATENCY] = tag, found
                self._result = drain + k + LATENCY
                if beyond[k].any():
                    self.ranges.add(drain + k + ERRORS)
        self.drained.append((drain, g, slot, rows))
        self.end = drain + LANES + LATENCY

    def _show(self, cycle: int, *fields: int) -> None:
        names = ("stage", "bucket", "slot", "row", "maximum", "tag")
        payload = pack(self._bucket, **dict(zip(names, fields, strict=True)))
        self.ports[cycle] |= {"drain__valid": 1, "drain__payload": payload}

    def _sums(self, one: Pass, tile: Tile, g: int) -> Integers:
        """Of the rows (lanes, clusters); or maxima."""
        x = tile.values[g]
        if one.maximum:
            largest = np.zeros((LANES, x.shape[1]), np.int64)
            largest[: one.channels] = x.reshape(one.taps, one.channels, -1).max(0)
            return largest
        index = self.contents.indices(tile.streams[g], tile.first, one.mode, len(x))
        weights = self.contents.entries[tile.slots[g], np.arange(LANES), index]
        sums: Integers = weights.T @ x
        return sums

    def flush(self) -> None:
        """A drain of every stage, without rows."""
        self.start = max(self.start, self._drain)
        for g in range(self.params.stages):
            for k in range(LANES):
                self._show(self.start + k, g, k, 0, 0, self.source.getrandbits(1), 0)
            self.start += LANES
        self._free = [self.start] * self.params.stages
        self._drain, self.end = self.start, self.start + LATENCY


def parameters_of(values: dict[str, Any]) -> MapEngineParameters:
    """Small stores, unless `values` say otherwise."""
    return MapEngineParameters(**{"max_columns": 100, "row_groups": 4, **values})
