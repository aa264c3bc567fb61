"""Stage 0's commands against loops over taps and channels.

Values: `sizes`, the parameters of the engine of each name; `tiles` per test.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.gateware.maps.clusters import CommandLayout
from dpnet.gateware.maps.control.commands import Commands
from dpnet.gateware.maps.control.layouts import (
    SIDES,
    PassLayout,
    ReadLayout,
    StartLayout,
    address_bits,
    index_bits,
)
from dpnet.model.engine.maps.limits import REACH_BITS
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.sim.benches.maps.control.passes import (
    Fields,
    PassMaker,
    fields_of,
    params_of,
    pass_vector,
    vector,
)
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.streams import start

KINDS = ("none", "idle")
GAP = 16
"""Cycles between tiles at least, in which a stage drains."""

Tap = dict[str, int]


class TapTable:
    """The entries, each shown two cycles after its address."""

    def __init__(self, dut: Part, params: MapEngineParameters, source: random.Random) -> None:
        self.dut = dut
        self.entries: list[Tap] = [
            {
                "offset_word": source.getrandbits(18),
                "offset_bank": source.randrange(params.clusters),
                **{name: source.getrandbits(REACH_BITS) for name in SIDES},
            }
            for _ in range(params.taps)
        ]

    def word(self, address: int) -> int:
        entry = self.entries[address]
        found = entry["offset_word"] | entry["offset_bank"] << 18
        for n, name in enumerate(SIDES):
            found |= entry[name] << 24 + REACH_BITS * n
        return found

    async def run(self) -> None:
        dut, coming = self.dut, deque([0])
        while True:
            await FallingEdge(dut.clk)
            used = int(dut.tap_use.value)
            coming.append(self.word(int(dut.tap_address.value)) if used else 0)
            await RisingEdge(dut.clk)
            dut.tap.value = coming.popleft()


def wanted(
    params: MapEngineParameters, fields: Fields, item: dict[str, Any], table: TapTable
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What stage 0 reads in each cycle of a tile, and what it does; without what does not count."""
    limit, bits, number = 1 << address_bits(params), fields["index_mode"] + 1, 0
    for n in range(fields["taps"]):
        tap = table.entries[fields["first_tap"] + n]
        for channel in range(fields["channels"]):
            word = tap["offset_word"] + channel * fields["channel_words"]
            read = {"add": 1, "word": word % limit, "bank": tap["offset_bank"]}
            read |= {name: tap[name] for name in SIDES}
            used = 0 if fields["maximum"] else item["needed"]
            address = {
                s: (base + number * bits // 4) % (1 << index_bits(params))
                for s, base in item["base"].items()
                if used >> s & 1
            }
            does = {"address": address, "use": used, "mode": fields["index_mode"]}
            does |= {"position": number % 4, "maximum": fields["maximum"]}
            if fields["maximum"]:
                does |= {"first": int(n == 0), "channel": channel}
            yield read, does
            number += 1


def shown(params: MapEngineParameters, part: Part) -> tuple[dict[str, Any], dict[str, Any]]:
    read = fields_of(ReadLayout(params), int(part.read.value))
    does = fields_of(CommandLayout(params), int(part.command.value))
    does["address"] = {s: word for s, word in does["address"].items() if does["use"] >> s & 1}
    if not does["maximum"]:
        del does["first"], does["channel"]
    return read, does


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def commands_every_addition(dut: Any, kind: str) -> None:
    """Passes of one or several tiles, as near to each other as they may be, or not."""
    for name, sizes in parameters()["sizes"].items():
        part, params = Part(dut, f"commands_{name}"), params_of(sizes)
        source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind}")
        table, maker = TapTable(part, params, source), PassMaker(params, source)
        part.launch.value = 0
        await start(dut)
        memory = cocotb.start_soon(table.run())
        fields: Fields = {}
        for number in range(parameters()["tiles"]):
            first = number == 0 or source.random() < 0.5
            if first:
                fields = maker.made(adds=40)
            base = {s: source.randrange(8) for s in range(params.streams)}
            item = {"base": base, "needed": source.getrandbits(params.streams)}
            part.launch.value, part.first.value = 1, int(first)
            given = fields if first else maker.made()
            part.pass_.value = pass_vector(PassLayout(params), params, given)
            part.item.value = vector(StartLayout(params), item)
            await RisingEdge(part.clk)
            # Only with `launch` do these count.
            part.launch.value, part.first.value, part.pass_.value, part.item.value = 0, 1, 0, 0
            for _ in range(Commands.latency - 1):
                await idle(part, params, name)
            cycles = list(wanted(params, fields, item, table))
            for cycle, one in enumerate(cycles):
                await FallingEdge(part.clk)
                assert shown(params, part) == one, f"{name}, tile {number}: addition {cycle}"
                assert int(part.last.value) == (cycle == len(cycles) - 1)
                await RisingEdge(part.clk)
            pause = source.randint(0, 20) if kind == "idle" else 0
            for _ in range(GAP - Commands.latency + pause):
                await idle(part, params, name)
        memory.cancel()


async def idle(part: Part, params: MapEngineParameters, name: str) -> None:
    """A cycle in which nothing is added."""
    await FallingEdge(part.clk)
    read, does = shown(params, part)
    busy = read["add"], does["use"], does["maximum"], int(part.last.value)
    assert busy == (0, 0, 0, 0), f"{name}: {busy} in an idle cycle"
    await RisingEdge(part.clk)
