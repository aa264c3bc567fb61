"""The ZC706's UART top: what the chip level adds to the UART's bench, clock, reset and lamps.

Values: `baud`.  Pins of the board as `dpnet.boards.zynq.top.IdleTop` has them; `clk` is its
oscillator.
"""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.queue import Queue
from cocotb.triggers import Timer

from dpnet.gateware.registers import MAGIC, Operation, State, Status
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.streams import start
from dpnet.sim.peers.conversation import EPOCH, Conversation
from dpnet.sim.peers.uart_model import UartModel

RESET_MS = 1.35
"""2^16 cycles of the engine at 50 MHz, its clock here, and some more."""


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def answers_and_restarts(dut: Any) -> None:
    """Silent until reset is over; then it answers, and every change of the button starts anew."""
    dut.rx.value, dut.button.value = 1, 0
    line = UartModel(parameters()["baud"])
    heard: Queue[int] = Queue()

    async def listen() -> None:
        while True:
            (byte,) = await line.receive(dut.tx, 1)
            assert byte.good, f"a damaged byte {byte}"
            heard.put_nowait(byte.value)

    async def send(data: bytes) -> None:
        await line.send(dut.rx, data)

    async def receive() -> bytes:
        return bytes([await heard.get()])

    await start(dut)
    task = cocotb.start_soon(listen())
    await send(b"\0\0")
    await Timer(RESET_MS, "ms")
    assert heard.empty() and not int(dut.led_link.value)
    for level in (1, 0):
        host = Conversation(send, receive)
        assert await host.register("MAGIC") == MAGIC
        assert await host.state() == State.EMPTY
        assert (await host.request(Operation.BEGIN, epoch=EPOCH)).flags == Status.OK
        assert await host.state() == State.LOADING
        # The engine is busy after a reset too: it drains its buckets.
        assert int(dut.led_link.value) and int(dut.led_busy.value)
        assert not int(dut.led_failed.value) and not int(dut.led_alive.value)
        dut.button.value = level
        await Timer(RESET_MS, "ms")
        assert not int(dut.led_link.value)
    await send(b"\0\0")
    dut.rx.value = 0
    await Timer(20 * line.bit_ps, "ps")
    assert int(dut.led_failed.value), "a byte without a stop bit must light the lamp"
    task.cancel()
