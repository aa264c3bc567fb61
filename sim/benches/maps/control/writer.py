"""The writer against loops over items and rows: every byte at its place, in its cycle.

Values: `sizes`, the parameters of the engine of each name; `passes` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb

from dpnet.gateware.maps.control.drains import DrainPassLayout
from dpnet.gateware.maps.control.layouts import TargetLayout, WriteItemLayout, address_bits
from dpnet.gateware.maps.control.writer import BankWriteLayout
from dpnet.model.engine.maps.parameters import LANES, WRITE_CYCLES, MapEngineParameters
from dpnet.model.engine.parameters import ceil_log2
from dpnet.sim.benches.maps.control.items import RandomItem, random_items
from dpnet.sim.benches.maps.control.passes import Fields, PassMaker, fields_of, params_of, vector
from dpnet.sim.benches.maps.control.timeline import Timeline
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.streams import start

KINDS = ("none", "idle")
RESULT = 39
"""From a bucket's command to its row's result."""

Bytes = dict[int, tuple[int, int]]
"""Address and byte by bank."""


class WriterBench:
    """Passes, items and what is written on a timeline."""

    def __init__(self, dut: Any, name: str, kind: str) -> None:
        self.part, self.kind = Part(dut, f"writer_{name}"), kind
        self.params: MapEngineParameters = params_of(parameters()["sizes"][name])
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind}")
        clusters = range(self.params.clusters)
        ports = ["drains", "work", "item", "valid"]
        ports += [f"targets__{n}" for n in clusters] + [f"o__{n}" for n in clusters]
        self.line = Timeline(name, self.part, dict.fromkeys(ports, 0))
        self.cycle = 5

    def show(self) -> dict[str, Any]:
        part = self.part
        names = ("take", "tile_done", "pass_done", "run_done")
        found: dict[str, Any] = {name: int(getattr(part, name).value) for name in names}
        bits = {"maps": address_bits(self.params), "results": ceil_log2(self.params.result_depth)}
        for port, width in bits.items():
            written: Bytes = {}
            for bank in range(self.params.clusters):
                value = int(getattr(part, f"{port}__{bank}").value)
                one = fields_of(BankWriteLayout(width), value)
                if one["enable"]:
                    written[bank] = one["address"], one["byte"]
            found[port] = written
        # Of no byte nobody looks whose it is.
        found["copies"] = int(part.copies.value) if found["maps"] else 0
        return found

    def add_pass(self, fields: Fields) -> None:
        params, source = self.params, self.source
        fields["low"], fields["high"] = 0, 0
        half, final = source.randrange(2), source.randrange(2)
        known = {name: fields[name] for name, _ in DrainPassLayout(params) if name in fields}
        work = vector(DrainPassLayout(params), known | {"half": half, "final": final})
        begun = self.cycle
        for tile in random_items(params, fields, source):
            self.cycle += source.randint(0, 40) if self.kind == "idle" else 0
            for item in tile:
                self.add_item(fields, item, half, final)
                self.cycle += LANES
        # Not before all is written does the next pass drain.
        self.cycle += LANES + WRITE_CYCLES
        for cycle in range(begun + 1, self.cycle + 1):
            self.line.give(cycle, work=work)

    def add_item(self, fields: Fields, item: RandomItem, half: int, final: int) -> None:
        line, params = self.line, self.params
        bits, drained = address_bits(params), self.cycle + 1
        line.give(self.cycle, drains=1)
        banks = sum(1 << bank for n, bank in enumerate(item.banks) if item.used >> n & 1)
        shown = {**item.flags, "used": item.used, "banks": banks}
        given = vector(WriteItemLayout(params), shown)
        targets = {
            f"targets__{bank}": vector(
                TargetLayout(params), {"word": word % (1 << bits), "cluster": n}
            )
            for n, (word, bank) in enumerate(zip(item.words, item.banks, strict=True))
        }
        line.give(drained + RESULT - 2, item=given, **targets)
        line.expect(drained + RESULT - 2, take=1)
        first = drained + LANES - 1 + WRITE_CYCLES
        for number in range(item.rows(fields)):
            values = [self.source.getrandbits(8) for _ in range(params.clusters)]
            row = {f"o__{n}": value for n, value in enumerate(values)}
            line.give(drained + RESULT + number, valid=1, **row)
            maps, results = self.written(fields, item, number, values, half)
            stages = 1 << item.stage if item.apart else (1 << params.stages) - 1
            line.expect(first + number, maps=maps, copies=stages if maps else 0, results=results)
        done = {"tile_done": item.last, "pass_done": item.final, "run_done": item.final and final}
        line.expect(first + LANES - 1, **{name: int(flag) for name, flag in done.items()})

    def written(
        self, fields: Fields, item: RandomItem, number: int, values: list[int], half: int
    ) -> tuple[Bytes, Bytes]:
        """What goes to the maps and to the results for a row."""
        params, row = self.params, item.row(fields, number)
        maps, results = {}, {}
        depth = params.result_depth
        at = fields["result"] + half * depth // 2 + row * fields["result_words"] + item.group
        at += 4 * fields["result_pitch"] * item.stage if item.apart else 0
        for n, value in enumerate(values):
            if item.used >> n & 1:
                word = item.words[n] + row * fields["write_words"]
                maps[item.banks[n]] = word % (1 << address_bits(params)), value
                results[n] = at % (1 << ceil_log2(depth)), value
        return (maps if fields["to_map"] else {}), (results if fields["to_result"] else {})


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def writes_rows(dut: Any, kind: str) -> None:
    """Items at once after each other, or with gaps; a pass begins when the one before has
    written."""
    for name in parameters()["sizes"]:
        bench = WriterBench(dut, name, kind)
        maker = PassMaker(bench.params, bench.source)
        for _ in range(parameters()["passes"]):
            bench.add_pass(maker.made())
        for port in bench.line.defaults:
            getattr(bench.part, port).value = 0
        await start(dut)
        quiet = dict.fromkeys(("take", "tile_done", "pass_done", "run_done"), 0)
        await bench.line.run(
            bench.cycle + 60, bench.show, quiet | {"maps": {}, "copies": 0, "results": {}}
        )
