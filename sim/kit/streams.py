"""Stream driver and monitor of the benches, with idle cycles and back-pressure.

Amaranth's streams (`payload`, `valid`, `ready`) under their emitted names: `i__payload`,
`i__valid`, … A structured payload is emitted as one vector, first field lowest: `pack` and `unpack`
take it apart.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout

from dpnet.sim.kit.bench import kinds
from dpnet.sim.kit.ports import reader

PERIOD_NS = 10
"""100 MHz."""

Pause = Callable[[], bool]


def never() -> bool:
    """Full speed: no idle cycle, no back-pressure."""
    return False


def sometimes(source: random.Random, share: float) -> Pause:
    """A pause in each cycle with probability `share`."""
    return lambda: source.random() < share


def bursts(source: random.Random, longest: int) -> Pause:
    """Runs of random length, up to `longest` cycles, paused and not in turn."""
    left, paused = 0, False

    def pause() -> bool:
        nonlocal left, paused
        if left == 0:
            left, paused = source.randint(1, longest), not paused
        left -= 1
        return paused

    return pause


PAUSES = kinds("none", "idle", "back-pressure", "both", "bursts")
"""Those that every stream bench runs under."""


def pauses(kind: str, seed: int) -> tuple[Pause, Pause]:
    """Pause functions (source, sink) of one of the kinds `PAUSES`."""
    source = random.Random(seed)
    table: dict[str, tuple[Pause, Pause]] = {
        "none": (never, never),
        "idle": (sometimes(source, 0.5), never),
        "back-pressure": (never, sometimes(source, 0.5)),
        "both": (sometimes(source, 0.4), sometimes(source, 0.4)),
        "bursts": (bursts(source, 12), bursts(source, 20)),
    }
    return table[kind]


async def start(dut: Any, *, cycles: int = 3) -> None:
    """Start the clock, reset for `cycles` cycles, and leave just after a rising edge."""
    # What the imports left is there for ever, and need not be looked through in every cycle.
    gc.freeze()
    Clock(dut.clk, PERIOD_NS, unit="ns", impl="gpi").start()
    if hasattr(dut, "rst"):
        dut.rst.value = 1
    for _ in range(cycles):
        await RisingEdge(dut.clk)
    if hasattr(dut, "rst"):
        dut.rst.value = 0
    await RisingEdge(dut.clk)


Layout = Sequence[tuple[str, int]]
"""Fields of a payload, lowest first: (name, bits); negative bits mean a signed field."""


def pack(layout: Layout, **values: int) -> int:
    """The payload vector with these field values (signed ones as Python integers)."""
    vector, offset = 0, 0
    if {name for name, _ in layout} != set(values):
        raise ValueError(f"fields must be {[name for name, _ in layout]}, not {sorted(values)}")
    for name, bits in layout:
        vector |= unsigned(values[name], abs(bits)) << offset
        offset += abs(bits)
    return vector


def unpack(layout: Layout, vector: int) -> tuple[int, ...]:
    """The field values of a payload vector, in the order of `layout`."""
    values, offset = [], 0
    for _, bits in layout:
        field = (vector >> offset) & ((1 << abs(bits)) - 1)
        values.append(signed(field, -bits) if bits < 0 else field)
        offset += abs(bits)
    return tuple(values)


async def drive(dut: Any, port: str, payloads: Iterable[int], pause: Pause = never) -> None:
    """Send `payloads` into the stream `port`, idle where `pause()` says so.

    Once offered a payload stays until taken, as the stream rules demand.
    """
    valid, offered = getattr(dut, f"{port}__valid"), getattr(dut, f"{port}__payload")
    ready = reader(getattr(dut, f"{port}__ready"))
    rising, falling = RisingEdge(dut.clk), FallingEdge(dut.clk)
    for payload in payloads:
        valid.value = 0
        while pause():
            await rising
        offered.value = payload
        valid.value = 1
        while True:
            await falling
            taken = ready()
            await rising
            if taken:
                break
    valid.value = 0


async def collect(dut: Any, port: str, count: int, pause: Pause = never) -> list[int]:
    """Receive `count` payload vectors from the stream `port`, refusing where `pause()` says so."""
    valid, payload = (reader(getattr(dut, f"{port}__{name}")) for name in ("valid", "payload"))
    ready = getattr(dut, f"{port}__ready")
    given = reader(ready)
    rising, falling = RisingEdge(dut.clk), FallingEdge(dut.clk)
    received: list[int] = []
    while len(received) < count:
        ready.value = 0 if pause() else 1
        await falling
        if valid() and given():
            received.append(payload())
        await rising
    ready.value = 0
    return received


async def quiet(dut: Any, port: str, cycles: int) -> None:
    """Fail if the stream `port` offers anything during the next `cycles` cycles, with ready
    given.
    """
    getattr(dut, f"{port}__ready").value = 1
    for _ in range(cycles):
        await FallingEdge(dut.clk)
        assert not int(getattr(dut, f"{port}__valid").value), f"stream {port} has a surplus payload"
        await RisingEdge(dut.clk)


async def exchange(
    dut: Any,
    payloads: Sequence[int],
    count: int,
    kind: str,
    seed: int,
    *,
    i: str = "i",
    o: str = "o",
    limit_cycles: int | None = None,
) -> list[int]:
    """Drive `i` with `payloads` while `count` payloads are collected from `o`, under pauses `kind`.

    Fails after `limit_cycles` cycles (default: 200 + 60 a payload) and on a surplus payload.
    """
    idle, back_pressure = pauses(kind, seed)
    limit = limit_cycles or 200 + 60 * (len(payloads) + count)
    source = cocotb.start_soon(drive(dut, i, payloads, idle))
    sink = collect(dut, o, count, back_pressure)
    received: list[int] = await with_timeout(sink, limit * PERIOD_NS, "ns")
    await with_timeout(source, limit * PERIOD_NS, "ns")
    await quiet(dut, o, 8)
    return received


def signed(value: int, bits: int) -> int:
    """Two's complement: the unsigned `value` of a port of `bits` bits as a signed number."""
    return value - (1 << bits) if value >> (bits - 1) else value


def unsigned(value: int, bits: int) -> int:
    """Two's complement: the signed `value` as what a port of `bits` bits takes."""
    return value & ((1 << bits) - 1)
