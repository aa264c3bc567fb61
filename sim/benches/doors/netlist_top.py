"""A board's top: the netlist that its bitstream is made of beside the RTL, both talked to at once.

`clk` is the board's oscillator, `rx` the host's line to both; `tx` and `led` are the netlist's,
`rtl_tx` the RTL's; `differs` stays high from the first cycle in which an output of the two is not
the same; `flip` makes the netlist a wrong one.  Values: `engine`, `baud`, `clock_ps`, `flip`.
"""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.queue import Queue
from cocotb.triggers import ClockCycles

from dpnet.gateware.registers import BY_NAME, Status
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.random_networks import Network
from dpnet.sim.peers.conversation import Conversation, prove
from dpnet.sim.peers.uart_model import UartModel

STARTUP_CYCLES = 400
"""31 of the PLL's model, 256 in which it must stay locked, and what the synchronizers take."""


async def start(dut: Any) -> None:
    """Power: there is no reset; the engine's clock starts by itself."""
    dut.rx.value = 1
    dut.flip.value = parameters()["flip"]
    Clock(dut.clk, parameters()["clock_ps"], unit="ps", impl="gpi").start()
    await ClockCycles(dut.clk, STARTUP_CYCLES)


async def listen(pin: Any, heard: Queue[int], log: bytearray) -> None:
    """All bytes on `pin`, into `heard` and `log`."""
    listener = UartModel(parameters()["baud"])
    while True:
        (byte,) = await listener.receive(pin, 1)
        assert byte.good, f"a damaged byte {byte}"
        heard.put_nowait(byte.value)
        log.append(byte.value)


def lit(dut: Any) -> list[str]:
    """The lamps that are on, of those that do not blink."""
    lamps = {1: "clocked", 5: "failed", 6: "lost", 7: "stopped"}
    return [name for bit, name in lamps.items() if int(dut.led.value) >> bit & 1]


async def fail(host: Conversation, network: Network) -> None:
    """A run whose first activation has more bits than the engine takes."""
    layer = network.layers[0]
    address, words = network.input(layer, network.vector(layer))
    words[0] = 1 << network.engine.activation_bits
    await host.write(address, words)
    assert await host.start(100, 0, 0) == Status.OK
    status = BY_NAME["STATUS"]
    while status.field("busy").of(value := await host.register("STATUS")):
        pass
    assert status.field("range").of(value)


@cocotb.test(timeout_time=40, timeout_unit="ms")
async def answers_as_the_rtl_does(dut: Any) -> None:
    """Identify, refuse to start, load, run, read results and counters: the netlist's answers are
    golden, and every byte and lamp is the RTL's, in the same cycle."""
    await start(dut)
    talker = UartModel(parameters()["baud"])
    heard: Queue[int] = Queue()
    netlist, rtl = bytearray(), bytearray()
    tasks = [
        cocotb.start_soon(listen(dut.tx, heard, netlist)),
        cocotb.start_soon(listen(dut.rtl_tx, Queue(), rtl)),
    ]

    async def send(data: bytes) -> None:
        await talker.send(dut.rx, data)

    async def receive() -> bytes:
        byte = await heard.get()
        assert not int(dut.differs.value), f"the netlist differs after {len(netlist)} bytes"
        return bytes([byte])

    engine = EngineParameters(**parameters()["engine"])
    host = Conversation(send, receive)
    clock_hz = 10**12 // parameters()["clock_ps"]
    checked = await prove(host, engine, cocotb.RANDOM_SEED, clock_hz)
    assert lit(dut) == ["clocked"], "no error, nothing lost"
    await fail(host, Network(engine, np.random.default_rng(cocotb.RANDOM_SEED)))
    assert lit(dut) == ["clocked", "failed"]
    await talker.hold(dut.rx, 0, 12)
    await talker.hold(dut.rx, 1, 12)
    assert lit(dut) == ["clocked", "failed", "lost"]
    assert await host.register("STATUS"), "it answers as before"
    # The two listeners do not hear the last byte in any order.
    await ClockCycles(dut.clk, 20)
    assert checked > 1 and len(netlist) > 500
    assert netlist == rtl, f"byte {_first_difference(netlist, rtl)} of the answers differs"
    assert not int(dut.differs.value), "an output differed in a cycle between the answers"
    for task in tasks:
        task.cancel()


def _first_difference(a: bytes, b: bytes) -> int:
    return next((n for n, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), len(a))
