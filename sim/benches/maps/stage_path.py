"""Stage paths against what was given so many cycles ago.

Values: `paths`, for each name in the bundle its `streams` and whether it is `first`;
`cycles` per test.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.model.engine.maps.parameters import LANES
from dpnet.sim.benches.maps.unit import CONTROL
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import Layout, pack, start, unpack

KINDS = ("calm", "busy")
LATE = 3
"""From a command to what is decided about it; a cycle later it reaches the units."""


class PathBench:
    """A path and what it was given: words and drains by cycle, the stream of the tile."""

    def __init__(self, dut: Any, name: str, kind: str) -> None:
        self.dut, sizes = Part(dut, name), parameters()["paths"][name]
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind}")
        self.streams = sizes["streams"]
        self.layout: Layout = [
            *((f"word_{s}", 64) for s in range(self.streams)),
            *(("maximum", 1), ("first", 1), ("channel", 4)),
        ]
        delay = 0 if sizes["first"] else LANES
        self.paths: deque[int] = deque([0] * (delay + 1), maxlen=delay + 1)
        idle = (0, 0, 0, 0, 0)
        self.commands = deque([idle] * (LATE + 1), maxlen=LATE + 1)
        self.stream = 0
        self.due: tuple[int, int] = 0, 0
        self.often = {"calm": 0.05, "busy": 0.5}[kind]
        self.board = Scoreboard(name, show=hex)

    def _draw(self) -> tuple[int, int, int, int, int]:
        """start, stream, drain, bucket, show"""
        source = self.source
        often = source.random() < self.often, source.random() < self.often
        return (
            int(often[0]),
            source.randrange(self.streams),
            int(often[1]),
            source.randrange(LANES),
            source.getrandbits(1),
        )

    async def cycle(self, *, compare: bool) -> None:
        dut = self.dut
        given, path = self._draw(), self.source.getrandbits(sum(bits for _, bits in self.layout))
        ports = (dut.start, dut.stream, dut.drain, dut.bucket, dut.show)
        for port, value in zip(ports, given, strict=True):
            port.value = value
        dut.path.value = path
        self.paths.append(path)
        self.commands.append(given)
        if self.commands[0][0]:
            self.stream = self.commands[0][1]
        own = dict(
            zip([n for n, _ in self.layout], unpack(self.layout, self.paths[0]), strict=True)
        )
        _, _, drain, bucket, show = self.commands[0]
        to_lanes = int(not drain and not own["maximum"])
        await FallingEdge(dut.clk)
        if compare:
            for wanted, port in (
                (self.paths[0], dut.next_path),
                (to_lanes, dut.to_lanes),
                (self.due[0], dut.index),
                (self.due[1], dut.control),
            ):
                self.board.expect(wanted)
                self.board.receive(int(port.value))
        control = {
            "add": 1 - drain,
            "word": bucket if drain else own["channel"],
            "largest": own["maximum"] & 1 - drain,
            "first": own["first"],
            "show": drain & show,
            "ending": int(drain and bucket == 0),
        }
        index = bucket * 0x1111_1111_1111_1111 if drain else own[f"word_{self.stream}"]
        self.due = index, pack(CONTROL, **control)
        await RisingEdge(dut.clk)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def paths_hand_on(dut: Any, kind: str) -> None:
    """Words, starts and drains in any cycle."""
    for name in parameters()["paths"]:
        bench = PathBench(dut, name, kind)
        await start(bench.dut)
        for n in range(parameters()["cycles"]):
            await bench.cycle(compare=n > LANES + LATE + 1)
        bench.board.finish()
