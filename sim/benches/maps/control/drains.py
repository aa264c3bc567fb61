"""The drains against loops over items and buckets: what drains, and which skip values are read.

Values: `sizes`, the parameters of the engine of each name; `passes` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb

from dpnet.gateware.maps.clusters import DrainLayout
from dpnet.gateware.maps.control.drains import DrainPassLayout, SkipLayout
from dpnet.gateware.maps.control.layouts import DrainItemLayout, PassLayout, address_bits
from dpnet.model.engine.maps.limits import SPREAD_BITS
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.sim.benches.maps.control.items import RandomItem, random_items
from dpnet.sim.benches.maps.control.passes import (
    Fields,
    PassMaker,
    fields_of,
    params_of,
    pass_vector,
    skip_first,
    vector,
)
from dpnet.sim.benches.maps.control.timeline import Timeline
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.streams import start

KINDS = ("none", "idle")


def spread_of(word: int) -> int:
    return word % (1 << SPREAD_BITS)


class DrainBench:
    """Passes, tiles and their drains on a timeline."""

    def __init__(self, dut: Any, name: str, kind: str) -> None:
        self.part, self.kind = Part(dut, f"drains_{name}"), kind
        self.params: MapEngineParameters = params_of(parameters()["sizes"][name])
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind}")
        ports = ("launch", "pass_", "final", "half", "begin", "flush", "item")
        skips = [f"skips__{n}" for n in range(self.params.clusters)]
        self.line = Timeline(name, self.part, dict.fromkeys((*ports, *skips), 0))
        self.cycle = 10

    def show(self) -> dict[str, Any]:
        part, params = self.part, self.params
        found: dict[str, Any] = {"take": int(part.take.value), "busy": int(part.busy.value)}
        found["drain"] = found["skip"] = found["work"] = None
        if int(part.drain__valid.value):
            bucket = fields_of(DrainLayout(params, 1), int(part.drain__payload.value))
            found["drain"] = tuple(
                bucket[name] for name in ("stage", "bucket", "slot", "row", "maximum")
            )
            work = fields_of(DrainPassLayout(params), int(part.work.value))
            found["work"] = tuple(work[name] for name in ("low", "high", "final", "half"))
        skip = fields_of(SkipLayout(params), int(part.skip.value))
        if skip["valid"]:
            found["skip"] = self.skip_shown(skip)
        return found

    def skip_shown(self, skip: dict[str, Any]) -> tuple[Any, ...]:
        """Without the addresses of what is not read."""
        limit = 1 << address_bits(self.params)
        words = {
            n: (skip["word"] + spread) % limit
            for n, spread in skip["spread"].items()
            if skip["there"] >> n & 1
        }
        common = skip["bank"], skip["picture"], skip["unsigned"]
        return skip["stage"], words, *(common if words else (None, None, skip["unsigned"]))

    def skip_wanted(self, fields: Fields, item: RandomItem, number: int) -> tuple[Any, ...]:
        channel = item.row(fields, number) - skip_first(fields)
        there = fields["skips"] and not fields["maximum"] and number < item.rows(fields)
        there = there and 0 <= channel < fields["skip_channels"]
        words = {
            n: (item.words[0] + spread_of(word) + channel * fields["skip_words"])
            % (1 << address_bits(self.params))
            for n, word in enumerate(item.words)
            if there and item.used >> n & 1
        }
        unsigned = int(fields["skips"] and fields["skip_unsigned"])
        common = item.banks[0], fields["skip_picture"], unsigned
        return item.stage, words, *(common if words else (None, None, unsigned))

    def add_pass(self, fields: Fields) -> None:
        """A pass's tiles, the first drain of each after a gap or at once."""
        line, params, source = self.line, self.params, self.source
        final, half = source.randrange(2), source.randrange(2)
        launched = False
        for tile in random_items(params, fields, source):
            begin = self.cycle + (source.randint(0, 30) if self.kind == "idle" else 0)
            if not launched:
                given = pass_vector(PassLayout(params), params, fields)
                line.give(begin - 3, launch=1, pass_=given, final=final, half=half)
                launched = True
            line.give(begin, begin=1)
            for n, item in enumerate(tile):
                self.add_item(fields, item, begin + LANES * n, (final, half))
            self.cycle = begin + LANES * len(tile)

    def add_item(self, fields: Fields, item: RandomItem, taken: int, run: tuple[int, int]) -> None:
        line, params = self.line, self.params
        slot = self.source.randrange(params.row_groups)
        flags = {name: item.flags[name] for name in ("first", "last", "short", "ends")}
        shown = flags | {"used": item.used, "bank": item.banks[0], "slot": slot}
        shown["word"] = item.words[0]
        spreads = {f"skips__{n}": spread_of(word) for n, word in enumerate(item.words)}
        line.give(taken, item=vector(DrainItemLayout(params), shown), **spreads)
        line.expect(taken, take=1)
        for number in range(LANES):
            row = int(number < item.rows(fields))
            at = taken + 1 + number
            line.expect(
                at,
                busy=1,
                drain=(item.stage, number, slot, row, fields["maximum"]),
                work=(fields["low"], fields["high"], *run),
            )
            line.expect(at + 1, skip=self.skip_wanted(fields, item, number))

    def add_flush(self) -> None:
        """Every stage, without rows."""
        line, params = self.line, self.params
        line.give(self.cycle, flush=1)
        for n in range(LANES * params.stages):
            line.expect(self.cycle + 1 + n, busy=1, drain=(n // LANES, n % LANES))
        self.cycle += LANES * params.stages + 4


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def drains_items(dut: Any, kind: str) -> None:
    """Tiles at once after each other, also across passes, or with gaps."""
    for name in parameters()["sizes"]:
        bench = DrainBench(dut, name, kind)
        maker = PassMaker(bench.params, bench.source)
        for _ in range(parameters()["passes"]):
            bench.add_pass(maker.made())
        for port in bench.line.defaults:
            getattr(bench.part, port).value = 0
        await start(dut)
        quiet = {"take": 0, "busy": 0, "drain": None, "skip": None, "work": None}
        await bench.line.run(bench.cycle + 4, bench.show, quiet)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def flushes(dut: Any) -> None:
    """Every stage is drained once; no row comes of it, and nothing is read."""
    for name in parameters()["sizes"]:
        bench = DrainBench(dut, name, "none")
        for _ in range(3):
            bench.add_flush()
        for port in bench.line.defaults:
            getattr(bench.part, port).value = 0
        await start(dut)

        def show(bench: DrainBench = bench) -> dict[str, Any]:
            found = bench.show()
            if found["drain"]:
                assert found["drain"][3:] == (0, 0), "a flush has rows"
                found["drain"] = found["drain"][:2]
            assert not found["skip"] or not found["skip"][1], "a flush reads"
            return {name: found[name] for name in ("take", "busy", "drain")}

        await bench.line.run(bench.cycle, show, {"take": 0, "busy": 0, "drain": None})
