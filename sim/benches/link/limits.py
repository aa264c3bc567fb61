"""Where the endpoint says no: beyond the stores, unknown operations, runs that are over."""

from __future__ import annotations

import binascii
import struct
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.gateware.registers import BY_NAME, Operation
from dpnet.sim.benches.link.endpoint import begin, talk
from dpnet.sim.benches.link.image_check import Host
from dpnet.sim.kit.streams import PAUSES
from dpnet.sim.peers.engine_model import (
    BAD_ADDRESS,
    BAD_OPERATION,
    BUSY,
    OK,
    STALE,
    stuff,
    unstuff,
)
from dpnet.sim.peers.requests import REGION_WORDS

SOON = 60
"""Cycles after which a refusal is there, or the answer for a word."""


async def cycles_to_answer(dut: Any, line: bytes) -> int:
    """Send `line` and take its answer; cycles from its last byte to the first of the answer."""
    dut.o__ready.value = 1
    for byte in line:
        dut.i__valid.value, dut.i__payload.value = 1, byte
        await RisingEdge(dut.clk)
    dut.i__valid.value = 0
    cycles = zeros = 0
    while zeros < 2:
        await FallingEdge(dut.clk)
        if int(dut.o__valid.value):
            zeros += int(dut.o__payload.value) == 0
        cycles += not zeros
        assert cycles < 5000, "no answer"
        await RisingEdge(dut.clk)
    return cycles


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def ranges_end_with_the_stores(dut: Any) -> None:
    """READ, WRITE, CHECK and COMMIT: to the last word of every store and no further, at once."""
    core = await begin(dut)
    host = Host(dut, core, "ranges")
    await host.send(Operation.BEGIN, OK, epoch=7)
    for region in range(16):
        words, base = REGION_WORDS.get(region, 0), region << 26
        spans = [(0, 1), (words, 1), (words - 1, 2), (0, words + 1), (words + 5, 3)]
        spans += [(0, 1 << 26), ((1 << 26) - 1, 1), (0, (1 << 32) - 1), (0, 0)]
        spans += [(max(0, words - 1), 1), (0, words), ((1 << 26) - 1, 2)]
        for start, count in spans:
            inside = count > 0 and start >= 0 and start + count <= words
            if start < 0:
                continue
            status = OK if inside else BAD_ADDRESS
            pair = struct.pack("<II", base + start, count)
            await host.send(Operation.CHECK, status, payload=pair)
            line = host.requests.frame(Operation.CHECK, payload=pair)
            host.model.feed(line)
            assert await cycles_to_answer(dut, line) <= SOON + (count if inside else 0)
            crc = 0
            for k in range(count if inside else 0):
                word = host.model.memory.get(base + start + k, 0)
                crc = binascii.crc32(struct.pack("<I", word), crc)
            # A good range first: a later one ends the COMMIT too.
            both = struct.pack("<II", 1 << 26, 1) + pair
            wrong = struct.pack("<I", crc ^ 1)
            refused = inside and region <= 4
            await host.send(
                Operation.COMMIT, 6 if refused else BAD_ADDRESS, epoch=7, payload=wrong + both
            )
            if 0 < count <= 64 and region:
                await host.send(Operation.READ, status, offset=4 * (base + start), wanted=4 * count)
                await host.write(base + start, [5] * count, status, epoch=7)
                assert core.memory == host.model.memory


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def every_operation_is_answered(dut: Any) -> None:
    """All sixteen operations, of this version and of others; a response never is."""
    core = await begin(dut)
    host = Host(dut, core, "operations")
    for version in range(8):
        for operation in range(16):
            body = struct.pack("<BBBBIH", version << 4 | operation, 9, 0, 0, 0, 4)
            body += b"" if operation == Operation.READ else b"\1\2\3\4"
            line = b"\0" + stuff(body + struct.pack("<I", binascii.crc32(body))) + b"\0"
            expected = host.model.feed(line)
            raw = unstuff(expected.strip(b"\0"))
            assert raw is not None and raw[0] == 0xE0 | operation
            known = version == 6 and 1 <= operation <= 6
            assert (raw[3] == BAD_OPERATION) == (not known)
            assert await talk(dut, line, expected, "none", 0) == expected
            # What has the mark of a response: an echo, or another engine.
            echo = bytes([body[0] | 0x80]) + body[1:]
            line = b"\0" + stuff(echo + struct.pack("<I", binascii.crc32(echo))) + b"\0"
            assert host.model.feed(line) == b""
            await talk(dut, line, b"", "none", 0)
    await host.registers()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def hello(dut: Any) -> None:
    """A HELLO has its own words in its answer, at any time; of another length it is refused."""
    core = await begin(dut)
    host = Host(dut, core, "hello")
    for kind in PAUSES:
        host.kind = kind
        for _ in range(20):
            await host.send(Operation.HELLO, OK, payload=host.source.randbytes(4))
        for size in (0, 3, 5, 8, 256):
            await host.send(Operation.HELLO, BAD_ADDRESS, payload=bytes(size))
    await host.load(3, [(1 << 26, 4)])
    await host.start()
    await host.send(Operation.HELLO, OK, payload=b"busy")
    await host.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def aborting(dut: Any) -> None:
    """ABORT reaches the core for the run that it names, while that is on, and at no other time."""
    core = await begin(dut)
    host = Host(dut, core, "abort")
    status = BY_NAME["STATUS"]
    aborted = 1 << status.field("aborted").offset

    async def shows(value: int) -> None:
        await host.registers()
        word = host.model.registers()[status.offset // 4]
        assert (word & aborted != 0) == bool(value)

    await host.set("ABORT", OK, 0)  # RUN is 0 after reset, and nothing runs
    await host.set("ABORT", STALE, 1)
    assert core.aborts == 0
    await host.load(9, [(1 << 26, 10)])
    for _ in range(5):
        await host.start()
        await shows(0)
        for other in (host.run - 1, host.run + 1, host.run ^ 1 << 15):
            await host.set("ABORT", STALE, other)
        assert core.aborts == 0 and core.busy
        await host.set("ABORT", OK, host.run)
        assert core.aborts == 1
        await shows(1)
        await host.set("START", BUSY, host.run + 1)
        await host.set("ABORT", OK, host.run | 0xABCD0000)  # again, while it still ends
        assert core.aborts == 2
        await host.finish()
        await host.set("ABORT", OK, host.run)  # late
        assert core.aborts == 2
        await shows(1)
        core.aborts = 0
