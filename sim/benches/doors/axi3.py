"""The AXI3 door against the manager of `sim.peers.axi3`, with pauses on all channels."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles
from cocotb.utils import get_sim_time

from dpnet.sim.kit.streams import PAUSES, PERIOD_NS, collect, drive, pauses, quiet, start
from dpnet.sim.peers.axi3 import FIXED, INCR, OKAY, SLVERR, WRAP, Axi3Manager, Beat, Burst

BASE = 0x4000_0000
MAGIC, STATUS, TX, RX = (BASE + 4 * n for n in range(4))
WORD = 0x44504E54
DEPTH = 512
EMPTY = DEPTH << 16
ELSEWHERE = (
    0x0000_0008,
    0x4000_1008,
    0x4000_0FFC,
    0x4000_0010,
    0x4000_0400,
    0x4080_0008,
    0x8000_0008,
    0xC000_0008,
    0x5000_000C,
    0x3FFF_FFF8,
)


async def begin(dut: Any, kind: str = "none") -> Axi3Manager:
    """Reset, with a manager whose five channels pause on their own."""
    dut.i__valid.value = 0
    dut.o__ready.value = 0
    ends = {"aw": 0, "w": 0, "ar": 0, "b": 1, "r": 1}
    manager = Axi3Manager(
        dut, {name: pauses(kind, n)[end] for n, (name, end) in enumerate(ends.items())}
    )
    await start(dut)
    return manager


async def read(manager: Axi3Manager, address: int) -> Beat:
    """Response and word of one read of a word."""
    (beat,) = await manager.read(Burst(address))
    return beat


async def settled(dut: Any, manager: Axi3Manager) -> None:
    """Nothing is left: no open burst, no byte to come, both buffers empty."""
    assert manager.idle()
    await quiet(dut, "o", 10)
    assert await read(manager, RX) == (OKAY, 0)
    assert await read(manager, STATUS) == (OKAY, EMPTY)


def any_burst(source: random.Random, register: int) -> Burst:
    """A burst of any kind, mostly legal, mostly at or around `register`."""
    address = source.choice(
        [
            register + source.randrange(4),
            register,
            BASE + source.randrange(32),
            source.choice(ELSEWHERE),
        ]
    )
    size = source.choice((0, 1, 2, 2, 2, 2, 3))
    kind = source.choice((FIXED, FIXED, FIXED, INCR, WRAP, WRAP, 3))
    beats = source.choice((1, 2, 4, 8, 16, source.randint(1, 16)))
    if kind == WRAP and source.random() < 0.7:
        address = address >> size << size
    return Burst(address, beats, size, kind, source.getrandbits(12))


def written(burst: Burst, words: list[int], strobes: list[int]) -> tuple[int, list[int]]:
    """What a write must give: its response, and the bytes that leave."""
    if not burst.legal():
        return SLVERR, []
    response, sent = OKAY, []
    for address, word, strobe in zip(burst.addresses(), words, strobes, strict=True):
        if address // 4 != TX // 4:
            response = SLVERR
        else:
            sent += [word >> 8 * lane & 255 for lane in range(4) if strobe >> lane & 1]
    return response, sent


def check_read(burst: Burst, beats: list[Beat], waiting: deque[int]) -> None:
    """Each beat of a read against the map; `waiting` are the bytes of RX, and lose what is read."""
    assert len(beats) == burst.beats
    for address, lanes, (response, word) in zip(
        burst.addresses(), burst.lanes(), beats, strict=True
    ):
        where = f"{burst} at {address:#x}: {response}, {word:#x}"
        if not burst.legal() or not BASE <= address < BASE + 16 or address // 4 == TX // 4:
            assert (response, word) == (SLVERR, 0), where
        elif address // 4 == MAGIC // 4:
            assert (response, word) == (OKAY, WORD), where
        elif address // 4 == STATUS // 4:
            assert response == OKAY and word & 0xFFFF == len(waiting) and word >> 16 <= DEPTH, where
        elif len(lanes) < 4:
            assert (response, word) == (SLVERR, 0), where
        else:
            expected = 1 << 31 | waiting.popleft() if waiting else 0
            assert (response, word) == (OKAY, expected), where


@cocotb.test(timeout_time=300, timeout_unit="us")
@cocotb.parametrize(kind=PAUSES)
async def any_bursts(dut: Any, kind: str) -> None:
    """Bursts of every kind, in both directions at once, many on their way: responses, words, bytes
    and IDs as the map and the specification have them."""
    manager = await begin(dut, kind)
    source = random.Random(f"{cocotb.RANDOM_SEED} {kind}")
    waiting = deque(source.randbytes(DEPTH - 12))
    idle, back_pressure = pauses(kind, 9)
    await drive(dut, "i", waiting, idle)
    writes, expected = [], []
    for _ in range(120):
        burst = any_burst(source, TX)
        words = [source.getrandbits(32) for _ in range(burst.beats)]
        strobes = [
            sum((source.random() < 0.8) << lane for lane in lanes) & 15 for lanes in burst.lanes()
        ]
        response, sent = written(burst, words, strobes)
        expected += sent
        writes.append((cocotb.start_soon(manager.write(burst, words, strobes)), response, burst))
    bursts = [any_burst(source, RX) for _ in range(120)]
    reads = [(cocotb.start_soon(manager.read(burst)), burst) for burst in bursts]
    sink = cocotb.start_soon(collect(dut, "o", len(expected), back_pressure))
    for task, response, burst in writes:
        assert await task == response, burst
    for reading, burst in reads:
        check_read(burst, await reading, waiting)
    assert await sink == expected
    assert len(expected) > 100 and len(waiting) < DEPTH - 60
    while waiting:
        burst = Burst(RX, 16, kind=FIXED, id=len(waiting))
        check_read(burst, await manager.read(burst), waiting)
    await settled(dut, manager)


@cocotb.test(timeout_time=300, timeout_unit="us")
@cocotb.parametrize(kind=PAUSES)
async def both_ways(dut: Any, kind: str) -> None:
    """FIXED bursts move bytes both ways at once: each once and in order."""
    manager = await begin(dut, kind)
    source = random.Random(f"{cocotb.RANDOM_SEED} {kind}")
    down, up = source.randbytes(1600), source.randbytes(400)
    idle, back_pressure = pauses(kind, 9)
    cocotb.start_soon(drive(dut, "i", up, idle))
    sink = cocotb.start_soon(collect(dut, "o", len(down), back_pressure))
    writes = []
    for position in range(0, len(down), 64):
        words = [
            int.from_bytes(down[n : n + 4], "little") for n in range(position, position + 64, 4)
        ]
        burst = Burst(TX, 16, kind=FIXED, id=position)
        writes.append(cocotb.start_soon(manager.write(burst, words)))
    got = bytearray()
    while len(got) < len(up):
        beats = await manager.read(Burst(RX, source.randint(1, 16), kind=FIXED, id=len(got)))
        assert all(response == OKAY for response, _ in beats)
        assert all(word == 0 or word >> 8 == 1 << 23 for _, word in beats)
        got += bytes(word & 255 for _, word in beats if word)
    assert bytes(got) == up
    assert [await task for task in writes] == [OKAY] * len(writes)
    assert bytes(await sink) == down
    await settled(dut, manager)


@cocotb.test(timeout_time=300, timeout_unit="us")
@cocotb.parametrize(
    name=("wid", "wlast missing", "wlast early", "strobe below", "strobe above", "none")
)
async def rules_of_data(dut: Any, name: str) -> None:
    """A beat that breaks a rule gives SLVERR and no byte; the others count, and the next burst."""
    manager = await begin(dut, "both")
    change, offender, burst, strobes = {
        "wid": ({"id": 0x323}, 1, Burst(TX, 4, kind=FIXED, id=0x321), None),
        "wlast missing": ({"last": 0}, 3, Burst(TX, 4, kind=FIXED, id=1), None),
        "wlast early": ({"last": 1}, 0, Burst(TX, 4, kind=FIXED, id=2), None),
        "strobe below": ({"strb": 3}, 0, Burst(TX + 1, 4, kind=FIXED, id=3), None),
        "strobe above": ({"strb": 6}, 2, Burst(TX, 4, 1, FIXED, id=4), None),
        "none": ({}, None, Burst(TX, 4, kind=FIXED, id=5), [15, 0, 6, 8]),
    }[name]
    words = [0x0403_0201 + 0x1010_1010 * n for n in range(4)]
    given = strobes or [sum(1 << lane for lane in lanes) for lanes in burst.lanes()]
    changes = [change if n == offender else {} for n in range(4)]
    expected = [
        word >> 8 * lane & 255
        for n, word in enumerate(words)
        if n != offender
        for lane in range(4)
        if given[n] >> lane & 1
    ]
    sink = cocotb.start_soon(collect(dut, "o", len(expected) + 3))
    response = await manager.write(burst, words, strobes, changes)
    assert response == (OKAY if offender is None else SLVERR)
    assert await manager.write(Burst(TX + 1, id=6), [0xCCBB_AA99]) == OKAY
    assert await sink == [*expected, 0xAA, 0xBB, 0xCC]
    await settled(dut, manager)


@cocotb.test(timeout_time=300, timeout_unit="us")
async def waits_for_space(dut: Any) -> None:
    """A burst that finds TX full goes on when there is room, loses nothing, and no read waits."""
    manager = await begin(dut)
    words = list(range(0x1000, 0x1000 + DEPTH // 4 + 16))
    data = b"".join(word.to_bytes(4, "little") for word in words)
    for n in range(0, DEPTH // 4, 16):
        assert await manager.write(Burst(TX, 16, kind=FIXED), words[n : n + 16]) == OKAY
        assert await read(manager, STATUS) == (OKAY, (DEPTH - 4 * n - 64) << 16)
    late = cocotb.start_soon(manager.write(Burst(TX, 16, kind=FIXED), words[-16:]))
    await ClockCycles(dut.clk, 200)
    assert await read(manager, MAGIC) == (OKAY, WORD)
    assert await read(manager, STATUS) == (OKAY, 0)
    assert bytes(await collect(dut, "o", 63)) == data[:63]
    await ClockCycles(dut.clk, 200)
    assert not late.done(), "a burst was answered before all of its bytes had room"
    sink = cocotb.start_soon(collect(dut, "o", len(data) - 63))
    assert await late == OKAY
    assert bytes(await sink) == data[63:]
    await settled(dut, manager)


@cocotb.test(timeout_time=300, timeout_unit="us")
async def receive_waits(dut: Any) -> None:
    """512 bytes wait in RX, then the stream; a read that is not of a whole word takes nothing."""
    manager = await begin(dut)
    data = bytes(index % 253 for index in range(DEPTH + 7))
    sender = cocotb.start_soon(drive(dut, "i", data))
    await ClockCycles(dut.clk, DEPTH + 100)
    assert not sender.done()
    for burst in (Burst(RX, size=1), Burst(RX + 1), Burst(RX + 3, 4, 0, FIXED)):
        assert await manager.read(burst) == [(SLVERR, 0)] * burst.beats
    assert await read(manager, STATUS) == (OKAY, EMPTY | DEPTH)
    # STATUS, TX, RX and back to MAGIC: a WRAP around the map.
    beats = await manager.read(Burst(STATUS, 4, kind=WRAP, id=9))
    assert beats[1:] == [(SLVERR, 0), (OKAY, 1 << 31), (OKAY, WORD)]
    waiting = deque(data[1:])
    while waiting:
        burst = Burst(RX, 16, kind=FIXED)
        check_read(burst, await manager.read(burst), waiting)
    assert sender.done()
    await settled(dut, manager)


@cocotb.test(timeout_time=300, timeout_unit="us")
async def keeps_its_cycles(dut: Any) -> None:
    """Seven cycles a word to TX, two a byte from RX, and not more around a burst."""
    manager = await begin(dut)
    sink = cocotb.start_soon(collect(dut, "o", 64))
    cycles = []
    await drive(dut, "i", range(16))
    await ClockCycles(dut.clk, 2)
    for work in (
        manager.write(Burst(TX, 16, kind=FIXED), list(range(16))),
        manager.read(Burst(RX, 16, kind=FIXED)),
    ):
        begun = get_sim_time("ns")
        await work
        cycles.append(int(get_sim_time("ns") - begun) // PERIOD_NS)
    assert await sink == [value for n in range(16) for value in (n, 0, 0, 0)]
    # An address, a response, and the manager's own first cycle.
    assert cycles == [16 * 7 + 3, 16 * 2 + 2]
    await settled(dut, manager)
