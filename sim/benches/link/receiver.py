"""The frame receiver against good frames, nearly good ones and noise."""

from __future__ import annotations

import binascii
import random
import struct
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, with_timeout

from dpnet.sim.kit.streams import PAUSES, PERIOD_NS, Pause, drive, pauses, start
from dpnet.sim.peers.engine_model import stuff, unstuff

FRAMES = 250


class Reader:
    """Takes frames out of the receiver and counts what it drops."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.frames: list[bytes] = []
        self.dropped = 0
        dut.i__valid.value = 0
        dut.done.value = 0
        dut.address.value = 0

    async def count(self) -> None:
        """Count drops for ever."""
        while True:
            await FallingEdge(self.dut.clk)
            self.dropped += int(self.dut.dropped.value)
            await RisingEdge(self.dut.clk)

    async def take(self, pause: Pause) -> None:
        """Take frames for ever: header and payload words, each bare of the CRC."""
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            there = int(dut.valid.value) and not pause()
            await RisingEdge(dut.clk)
            if not there:
                continue
            frame = int(dut.header.value).to_bytes(10, "little")
            size = 0 if frame[0] % 16 == 1 else int.from_bytes(frame[8:10], "little")
            words = bytearray()
            for word in range((size + 3) // 4):
                dut.address.value = word
                await ClockCycles(dut.clk, 1)
                await FallingEdge(dut.clk)
                words += int(dut.word.value).to_bytes(4, "little")
                await RisingEdge(dut.clk)
            self.frames.append(frame + bytes(words[:size]))
            dut.done.value = 1
            await RisingEdge(dut.clk)
            dut.done.value = 0


def frame(source: random.Random) -> bytes:
    """Header, payload and CRC of a request; mostly good."""
    operation = source.choice([0, 1, 2, 2, 2, 2, 3, 4, 5, 6, 7, 8, 15])
    version = source.randrange(8) + source.choice([0, 0, 0, 0, 8])  # 8 and more: a response
    size = source.choice([0, 1, 3, 4, 8, 100, 236, 237, 238, 239, 240, 255, 256, 256, 257, 300])
    payload = source.choice(
        [
            bytes(size),
            b"\x80" * size,
            source.randbytes(size),
        ]
    )
    if operation == 1:
        payload = source.choice([b"", b"", b"", payload])
    length = source.choice([len(payload)] * 20 + [0, len(payload) + 1, len(payload) ^ 256, 65535])
    body = source.randbytes(8) + struct.pack("<H", length) + payload
    body = bytes([version << 4 | operation]) + body[1:]
    return body + struct.pack("<I", binascii.crc32(body))


def line_of(source: random.Random) -> bytes:
    """Line bytes: frames, most of them whole, between one or more zeros."""
    out = bytearray()
    for _ in range(FRAMES):
        raw = bytearray(frame(source))
        fault = source.choice([""] * 7 + ["flip", "cut", "longer", "line flip", "line cut"])
        if fault == "flip":
            raw[source.randrange(len(raw))] ^= 1 << source.randrange(8)
        elif fault == "cut":
            del raw[source.randrange(len(raw)) :]
        elif fault == "longer":
            raw += source.randbytes(source.choice([1, 4, 260, 700]))
        line = bytearray(stuff(bytes(raw)))
        if fault == "line flip":
            line[source.randrange(len(line))] ^= 1 << source.randrange(8)
        elif fault == "line cut":
            del line[source.randrange(len(line)) :]
        out += b"\0" * source.choice([1, 1, 2, 3]) + line
    return bytes(out) + b"\0"


def good_frames(line: bytes) -> tuple[list[bytes], int]:
    """Header and payload of the frames that count, and how many do not."""
    good, bad = [], 0
    for stuffed in line.split(b"\0"):
        if not stuffed:
            continue
        raw = unstuff(stuffed)
        counts = raw is not None and len(raw) >= 14
        if raw is not None and counts:
            operation, length = raw[0] % 16, int.from_bytes(raw[8:10], "little")
            size = 0 if operation == 1 else length
            crc = binascii.crc32(raw[:-4]).to_bytes(4, "little")
            counts = raw[0] < 128 and size <= 256 and len(raw) == 14 + size and crc == raw[-4:]
            if counts:
                good.append(raw[:-4])
        bad += not counts
    return good, bad


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(kind=PAUSES)
async def frames(dut: Any, kind: str) -> None:
    """Exactly the good frames come out, in order; all others are counted."""
    reader = Reader(dut)
    await start(dut)
    source = random.Random(f"{cocotb.RANDOM_SEED} {kind}")
    line = line_of(source)
    expected, bad = good_frames(line)
    assert len(expected) > FRAMES // 4 and bad > FRAMES // 4
    idle, slow = pauses(kind, 3)
    cocotb.start_soon(reader.count())
    cocotb.start_soon(reader.take(slow))
    await with_timeout(drive(dut, "i", line, idle), 20 * len(line) * PERIOD_NS, "ns")
    await ClockCycles(dut.clk, 600)
    assert reader.frames == expected
    assert reader.dropped == bad


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def two_frames_wait(dut: Any) -> None:
    """Two frames are kept whole while nobody takes them; then the line waits."""
    reader = Reader(dut)
    await start(dut)
    bodies = [bytes([0x12, *range(1, 8), 0, 1]) + bytes([byte]) * 256 for byte in (1, 2, 3)]
    line = b"".join(
        stuff(body + struct.pack("<I", binascii.crc32(body))) + b"\0" for body in bodies
    )
    sender = cocotb.start_soon(drive(dut, "i", line))
    await ClockCycles(dut.clk, len(line) + 50)
    assert int(dut.valid.value) and not sender.done()
    cocotb.start_soon(reader.take(lambda: False))
    await ClockCycles(dut.clk, 1200)
    assert sender.done()
    assert reader.frames == bodies
