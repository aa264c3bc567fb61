"""The queue of items with its three ends against lists.

Values: `sizes`, the parameters of the engine of each name; `cycles` per test.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.gateware.maps.control.item_store import AHEAD, BEHIND
from dpnet.gateware.maps.control.layouts import (
    SIDES,
    ItemLayout,
    PositionLayout,
    SpotLayout,
    TargetLayout,
    steps_of,
)
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.sim.benches.maps.control.passes import fields_of, params_of, vector
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.streams import start

KINDS = ("none", "idle")
ENDS = ("start", "drain", "write")


class Queue:
    """Items as lists, and what each end must show next."""

    def __init__(self, dut: Any, name: str, kind: str) -> None:
        self.name, self.dut = name, Part(dut, f"items_{name}")
        self.params: MapEngineParameters = params_of(parameters()["sizes"][name])
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind}")
        self.share = 1.0 if kind == "none" else 0.4
        self.ends: dict[str, deque[dict[str, Any]]] = {end: deque() for end in ENDS}
        self.made: list[dict[str, Any]] = []
        self.taken = 0
        self.gone: list[str] = []

    def clear(self) -> None:
        for waiting in self.ends.values():
            waiting.clear()
        self.made = []

    def give(self) -> None:
        """A position of the item that is being made, or the first one of the next item."""
        dut, source, params = self.dut, self.source, self.params
        dut.valid.value = dut.done.value = 0
        if (not self.made and not int(dut.room.value)) or source.random() > self.share:
            return
        layout = PositionLayout(params)
        dut.valid.value, dut.cluster.value = 1, len(self.made)
        for n in range(steps_of(params)):
            position = fields_of(layout, source.getrandbits(layout.size))
            if len(self.made) < params.clusters:
                self.made.append(position)
            else:
                position["used"] = 0
            getattr(dut, f"position__{n}").value = vector(layout, position)
        if len(self.made) == params.clusters:
            item = source.getrandbits(ItemLayout(params).size)
            dut.done.value, dut.item.value = 1, item
            for end in ENDS:
                fields = fields_of(ItemLayout(params), item)
                shown = {"item": fields[end], "positions": self.made}
                self.ends[end].append(shown)
            self.made = []

    def take(self) -> None:
        """An item starts, and so on, where one is there and it may be; in its order."""
        dut, ends = self.dut, self.ends
        behind = [len(ends["drain"]) - len(ends["start"]), len(ends["write"]) - len(ends["drain"])]
        possible = {
            "start": bool(int(dut.start_valid.value)) and behind[0] < self.params.stages,
            "drain": behind[0] > 0 and behind[1] < BEHIND - 1,
            "write": behind[1] > 0,
        }
        for end, may in possible.items():
            takes = may and self.source.random() < 0.5
            getattr(dut, f"{end}_take").value = int(takes)
            if takes:
                self.compare(end, ends[end][0])
                self.gone.append(end)

    def compare(self, end: str, wanted: dict[str, Any]) -> None:
        dut, params = self.dut, self.params
        item = getattr(dut, end)
        layout = ItemLayout(params)[end].shape
        assert fields_of(layout, int(item.value)) == wanted["item"], f"{self.name}: {end}"
        for (port, n), value in self.shown(end, wanted["positions"]).items():
            assert int(getattr(dut, f"{port}__{n}").value) == value, f"{self.name}: {port} {n}"
        self.taken += 1

    def shown(self, end: str, positions: list[dict[str, Any]]) -> dict[tuple[str, int], int]:
        """What an end must show of an item's positions; of a bank that several name the last."""
        if end == "start":
            names = [*SIDES, "read"]
            fields = [name for name, _ in SpotLayout()]
            spots = [
                {field: one[name] for field, name in zip(fields, names, strict=True)}
                for one in positions
            ]
            return {("spots", n): vector(SpotLayout(), one) for n, one in enumerate(spots)}
        if end == "drain":
            return {("skips", n): one["skip"] for n, one in enumerate(positions)}
        layout, found = TargetLayout(self.params), {}
        for n, one in enumerate(positions):
            if one["used"] and one["write_bank"] < self.params.clusters:
                target = vector(layout, {"word": one["write_word"], "cluster": n})
                found["targets", one["write_bank"]] = target
        return found


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def keeps_items(dut: Any, kind: str) -> None:
    """What was given shows at each end in order, however fast it is taken; `room` only while there
    is some; nothing is left after `clear`."""
    for name in parameters()["sizes"]:
        queue = Queue(dut, name, kind)
        part = queue.dut
        for end in ENDS:
            getattr(part, f"{end}_take").value = 0
        part.clear.value = part.valid.value = part.done.value = 0
        await start(dut)
        for cycle in range(parameters()["cycles"]):
            queue.gone = []
            await FallingEdge(part.clk)
            ahead = len(queue.ends["start"])
            assert bool(int(part.start_valid.value)) == (ahead > 0), f"{name}: cycle {cycle}"
            assert int(part.room.value) == (ahead < AHEAD), f"{name}: cycle {cycle}"
            forget = cycle % 200 == 199
            part.clear.value = int(forget)
            queue.take()
            for end in queue.gone:
                queue.ends[end].popleft()
            queue.give()
            if forget:
                queue.clear()
            await RisingEdge(part.clk)
        assert queue.taken > parameters()["cycles"] // LANES
