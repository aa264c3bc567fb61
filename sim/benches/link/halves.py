"""Halves of pictures and results: what a run leaves alone is free meanwhile, and nothing else."""

from __future__ import annotations

from typing import Any

import cocotb

from dpnet.gateware.registers import STREAM, Operation
from dpnet.sim.benches.link.endpoint import begin, halves
from dpnet.sim.benches.link.image_check import INDEX, LAYERS, RESULT, VECTOR, Host
from dpnet.sim.kit.streams import PAUSES
from dpnet.sim.peers.engine_model import BUSY, OK, STALE
from dpnet.sim.peers.requests import REGION_WORDS


def spans(words: int, whole: int, half: int) -> list[tuple[int, int, bool]]:
    """Spans (first word, words) of a region of two halves of `words` while a run is on `half`, and
    whether they are free."""
    low, high = half == 1, half == 0
    return [
        (0, 1, low),
        (0, words, low),
        (words - 1, 1, low),
        (words - 1, 2, False),
        (0, words + 1, False),
        (words, 1, high),
        (words, whole - words, high),
        (whole - 1, 1, high),
    ]


def copied(words: int, region: int, half: int) -> list[tuple[int, int, bool]]:
    """The same of a region in which such halves lie again and again, as far as all of them fit,
    with spans from one copy into the next."""
    pitch = 1 << (2 * words - 1).bit_length()
    copies = range(0, region - pitch, pitch)
    found = [*spans(words, pitch, half), (pitch - 1, 2, False)]
    return [(copy + first, count, free) for copy in copies for first, count, free in found]


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(kind=PAUSES)
async def what_a_run_leaves_alone(dut: Any, kind: str) -> None:
    """Pictures of the other half are written, its results read; the run's own half, what reaches
    into it and every other store are busy.  VECTORS for the next run changes nothing."""
    core = await begin(dut)
    host = Host(dut, core, f"halves {kind}")
    host.kind = kind
    await host.load(5, [(INDEX, 7), (LAYERS, 3)])
    sizes = {at: (halves()[at >> 26], REGION_WORDS[at >> 26]) for at in (VECTOR, RESULT)}
    for half in (0, 1, 1, 0):
        await host.set("VECTORS", OK, 1 + half)
        await host.start()
        await host.set("VECTORS", OK, 2 - half)
        for first, count, free in copied(*sizes[VECTOR], half):
            words = [host.source.randrange(1 << 32) for _ in range(count)]
            await host.write(VECTOR + first, words, OK if free else BUSY)
            await host.send(Operation.READ, BUSY, offset=4 * (VECTOR + first), wanted=4 * count)
        for first, count, free in spans(*sizes[RESULT], half):
            await host.send(
                Operation.READ, OK if free else BUSY, offset=4 * (RESULT + first), wanted=4 * count
            )
            await host.write(RESULT + first, [1] * count, BUSY)
        for region in (INDEX, LAYERS):
            await host.send(Operation.READ, BUSY, offset=4 * region, wanted=4)
        await host.finish()
        for region, (_, whole) in sizes.items():
            await host.send(Operation.READ, OK, offset=4 * region, wanted=4 * min(whole, 64))
        assert core.memory == host.model.memory
    await host.registers()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def nothing_is_streamed(dut: Any) -> None:
    """A streamed tile is refused, during a run and between, and leaves the stores alone."""
    core = await begin(dut)
    host = Host(dut, core, "no streams")
    await host.load(9, [(INDEX, 7)])
    before = dict(core.memory)
    await host.write(INDEX + 20, [3], STALE, epoch=9, flags=STREAM)
    await host.start()
    await host.write(INDEX + 20, [3], STALE, epoch=9, flags=STREAM)
    await host.finish()
    assert core.memory == before
