"""The COBS decoder against published vectors and against the model's textbook decoder."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import cocotb

from dpnet.sim.benches.link.cobs_encoder import frames_of
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.streams import PAUSES, exchange, pack, start
from dpnet.sim.peers.engine_model import stuff

DECODED = [("data", 8), ("end", 1), ("good", 1)]


def beats_of(line: bytes) -> list[int]:
    """The beats for line bytes: blocks taken apart one by one."""
    beats = []
    for stuffed in line.split(b"\0")[:-1]:
        position, good = 0, True
        while position < len(stuffed):
            code = stuffed[position]
            block = stuffed[position + 1 : position + code]
            beats += [pack(DECODED, data=byte, end=0, good=0) for byte in block]
            good = len(block) == code - 1
            position += code
            if position < len(stuffed) and code < 255:
                beats.append(pack(DECODED, data=0, end=0, good=0))
        if stuffed:
            beats.append(pack(DECODED, data=0, end=1, good=int(good)))
    return beats


def cleared(beats: Iterable[int]) -> list[int]:
    """Beats with what means nothing set to 0: the data of an end, the verdict on a byte."""
    end, good = 1 << 8, 1 << 9
    return [beat & (end | good) if beat & end else beat & 255 for beat in beats]


async def decode(dut: Any, line: bytes, kind: str) -> list[int]:
    """The beats that `line` causes."""
    return cleared(await exchange(dut, list(line), len(beats_of(line)), kind, len(line)))


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(kind=PAUSES)
async def frames(dut: Any, kind: str) -> None:
    """Published vectors, frames of all kinds, and noise."""
    dut.i__valid.value = 0
    dut.o__ready.value = 0
    await start(dut)
    for raw, line in parameters()["vectors"]:
        end = pack(DECODED, data=0, end=1, good=1)
        expected = [*bytes.fromhex(raw), end]
        assert await decode(dut, b"\0" + bytes.fromhex(line) + b"\0", kind) == expected
    source = random.Random(f"{cocotb.RANDOM_SEED} {kind}")
    line = b"".join(
        bytes(source.randint(0, 2)) + stuff(frame) + b"\0" for frame in frames_of(source)
    )
    assert await decode(dut, line, kind) == beats_of(line)
    noise = (
        bytes(source.choice([0, 1, 2, 3, 4, 255, source.randrange(256)]) for _ in range(3000))
        + b"\0"
    )
    assert await decode(dut, noise, kind) == beats_of(noise)
