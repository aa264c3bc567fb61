"""The engine's end of the link against the engine model, line byte for line byte."""

from __future__ import annotations

import binascii
import random
import struct
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from dpnet.gateware.registers import BY_NAME, REGISTERS, Operation
from dpnet.sim.kit.bench import parameters, rounds
from dpnet.sim.kit.core_model import CoreModel
from dpnet.sim.kit.streams import PAUSES, exchange, start
from dpnet.sim.peers.engine_model import BAD_VALUE, OK, EngineModel, unstuff
from dpnet.sim.peers.requests import REGION_WORDS, Requests

GROUPS = rounds(40, 6)
PARITY = 1 << 4
NONCE, CHECKS = BY_NAME["BOOT_NONCE"].offset // 4, BY_NAME["CHECKS"].offset // 4


def model_of(core: CoreModel) -> EngineModel:
    """The model of the engine under test, whose runs go on until the bench ends them."""
    return EngineModel(
        identity=parameters()["identity"],
        words=REGION_WORDS,
        halves=halves(),
        on_abort=lambda: None,
    )


def halves() -> dict[int, int]:
    """Words of a half of regions 5 and 6 in the engine under test, if it has such."""
    found: dict[str, int] = parameters().get("halves", {})
    return {int(region): words for region, words in found.items()}


async def begin(dut: Any) -> CoreModel:
    """Reset, with a core."""
    core = CoreModel(dut, REGION_WORDS, halves())
    dut.i__valid.value = 0
    dut.o__ready.value = 0
    await start(dut)
    cocotb.start_soon(core.run())
    return core


async def talk(dut: Any, line: bytes, expected: bytes, kind: str, seed: int) -> bytes:
    """Send `line`, and receive as many bytes as `expected` has."""
    return bytes(
        await exchange(
            dut,
            list(line),
            len(expected),
            kind,
            seed,
            limit_cycles=5000 + 20 * (len(line) + len(expected)),
        )
    )


async def all_registers(
    dut: Any, model: EngineModel, requests: Requests, nonces: dict[int, int]
) -> int:
    """Compare every register, the nonce with what it was before (in `nonces`); return CHECKS, as
    only time knows how many passes there were."""
    line = requests.frame(Operation.READ, offset=0, wanted=4 * len(REGISTERS))
    model.nonce = model.checks = 0
    answer = await talk(dut, line, bytes(2 + 10 + 4 + 4 * len(REGISTERS) + 1), "none", 0)
    raw = unstuff(answer.strip(b"\0"))
    assert raw is not None
    values = list(struct.unpack(f"<{len(REGISTERS)}I", raw[10:-4]))
    expected = unstuff(model.feed(line).strip(b"\0"))
    assert expected is not None
    nonce, checks = values[NONCE], values[CHECKS]
    values[NONCE] = values[CHECKS] = 0
    assert values == list(struct.unpack(f"<{len(REGISTERS)}I", expected[10:-4]))
    assert nonce and nonces.setdefault(0, nonce) == nonce
    return checks


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(kind=PAUSES)
async def conversation(dut: Any, kind: str) -> None:
    """Random conversations: every response byte, every store word, every start, every register;
    and never does the check find an image changed."""
    core = await begin(dut)
    model = model_of(core)
    source = random.Random(f"{cocotb.RANDOM_SEED} {kind}")
    requests = Requests(model, source)
    starts: list[tuple[int, int, int]] = []
    nonces: dict[int, int] = {}
    aborts: list[int] = []
    checks = 0
    model.on_start = lambda run, *what: starts.append(what)
    model.on_abort = lambda: aborts.append(model.run)
    for group in range(GROUPS):
        line, expected = bytearray(), bytearray()
        for piece in requests.lines(25):
            line += piece
            expected += model.feed(piece)
        got = await talk(dut, bytes(line), bytes(expected), kind, group)
        assert got == expected, differing(got, bytes(expected))
        assert core.busy == model.busy
        if model.busy:
            errors = [source.choice([0, 1, 2, 4, 8, 16, 31]) for _ in range(source.randrange(4))]
            model.cycles = source.randrange(1 << 48)
            await core.finish(model.cycles, errors)
            for strobes in errors:
                count_errors(model, strobes)
            model.busy = False
        elif source.random() < 0.3:
            await core.strobe(PARITY)
            count_errors(model, PARITY)
        model.tiles, model.stalled = (
            source.randrange(1 << 16),
            source.randrange(1 << 32),
        )
        dut.core__tiles_done.value, dut.core__stalled.value = (
            model.tiles,
            model.stalled,
        )
        checks = await all_registers(dut, model, requests, nonces)
        assert core.memory == model.memory
        assert core.starts == starts
        assert core.aborts == len(aborts)
        assert core.released == model.released
    assert checks > GROUPS, "hardly any pass over an image"
    assert aborts, "no run was told to end"


