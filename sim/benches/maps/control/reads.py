"""A stage's reads against arrays of bytes: additions, skip values, what the link reads and writes.

Values: `sizes`, the parameters of the engine of each name; `items` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from dpnet.gateware.maps.control.drains import SkipLayout
from dpnet.gateware.maps.control.layouts import (
    SIDES,
    ReadLayout,
    SpotLayout,
    StartLayout,
    address_bits,
)
from dpnet.gateware.maps.control.writer import BankWriteLayout
from dpnet.model.engine.maps.limits import FAR, SPREAD_BITS
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.sim.benches.maps.control.passes import params_of, vector
from dpnet.sim.benches.maps.control.timeline import Timeline
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.streams import start

KINDS = ("none", "idle")
SHOWN = 3
"""From a command to what is read."""


class ReadBench:
    """A stage with random bytes in its banks."""

    def __init__(self, dut: Any, name: str, kind: str) -> None:
        self.part, self.kind = Part(dut, f"reads_{name}"), kind
        self.params: MapEngineParameters = params_of(parameters()["sizes"][name])
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind}")
        params, rng = self.params, np.random.default_rng(self.source.getrandbits(32))
        shapes = {"maps": params.map_depth, "pictures": params.picture_depth}
        self.banks = {
            kind: rng.integers(0, 256, (params.clusters, depth)) for kind, depth in shapes.items()
        }
        ports = ["read", "take", "item", "skips", "skip", "link_read", "link_address"]
        ports += ["link_map", "link_picture", "picture_address", "picture_word", "picture_write"]
        ports += ["mine"]
        for n in range(params.clusters):
            ports += [f"spots__{n}", f"maps__{n}"]
        self.line = Timeline(name, self.part, dict.fromkeys(ports, 0))
        self.cycle = self.shown = 0

    def show(self) -> dict[str, Any]:
        part, clusters = self.part, range(self.params.clusters)
        return {
            "x": [int(getattr(part, f"x__{n}").value) for n in clusters],
            "next": int(part.next_read.value) & 1,
            "corrupt": int(part.corrupt.value),
        }

    def fill(self) -> None:
        """Writes all bytes: maps by bytes, each bank another one, between bytes that are for other
        stages; pictures by words."""
        line, params = self.line, self.params
        layout = BankWriteLayout(address_bits(params))
        for cycle in range(2 * params.map_depth):
            at, others = divmod(cycle, 2)
            for n in range(params.clusters):
                byte = (at + 7 * n) % params.map_depth
                value = int(self.banks["maps"][n, byte]) ^ 0xFF * others
                given = {"enable": 1, "address": byte, "byte": value}
                line.give(cycle, mine=1 - others, **{f"maps__{n}": vector(layout, given)})
        words = self.banks["pictures"].astype(np.uint8).view("<u4")
        places = [(n, at) for n in range(params.clusters) for at in range(words.shape[1])]
        for cycle, (n, at) in enumerate(places):
            word = int(words[n, at])
            line.give(cycle, picture_address=at, picture_word=word, picture_write=1 << n)
        self.cycle = max(2 * params.map_depth, len(places)) + 2

    def add_item(self) -> None:
        """An item's additions, then the skip values of its drain, or nothing."""
        line, params, source = self.line, self.params, self.source
        flags = {name: source.randrange(2) for name in ("last", "picture", "unsigned", "maximum")}
        bank, used = source.randrange(params.clusters), source.getrandbits(params.clusters)
        spots = [
            {
                **{side: source.choice([source.randrange(6), FAR]) for side in SIDES},
                "spread": source.choice([source.randrange(4), source.getrandbits(SPREAD_BITS)]),
            }
            for _ in range(params.clusters)
        ]
        word = source.getrandbits(address_bits(params))
        item = vector(StartLayout(params), {**flags, "word": word, "bank": bank, "used": used})
        given = {f"spots__{n}": vector(SpotLayout(), spot) for n, spot in enumerate(spots)}
        line.give(self.cycle, take=1, item=item, **given)
        self.cycle += 1
        for _ in range(source.randint(1, 30)):
            self.cycle += source.randint(0, 3) if self.kind == "idle" else 0
            self.add_read(flags, (word, bank), used, spots)
        for _ in range(LANES):
            self.add_skip()

    def add_read(
        self,
        flags: dict[str, int],
        place: tuple[int, int],
        used: int,
        spots: list[dict[str, int]],
    ) -> None:
        line, params, source = self.line, self.params, self.source
        depth = len(self.banks["pictures" if flags["picture"] else "maps"][0])
        reach = {side: source.choice([0, 0, source.randrange(FAR + 2)]) for side in SIDES}
        read = {"add": 1, "word": source.getrandbits(address_bits(params)), **reach}
        read["bank"] = source.randrange(params.clusters)
        found = []
        for n, spot in enumerate(spots):
            own = (place[1] + n) % params.clusters
            carry = own + read["bank"] >= params.clusters
            word = place[0] + spot["spread"] + read["word"] + carry
            word %= 1 << address_bits(params)
            inside = all(spot[side] >= reach[side] for side in SIDES) and bool(used >> n & 1)
            if inside and word >= depth:
                return  # such an address is never asked for
            at = (own + read["bank"]) % params.clusters, word
            found.append(self.value(flags["picture"], at, inside, flags["unsigned"]))
            if not inside and flags["maximum"]:
                found[-1] = -128
        line.give(self.cycle, read=vector(ReadLayout(params), read))
        line.expect(self.cycle + SHOWN, x=[value & 0xFF for value in found])
        if not flags["last"]:
            line.expect(self.cycle + LANES, next=1)
        self.cycle += 1

    def add_skip(self) -> None:
        """A skip value, given a cycle after its bucket's command; or idle."""
        line, params, source = self.line, self.params, self.source
        if source.random() < 0.4:
            self.cycle += 1
            return
        picture, unsigned = source.randrange(2), source.randrange(2)
        depth = len(self.banks["pictures" if picture else "maps"][0])
        spreads = [source.getrandbits(SPREAD_BITS) for _ in range(params.clusters)]
        first = source.randrange(depth - (1 << SPREAD_BITS))
        words = [first + spread for spread in spreads]
        bank, there = source.randrange(params.clusters), source.getrandbits(params.clusters)
        skip = {"valid": 1, "word": first, "spread": dict(enumerate(spreads))}
        skip |= {"there": there, "bank": bank}
        skip |= {"picture": picture, "unsigned": unsigned}
        line.give(self.cycle + 1, skips=1, skip=vector(SkipLayout(params), skip))
        found = [
            self.value(
                picture, ((bank + n) % params.clusters, word), bool(there >> n & 1), unsigned
            )
            for n, word in enumerate(words)
        ]
        line.expect(self.cycle + SHOWN, x=[value & 0xFF for value in found])
        self.cycle += 1

    def value(self, picture: int, at: tuple[int, int], inside: bool, unsigned: int) -> int:
        """As the lanes take it."""
        byte = int(self.banks["pictures" if picture else "maps"][at]) if inside else 0
        return byte - 128 if unsigned else (byte ^ 128) - 128

    def add_link_read(self) -> None:
        params, source = self.params, self.source
        picture, bank = source.randrange(2), source.randrange(params.clusters)
        words = self.banks["pictures" if picture else "maps"].astype(np.uint8).view("<u4")
        at = source.randrange(words.shape[1])
        pick = {"link_picture" if picture else "link_map": 1 << bank}
        self.line.give(self.cycle, link_read=1, link_address=at, **pick)
        self.line.expect(self.cycle + 3, word=int(words[bank, at]))
        self.cycle += 1


