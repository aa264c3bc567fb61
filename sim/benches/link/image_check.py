"""The check of the valid image in the background: what it finds, what it leaves alone, what waits.

The engine's stores are the bench's; a word that changes there behind the link's back is an upset.
"""

from __future__ import annotations

import binascii
import random
import struct
from itertools import pairwise
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from dpnet.gateware.parts.bus import BUS_LATENCY
from dpnet.gateware.registers import BY_NAME, STREAM, Operation
from dpnet.sim.benches.link.endpoint import all_registers, begin, model_of, talk
from dpnet.sim.kit.bench import rounds
from dpnet.sim.kit.core_model import CoreModel
from dpnet.sim.kit.streams import PAUSES
from dpnet.sim.peers.engine_model import (
    BUSY,
    LOADING,
    NOT_VALID,
    OK,
    STALE,
    VALID,
    EngineModel,
    unstuff,
)
from dpnet.sim.peers.requests import REGION_WORDS, Requests

INDEX, CODEBOOK, ROWS, LAYERS, VECTOR, RESULT = (region << 26 for region in range(1, 7))
LONGEST_DELAY = BUS_LATENCY + 1


class Host:
    """Requests one after the other, each answered as the engine model answers it."""

    def __init__(self, dut: Any, core: CoreModel, seed: str) -> None:
        self.dut, self.core = dut, core
        self.model: EngineModel = model_of(core)
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {seed}")
        self.requests = Requests(self.model, self.source)
        self.kind = "none"
        self.run = 0
        self._count = 0
        self._nonces: dict[int, int] = {}

    async def send(self, operation: Operation, status: int, **fields: Any) -> None:
        """One request, which has this status by the bench as well as by the model."""
        line = self.requests.frame(operation, **fields)
        expected = self.model.feed(line)
        raw = unstuff(expected.strip(b"\0"))
        assert raw is not None and raw[3] == status, f"status {raw and raw[3]}, not {status}"
        self._count += 1
        got = await talk(self.dut, line, expected, self.kind, self._count)
        assert got == expected, f"{got.hex()} instead of {expected.hex()}"

    async def set(self, name: str, status: int, value: int) -> None:
        """Write a register."""
        payload = struct.pack("<I", value)
        await self.send(Operation.WRITE, status, offset=BY_NAME[name].offset, payload=payload)

    async def write(self, address: int, words: list[int], status: int, **fields: Any) -> None:
        """Write words from a word address on."""
        payload = struct.pack(f"<{len(words)}I", *words)
        await self.send(Operation.WRITE, status, offset=4 * address, payload=payload, **fields)

    async def start(self, status: int = OK) -> None:
        """Start a run of its own number."""
        self.run += 1
        await self.set("START", status, self.run)

    async def finish(self) -> None:
        """The end of the run."""
        self.model.cycles = self.source.randrange(1 << 48)
        await self.core.finish(self.model.cycles, [])
        self.model.busy = False

    async def commit(self, status: int, epoch: int, ranges: list[tuple[int, int]]) -> None:
        """COMMIT of what the stores hold."""
        crc = 0
        for address, count in ranges:
            for word in range(address, address + count):
                crc = binascii.crc32(struct.pack("<I", self.model.memory.get(word, 0)), crc)
        flat = [value for pair in ranges for value in pair]
        payload = struct.pack(f"<{1 + len(flat)}I", crc, *flat)
        self.core.reads.clear()
        await self.send(Operation.COMMIT, status, epoch=epoch, payload=payload)
        # Its own reads; what follows them belongs to the passes.
        own = words_of(ranges)
        assert [address for _, address in self.core.reads[: len(own)]] == own
        del self.core.reads[: len(own)]

    def ranges(self, most: int = 4) -> list[tuple[int, int]]:
        """Random ranges inside the stores, now and then as many as there may be."""
        count = 31 if self.source.random() < 0.1 else self.source.randint(1, most)
        found = []
        for _ in range(count):
            region = self.source.randint(1, 4)
            first = self.source.randrange(REGION_WORDS[region])
            words = self.source.randint(1, min(20, REGION_WORDS[region] - first))
            found.append((region << 26 | first, words))
        return found

    async def load(self, epoch: int, ranges: list[tuple[int, int]]) -> None:
        """A valid image of random words."""
        await self.send(Operation.BEGIN, OK, epoch=epoch)
        for address, count in ranges:
            words = [self.source.randrange(1 << 32) for _ in range(count)]
            await self.write(address, words, OK, epoch=epoch)
        await self.commit(OK, epoch, ranges)

    async def idle(self, cycles: int) -> None:
        """No requests for a while."""
        await ClockCycles(self.dut.clk, cycles)

    async def registers(self) -> int:
        """Every register is the model's; CHECKS."""
        return await all_registers(self.dut, self.model, self.requests, self._nonces)

    def upset(self, address: int, bit: int) -> None:
        """A word of the stores changes, unseen by the link."""
        for memory in (self.core.memory, self.model.memory):
            memory[address] = memory.get(address, 0) ^ 1 << bit

    def checked(self) -> list[int]:
        """The image words that were read since the last call, in order."""
        found = [address for _, address in self.core.reads if address < VECTOR]
        self.core.reads.clear()
        return found


