"""The machine: stores, units and results of a map engine, pass after pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.maps.limits import SPREAD_BITS
from dpnet.model.engine.maps.parameters import (
    DESCRIPTOR_CYCLES,
    LANES,
    READ_CYCLES,
    START_CYCLES,
    WRITE_CYCLES,
    MapEngineParameters,
)
from dpnet.model.engine.maps.placement import deinterleaved, interleaved
from dpnet.model.engine.maps.steps.banks import Banks, Bools, Integers, ScheduleError
from dpnet.model.engine.maps.steps.dispatcher import Fields, Item, tiles
from dpnet.model.engine.maps.steps.stores import Stores, Tap
from dpnet.model.engine.parameters import ceil_log2
from dpnet.model.engine.regions import Region
from dpnet.model.golden.rounding import shift_right_even

Words = NDArray[np.uint32]


@dataclass
class PassTimes:
    """Cycles of a pass's first command and its last write; the passes whose bytes it read
    (`NEVER`: the picture, or what was there before); bytes of maps that it wrote."""

    start: int
    written: int = 0
    sources: set[int] = field(default_factory=set)
    bytes_written: int = 0


class Machine:
    """A map engine with these stores.  `buckets` (stages, clusters, lanes, K) count on without ever
    being emptied, modulo 2^`sum_bits`.  Where stages are apart, each has `maps` and `pictures` of
    its own; else their copies of the banks are alike, and are one here.  The first pass says for
    all of them which it is."""

    def __init__(self, params: MapEngineParameters, words: Mapping[Region, Words]) -> None:
        self.params = params
        self.stores = Stores(params, words)
        self._apart = self.stores.descriptor(0)["apart"]
        copies = range(params.stages if self._apart else 1)
        self.maps = [Banks(params.clusters, params.map_depth) for _ in copies]
        self.pictures = [Banks(params.clusters, params.picture_depth) for _ in copies]
        self.results = Banks(params.clusters, params.result_depth)
        shape = params.stages, params.clusters, LANES, LANES
        self.buckets = np.zeros(shape, np.int64)
        self.times: list[PassTimes] = []

    def write_picture(self, words: Words, half: int, stage: int = 0) -> None:
        """Words of the VECTOR region from the start of a half on, of a stage's copy."""
        banks = deinterleaved(words, self.params.clusters)
        first = half * self.params.picture_depth // 2
        self.pictures[stage].bytes[:, first : first + banks.shape[1]] = banks

    def read_results(self, words: int, half: int) -> Words:
        """Words of the RESULT region from the start of a half on."""
        first = half * self.params.result_depth // 2
        count = 4 * words >> ceil_log2(self.params.clusters)
        return interleaved(self.results.bytes[:, first : first + count])

    def read_maps(self, words: int, stage: int = 0) -> Words:
        """The first words of the MAPS region, of a stage's copy."""
        count = 4 * words >> ceil_log2(self.params.clusters)
        return interleaved(self.maps[stage].bytes[:, :count])

    def run(
        self,
        passes: int,
        half: int = 0,
        watch: Callable[[int], None] | None = None,
        pictures: int | None = None,
    ) -> int:
        """Runs the first `passes` passes on a half of the pictures, where stages are apart on those
        of the first `pictures` stages, or of all; the cycles that it takes.  `watch` is called with
        a pass's number when it has written all."""
        for banks in (*self.maps, *self.pictures, self.results):
            banks.start()
        self._busy_stages = self.params.stages if pictures is None or not self._apart else pictures
        self.times = []
        self._stage_free = np.zeros(self.params.stages, np.int64)
        self._drained, cycle = 0, START_CYCLES
        for number in range(passes):
            fields = self.stores.descriptor(number)
            cycle = self._pass(number, fields, half, cycle + fields["wait"])
            if watch is not None:
                watch(number)
        return self.times[-1].written

    def _pass(self, number: int, fields: Fields, half: int, start: int) -> int:
        """Returns the cycle in which the next pass may give its first command."""
        params = self.params
        if self.times and start < self.times[-1].start + DESCRIPTOR_CYCLES:
            raise ScheduleError(f"pass {number} begins before its descriptor is read")
        adds = fields["taps"] * fields["channels"]
        if self.times and start + adds < self.times[-1].written:
            raise ScheduleError(f"pass {number} drains while the one before still writes")
        self.times.append(PassTimes(start))
        taps = self.stores.taps(fields)
        if fields["apart"] != self._apart:
            raise ScheduleError(f"pass {number} has other pictures than the ones before it")
        work = list(tiles(fields, params.clusters, self._busy_stages, params.streams))
        for n, tile in enumerate(work):
            for stage, item in enumerate(tile):
                self._item(number, fields, taps, half, item, stage, start + LANES * stage)
            start += fields["tile"] if n < len(work) - 1 else fields["last_tile"]
        return start

    def _item(
        self,
        number: int,
        fields: Fields,
        taps: list[Tap],
        half: int,
        item: Item,
        stage: int,
        start: int,
    ) -> None:
        """One stage, one tile: additions, drain, results."""
        adds = fields["taps"] * fields["channels"]
        drain = start + adds
        for kind in ("read", "skip") if fields["skips"] else ("read",):
            self._beside(number, item, kind)
        if start < self._stage_free[stage] or drain < self._drained:
            raise ScheduleError(f"pass {number}: stage {stage} is not free in cycle {start}")
        self._stage_free[stage] = self._drained = drain + LANES
        x, inside = self._activations(fields, taps, half, item, stage, start)
        if fields["maximum"]:
            sums = _maxima(fields, x, inside)
        else:
            sums = self._sums(fields, item, stage, x)
        self._results(number, fields, half, item, stage, drain, sums)

    def _beside(self, number: int, item: Item, kind: str) -> None:
        """Refuses a group whose positions do not lie beside each other, a word or few apart."""
        word, bank = getattr(item.group, kind)
        used = np.array([one is not None for one in item.positions])
        banks = (bank + np.arange(len(used))) % self.params.clusters
        spread = item.column(kind, 0) - word
        far = (spread < 0) | (spread >= 1 << SPREAD_BITS)
        if (used & (far | (item.column(kind, 1) != banks))).any():
            raise ScheduleError(f"pass {number}: group {item.number} does not lie in one row")

    def _activations(
        self, fields: Fields, taps: list[Tap], half: int, item: Item, stage: int, start: int
    ) -> tuple[Integers, Bools]:
        """What the units read in a tile (adds, clusters), and where that is inside of the map."""
        clusters, channels = self.params.clusters, fields["channels"]
        words = item.column("read", 0) + item.row_group * fields["block_words"]
        banks = item.column("read", 1)
        y, x = (
            np.array([getattr(one, axis) if one else -1 for one in item.positions])
            for axis in ("y", "x")
        )
        used = np.array([one is not None for one in item.positions])
        bank = banks + np.array([tap.bank for tap in taps])[:, None]
        word = words + np.array([tap.word for tap in taps])[:, None] + (bank >= clusters)
        bank %= clusters
        inside = used & np.array([tap.inside(y, x, fields) for tap in taps])
        step = np.arange(channels)[None, :, None] * fields["channel_words"]
        shape = len(taps), channels, clusters
        inside = np.broadcast_to(inside[:, None], shape).reshape(-1, clusters)
        values = self._read(
            self._copy(stage, fields["picture"]),
            half * fields["picture"],
            start + READ_CYCLES + np.arange(len(taps) * channels),
            np.broadcast_to(bank[:, None], shape).reshape(-1, clusters),
            (word[:, None] + step).reshape(-1, clusters),
            inside,
        )
        return _lane_value(values, fields["unsigned"]), inside

    def _copy(self, stage: int, picture: int) -> Banks:
        """The banks that a stage reads."""
        return (self.pictures if picture else self.maps)[stage if self._apart else 0]

    def _read(
        self, banks: Banks, half: int, cycle: Integers, bank: Integers, word: Integers, used: Bools
    ) -> Integers:
        first = half * self.params.picture_depth // 2
        values = banks.read(cycle, bank, word + first, used)
        writers = banks.writer[bank[used], word[used] + first]
        self.times[-1].sources |= {int(writer) for writer in np.unique(writers)}
        return values

    def _sums(self, fields: Fields, item: Item, stage: int, x: Integers) -> Integers:
        """Σ entry · what each bucket has gained (clusters, lanes), and the Σ-check."""
        index = self.stores.indices(fields, 0 if fields["shared"] else item.row_group, len(x))
        entries = self.stores.codebook(fields["slot"] + item.row_group)
        before = self.buckets[stage].copy()
        for k in range(LANES):
            gained = x.T.astype(np.float64) @ (index == k)
            self.buckets[stage][:, :, k] += gained.astype(np.int64)
        bits = self.params.cluster.sum_bits
        self.buckets[stage] &= (1 << bits) - 1
        gain = self.buckets[stage] - before & (1 << bits) - 1
        gain = np.where(gain >> bits - 1, gain - (1 << bits), gain)
        if (gain.sum(2) - x.sum(0)[:, None] & (1 << bits) - 1).any():
            raise ScheduleError("what the buckets gained is not what was read")
        sums: Integers = (gain * entries).sum(2)
        return sums

    def _results(
        self,
        number: int,
        fields: Fields,
        half: int,
        item: Item,
        stage: int,
        drain: int,
        sums: Integers,
    ) -> None:
        """The rows of a row group, one a cycle: skip value, rounding, clamp, the banks."""
        last = item.row_group == fields["row_groups"] - 1
        count, times = fields["last_rows" if last else "rows"], self.times[-1]
        row = item.row_group * fields["rows"] + np.arange(count)[:, None]
        used = np.array([one is not None for one in item.positions])
        bias, multiplier, shift, factor = self.stores.rows(fields["slot"] + item.row_group, count)
        total = sums.T[:count] + bias
        if fields["skips"]:
            total = total + factor * self._skip(fields, half, item, stage, drain, row)
        product = total * multiplier
        value = shift_right_even(product, np.broadcast_to(shift, product.shape))
        byte = np.clip(value, fields["low"], fields["high"]) & 0xFF
        first = drain + LANES - 1 + WRITE_CYCLES
        if fields["to_map"]:
            word = item.column("write", 0) + row * fields["write_words"]
            self._copy(stage, 0).write(first, item.column("write", 1), word, used, byte, number)
            times.bytes_written += count * int(used.sum())
        if fields["to_result"]:
            word = np.broadcast_to(row * fields["result_words"] + item.number, byte.shape)
            word = word + fields["result"] + half * self.params.result_depth // 2
            word = word + 4 * fields["result_pitch"] * stage * fields["apart"]
            self.results.write(first, np.arange(len(used)), word, used, byte, number)
        times.written = first + LANES

    def _skip(
        self, fields: Fields, half: int, item: Item, stage: int, drain: int, row: Integers
    ) -> Integers:
        """Skip values of rows (n, 1), read while the buckets drain (n, clusters)."""
        channel = row - fields["skip_first"]
        there = (channel >= 0) & (channel < fields["skip_channels"])
        used = there & np.array([one is not None for one in item.positions])
        values = self._read(
            self._copy(stage, fields["skip_picture"]),
            half * fields["skip_picture"],
            drain + READ_CYCLES + np.arange(len(row)),
            np.broadcast_to(item.column("skip", 1), used.shape),
            item.column("skip", 0) + channel * fields["skip_words"],
            used,
        )
        return _lane_value(values, fields["skip_unsigned"])


def _lane_value(values: Integers, unsigned: int) -> Integers:
    """A byte as the lanes take it: signed, or 128 less."""
    lowered: Integers = values - np.where(unsigned | (values < 128), 128 * unsigned, 256)
    return lowered


def _maxima(fields: Fields, x: Integers, inside: Bools) -> Integers:
    """The largest of a channel's values inside of the map (clusters, lanes); -128 of none."""
    split = np.where(inside, x, -128).reshape(fields["taps"], fields["channels"], -1)
    largest = np.full((x.shape[1], LANES), -128)
    largest[:, : fields["channels"]] = split.max(0).T
    return largest