def count_errors(model: EngineModel, strobes: int) -> None:
    """A cycle with these errors."""
    model.errors |= strobes
    for bit in range(len(model.counters)):
        model.counters[bit] += strobes >> bit & 1


def differing(got: bytes, expected: bytes) -> str:
    """The first frame in which two line byte strings differ."""
    for position, pair in enumerate(zip(got.split(b"\0"), expected.split(b"\0"), strict=False)):
        if pair[0] != pair[1]:
            texts = [(unstuff(part) or b"?").hex(" ") for part in pair]
            return f"response {position // 2}: {texts[0]}, expected {texts[1]}"
    return f"{len(got)} bytes, expected {len(expected)}"


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def vectors(dut: Any) -> None:
    """VECTORS reaches the core, keeps its value from run to run, and refuses what no run takes."""
    core = await begin(dut)
    model = model_of(core)
    requests = Requests(model, random.Random(cocotb.RANDOM_SEED))

    async def send(operation: Operation, status: int, **fields: Any) -> None:
        line = requests.frame(operation, **fields)
        expected = model.feed(line)
        raw = unstuff(expected.strip(b"\0"))
        assert raw is not None and raw[3] == status
        assert await talk(dut, line, expected, "none", 0) == expected

    async def start_run(run: int, first: int, last: int) -> None:
        payload = struct.pack("<HBB", run, first, last)
        await send(Operation.WRITE, OK, offset=BY_NAME["START"].offset, payload=payload)
        model.cycles = 1000 + run
        await core.finish(model.cycles, [])
        model.busy = False

    async def set_vectors(count: int, status: int) -> None:
        payload = struct.pack("<I", count)
        await send(Operation.WRITE, status, offset=BY_NAME["VECTORS"].offset, payload=payload)

    ranges = struct.pack("<II", 1 << 26, 1)
    await send(Operation.BEGIN, OK, epoch=9)
    await send(
        Operation.COMMIT, OK, epoch=9, payload=struct.pack("<I", binascii.crc32(bytes(4))) + ranges
    )
    await start_run(1, 3, 3)
    await set_vectors(256, OK)
    await start_run(2, 3, 3)
    for count in (0, 257, 1 << 31):
        await set_vectors(count, BAD_VALUE)
    await start_run(3, 4, 4)
    await start_run(4, 3, 5)
    await set_vectors(2, OK)
    await set_vectors(2, OK)
    await start_run(5, 0, 0)
    assert core.starts == [(3, 3, 1), (3, 3, 256), (4, 4, 256), (3, 5, 1), (0, 0, 2)]
    await all_registers(dut, model, requests, {})


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def full_speed(dut: Any) -> None:
    """Writes of 256 bytes are taken at one byte a cycle without a stall."""
    core = await begin(dut)
    model = model_of(core)
    requests = Requests(model, random.Random(cocotb.RANDOM_SEED))
    payload = bytes(range(256))
    line = b"".join(
        requests.frame(Operation.WRITE, offset=5 << 28, payload=payload) for _ in range(20)
    )
    dut.o__ready.value = 1
    for byte in line:
        dut.i__valid.value, dut.i__payload.value = 1, byte
        await FallingEdge(dut.clk)
        assert int(dut.i__ready.value), "the endpoint stalled"
        await RisingEdge(dut.clk)
    dut.i__valid.value = 0
    await ClockCycles(dut.clk, 100)
    model.feed(line)
    assert core.memory == model.memory


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def read_speed(dut: Any) -> None:
    """Reads of 256 bytes leave at nine tenths of a byte a cycle or more."""
    core = await begin(dut)
    model = model_of(core)
    requests = Requests(model, random.Random(cocotb.RANDOM_SEED))
    line = b"".join(requests.frame(Operation.READ, offset=5 << 28, wanted=256) for _ in range(20))
    expected = model.feed(line)
    began = cocotb.utils.get_sim_time("ns")
    got = await talk(dut, line, expected, "none", 0)
    cycles = (cocotb.utils.get_sim_time("ns") - began) / 10
    assert got == expected
    assert len(expected) >= 0.9 * cycles, f"{len(expected)} bytes in {cycles} cycles"
