"""The AXI4-Lite door against cocotbext-axi, with pauses on every channel and stream."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from dpnet.sim.kit.streams import (
    PAUSES,
    PERIOD_NS,
    Pause,
    collect,
    drive,
    never,
    pauses,
    quiet,
    start,
)

MAGIC, STATUS, TX, RX = 0x00, 0x04, 0x08, 0x0C
DEPTH = 512


async def begin(dut: Any, kind: str = "none") -> AxiLiteMaster:
    """Reset, with a manager whose five channels pause on their own."""
    dut.i__valid.value = 0
    dut.o__ready.value = 0
    logging.getLogger("cocotb.top.s_axi").setLevel(logging.WARNING)
    dut._log.setLevel(logging.WARNING)
    manager = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
    writing, reading = manager.write_if, manager.read_if
    sources = [writing.aw_channel, writing.w_channel, reading.ar_channel]
    sinks = [writing.b_channel, reading.r_channel]
    for position, channel in enumerate([*sources, *sinks]):
        pause = pauses(kind, position)[channel in sinks]
        if pause is not never:
            channel.set_pause_generator(_endless(pause))
    await start(dut)
    return manager


def _endless(pause: Pause) -> Iterator[bool]:
    while True:
        yield pause()


async def read(manager: AxiLiteMaster, address: int) -> tuple[AxiResp, int]:
    """Response and word of one read."""
    answer = await manager.read(address, 4)
    return answer.resp, int.from_bytes(answer.data, "little")


async def send(manager: AxiLiteMaster, data: bytes, source: random.Random) -> None:
    """Write `data` to TX, one to four bytes at a time, in any lanes, without waiting between."""
    position = 0
    writes = []
    while position < len(data):
        count = source.randint(1, 4)
        part = data[position : position + count]
        lane = source.randint(0, 4 - len(part))
        writes.append(cocotb.start_soon(manager.write(TX + lane, part)))
        position += len(part)
    for write in writes:
        assert (await write).resp == AxiResp.OKAY


async def take(manager: AxiLiteMaster, count: int) -> bytes:
    """Read `count` bytes from RX, as often as it takes, five addresses ahead of the data."""
    got = bytearray()
    while len(got) < count:
        for task in [cocotb.start_soon(read(manager, RX)) for _ in range(5)]:
            response, word = await task
            assert response == AxiResp.OKAY
            assert word >> 31 or word == 0, f"RX has 0x{word:08x}"
            assert word & 0x7FFFFF00 == 0
            if word >> 31:
                got.append(word & 255)
    return bytes(got)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(kind=PAUSES)
async def both_ways(dut: Any, kind: str) -> None:
    """Bytes written leave, bytes that come are read, each once and in order, both at a time."""
    manager = await begin(dut, kind)
    source = random.Random(f"{cocotb.RANDOM_SEED} {kind}")
    down, up = source.randbytes(900), source.randbytes(400)
    idle, back_pressure = pauses(kind, 9)
    cocotb.start_soon(drive(dut, "i", up, idle))
    sink = cocotb.start_soon(collect(dut, "o", len(down), back_pressure))
    writer = cocotb.start_soon(send(manager, down, source))
    assert await take(manager, len(up)) == up
    await writer
    assert bytes(await sink) == down
    await quiet(dut, "o", 10)
    assert await read(manager, RX) == (AxiResp.OKAY, 0)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(kind=PAUSES)
async def map_and_errors(dut: Any, kind: str) -> None:
    """Reads and writes beside the map are SLVERR and change nothing."""
    manager = await begin(dut, kind)
    await drive(dut, "i", [0x77])
    await ClockCycles(dut.clk, 3)
    empty = (AxiResp.OKAY, DEPTH << 16 | 1)
    assert await read(manager, MAGIC) == (AxiResp.OKAY, 0x44504E54)
    assert await read(manager, STATUS) == empty
    for address in (MAGIC, STATUS, RX, 0x10, 0x100, 0x408, 0xFFC):
        assert (await manager.write(address, b"\x01\x02\x03\x04")).resp == AxiResp.SLVERR
    for address in (TX, 0x10, 0x80C, 0xFFC):
        assert (await manager.read(address, 4)).resp == AxiResp.SLVERR
    assert await read(manager, STATUS) == empty
    assert await read(manager, RX) == (AxiResp.OKAY, 1 << 31 | 0x77)
    assert await read(manager, STATUS) == (AxiResp.OKAY, DEPTH << 16)
    await quiet(dut, "o", 5)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def waits_for_space(dut: Any) -> None:
    """STATUS counts; a write that finds TX full ends when there is room, and no byte is lost."""
    manager = await begin(dut)
    data = bytes(index % 251 for index in range(DEPTH + 6))
    for position in range(0, DEPTH, 4):
        await manager.write(TX, data[position : position + 4])
        if position in (0, 200):
            space = DEPTH - position - 4
            assert await read(manager, STATUS) == (AxiResp.OKAY, space << 16)
    assert await read(manager, STATUS) == (AxiResp.OKAY, 0)
    late = cocotb.start_soon(manager.write(TX, data[DEPTH : DEPTH + 4]))
    await ClockCycles(dut.clk, 200)
    assert not late.done(), "a write into a full buffer was answered"
    assert bytes(await collect(dut, "o", 2)) == data[:2]
    await ClockCycles(dut.clk, 50)
    assert not late.done(), "a write was answered with half of its bytes"
    sink = cocotb.start_soon(collect(dut, "o", DEPTH + 2))
    assert (await with_timeout(late, 100 * PERIOD_NS, "ns")).resp == AxiResp.OKAY
    assert bytes(await sink) == data[2 : DEPTH + 4]
    await quiet(dut, "o", 5)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def receive_waits(dut: Any) -> None:
    """512 bytes wait in RX; then the stream is held back, and nothing is lost."""
    manager = await begin(dut)
    data = bytes(index % 253 for index in range(DEPTH + 2))
    sender = cocotb.start_soon(drive(dut, "i", data))
    await ClockCycles(dut.clk, DEPTH + 100)
    assert not sender.done()
    assert await read(manager, STATUS) == (AxiResp.OKAY, DEPTH << 16 | DEPTH)
    assert await take(manager, len(data)) == data
    assert sender.done()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def all_strobes(dut: Any) -> None:
    """Each of the 16 strobe patterns, address before, with and after the data."""
    for name in ("awaddr", "awvalid", "wdata", "wstrb", "wvalid", "bready", "arvalid", "rready"):
        getattr(dut, f"s_axi_{name}").value = 0
    dut.i__valid.value = 0
    dut.o__ready.value = 0
    await start(dut)
    source = random.Random(cocotb.RANDOM_SEED)
    expected = []
    for strobes in range(16):
        for lead in (-3, -1, 0, 1, 3):
            word = source.getrandbits(32)
            expected += [word >> 8 * lane & 255 for lane in range(4) if strobes >> lane & 1]
            address = cocotb.start_soon(
                hand_over(dut, "aw", {"addr": TX + source.randrange(4)}, max(0, -lead))
            )
            await hand_over(dut, "w", {"data": word, "strb": strobes}, max(0, lead))
            await address
            assert await response(dut) == AxiResp.OKAY
    got = await collect(dut, "o", len(expected))
    assert got == expected
    await quiet(dut, "o", 5)


async def hand_over(dut: Any, channel: str, values: dict[str, int], after: int) -> None:
    """One beat on a channel of the manager, offered after so many cycles."""
    if after:
        await ClockCycles(dut.clk, after)
    for name, value in values.items():
        getattr(dut, f"s_axi_{channel}{name}").value = value
    valid, ready = getattr(dut, f"s_axi_{channel}valid"), getattr(dut, f"s_axi_{channel}ready")
    valid.value = 1
    taken = 0
    while not taken:
        await FallingEdge(dut.clk)
        taken = int(ready.value)
        await RisingEdge(dut.clk)
    valid.value = 0


async def response(dut: Any) -> AxiResp:
    """The next write response."""
    dut.s_axi_bready.value = 1
    while True:
        await FallingEdge(dut.clk)
        valid, code = int(dut.s_axi_bvalid.value), int(dut.s_axi_bresp.value)
        await RisingEdge(dut.clk)
        if valid:
            dut.s_axi_bready.value = 0
            return AxiResp(code)
