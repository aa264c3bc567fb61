"""The UART door against the UART model."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.streams import PAUSES, PERIOD_NS, collect, drive, pauses, quiet, start
from dpnet.sim.peers.uart_model import UartModel

EXTREMES = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, 0x7F, 0xFE]
ERRORS = (-0.02, 0.0, 0.02)
DEPTH = 512


async def begin(dut: Any, error: float = 0.0) -> UartModel:
    """Reset with an idle line; the model is off by `error`."""
    dut.rx.value = 1
    dut.i__valid.value = 0
    dut.o__ready.value = 0
    await start(dut)
    return UartModel(parameters()["baud"], error)


def some_bytes(source: random.Random, count: int) -> list[int]:
    """Extremes and random bytes."""
    return EXTREMES + [source.randrange(256) for _ in range(count - len(EXTREMES))]


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(error=ERRORS, kind=PAUSES)
async def receive(dut: Any, error: float, kind: str) -> None:
    """Every byte arrives once, in order, back to back and with gaps, with clocks 2 % apart."""
    model = await begin(dut, error)
    source = random.Random(f"{cocotb.RANDOM_SEED} {error} {kind}")
    data = some_bytes(source, 60)
    gaps = [source.choice([0, 0, 0, 0.1, 0.37, 1, 3.3]) for _ in data]
    sender = cocotb.start_soon(model.send(dut.rx, data, gaps))
    got = await collect(dut, "o", len(data), pauses(kind, 1)[1])
    await sender
    assert got == data
    await quiet(dut, "o", 50)
    assert (int(dut.framing_errors.value), int(dut.overruns.value)) == (0, 0)


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(kind=PAUSES)
async def transmit(dut: Any, kind: str) -> None:
    """Every byte leaves once, in order, each edge within a clock of its time."""
    model = await begin(dut)
    source = random.Random(f"{cocotb.RANDOM_SEED} {kind}")
    data = some_bytes(source, 60)
    cocotb.start_soon(drive(dut, "i", data, pauses(kind, 2)[0]))
    heard = await model.receive(dut.tx, len(data))
    assert [byte.value for byte in heard] == data
    assert all(byte.good for byte in heard)
    # Bytes that are there in time follow each other without a gap, and the rate is exact.
    spans = (heard[-1].start_ps - heard[0].start_ps) / (10 * model.bit_ps)
    if kind in ("none", "idle"):
        assert abs(spans - (len(data) - 1)) * 10 * model.bit_ps < 2e3 * PERIOD_NS
    await ClockCycles(dut.clk, 200)
    assert int(dut.tx.value) == 1


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def both_ways(dut: Any) -> None:
    """Sending does not disturb receiving, whatever the phase between them."""
    model = await begin(dut, 0.013)
    source = random.Random(cocotb.RANDOM_SEED)
    down, up = some_bytes(source, 120), some_bytes(source, 120)
    cocotb.start_soon(model.send(dut.rx, down))
    cocotb.start_soon(drive(dut, "i", up))
    listener = cocotb.start_soon(UartModel(model.baud).receive(dut.tx, len(up)))
    assert await collect(dut, "o", len(down)) == down
    assert [byte.value for byte in await listener] == up


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def damaged_line(dut: Any) -> None:
    """Glitches are ignored, bytes without a stop bit and breaks are dropped and counted."""
    model = await begin(dut)
    listener = cocotb.start_soon(collect(dut, "o", 5))
    bit_cycles = model.bit_ps / 1000 / PERIOD_NS
    await model.send(dut.rx, [0x31])
    for share in (1 / bit_cycles, 0.25):
        await model.hold(dut.rx, 0, share)
        await model.hold(dut.rx, 1, 2)
    await model.send(dut.rx, [0x32])
    await model.hold(dut.rx, 0, 9.9)  # eight zeros and no stop bit
    await model.hold(dut.rx, 1, 3)
    await model.send(dut.rx, [0x33])
    await model.hold(dut.rx, 0, 57)  # a break is one error, however long
    await model.hold(dut.rx, 1, 2)
    await model.send(dut.rx, [0x34, 0x00])
    assert await listener == [0x31, 0x32, 0x33, 0x34, 0x00]
    await RisingEdge(dut.clk)
    await quiet(dut, "o", 100)
    assert (int(dut.framing_errors.value), int(dut.overruns.value)) == (2, 0)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def spikes(dut: Any) -> None:
    """A spike of one clock in every bit of a byte, wherever it is, is outvoted."""
    model = await begin(dut)
    source = random.Random(cocotb.RANDOM_SEED)
    places = [0.2 + 0.02 * step for step in range(25)]
    data = [source.randrange(256) for _ in places]
    listener = cocotb.start_soon(collect(dut, "o", len(data)))
    clock = PERIOD_NS * 1000 / model.bit_ps
    for value, place in zip(data, places, strict=True):
        for level in [0, *(value >> bit & 1 for bit in range(8))]:
            await model.hold(dut.rx, level, place)
            await model.hold(dut.rx, 1 - level, clock)
            await model.hold(dut.rx, level, 1 - place - clock)
        await model.hold(dut.rx, 1, 1.5)
    assert await listener == data
    assert (int(dut.framing_errors.value), int(dut.overruns.value)) == (0, 0)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def overrun(dut: Any) -> None:
    """512 bytes wait; those that come then are lost and counted, and no others."""
    model = await begin(dut)
    source = random.Random(cocotb.RANDOM_SEED)
    data = [source.randrange(256) for _ in range(DEPTH + 7)]
    await model.send(dut.rx, data)
    await RisingEdge(dut.clk)
    assert (int(dut.framing_errors.value), int(dut.overruns.value)) == (0, 7)
    assert await collect(dut, "o", DEPTH) == data[:DEPTH]
    await model.send(dut.rx, [0x5A])
    await RisingEdge(dut.clk)
    assert await collect(dut, "o", 1) == [0x5A]
    await quiet(dut, "o", 20)
