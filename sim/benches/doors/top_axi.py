"""A whole engine behind AXI4-Lite: cocotbext-axi's manager, with pauses on all channels.

Values: `engine`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.streams import Pause, never, pauses, start
from dpnet.sim.peers.conversation import Conversation, prove

STATUS, TX, RX = 0x04, 0x08, 0x0C
FREE = 512


class AxiDoor:
    """Bytes to and from the door of `dpnet.gateware.doors.axi` by its documented registers."""

    def __init__(self, dut: Any, kind: str) -> None:
        self.dut = dut
        logging.getLogger("cocotb.top.s_axi").setLevel(logging.WARNING)
        self.manager = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        writing, reading = self.manager.write_if, self.manager.read_if
        sources = [writing.aw_channel, writing.w_channel, reading.ar_channel]
        sinks = [writing.b_channel, reading.r_channel]
        for position, channel in enumerate([*sources, *sinks]):
            pause = pauses(kind, position)[channel in sinks]
            if pause is not never:
                channel.set_pause_generator(_endless(pause))

    async def read(self, address: int) -> int:
        answer = await self.manager.read(address, 4)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")

    async def send(self, data: bytes) -> None:
        for n in range(0, len(data), 4):
            answer = await self.manager.write(TX, data[n : n + 4])
            assert answer.resp == AxiResp.OKAY

    async def receive(self) -> bytes:
        while not (word := await self.read(RX)) >> 31:
            await ClockCycles(self.dut.clk, 20)
        return bytes([word & 255])


def _endless(pause: Pause) -> Iterator[bool]:
    while True:
        yield pause()


@cocotb.test(timeout_time=40, timeout_unit="ms")
@cocotb.parametrize(kind=("none", "both", "bursts"))
async def computes(dut: Any, kind: str) -> None:
    """Identify, refuse to start, load, run, read; nothing is left in the door."""
    door = AxiDoor(dut, kind)
    await start(dut)
    engine = EngineParameters(**parameters()["engine"])
    host = Conversation(door.send, door.receive)
    assert await prove(host, engine, cocotb.RANDOM_SEED) > 0
    # The zero that ends the last response may still be on its way.
    await ClockCycles(dut.clk, 50)
    while await door.read(RX) == 1 << 31:
        pass
    assert await door.read(STATUS) == FREE << 16
