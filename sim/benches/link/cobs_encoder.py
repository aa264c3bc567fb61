"""The COBS encoder against published vectors and against the model's textbook encoder."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import cocotb

from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.streams import PAUSES, exchange, pack, start
from dpnet.sim.peers.engine_model import stuff

RAW = [("data", 8), ("last", 1)]
LONGEST = 270


def frames_of(source: random.Random) -> list[bytes]:
    """Frames of all kinds of runs: around 254 bytes without a zero, only zeros, random."""
    frames = []
    for length in (1, 2, 100, 253, 254, 255, 256, 269, LONGEST):
        frames += [bytes(length), b"\x01" * length, source.randbytes(length)]
    for zero_at in (0, 1, 252, 253, 254, 255, 269):
        frame = bytearray(b"\xff" * LONGEST)
        frame[zero_at] = 0
        frames.append(bytes(frame))
    for _ in range(30):
        weights = [source.random() ** 3, 1.0]
        length = source.randint(1, LONGEST)
        picks = source.choices([0, 1], weights, k=length)
        frames.append(bytes(source.randrange(1, 256) if pick else 0 for pick in picks))
    return frames


async def encode(dut: Any, frames: Sequence[bytes], expected: bytes, kind: str) -> bytes:
    """What leaves for `frames`."""
    beats = [
        pack(RAW, data=byte, last=int(position == len(frame) - 1))
        for frame in frames
        for position, byte in enumerate(frame)
    ]
    return bytes(await exchange(dut, beats, len(expected), kind, len(frames)))


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(kind=PAUSES)
async def frames(dut: Any, kind: str) -> None:
    """Published vectors, then frames of all kinds."""
    dut.i__valid.value = 0
    dut.o__ready.value = 0
    await start(dut)
    vectors = [(bytes.fromhex(raw), bytes.fromhex(line)) for raw, line in parameters()["vectors"]]
    vectors = [(raw, line) for raw, line in vectors if raw]
    line = b"".join(b"\0" + line + b"\0" for _, line in vectors)
    assert await encode(dut, [raw for raw, _ in vectors], line, kind) == line
    many = frames_of(random.Random(f"{cocotb.RANDOM_SEED} {kind}"))
    line = b"".join(b"\0" + stuff(frame) + b"\0" for frame in many)
    assert await encode(dut, many, line, kind) == line


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def throughput(dut: Any) -> None:
    """A byte a cycle, and at most five cycles more for a frame of 270 bytes."""
    dut.i__valid.value = 0
    dut.o__ready.value = 0
    await start(dut)
    many = [b"\x55" * LONGEST] * 10
    line = b"".join(b"\0" + stuff(frame) + b"\0" for frame in many)
    began = cocotb.utils.get_sim_time("ns")
    assert await encode(dut, many, line, "none") == line
    cycles = (cocotb.utils.get_sim_time("ns") - began) / 10
    # The last frame leaves after it has come in; `exchange` looks for a surplus for 8 cycles.
    assert cycles <= 10 * (LONGEST + 5) + LONGEST + 30, f"{cycles} cycles"
