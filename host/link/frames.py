"""Frames of the link as bytes, `00 | COBS(header, payload, crc32) | 00` (`gateware.registers`)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from dpnet.gateware.registers import (
    CRC_BYTES,
    HEADER_BYTES,
    MAX_PAYLOAD,
    RESPONSE,
    VERSION,
    Operation,
)

_HEADER = struct.Struct("<BBBBIH")
_RUN = 254
"""Bytes other than zero that one COBS block holds at most."""
LONGEST = HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES + 2
"""Bytes of a frame after COBS, without its zeros, at most."""


class FrameError(ValueError):
    """Bytes that are no frame."""


class VersionError(FrameError):
    """A whole frame of another version of the link, `version`."""

    def __init__(self, version: int) -> None:
        super().__init__(f"frames have version {VERSION}, not {version}")
        self.version = version


@dataclass(frozen=True, slots=True)
class Frame:
    """A request or a response; `operation` of a response has `RESPONSE`, its `flags` are the
    status, its `offset` the bitmap.

    `wanted` is the length that a READ asks for; every other frame has its payload's length.
    """

    operation: int
    txid: int
    epoch: int = 0
    flags: int = 0
    offset: int = 0
    payload: bytes = b""
    wanted: int = 0

    def encode(self) -> bytes:
        """The bytes on the line, both zeros included."""
        if len(self.payload) > MAX_PAYLOAD:
            size = len(self.payload)
            raise ValueError(f"payload must have at most {MAX_PAYLOAD} bytes, not {size}")
        length = self.wanted if self.operation == Operation.READ else len(self.payload)
        header = _HEADER.pack(
            VERSION << 4 | self.operation, self.txid, self.epoch, self.flags, self.offset, length
        )
        body = header + self.payload
        return b"\0" + cobs_encode(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")) + b"\0"


def decode(stuffed: bytes) -> Frame:
    """The frame in the bytes between two zeros; `FrameError` if they are none, a `VersionError` if
    they are one of another version."""
    raw = cobs_decode(stuffed)
    if len(raw) < HEADER_BYTES + CRC_BYTES:
        raise FrameError(f"a frame has at least {HEADER_BYTES + CRC_BYTES} bytes, not {len(raw)}")
    body, crc = raw[:-CRC_BYTES], int.from_bytes(raw[-CRC_BYTES:], "little")
    if zlib.crc32(body) != crc:
        raise FrameError("the CRC-32 is wrong")
    first, txid, epoch, flags, offset, length = _HEADER.unpack_from(body)
    payload = body[HEADER_BYTES:]
    operation, version = first & (RESPONSE | 15), first >> 4 & 7
    if version != VERSION:
        raise VersionError(version)
    reads = operation == Operation.READ
    if len(payload) != (0 if reads else length) or (not reads and length > MAX_PAYLOAD):
        raise FrameError(f"the header says {length} bytes of payload, there are {len(payload)}")
    return Frame(operation, txid, epoch, flags, offset, payload, length if reads else 0)


def cobs_encode(data: bytes) -> bytes:
    """`data` without zeros: at most one byte longer for every 254, and one."""
    *closed, last = data.split(b"\0")
    out = bytearray()
    for run in closed:
        # A full block implies no zero: the zero after exactly 254 bytes is a block of its own.
        rest = _full_blocks(out, run)
        out.append(len(rest) + 1)
        out += rest
    rest = _full_blocks(out, last)
    if rest or len(last) < _RUN:
        out.append(len(rest) + 1)
        out += rest
    return bytes(out)


def _full_blocks(out: bytearray, run: bytes) -> bytes:
    while len(run) >= _RUN:
        out.append(_RUN + 1)
        out += run[:_RUN]
        run = run[_RUN:]
    return run


def cobs_decode(stuffed: bytes) -> bytes:
    """The inverse of `cobs_encode`; `FrameError` if a block is cut short or there is a zero."""
    out = bytearray()
    position, end = 0, len(stuffed)
    if b"\0" in stuffed:
        raise FrameError("COBS has no zeros")
    while position < end:
        code = stuffed[position]
        after = position + code
        if after > end:
            raise FrameError(f"a COBS block of {code - 1} bytes is cut at {end - position - 1}")
        out += stuffed[position + 1 : after]
        if code <= _RUN and after < end:
            out.append(0)
        position = after
    return bytes(out)


class Decoder:
    """Frames out of a stream of line bytes, whatever it is cut into.

    Members: `errors`, the number of byte strings between two zeros that were no frame;
    `other_version`, that of the last whole frame of another version, if one came.
    """

    def __init__(self) -> None:
        self.errors = 0
        self.other_version: int | None = None
        self._part = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now.  Never keeps more than a frame can have."""
        *closed, open_part = data.split(b"\0")
        frames = []
        for piece in closed:
            stuffed = bytes(self._part) + piece
            self._part.clear()
            if not stuffed:
                continue
            try:
                frames.append(decode(stuffed))
            except FrameError as error:
                self.errors += 1
                if isinstance(error, VersionError):
                    self.other_version = error.version
        # One byte more than the longest is enough to make sure that it is refused.
        self._part += open_part[: max(0, LONGEST + 1 - len(self._part))]
        return frames
