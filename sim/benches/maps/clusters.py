"""The clusters against NumPy, every output in every cycle: random passes at full speed and with
idle cycles, beside what the link writes; upsets of every store.

Values: `clusters`, by name in the bundle the sizes unlike the default; `results` per test.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.maps.records import MAP_ROW
from dpnet.sim.benches.maps.work import (
    ERRORS,
    LATENCY,
    Contents,
    Pass,
    Passes,
    Ports,
    Schedule,
    Tile,
    parameters_of,
)
from dpnet.sim.kit.bench import kinds, parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import Pause, bursts, never, sometimes, start
from dpnet.sim.kit.upsets import flip, memory

KINDS = kinds("none", "idle", "bursts")
READ = 3
"""From an address of the link's to its word."""
STROBES = {"index": 5, "books": 11, "rows": 28}
"""From a command to `corrupt`, by the store of the odd word."""

PERSISTENT: dict[str, Contents] = {}
"""What the stores hold from one test to the next."""


class ClustersBench:
    """Clusters, and by cycle from the last reset on what they are given and must send."""

    def __init__(self, dut: Any, name: str, label: str) -> None:
        self.name, self.dut = name, Part(dut, name)
        self.params = parameters_of(parameters()["clusters"][name])
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {label}")
        rng = np.random.default_rng(self.source.getrandbits(64))
        self.contents = PERSISTENT.setdefault(name, Contents(self.params, rng))
        self.contents.rng = rng
        self.board = Scoreboard(name, show=str)
        self.schedule = self.plan(never)
        self.cycle, self.checked = 0, 0
        self.corrupt: set[int] = set()
        self.sigma: set[int] = set()
        self.path = dut, f"part_{name}"
        self._driven: Ports = {}
        units = np.ndindex(self.params.stages, self.params.clusters)
        links = ("index", "book", "row")
        self._silent = {
            "start__valid": 0,
            "drain__valid": 0,
            **{f"x__{g}__{c}": 0 for g, c in units},
            **{f"{name}_{what}": 0 for name in links for what in ("write", "read", "pick")},
        }
        streams = range(self.params.streams)
        self.index = [memory(*self.path, "indices", f"store_{s}", "ram") for s in streams]
        self.books = memory(*self.path, "books", "ram")
        self.rows = [memory(*self.path, "rows", f"word_{n}", "ram") for n in range(MAP_ROW.words)]
        clusters = range(self.params.clusters)
        self.old = [memory(*self.path, f"cluster_{c}", "old") for c in clusters]

    def plan(self, pause: Pause) -> Schedule:
        """An empty schedule from this cycle on."""
        self.schedule = Schedule(self.contents, self.source, pause)
        self.cycle = 0
        return self.schedule

    def pause(self, kind: str) -> Pause:
        source = self.source
        return {"none": never, "idle": sometimes(source, 0.3), "bursts": bursts(source, 9)}[kind]

    def idle(self) -> Ports:
        """An idle cycle: nothing is valid, and what is not looked at is rubbish."""
        schedule = self.schedule
        rubbish = {"command": schedule.rest(), "drain__payload": schedule.rubbish()}
        return self._silent | rubbish

    def drive(self, ports: Ports) -> None:
        for name, value in ports.items():
            if self._driven.get(name) != value:
                getattr(self.dut, name).value = value
        self._driven |= ports

    async def load(self, half: int) -> None:
        """New contents of a half, written while nothing works."""
        self.contents.draw(half)
        for ports in self.contents.writes(half):
            self.drive(self.idle() | ports)
            await RisingEdge(self.dut.clk)
        self.drive(self.idle())

    async def play(self, beside: Iterable[Ports] = (), until: int | None = None) -> None:
        """Play the schedule (up to a cycle), and all that the link does beside it."""
        writes, schedule = iter(beside), self.schedule
        more: Ports | None = next(writes, None)
        while self.cycle < (schedule.end + 2 if until is None else until) or more:
            self.drive(self.idle() | schedule.ports.get(self.cycle, {}) | (more or {}))
            await FallingEdge(self.dut.clk)
            self._compare()
            more = next(writes, None)
            self.cycle += 1
            await RisingEdge(self.dut.clk)
        self.drive(self.idle())

    def _compare(self) -> None:
        dut, schedule, cycle = self.dut, self.schedule, self.cycle
        wanted = [cycle in some for some in (self.sigma, schedule.ranges, self.corrupt)]
        strobes = [bool(int(port.value)) for port in (dut.sigma, dut.range, dut.corrupt)]
        assert strobes == wanted, f"{self.name}: sigma, range, corrupt {strobes} in cycle {cycle}"
        due = schedule.results.get(cycle)
        if not int(dut.result__valid.value):
            assert due is None, f"{self.name}: no result in cycle {cycle}"
            return
        assert due is not None, f"{self.name}: a result in cycle {cycle}, which is none's"
        tag, wanted_bytes = due
        found = [int(getattr(dut, f"o__{c}").value) for c in range(self.params.clusters)]
        self.board.expect((tag, [b for b in wanted_bytes if b is not None]), f"cycle {cycle}")
        kept = [o for o, b in zip(found, wanted_bytes, strict=True) if b is not None]
        self.board.receive((int(dut.result__payload.value), kept))
        self.checked += len(kept)


