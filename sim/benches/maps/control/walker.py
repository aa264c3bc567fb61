"""The walker against `dpnet.model.engine.maps.steps.dispatcher`: every position, every item.

Values: `sizes`, the parameters of the engine of each name; `passes` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.gateware.maps.control.layouts import (
    ItemLayout,
    PassLayout,
    PositionLayout,
    address_bits,
    index_bits,
    steps_of,
)
from dpnet.model.engine.maps.limits import FAR, SPREAD_BITS
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.steps.dispatcher import Item, Position, tiles
from dpnet.model.engine.parameters import ceil_div
from dpnet.sim.benches.maps.control.passes import (
    Fields,
    PassMaker,
    fields_of,
    index_words,
    params_of,
    pass_vector,
)
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import never, sometimes, start

KINDS = ("none", "idle")


class WalkerBench:
    """A walker and what it has to give."""

    def __init__(self, dut: Any, name: str, kind: str) -> None:
        self.name, self.dut = name, Part(dut, f"walker_{name}")
        self.params: MapEngineParameters = params_of(parameters()["sizes"][name])
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind}")
        self.full = never if kind == "none" else sometimes(self.source, 0.6)
        self.board = Scoreboard(name, show=str)
        self.steps = steps_of(self.params)
        self.positions, self.items = PositionLayout(self.params), ItemLayout(self.params)

    def position(self, one: Position | None, item: Item, fields: Fields) -> Any:
        """What must show of a position; of none, that it is none."""
        if one is None:
            return None
        limit = 1 << address_bits(self.params)
        return {
            "used": 1,
            "above": min(one.y, FAR),
            "below": min(fields["height"] - 1 - one.y, FAR),
            "left": min(one.x, FAR),
            "right": min(fields["width"] - 1 - one.x, FAR),
            "read": (one.read[0] - item.group.read[0]) % (1 << SPREAD_BITS),
            "skip": (one.skip[0] - item.group.skip[0]) % (1 << SPREAD_BITS),
            "write_word": one.write[0] % limit,
            "write_bank": one.write[1],
        }

    def words(self, item: Item, fields: Fields, half: int) -> dict[str, int]:
        """Of what cluster 0 reads, and of its skip value."""
        half_words = half * self.params.picture_depth // 2
        read = item.group.read[0] + item.row_group * fields["block_words"]
        read += half_words if fields["picture"] else 0
        skip = item.group.skip[0] + (half_words if fields["skip_picture"] else 0)
        limit = 1 << address_bits(self.params)
        return {"read": read % limit, "skip": skip % limit}

    def item(
        self, item: Item, fields: Fields, half: int, place: tuple[bool, bool, bool]
    ) -> dict[str, Any]:
        """What must show of an item; `place`: its pass's first one, its tile's and pass's last."""
        first, last, final = (int(flag) for flag in place)
        row_group = item.row_group
        number = fields["first_stream"] + (0 if fields["shared"] else row_group)
        left = 0 if fields["shared"] else fields["row_groups"] - 1 - row_group
        needed = [number + n for n in range(min(left, self.params.streams - 1) + 1)]
        common = {
            "first": first,
            "last": last,
            "used": sum(1 << n for n, one in enumerate(item.positions) if one),
        }
        written = {one.write[1] for one in item.positions if one}
        shown, group = self.words(item, fields, half), item.group
        ends = {
            "short": int(row_group == fields["row_groups"] - 1),
            "ends": int(item.number == fields["groups"] - 1) & (last | 1 - fields["apart"]),
        }
        streams = self.params.streams
        words, limit = index_words(fields), 1 << index_bits(self.params)
        return {
            "start": common
            | {
                "final": final,
                "word": shown["read"],
                "bank": group.read[1],
                "picture": fields["picture"],
                "unsigned": fields["unsigned"],
                "maximum": fields["maximum"],
                "stream": number % streams,
                "needed": sum(1 << n % streams for n in needed),
                "base": {
                    n % streams: (fields["first_index"] + n // streams * words) % limit
                    for n in needed
                },
            },
            "drain": common
            | ends
            | {
                "word": shown["skip"],
                "bank": group.skip[1],
                "slot": fields["slot"] + row_group,
            },
            "write": common | ends | {"final": final, "banks": sum(1 << bank for bank in written)},
        }

    def expect(self, fields: Fields, half: int, pictures: int) -> int:
        """All of a pass; how many cycles it takes without a pause."""
        params = self.params
        count = 0
        stages = pictures if fields["apart"] else params.stages
        work = list(tiles(fields, params.clusters, stages, params.streams))
        for t, tile in enumerate(work):
            for n, item in enumerate(tile):
                for cluster in range(fields["group_width"]):
                    one = item.positions[cluster]
                    self.board.expect((cluster, self.position(one, item, fields)))
                count += ceil_div(fields["group_width"], self.steps)
                last = n == len(tile) - 1
                place = (t == n == 0, last, last and t == len(work) - 1)
                self.board.expect(self.item(item, fields, half, place))
        return count

    async def walk(self, fields: Fields, half: int, pictures: int) -> int:
        """A pass; the cycles from its begin to its end."""
        dut = self.dut
        dut.begin.value, dut.half.value, dut.pictures.value = 1, half, pictures - 1
        dut.coming.value = pass_vector(PassLayout(self.params), self.params, fields)
        await RisingEdge(dut.clk)
        # Only with `begin` do these count.
        dut.begin.value, dut.half.value, dut.pictures.value, dut.coming.value = 0, 0, 0, 0
        cycles, busy = 0, True
        while busy:
            dut.room.value = int(not self.full())
            await FallingEdge(dut.clk)
            busy = bool(int(dut.busy.value))
            self._watch(fields["group_width"])
            await RisingEdge(dut.clk)
            cycles += busy
            assert cycles < 100_000, f"{self.name}: a pass does not end"
        return cycles

    def _watch(self, width: int) -> None:
        dut = self.dut
        if int(dut.valid.value):
            first = int(dut.cluster.value)
            for n in range(self.steps):
                value = int(getattr(dut, f"position__{n}").value)
                found = fields_of(self.positions, value)
                used = found if found["used"] else None
                if first + n < width:
                    self.board.receive((first + n, used))
                else:
                    assert used is None, f"{self.name}: a position behind its group"
        if int(dut.done.value):
            item = fields_of(self.items, int(dut.item.value))
            begun = item["start"]
            base = begun["base"]
            begun["base"] = {n: base[n] for n in base if begun["needed"] >> n & 1}
            self.board.receive(item)


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def walks_as_the_model(dut: Any, kind: str) -> None:
    """Passes of every kind, one after the other; without a pause positions show every cycle."""
    names = parameters()["sizes"]
    benches = [WalkerBench(dut, name, kind) for name in names]
    for bench in benches:
        bench.dut.begin.value = bench.dut.clear.value = bench.dut.room.value = 0
    await start(dut)
    for bench in benches:
        maker = PassMaker(bench.params, bench.source)
        for _ in range(parameters()["passes"]):
            fields, half = maker.made(), bench.source.randrange(2)
            pictures = bench.source.randint(1, bench.params.stages)
            least = bench.expect(fields, half, pictures)
            cycles = await bench.walk(fields, half, pictures)
            assert kind != "none" or cycles == least, f"{bench.name}: {cycles} cycles"
        bench.board.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def forgets(dut: Any) -> None:
    """After `clear` nothing comes of the pass, and the next one is as ever."""
    bench = WalkerBench(dut, next(iter(parameters()["sizes"])), "none")
    bench.dut.begin.value = bench.dut.clear.value = bench.dut.pictures.value = 0
    bench.dut.room.value = 1
    await start(dut)
    maker = PassMaker(bench.params, bench.source)
    for _ in range(20):
        bench.dut.begin.value = 1
        bench.dut.coming.value = pass_vector(PassLayout(bench.params), bench.params, maker.made())
        await RisingEdge(bench.dut.clk)
        bench.dut.begin.value = 0
        for _ in range(bench.source.randrange(12)):
            await RisingEdge(bench.dut.clk)
        bench.dut.clear.value = 1
        await RisingEdge(bench.dut.clk)
        bench.dut.clear.value = 0
        await FallingEdge(bench.dut.clk)
        assert not int(bench.dut.busy.value) and not int(bench.dut.valid.value)
        await RisingEdge(bench.dut.clk)
        fields = maker.made()
        bench.expect(fields, 0, 1)
        await bench.walk(fields, 0, 1)
    bench.board.finish()
