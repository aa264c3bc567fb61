"""What the benches of all pipelines check: results under pauses, latency and throughput."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, with_timeout

from dpnet.sim.kit.streams import PERIOD_NS, collect, drive, exchange, start


async def check_results(
    dut: Any, payloads: Sequence[int], expected: Sequence[int], kind: str, seed: int
) -> None:
    """Reset, send `payloads` under pauses `kind`, and compare what comes out with `expected`."""
    await start(dut)
    received = await exchange(dut, payloads, len(expected), kind, seed)
    wrong = [n for n, pair in enumerate(zip(received, expected, strict=True)) if pair[0] != pair[1]]
    assert not wrong, (
        f"{len(wrong)} of {len(expected)} wrong, first number {wrong[0]}: input "
        f"{payloads[min(wrong[0], len(payloads) - 1)]:#x}, output {received[wrong[0]]:#x}, "
        f"expected {expected[wrong[0]]:#x}"
    )


async def beat_cycles(
    dut: Any, payloads: Sequence[int], count: int
) -> tuple[list[int], list[int], list[int]]:
    """Without pauses: the cycles of the input beats and of `count` output beats; the outputs."""
    await start(dut)
    taken: list[int] = []
    given: list[int] = []

    async def watch() -> None:
        cycle = 0
        while True:
            await FallingEdge(dut.clk)
            if int(dut.i__valid.value) and int(dut.i__ready.value):
                taken.append(cycle)
            if int(dut.o__valid.value) and int(dut.o__ready.value):
                given.append(cycle)
            cycle += 1

    watcher = cocotb.start_soon(watch())
    cocotb.start_soon(drive(dut, "i", payloads))
    limit = (200 + 60 * len(payloads)) * PERIOD_NS
    received: list[int] = await with_timeout(collect(dut, "o", count), limit, "ns")
    watcher.cancel()
    return taken, given, received


async def check_cycles(dut: Any, payloads: Sequence[int], latency: int) -> None:
    """Without pauses: a beat in every cycle, each leaving `latency` cycles after it was taken."""
    taken, given, _ = await beat_cycles(dut, payloads, len(payloads))
    assert taken == list(range(taken[0], taken[0] + len(payloads))), "not one beat per cycle"
    latencies = {after - before for before, after in zip(taken, given, strict=True)}
    assert latencies == {latency}, f"latency {latencies}, expected {latency}"
