"""A whole engine behind its UART, talked to by a UART that knows no clock of ours.

Values: `engine`, `baud`.
"""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.queue import Queue

from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import parameters, thorough
from dpnet.sim.kit.streams import start
from dpnet.sim.peers.conversation import Conversation, prove
from dpnet.sim.peers.uart_model import UartModel

ERRORS = (0.0, -0.015) if thorough() else (-0.015,)
"""By how much the other's clock is faster."""


@cocotb.test(timeout_time=40, timeout_unit="ms")
@cocotb.parametrize(error=ERRORS)
async def computes(dut: Any, error: float) -> None:
    """Identify, refuse to start, load, run, read: with clocks that agree, and 1.5 % apart."""
    dut.rx.value = 1
    await start(dut)
    talker = UartModel(parameters()["baud"], error)
    heard: Queue[int] = Queue()

    async def listen() -> None:
        listener = UartModel(parameters()["baud"])
        while True:
            (byte,) = await listener.receive(dut.tx, 1)
            assert byte.good, f"a damaged byte {byte}"
            heard.put_nowait(byte.value)

    async def send(data: bytes) -> None:
        await talker.send(dut.rx, data)

    async def receive() -> bytes:
        return bytes([await heard.get()])

    task = cocotb.start_soon(listen())
    engine = EngineParameters(**parameters()["engine"])
    checked = await prove(Conversation(send, receive), engine, cocotb.RANDOM_SEED)
    assert checked > 10 and heard.empty()
    task.cancel()
