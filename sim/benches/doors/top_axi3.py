"""A whole engine behind AXI3, by FIXED bursts, with pauses on all channels; `dut` may be the engine
or a chip around it.

Values: `engine`.
"""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.triggers import ClockCycles

from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.streams import pauses, start
from dpnet.sim.peers.axi3 import FIXED, OKAY, SLVERR, Axi3Manager, Burst
from dpnet.sim.peers.conversation import Conversation, prove

BASE = 0x4000_0000
STATUS, TX, RX = BASE + 4, BASE + 8, BASE + 12
FREE = 512


class Axi3Bytes:
    """Bytes to and from the door, up to 16 words in a burst."""

    def __init__(self, dut: Any, kind: str) -> None:
        self.dut = dut
        ends = {"aw": 0, "w": 0, "ar": 0, "b": 1, "r": 1}
        self.manager = Axi3Manager(
            dut, {name: pauses(kind, n)[end] for n, (name, end) in enumerate(ends.items())}
        )
        self._received = bytearray()

    async def read(self, address: int) -> int:
        ((response, word),) = await self.manager.read(Burst(address, id=0xABC))
        assert response == OKAY
        return word

    async def send(self, data: bytes) -> None:
        for n in range(0, len(data), 64):
            part = data[n : n + 64]
            words = [
                int.from_bytes(part[i : i + 4].ljust(4, b"\0"), "little")
                for i in range(0, len(part), 4)
            ]
            strobes = [15] * (len(part) // 4) + [(1 << len(part) % 4) - 1] * (len(part) % 4 > 0)
            burst = Burst(TX, len(words), kind=FIXED, id=n & 0xFFF)
            assert await self.manager.write(burst, words, strobes) == OKAY

    async def receive(self) -> bytes:
        """All that is there, and at least a byte."""
        got = bytearray()
        while not got:
            waiting = await self.read(STATUS) & 0xFFFF
            if not waiting:
                await ClockCycles(self.dut.clk, 20)
                continue
            beats = await self.manager.read(Burst(RX, min(waiting, 16), kind=FIXED))
            assert all(response == OKAY and word >> 31 for response, word in beats)
            got += bytes(word & 255 for _, word in beats)
        return bytes(got)


@cocotb.test(timeout_time=40, timeout_unit="ms")
@cocotb.parametrize(kind=("none", "both"))
async def computes(dut: Any, kind: str) -> None:
    """Identify, refuse to start, load, run, read; nothing is left in the door."""
    door = Axi3Bytes(dut, kind)
    await start(dut)
    engine = EngineParameters(**parameters()["engine"])
    host = Conversation(door.send, door.receive)
    assert await prove(host, engine, cocotb.RANDOM_SEED) > 0
    # The zero that ends the last response may still be on its way.
    await ClockCycles(dut.clk, 50)
    while await door.read(STATUS) & 0xFFFF:
        await door.read(RX)
    assert await door.read(STATUS) == FREE << 16
    assert await door.manager.read(Burst(BASE + 0x1000_0004)) == [(SLVERR, 0)]
    assert int(dut.led_alive.value) == 0 and int(dut.led_failed.value) == 0
    assert int(dut.led_link.value) == 1 and int(dut.led_busy.value) == 1
