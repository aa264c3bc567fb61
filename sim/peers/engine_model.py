"""An engine as the far end of the link sees it, in plain Python: no gateware, no host code.

Written from the protocol's description with its own slow COBS, so that host and gateware are both
compared with a third opinion; only the table of registers is that of all.  It stands in for an
engine where only the link is tested.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from dpnet.gateware.registers import BY_NAME, IDENTITY, REGISTERS

EMPTY, LOADING, VALID = 0, 1, 2
OK, BAD_OPERATION, BAD_ADDRESS, STALE, BUSY, NOT_VALID, CHECK_FAILED, BAD_VALUE = range(8)


def stuff(raw: bytes) -> bytes:
    """COBS as its paper describes it, a byte at a time."""
    out, block = bytearray(), bytearray()
    for position, byte in enumerate(raw):
        if byte:
            block.append(byte)
            if len(block) == 254:
                out += b"\xff" + block
                block.clear()
                if position == len(raw) - 1:
                    return bytes(out)
        else:
            out += bytes([len(block) + 1]) + block
            block.clear()
    return bytes(out + bytes([len(block) + 1]) + block)


def unstuff(stuffed: bytes) -> bytes | None:
    """The inverse of `stuff`; None if a block is cut."""
    out, bytes_in = bytearray(), iter(stuffed)
    owed = False
    for code in bytes_in:
        if owed:
            out.append(0)
        for _ in range(code - 1):
            byte = next(bytes_in, None)
            if byte is None:
                return None
            out.append(byte)
        owed = code != 255
    return bytes(out)


@dataclass
class EngineModel:
    """An engine with `memory` (word address to word) behind it.

    `identity` gives constant registers by name; of those it leaves out, the first three are right,
    and the others 0.  `version` is what frames say, `words` how many words each region 1 to 6 has.
    While `busy` is true a run is on; `on_start(run, first, last, vectors)` is called when one
    starts, `on_abort()` when it is told to end: by default it is over then.  An engine checks a
    valid image all the time; here `check_image` is a pass.  A map engine has `halves`, words of a
    half of regions 5 and 6; its run is on the `half` that VECTORS said at the start.  Region 5 may
    go on with copies of its halves, as far apart as the power of two that holds them.
    """

    identity: Mapping[str, int] = field(default_factory=dict)
    version: int = 6
    words: Mapping[int, int] = field(default_factory=lambda: dict.fromkeys(range(1, 7), 1 << 20))
    halves: Mapping[int, int] = field(default_factory=dict)
    memory: dict[int, int] = field(default_factory=dict)
    on_start: Callable[[int, int, int, int], None] = lambda run, first, last, vectors: None
    on_abort: Callable[[], None] | None = None
    state: int = EMPTY
    epoch: int = 0
    image_crc: int = 0
    image_words: int = 0
    ranges: bytes = b""
    changed: bool = False
    aborted: bool = False
    checks: int = 0
    image_errors: int = 0
    run: int = 0
    released: int = 0
    tiles: int = 0
    stalled: int = 0
    vectors: int = 1
    half: int = 0
    busy: bool = False
    cycles: int = 0
    errors: int = 0
    nonce: int = 12345
    frame_errors: int = 0
    rejected: int = 0
    counters: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])
    done: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._line = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Line bytes in, the line bytes of all responses out."""
        out = bytearray()
        for byte in data:
            if byte:
                self._line.append(byte)
                continue
            stuffed = bytes(self._line)
            self._line.clear()
            if stuffed:
                out += self._frame(stuffed)
        return bytes(out)

    def _frame(self, stuffed: bytes) -> bytes:
        raw = unstuff(stuffed)
        if raw is None or len(raw) < 14 or binascii.crc32(raw[:-4]) != _little(raw[-4:]):
            self.frame_errors += 1
            return b""
        first, txid, epoch, flags, offset, length = struct.unpack("<BBBBIH", raw[:10])
        payload, operation = raw[10:-4], first % 16
        wanted = 0 if operation == 1 else length
        if first >= 128 or len(payload) != wanted or wanted > 256:
            self.frame_errors += 1
            return b""
        bitmap = self._bitmap(txid, flags)
        status, answer = BAD_OPERATION, b""
        if first // 16 == self.version:
            stream = operation == 2 and flags & 2 != 0
            status, answer = self._carry_out(operation, epoch, offset, length, payload, stream)
        if status == OK:
            self.done.append(txid)
        else:
            self.rejected += 1
        head = struct.pack(
            "<BBBBIH",
            128 + 16 * self.version + operation,
            txid,
            self.epoch,
            status,
            bitmap,
            len(answer),
        )
        body = head + answer
        return b"\0" + stuff(body + struct.pack("<I", binascii.crc32(body))) + b"\0"

    def _bitmap(self, txid: int, flags: int) -> int:
        """Which of the 32 txids before this one were carried out, as a sliding window knows."""
        if flags & 1:
            self._newest, self.done = txid, []
            return 0
        newest = getattr(self, "_newest", 0)
        if (newest - txid) % 256 > 32:
            passed = (txid - newest) % 256
            # What the window leaves behind is forgotten; txids come round again.
            kept = range(0, 33 - passed)
            self.done = [seen for seen in self.done if (newest - seen) % 256 in kept]
            self._newest = newest = txid
        reach = 32 - (newest - txid) % 256
        return sum(1 << age for age in range(reach) if (txid - 1 - age) % 256 in self.done)

    def _carry_out(
        self, operation: int, epoch: int, offset: int, length: int, payload: bytes, stream: bool
    ) -> tuple[int, bytes]:
        region, low = offset >> 28, offset % (1 << 28)
        own = epoch != 0 and epoch == self.epoch
        fits = offset % 4 == 0 and length % 4 == 0 and 0 < length <= 256
        there = len(REGISTERS) if region == 0 else self.words.get(region, 0)
        fits = fits and low + length <= 4 * there
        if operation == 1:
            return self._read(region, offset, length) if fits else (BAD_ADDRESS, b"")
        if operation == 2:
            return (self._write(region, offset, payload, own, stream) if fits else BAD_ADDRESS), b""
        if operation == 3:
            return self._begin(epoch, length), b""
        if operation == 4:
            return self._commit(payload, own), b""
        if operation == 5:
            if length != 8:
                return BAD_ADDRESS, b""
            if self.busy:
                return BUSY, b""
            crc = self._crc(payload, 6)
            return (BAD_ADDRESS, b"") if crc is None else (OK, struct.pack("<I", crc))
        if operation == 6:
            return (OK, payload) if length == 4 else (BAD_ADDRESS, b"")
        return BAD_OPERATION, b""

    def _read(self, region: int, offset: int, length: int) -> tuple[int, bytes]:
        if region == 0:
            registers = b"".join(struct.pack("<I", value) for value in self.registers())
            return OK, registers[offset : offset + length]
        if self.busy and not (region == 6 and self._is_free(region, offset, length)):
            return BUSY, b""
        words = [self.memory.get(offset // 4 + k, 0) for k in range(length // 4)]
        return OK, struct.pack(f"<{len(words)}I", *words)

    def _write(self, region: int, offset: int, payload: bytes, own: bool, stream: bool) -> int:
        if region == 0:
            return self._write_register(offset, payload)
        if region == 7:
            return BAD_ADDRESS
        streamed = stream and own and self.state == VALID and region in (1, 2, 3)
        streamed = streamed and not self.halves
        loading = own and self.state == LOADING and not stream
        if 1 <= region <= 4 and not loading and not streamed:
            return STALE
        free = region == 5 and self._is_free(region, offset, len(payload))
        if self.busy and not streamed and not free:
            return BUSY
        for k in range(0, len(payload), 4):
            self.memory[(offset + k) // 4] = _little(payload[k : k + 4])
        return OK

    def _is_free(self, region: int, offset: int, size: int) -> bool:
        """Whether all of it lies in the half that a run leaves alone, of one copy."""
        if region not in self.halves:
            return False
        end = 4 * self.halves[region]
        copy = 4
        while copy < 2 * end:
            copy *= 2
        first = offset % (1 << 28) % copy
        return first + size <= end if self.half == 1 else end <= first <= copy - size

    def _write_register(self, offset: int, payload: bytes) -> int:
        name = next((r.name for r in REGISTERS if r.offset == offset), "")
        if name not in ("VECTORS", "RELEASE", "START", "ABORT") or len(payload) != 4:
            return BAD_ADDRESS
        if name == "START":
            return self._start(*struct.unpack("<HBB", payload))
        if name == "RELEASE":
            return self._release(*struct.unpack("<HH", payload))
        if name == "ABORT":
            return self._abort(*struct.unpack("<Hxx", payload))
        return self._set_vectors(_little(payload))

    def _abort(self, run: int) -> int:
        if run != self.run:
            return STALE
        if self.busy:
            self.aborted = True
            if self.on_abort is None:
                self.busy = False
            else:
                self.on_abort()
        return OK

    def _release(self, run: int, tiles: int) -> int:
        if run != self.run:
            return STALE
        self.released = max(self.released, tiles)
        return OK

    def _set_vectors(self, vectors: int) -> int:
        if not 1 <= vectors <= 256:
            return BAD_VALUE
        self.vectors = vectors
        return OK

    def _start(self, run: int, first: int, last: int) -> int:
        if self.state != VALID:
            return NOT_VALID
        if run == self.run:
            return OK
        if self.busy:
            return BUSY
        self.run, self.busy, self.errors, self.aborted = run, True, 0, False
        self.released = self.tiles = self.stalled = 0
        self.half = (self.vectors - 1) % 2
        self.on_start(run, first, last, self.vectors if first == last else 1)
        return OK

    def _begin(self, epoch: int, length: int) -> int:
        if length:
            return BAD_ADDRESS
        if epoch == 0:
            return STALE
        if epoch == self.epoch and self.state == VALID:
            return OK
        if self.busy:
            return BUSY
        if epoch != self.epoch:
            self.state, self.epoch, self.changed = LOADING, epoch, False
            self.image_crc = self.image_words = 0
        return OK

    def _commit(self, payload: bytes, own: bool) -> int:
        if len(payload) % 8 != 4 or not 1 <= len(payload) // 8 <= 31:
            return BAD_ADDRESS
        if not own or self.state == EMPTY:
            return STALE
        wanted = _little(payload[:4])
        if self.state == VALID:
            return OK if wanted == self.image_crc else STALE
        crc = self._crc(payload[4:], 4)
        if crc is None:
            return BAD_ADDRESS
        if crc != wanted:
            return CHECK_FAILED
        self.state, self.image_crc, self.changed = VALID, crc, False
        self.ranges = payload[4:]
        self.image_words = sum(count for _, count in _pairs(payload[4:]))
        return OK

    def check_image(self) -> None:
        """One pass over the image, if there is a valid one."""
        if self.state != VALID:
            return
        self.checks = (self.checks + 1) % 65536
        if self._crc(self.ranges, 4) != self.image_crc:
            self.state, self.changed = LOADING, True
            self.image_crc = self.image_words = 0
            self.image_errors = min(self.image_errors + 1, 65535)

    def committed(self) -> set[int]:
        """The word addresses that passes over the valid image read."""
        if self.state != VALID:
            return set()
        return {address + k for address, count in _pairs(self.ranges) for k in range(count)}

    def _crc(self, pairs: bytes, last_region: int) -> int | None:
        crc = 0
        for address, count in _pairs(pairs):
            region, low = address >> 26, address % (1 << 26)
            there = self.words.get(region, 0) if 1 <= region <= last_region else 0
            if not count or low + count > there:
                return None
            words = (self.memory.get(address + k, 0) for k in range(count))
            crc = binascii.crc32(b"".join(struct.pack("<I", word) for word in words), crc)
        return crc

    def registers(self) -> list[int]:
        """All registers in the order of their offsets."""
        status = self.state | self.busy << 2 | self.changed << 3 | self.aborted << 4
        errors = ("NONFINITE", "RANGE", "SIGMA", "OVERFLOW", "PARITY")
        values = {
            "MAGIC": 0x44504E54,
            "PROTOCOL": 6,
            "GATEWARE": 7,
            **dict.fromkeys(IDENTITY, 0),
            **self.identity,
            "BOOT_NONCE": self.nonce,
            "EPOCH": self.epoch,
            "STATUS": status | self.errors << 8,
            "IMAGE_CRC": self.image_crc,
            "IMAGE_WORDS": self.image_words,
            "RUN": self.run,
            "CYCLES_LO": self.cycles % (1 << 32),
            "CYCLES_HI": self.cycles >> 32,
            "TILES": self.tiles,
            "STALLED": self.stalled,
            "CHECKS": self.checks,
            "IMAGE_ERRORS": self.image_errors,
            "FRAME_ERRORS": self.frame_errors,
            "REJECTED": self.rejected,
            **dict(zip(errors, self.counters, strict=True)),
            "VECTORS": self.vectors,
            "RELEASE": self.run | self.released << 16,
            "START": 0,
            "ABORT": 0,
        }
        return [values[name] for name in BY_NAME]


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _pairs(data: bytes) -> Iterator[tuple[int, int]]:
    yield from struct.iter_unpack("<II", data)
