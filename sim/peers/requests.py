"""Random requests to an engine: valid ones, refused ones, damaged ones."""

from __future__ import annotations

import binascii
import random
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from dpnet.gateware.registers import BY_NAME, FIRST, REGISTERS, STREAM, Operation
from dpnet.host.link.frames import Frame
from dpnet.sim.peers.engine_model import VALID, EngineModel, stuff

REGION_WORDS = {1: 96, 2: 40, 3: 64, 4: 8, 5: 80, 6: 64}
"""Sizes of the regions in link benches: small, so that requests often meet."""

FREE_RUNNING = ("BOOT_NONCE", "CHECKS", "FRAME_ERRORS")
"""Registers that no request knows: the engine's own, how many passes there was time for, and one
that runs ahead of the requests that wait."""


class Requests:
    """A random conversation that knows, from `model`, which requests would be interesting."""

    def __init__(self, model: EngineModel, source: random.Random) -> None:
        self.model, self.source = model, source
        self._txid = source.randrange(256)
        self._number = 0

    def lines(self, count: int) -> Iterator[bytes]:
        """`count` pieces of line bytes, to be fed to the model before the next is asked for."""
        for _ in range(count):
            yield self._one()

    def _one(self) -> bytes:
        # Mostly the next txid; now and then a repeated one, a hole, an old one.
        step = self.source.choice([1] * 12 + [0, 2, 3, 9, 40, -1, -5, -33])
        self._txid = (self._txid + step) % 256
        kinds = {
            self._write: 6,
            self._read: 5,
            self._read_registers: 2,
            self._begin: 1,
            self._commit: 3,
            self._check: 2,
            self._start: 2,
            self._vectors: 1,
            self._abort: 1,
            self._hello: 1,
            self._odd: 3,
            self._damaged: 3,
            self._stream: 4,
            self._release: 2,
        }
        return self.source.choices(list(kinds), list(kinds.values()))[0]()

    def frame(self, operation: int, *, flags: int = 0, **fields: Any) -> bytes:
        """The line bytes of one request with this conversation's txid."""
        first = FIRST if self.source.random() < 0.02 else 0
        return Frame(operation, self._txid, flags=flags | first, **fields).encode()

    def _epoch(self) -> int:
        return self.model.epoch if self.source.random() < 0.9 else self.source.randrange(256)

    def _span(self) -> tuple[int, int]:
        """Byte address and bytes; a few reach beyond the store."""
        region = self.source.choice(list(REGION_WORDS))
        start = self.source.randrange(REGION_WORDS[region])
        count = self.source.choice([1, 2, 3, 8, 17, 63, 64])
        if self.source.random() < 0.9:
            count = min(count, REGION_WORDS[region] - start)
        return region << 28 | start << 2, 4 * count

    def _payload(self, size: int) -> bytes:
        # Zeros, and long runs without any, are what COBS treats differently.
        choice = self.source.random()
        if choice < 0.2:
            return bytes(size)
        if choice < 0.5:
            return bytes(self.source.randrange(1, 256) for _ in range(size))
        return self.source.randbytes(size)

    def _write(self) -> bytes:
        offset, size = self._span()
        return self.frame(
            Operation.WRITE, offset=offset, epoch=self._epoch(), payload=self._payload(size)
        )

    def _stream(self) -> bytes:
        """A WRITE with STREAM that leaves the words of a valid image alone."""
        offset, size = self._span()
        epoch, image = self._epoch(), self.model.committed()
        if image.intersection(range(offset // 4, (offset + size) // 4)):
            epoch = (self.model.epoch + 1) % 256
        return self.frame(
            Operation.WRITE, flags=STREAM, offset=offset, epoch=epoch, payload=self._payload(size)
        )

    def _release(self) -> bytes:
        source = self.source
        run = source.choice([self.model.run] * 4 + [self.model.run + 1, source.randrange(65536)])
        near = min(self.model.released + source.randrange(3), 65535)
        payload = struct.pack("<HH", run % 65536, source.choice([near, source.randrange(65536)]))
        return self.frame(Operation.WRITE, offset=BY_NAME["RELEASE"].offset, payload=payload)

    def _read(self) -> bytes:
        offset, size = self._span()
        return self.frame(Operation.READ, offset=offset, wanted=size)

    def _read_registers(self) -> bytes:
        holes = [-1, *(BY_NAME[name].offset // 4 for name in FREE_RUNNING), len(REGISTERS)]
        spans = [(before + 1, hole) for before, hole in pairwise(holes) if before + 1 < hole]
        # The last one also with a word behind all registers.
        first, after = self.source.choice([*spans, (spans[-1][0], len(REGISTERS) + 1)])
        start = self.source.randrange(first, after)
        return self.frame(
            Operation.READ, offset=4 * start, wanted=4 * self.source.randint(1, after - start)
        )

    def _begin(self) -> bytes:
        repeated = self.source.random() < 0.3
        epoch = self.model.epoch if repeated else self.source.randrange(256)
        return self.frame(Operation.BEGIN, epoch=epoch)

    def _ranges(self, regions: list[int], most: int) -> list[tuple[int, int]]:
        ranges = []
        for _ in range(self.source.randint(1, most)):
            region = self.source.choice(regions)
            start = self.source.randrange(REGION_WORDS[region])
            count = min(self.source.randint(1, 70), REGION_WORDS[region] - start)
            beyond = self.source.choice([1, 2, 1 << 20, 1 << 26, (1 << 32) - count - 1])
            count += beyond if self.source.random() < 0.04 else 0
            ranges.append((region << 26 | start, count))
        return ranges

    def _commit(self) -> bytes:
        ranges = self._ranges([1, 2, 3, 4], 31 if self.source.random() < 0.1 else 3)
        crc = 0
        for address, count in ranges:
            for word in range(address, address + min(count, 99)):
                crc = binascii.crc32(struct.pack("<I", self.model.memory.get(word, 0)), crc)
        if self.model.state == VALID:
            crc = self.model.image_crc
        # Valid images should live for a while, and be refused now and then.
        crc ^= self.source.choice([0, 0, 0, 1 << self.source.randrange(32)])
        flat = [value for pair in ranges for value in pair]
        if self.source.random() < 0.1:
            flat[self.source.randrange(len(flat))] = self.source.choice(
                [0, 5 << 26, 1 << 31, 4, (1 << 28) - 1, (1 << 26) + 1]
            )
        payload = struct.pack(f"<{1 + len(flat)}I", crc, *flat)
        return self.frame(Operation.COMMIT, epoch=self._epoch(), payload=payload)

    def _check(self) -> bytes:
        ((address, count),) = self._ranges(list(REGION_WORDS), 1)
        return self.frame(Operation.CHECK, payload=struct.pack("<II", address, count))

    def _start(self) -> bytes:
        self._number += self.source.choice([0, 1, 1])
        first = self.source.randrange(256)
        last = self.source.choice([first, self.source.randint(first, 255)])
        word = struct.pack("<HBB", self._number % 65536, first, last)
        return self.frame(Operation.WRITE, offset=BY_NAME["START"].offset, payload=word)

    def _vectors(self) -> bytes:
        source = self.source
        count = source.choice(
            [
                source.randint(1, 256),
                source.randint(1, 256),
                1,
                256,
                0,
                257,
                1 << 31,
            ]
        )
        payload = struct.pack("<I", count)
        return self.frame(Operation.WRITE, offset=BY_NAME["VECTORS"].offset, payload=payload)

    def _abort(self) -> bytes:
        run = self.source.choice([self.model.run, self.model.run, self.model.run + 1, 0])
        payload = struct.pack("<HH", run % 65536, self.source.randrange(65536))
        return self.frame(Operation.WRITE, offset=BY_NAME["ABORT"].offset, payload=payload)

    def _hello(self) -> bytes:
        return self.frame(Operation.HELLO, epoch=self._epoch(), payload=self._payload(4))

    def _odd(self) -> bytes:
        """Good frames that ask for what there is not."""
        source = self.source
        operation = source.choice([*range(16), *range(6)])
        begin = BY_NAME["START"].offset
        offset = source.choice(
            [
                0,
                2,
                begin - 12,
                begin - 8,
                begin - 4,
                begin - 2,
                begin,
                begin + 4,
                begin + 8,
                1 << 28 | 1,
                (2 << 28) - 8,
                7 << 28,
                15 << 28,
                5 << 28,
            ]
        )
        size = source.choice([0, 1, 3, 4, 8, 12, 20, 28, 252, 256])
        wanted = source.choice([0, 2, 4, 6, 256, 260, 65535])
        return self.frame(
            operation,
            offset=offset,
            epoch=self._epoch(),
            payload=self._payload(size) if operation != Operation.READ else b"",
            wanted=wanted,
        )

    def _damaged(self) -> bytes:
        """Bytes that are no good frame, most of them nearly one."""
        source = self.source
        payload = self._payload(source.choice([0, 4, 256]))
        head = struct.pack(
            "<BBBBIH",
            source.choice([0x62, 0xE2, 0x02, 0x15, 0x32, 0x6A]),
            self._txid,
            self.model.epoch,
            0,
            5 << 28,
            len(payload) + source.choice([0, 0, 0, 4, -4 if payload else 1, 256]),
        )
        body = head + payload
        raw = bytearray(body + struct.pack("<I", binascii.crc32(body)))
        kind = source.choice(["as is", "flip", "cut", "long", "truncated COBS", "noise", "empty"])
        if kind == "flip":
            raw[source.randrange(len(raw))] ^= 1 << source.randrange(8)
        elif kind == "cut":
            del raw[source.randrange(len(raw)) :]
        elif kind == "long":
            raw += source.randbytes(source.choice([1, 4, 300, 600]))
        line = stuff(bytes(raw))
        if kind == "truncated COBS":
            line = line[:-1]
        elif kind == "noise":
            line = bytes(source.randrange(1, 256) for _ in range(source.randrange(1, 40)))
        elif kind == "empty":
            line = b""
        return b"\0" + line + b"\0"