async def begin(dut: Any, label: str) -> list[ClustersBench]:
    benches = [ClustersBench(dut, name, label) for name in parameters()["clusters"]]
    for bench in benches:
        bench.drive(bench.idle() | {"low": 0, "high": 0})
    await start(dut)
    for bench in benches:
        bench.plan(never).flush()
        await bench.play()
    return benches


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def equal_numpy(dut: Any, kind: str) -> None:
    """Random passes of all index modes and maxima, whole and partial tiles; the link writes the
    other half of the stores meanwhile."""
    for bench in await begin(dut, kind):
        half = 0
        await bench.load(half)
        while bench.checked < parameters()["results"]:
            schedule, passes = bench.plan(bench.pause(kind)), Passes(bench.contents, half)
            for _ in range(6):
                schedule.add(passes.draw())
            half = 1 - half
            bench.contents.draw(half)
            await bench.play(bench.contents.writes(half))
        bench.board.finish()
        dut._log.info(f"{bench.name}: {bench.checked} equal, seed {cocotb.RANDOM_SEED}")


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def reach_the_largest_sums(dut: Any) -> None:
    """Tiles of as many additions as there may be, nothing but most negative factors, in one bucket
    or spread over all; buckets count on and go round."""
    for bench in await begin(dut, "extremes"):
        params, contents = bench.params, bench.contents
        adds = min(params.max_columns, params.stream_depth // 2)
        for spread in (False, True):
            contents.draw(0)
            contents.entries[:] = -(1 << params.entry_bits - 1)
            contents.nibbles[:] = np.arange(params.stream_depth)[:, None] % 16 if spread else 15
            contents.rows["bias"][:] = 0
            contents.rows["shift"][:] = 40
            await write(bench, contents.writes(0))
            schedule = bench.plan(never)
            shape = params.stages, adds, params.clusters
            for x in (-128, -128, -128, -128, 127):
                stages = range(params.stages)
                tile = Tile(np.full(shape, x), [0 for _ in stages], [0 for _ in stages], [], 0)
                tile.rows = [LANES for _ in stages]
                schedule.add(Pass(0, 0, False, 3, (-128, 255), [tile, tile]))
            await bench.play()
        bench.board.finish()
        await restore(bench)


async def write(bench: ClustersBench, writes: Iterator[Ports]) -> None:
    bench.plan(never)
    await bench.play(writes)


async def restore(bench: ClustersBench) -> None:
    """Both halves are what was drawn last."""
    for half in range(2):
        await write(bench, bench.contents.writes(half))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_flush_forgets_what_was_cut_off(dut: Any) -> None:
    """A pass that ends anywhere, with or without a reset; then every stage drains without rows, and
    the next pass is right."""
    for bench in await begin(dut, "flush"):
        await bench.load(0)
        for turn in range(6):
            passes = Passes(bench.contents, 0)
            schedule = bench.plan(bench.pause("idle"))
            schedule.add(passes.draw())
            await bench.play(until=bench.source.randrange(schedule.end))
            if turn % 2:
                bench.dut.rst.value = 1
                await RisingEdge(bench.dut.clk)
                bench.dut.rst.value = 0
            for _ in range(LANES * bench.params.stages + 60):  # what is on its way comes out
                await RisingEdge(bench.dut.clk)
            bench.plan(never).flush()
            bench.schedule.add(passes.draw())
            await bench.play()
        bench.board.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def sigma_sees_an_upset_of_what_a_bucket_held(dut: Any) -> None:
    """A flipped bit of the value at the last drain: that row alone, in that cluster, and once."""
    for bench in await begin(dut, "old"):
        await bench.load(0)
        passes, engine, source = Passes(bench.contents, 0), bench.params.cluster, bench.source
        seen = 0
        for _ in range(24):
            schedule = bench.plan(never)
            schedule.add(passes.draw())
            drain, stage, _, rows = schedule.drained[0]
            lane, k = source.randrange(LANES), source.randrange(LANES)
            at = lane * engine.sum_bits + source.randrange(engine.sum_bits)
            cluster = source.randrange(bench.params.clusters)
            flip(bench.old[cluster], stage * LANES + k, at)
            row = drain + lane
            bench.sigma = {row + ERRORS} if lane < rows else set()
            if lane < rows:
                schedule.results[row + LATENCY][1][cluster] = None
                schedule.ranges.discard(row + ERRORS)
                seen += 1
            await bench.play()
            bench.sigma = set()
        assert seen > 3, f"{bench.name}: only {seen} upsets were to be seen"
        bench.board.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def corrupt_sees_odd_words(dut: Any) -> None:
    """A flipped parity bit of an index word, an entry or a row's parameters: a strobe in each cycle
    that belongs to its use, none without."""
    for bench in await begin(dut, "odd"):
        await bench.load(0)
        passes, source, strobes = Passes(bench.contents, 0), bench.source, 0
        for turn in range(12):
            schedule = bench.plan(bench.pause(source.choice(KINDS)))
            one = passes.draw()
            schedule.add(one)
            store = ("index", "books", "rows")[turn % 3]
            words, address, bit, uses = upset(bench, one, store)
            for odd in (True, False):
                flip(words, address, bit)
                bench.corrupt = {cycle + STROBES[store] for cycle in uses} if odd else set()
                strobes += len(bench.corrupt)
                bench.cycle = 0
                await bench.play()
        assert strobes > 8, f"{bench.name}: only {strobes} strobes were due"
        bench.board.finish()


def upset(bench: ClustersBench, one: Pass, store: str) -> tuple[Any, int, int, set[int]]:
    """(words, address, parity bit, commands that use it) of some word of a store."""
    source, schedule = bench.source, bench.schedule
    if store == "index":
        stream = source.randrange(bench.params.streams)
        address = one.tiles[0].first
        uses = {
            cycle
            for cycle, ports in schedule.ports.items()
            if (used := schedule.reads(ports)) is not None and used[0] >> stream & 1
            if used[1] == address
        }
        return bench.index[stream], address, source.choice([32, 65]), uses
    slot, lane = one.tiles[0].slots[0], source.randrange(LANES)
    drains = [(cycle, rows) for cycle, _, own, rows in schedule.drained if own == slot]
    if store == "books":
        bits = bench.params.entry_bits + 1
        k = source.randrange(LANES)
        return bench.books, slot * LANES + k, lane * bits + bits - 1, {c + k for c, _ in drains}
    words = source.randrange(MAP_ROW.words)
    bit = (32, 8, 22, 18)[words]
    return (
        bench.rows[words],
        slot * LANES + lane,
        bit,
        {c + lane for c, rows in drains if lane < rows},
    )


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def the_link_reads_what_it_wrote(dut: Any) -> None:
    """Every word of every store, in any order, with nothing picked and with writes meanwhile."""
    for bench in await begin(dut, "link"):
        await bench.load(0)
        await bench.load(1)
        contents, params = bench.contents, bench.params
        words = {
            "index": contents.index_words().transpose(1, 0, 2).reshape(params.stream_depth, -1),
            "book": contents.entries.transpose(0, 2, 1).reshape(-1, LANES)
            & (1 << params.entry_bits) - 1,
            "row": contents.row_words().reshape(-1, MAP_ROW.words),
        }
        reads = [(name, *at) for name, held in words.items() for at in np.ndindex(held.shape)]
        reads += [(name, 0, None) for name in words]
        bench.source.shuffle(reads)
        await read_all(bench, reads, words)
        bench.board.finish()


async def read_all(bench: ClustersBench, reads: list[Any], words: dict[str, Any]) -> None:
    due: deque[tuple[str, int] | None] = deque([None] * READ)
    for name, address, part in [*reads, *[(None, 0, 0)] * READ]:
        ports = bench.idle()
        if name is not None:
            pick = 0 if part is None else 1 << part
            # Read and written at once: the old word, and the same one is written.
            ports |= {f"{name}_address": address, f"{name}_read": 1, f"{name}_pick": pick}
            if pick and bench.source.random() < 0.5:
                ports |= {f"{name}_write": pick, "w_data": int(words[name][address, part])}
        bench.drive(ports)
        await FallingEdge(bench.dut.clk)
        assert not int(bench.dut.corrupt.value), f"{bench.name}: corrupt"
        wanted = due.popleft()
        if wanted is not None:
            bench.board.expect(wanted[1], wanted[0])
            bench.board.receive(int(getattr(bench.dut, f"{wanted[0]}_word").value))
        held = 0 if part is None or name is None else int(words[name][address, part])
        due.append(None if name is None else (name, held))
        await RisingEdge(bench.dut.clk)
    bench.drive(bench.idle())