def pass_cycles(ranges: list[tuple[int, int]]) -> int:
    """Cycles of one pass that nothing disturbs, and its judgment."""
    return sum(count for _, count in ranges) + len(ranges) + BUS_LATENCY + 1


def words_of(ranges: list[tuple[int, int]]) -> list[int]:
    """The word addresses of one pass."""
    return [address + k for address, count in ranges for k in range(count)]


def assert_passes(found: list[int], ranges: list[tuple[int, int]], least: int) -> None:
    """`found` is whole passes from the first word on, and a part of the next."""
    one = words_of(ranges)
    assert len(found) >= least * len(one), f"{len(found)} words read of an image of {len(one)}"
    again = one * (len(found) // len(one) + 1)
    wrong = next(
        (n for n, pair in enumerate(zip(found, again, strict=False)) if pair[0] != pair[1]), None
    )
    assert wrong is None, f"word {wrong} of the passes is {found[wrong or 0]:#x}"


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def speed(dut: Any) -> None:
    """A pass takes a cycle for a word and one for a range, and starts again; CHECKS counts them."""
    core = await begin(dut)
    host = Host(dut, core, "speed")
    for epoch in range(1, 6):
        ranges = host.ranges()
        await host.load(epoch, ranges)
        before, read = await host.registers(), core.cycle
        host.checked()
        await host.idle(1500)
        firsts = [cycle for cycle, address in core.reads if address == ranges[0][0]]
        starts = firsts[:: words_of(ranges).count(ranges[0][0])]
        assert {b - a for a, b in pairwise(starts)} == {pass_cycles(ranges)}
        passes = await host.registers() - before
        assert abs(passes - (core.cycle - read) / pass_cycles(ranges)) < 30


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(kind=PAUSES)
async def a_changed_word(dut: Any, kind: str) -> None:
    """Any bit of any word is found in at most two passes, the image is valid no more, and another
    load cures it; words of no image may change."""
    core = await begin(dut)
    host = Host(dut, core, kind)
    host.kind = kind
    for epoch in range(1, 1 + rounds(19)):
        ranges = host.ranges()
        await host.load(epoch, ranges)
        image = words_of(ranges)
        for address in (VECTOR, RESULT + 3, *(INDEX + n for n in range(96))):
            if address not in image:
                host.upset(address, host.source.randrange(32))
        await host.idle(host.source.randrange(2, 4 * pass_cycles(ranges)))
        await host.start()
        await host.finish()
        word, bit = host.source.choice(image), host.source.randrange(32)
        if image.count(word) % 2:
            host.upset(word, bit)
        else:
            host.upset(image[0], bit)
        await host.idle(2 * pass_cycles(ranges) + 2)
        host.model.check_image()
        assert host.model.changed and host.model.state == LOADING
        await host.registers()
        host.checked()
        await host.idle(100)
        assert not core.reads, "an image that is not valid is checked"
        await host.start(NOT_VALID)
        # Only what changed, or another image.
        if epoch % 2:
            await host.commit(OK, epoch, ranges)
            await host.idle(3 * pass_cycles(ranges))
            assert host.model.state == VALID and not host.model.changed
            await host.registers()
            await host.start()
            await host.finish()
    assert host.model.image_errors == rounds(19)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def no_delay(dut: Any) -> None:
    """A request waits for a handful of cycles at most, at whatever word of a pass it comes."""
    core = await begin(dut)
    host = Host(dut, core, "delay")
    dut.o__ready.value = 1
    asked: dict[str, tuple[Operation, dict[str, Any]]] = {
        "register": (Operation.READ, {"offset": 0, "wanted": 4}),
        "words": (Operation.READ, {"offset": 4 * VECTOR, "wanted": 32}),
        "write": (Operation.WRITE, {"offset": 4 * RESULT, "payload": bytes(16)}),
        "check": (Operation.CHECK, {"payload": struct.pack("<II", VECTOR, 9)}),
        "release": (Operation.WRITE, {"offset": BY_NAME["RELEASE"].offset, "payload": bytes(4)}),
        "vectors": (
            Operation.WRITE,
            {"offset": BY_NAME["VECTORS"].offset, "payload": b"\5\0\0\0"},
        ),
    }

    async def took(name: str) -> int:
        """Cycles from the last byte of the request to the first of its answer."""
        operation, fields = asked[name]
        line = host.requests.frame(operation, **fields)
        answer = host.model.feed(line)
        for byte in line:
            dut.i__valid.value, dut.i__payload.value = 1, byte
            await FallingEdge(dut.clk)
            assert int(dut.i__ready.value), "the endpoint stalled"
            await RisingEdge(dut.clk)
        dut.i__valid.value = 0
        cycles, got = 0, bytearray()
        while len(got) < len(answer):
            await FallingEdge(dut.clk)
            cycles += not got
            if int(dut.o__valid.value):
                got.append(int(dut.o__payload.value))
            await RisingEdge(dut.clk)
        assert got == answer
        return cycles

    await host.send(Operation.BEGIN, OK, epoch=1)
    alone = {name: await took(name) for name in asked}
    ranges = host.ranges()
    await host.commit(OK, 1, ranges)
    dut.o__ready.value = 1
    delays = []
    for _ in range(60):
        for name in asked:
            await host.idle(host.source.randrange(2, 2 * pass_cycles(ranges)))
            delays.append(await took(name) - alone[name])
    assert min(delays) >= 0 and 3 <= max(delays) <= LONGEST_DELAY, sorted(set(delays))
    assert_passes(host.checked(), ranges, 20)
    await host.registers()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(kind=PAUSES)
async def in_the_middle(dut: Any, kind: str) -> None:
    """Runs, CHECKs and READs in the middle of a pass: it pauses, goes on with the next word, and
    finds nothing; BEGIN ends it, and the passes over the next image start at its first word."""
    core = await begin(dut)
    host = Host(dut, core, kind)
    host.kind = kind
    for epoch in range(1, 1 + rounds(8)):
        ranges = host.ranges()
        await host.load(epoch, ranges)
        passes = host.checked()
        for _ in range(8):
            await host.idle(host.source.randrange(1, 2 * pass_cycles(ranges)))
            action = host.source.choice(["run", "check", "read", "commit", "write"])
            if action == "run":
                await host.start()
                passes += host.checked()
                await host.idle(host.source.randrange(1, 60))
                assert not core.reads
                await host.finish()
            elif action == "check":
                payload = struct.pack("<II", VECTOR, host.source.randint(1, 30))
                await host.send(Operation.CHECK, OK, payload=payload)
            elif action == "read":
                await host.send(Operation.READ, OK, offset=4 * RESULT, wanted=64)
            elif action == "commit":
                repeated = struct.pack("<III", host.model.image_crc, *ranges[0])
                await host.send(Operation.COMMIT, OK, epoch=epoch, payload=repeated)
                await host.send(Operation.BEGIN, OK, epoch=epoch)
            else:
                await host.write(VECTOR, [7] * 20, OK)
        await host.registers()
        await host.idle(3 * pass_cycles(ranges))
        assert_passes(passes + host.checked(), ranges, 3)
        assert host.model.state == VALID
        # The words of the image change under the next one's epoch, in the middle of a pass.
        await host.idle(host.source.randrange(1, 2 * pass_cycles(ranges)))


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(kind=PAUSES)
async def streaming(dut: Any, kind: str) -> None:
    """Tiles of a streamed layer: which WRITEs are taken when, and what RELEASE takes."""
    core = await begin(dut)
    host = Host(dut, core, kind)
    host.kind = kind
    image = [(INDEX, 10), (CODEBOOK, 4), (ROWS + 8, 8), (LAYERS, 8)]
    places = [INDEX + 40, CODEBOOK + 20, ROWS + 30]

    async def write(address: int, status: int, **fields: Any) -> None:
        await host.write(
            address, [host.source.randrange(1 << 32) for _ in range(9)], status, **fields
        )
        assert core.memory == host.model.memory

    await host.set("RELEASE", OK, 5 << 16)  # RUN is 0 after reset
    await host.set("RELEASE", STALE, 5 << 16 | 1)
    for place in places:
        await write(place, STALE, flags=STREAM, epoch=3)
    await host.send(Operation.BEGIN, OK, epoch=3)
    for place in places:
        await write(place, OK, epoch=3)
        await write(place, STALE, flags=STREAM, epoch=3)
    await host.load(4, image)
    for run in range(1, 1 + rounds(7)):
        for busy in (False, True):
            if busy:
                await host.start()
                assert host.run == run and core.released == 0
            for place in places:
                await write(place, OK, flags=STREAM, epoch=4)
                await write(place, STALE, epoch=4)
                await write(place, STALE, flags=STREAM, epoch=3)
                await write(place, STALE, flags=STREAM, epoch=0)
            await host.write(LAYERS, [9] * REGION_WORDS[4], STALE, flags=STREAM, epoch=4)
            await write(VECTOR, BUSY if busy else OK, flags=STREAM, epoch=4)
            await write(RESULT, BUSY if busy else OK, epoch=4)
            await host.send(Operation.READ, BUSY if busy else OK, offset=4 * places[0], wanted=36)
            await host.send(
                Operation.CHECK, BUSY if busy else OK, payload=struct.pack("<II", places[0], 9)
            )
        released = 0
        for tiles in (0, 3, 3, 2, 9, 1, host.source.randrange(10, 65535), 65535, 0):
            await host.set("RELEASE", OK, tiles << 16 | run)
            released = max(released, tiles)
            assert core.released == released
            for other in (run - 1, run + 1, run ^ 1 << 15):
                await host.set("RELEASE", STALE, 65535 << 16 | other)
            assert core.released == released
            host.model.tiles, host.model.stalled = tiles, host.source.randrange(1 << 32)
            dut.core__tiles_done.value = host.model.tiles
            dut.core__stalled.value = host.model.stalled
            await host.registers()
        # The same number starts nothing, and keeps what was released.
        await host.set("START", OK, run)
        assert core.released == released
        await host.finish()
        assert core.released == released
        await host.idle(5 * pass_cycles(image))
        await host.registers()
    assert len(core.starts) == rounds(7) and not host.model.changed