async def begin(bench: ReadBench) -> None:
    for port in bench.line.defaults:
        getattr(bench.part, port).value = 0
    await start(bench.part)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def reads_bytes(dut: Any, kind: str) -> None:
    """Items with additions at once after each other or with gaps, and skip values between them."""
    for name in parameters()["sizes"]:
        bench = ReadBench(dut, name, kind)
        bench.fill()
        for _ in range(parameters()["items"]):
            bench.add_item()
        await begin(bench)
        # What was on its way before the reset is gone.
        for _ in range(2 * LANES):
            await RisingEdge(bench.part.clk)
        quiet = {"x": [0] * bench.params.clusters, "next": 0, "corrupt": 0}
        await bench.line.run(bench.cycle + 2 * LANES, bench.show, quiet)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def the_link_reads(dut: Any) -> None:
    """Random words of both kinds of banks, one a cycle; 0 of none."""
    for name in parameters()["sizes"]:
        bench = ReadBench(dut, name, "link")
        bench.fill()
        filled = bench.cycle
        await begin(bench)
        await bench.line.run(filled, dict, {})
        bench.line.inputs.clear()
        bench.cycle = 0
        for _ in range(300):
            bench.add_link_read()
        for cycle in range(bench.cycle, bench.cycle + 5):
            bench.line.give(cycle, link_read=1)
            bench.line.expect(cycle + SHOWN, word=0)
        for cycle in range(SHOWN):
            bench.line.expect(cycle, word=None)

        def show(bench: ReadBench = bench) -> dict[str, Any]:
            part, cycle = bench.part, bench.shown
            bench.shown += 1
            word = int(part.link_word.value) if cycle >= SHOWN else None
            return {"word": word, "corrupt": int(part.corrupt.value)}

        await bench.line.run(bench.cycle + 5 + SHOWN, show, {"word": 0, "corrupt": 0})
