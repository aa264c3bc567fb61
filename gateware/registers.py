"""What the link means: registers, operations, statuses and regions of an engine.

The one description that gateware, host and documentation read (standard library only).

A request or response is `00 | COBS(header, payload, crc32) | 00`.  The header has 10 bytes, little
endian: version (high nibble, `VERSION`) and operation (low nibble), txid, epoch, flags, offset (4
bytes), length (2 bytes); the CRC is CRC-32/ISO-HDLC (`zlib.crc32`) of header and payload, 4 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from dpnet.model.engine.regions import REGION_SHIFT, Region

__all__ = [
    "BY_NAME",
    "CRC_BYTES",
    "FIRST",
    "GATEWARE",
    "HEADER_BYTES",
    "HISTORY",
    "IDENTITY",
    "MAGIC",
    "MAX_PAYLOAD",
    "MAX_RANGES",
    "MAX_VECTORS",
    "REGION_SHIFT",
    "REGISTERS",
    "RESPONSE",
    "RUN_ERRORS",
    "STREAM",
    "VERSION",
    "Field",
    "Kind",
    "Operation",
    "Region",
    "Register",
    "State",
    "Status",
]

MAGIC = 0x44504E54
"""The letters DPNT: what the first register of every engine reads."""

VERSION = 3
"""Version of frames and registers; an engine and a host of two versions do not talk."""

GATEWARE = 3
"""Version of the gateware, for the user's information."""

HEADER_BYTES = 10
CRC_BYTES = 4
MAX_PAYLOAD = 256
HISTORY = 32
"""Txids before its own that a response reports on, one bit of its offset each: bit k set means
that the request with txid - 1 - k was carried out with status OK."""

RESPONSE = 8
"""Set in the operation of a response; an engine drops frames that have it."""

FIRST = 1
"""Request flag: forget the txids seen so far.  The first request of a host has it."""

STREAM = 2
"""Request flag: a WRITE to INDEX, CODEBOOK or ROWS is part of a streamed tile, which is taken while
the image is VALID, also during a run."""

MAX_RANGES = 31
"""Ranges that one COMMIT names at most."""


class Operation(IntEnum):
    """Operations of a request.

    READ: length bytes wanted from offset (no payload).  WRITE: the payload to offset.  BEGIN: the
    image becomes invalid, the engine is LOADING under the frame's epoch (not 0).  COMMIT: payload
    crc32, then (word address, word count) pairs; VALID if these words have this CRC-32.  CHECK:
    payload word address, word count; the response's payload is the CRC-32 of these words.
    """

    READ = 1
    WRITE = 2
    BEGIN = 3
    COMMIT = 4
    CHECK = 5


class Status(IntEnum):
    """Status of a response (its flags)."""

    OK = 0
    BAD_OPERATION = 1
    BAD_ADDRESS = 2
    STALE = 3
    BUSY = 4
    NOT_VALID = 5
    CHECK_FAILED = 6
    BAD_VALUE = 7


class State(IntEnum):
    """State of the image, field `state` of STATUS."""

    EMPTY = 0
    LOADING = 1
    VALID = 2


class Kind(IntEnum):
    """What computes behind the link, register KIND.  The paper's baseline takes 6 cycles for a
    weight, the interleaved one a single cycle."""

    ARRAY = 0
    BASELINE = 1
    INTERLEAVED = 2


@dataclass(frozen=True)
class Field:
    """Bits of a register: `offset` is the lowest one."""

    name: str
    offset: int
    bits: int
    doc: str

    def of(self, value: int) -> int:
        """This field of a register's value."""
        return (value >> self.offset) & ((1 << self.bits) - 1)


@dataclass(frozen=True)
class Register:
    """A 32-bit register at byte `offset`.

    `access` is "constant" (fixed when the engine is built), "read", "write" (keeps what was written
    last) or "start" (written once for every run, reads 0).
    """

    name: str
    offset: int
    access: str
    doc: str
    fields: tuple[Field, ...] = ()

    def field(self, name: str) -> Field:
        """The field of this name; `KeyError` if there is none."""
        return {field.name: field for field in self.fields}[name]


_TABLE: tuple[tuple[str, str, str, tuple[Field, ...]], ...] = (
    ("MAGIC", "constant", "0x44504E54", ()),
    ("PROTOCOL", "constant", "version of frames and registers", ()),
    ("GATEWARE", "constant", "version of the gateware", ()),
    ("KIND", "constant", "0: array of lanes, 1: the paper's baseline, 2: interleaved baseline", ()),
    ("STAGES", "constant", "stages of the array", ()),
    ("COLUMNS", "constant", "columns (multipliers) of the array", ()),
    ("SEGMENTS", "constant", "segments of the array", ()),
    ("INDEX_BITS", "constant", "bits of an index, at most", ()),
    ("ENTRY_BITS", "constant", "bits of a codebook entry, signed", ()),
    ("ACTIVATION_BITS", "constant", "bits of an activation, signed", ()),
    ("ACCUMULATOR_BITS", "constant", "bits of a result before it is normalized or requantized", ()),
    ("INDEX_DEPTH", "constant", "words of an index store", ()),
    ("SLOTS", "constant", "groups of COLUMNS rows whose codebooks fit", ()),
    ("RESULT_SLOTS", "constant", "groups of COLUMNS results that fit", ()),
    ("VECTOR_WORDS", "constant", "32-bit words of the vector buffer", ()),
    ("MAX_COLUMNS", "constant", "columns of a matrix, at most", ()),
    ("LAYERS", "constant", "layer descriptors that fit", ()),
    ("SLOT_CYCLES", "constant", "cycles that a stage starts after the one before it", ()),
    ("BANK", "constant", "columns that share one unit for results, at most", ()),
    ("ROW_BEATS", "constant", "beats of the vector buffer in a row", ()),
    ("EDGES", "constant", "results may be 0: fp32 or integers, 1: fp32, 2: integers", ()),
    ("PACKED", "constant", "1: indices of fewer bits lie packed", ()),
    ("BOOT_NONCE", "read", "differs from one reset to the next; 0 only before the first frame", ()),
    ("EPOCH", "read", "epoch of the image; 0 after reset", ()),
    (
        "STATUS",
        "read",
        "what the engine is doing",
        (
            Field("state", 0, 2, "0 empty, 1 loading, 2 valid"),
            Field("busy", 2, 1, "a run is on"),
            Field("image", 3, 1, "the image changed in the stores and is not valid any more"),
            Field("nonfinite", 8, 1, "last run: a NaN or infinity in a vector"),
            Field("range", 9, 1, "last run: an activation or a requantizer input beyond its width"),
            Field("sigma", 10, 1, "last run: a bucket sum that differs from the sum of the inputs"),
            Field("overflow", 11, 1, "last run: an fp32 result overflowed to infinity"),
            Field("parity", 12, 1, "last run, or results read since: a stored word changed"),
        ),
    ),
    ("IMAGE_CRC", "read", "CRC-32 of the words of the valid image", ()),
    ("IMAGE_WORDS", "read", "words of the valid image", ()),
    ("RUN", "read", "number of the last run that was started", ()),
    ("CYCLES_LO", "read", "cycles of the last run, bits 31:0", ()),
    ("CYCLES_HI", "read", "cycles of the last run, bits 47:32", ()),
    ("TILES", "read", "streamed tiles of the last run whose places may be written again", ()),
    ("STALLED", "read", "cycles of the last run that waited for a streamed tile", ()),
    ("CHECKS", "read", "passes of the check of valid images since reset, modulo 65536", ()),
    ("IMAGE_ERRORS", "read", "passes that found the image changed; stops at 65535", ()),
    ("FRAME_ERRORS", "read", "frames dropped (COBS, length or CRC wrong); stops at 65535", ()),
    ("REJECTED", "read", "requests answered with a status other than OK; stops at 65535", ()),
    ("NONFINITE", "read", "cycles with this error since reset; stops at 65535", ()),
    ("RANGE", "read", "cycles with this error since reset; stops at 65535", ()),
    ("SIGMA", "read", "cycles with this error since reset; stops at 65535", ()),
    ("OVERFLOW", "read", "cycles with this error since reset; stops at 65535", ()),
    ("PARITY", "read", "cycles with this error since reset; stops at 65535", ()),
    ("VECTORS", "write", "1 to 256: vectors of the next runs of a single layer; 1 after reset", ()),
    (
        "RELEASE",
        "write",
        "streamed tiles of the last run that are in the stores; 0 at its start",
        (
            Field("run", 0, 16, "number of the run; STALE if not equal to RUN"),
            Field("tiles", 16, 16, "tiles since the start; fewer than before change nothing"),
        ),
    ),
    (
        "START",
        "start",
        "run layers first to last, once for each new run number",
        (
            Field("run", 0, 16, "number of the run; one equal to RUN starts nothing"),
            Field("first", 16, 8, "first layer"),
            Field("last", 24, 8, "last layer"),
        ),
    ),
)

REGISTERS = tuple(
    Register(name, 4 * position, access, doc, fields)
    for position, (name, access, doc, fields) in enumerate(_TABLE)
)
"""All registers in the order of their addresses, without holes."""

BY_NAME = {register.name: register for register in REGISTERS}

MAX_VECTORS = 256
"""Vectors that a run of a single layer takes at most, register VECTORS."""

RUN_ERRORS = tuple(field.name for field in BY_NAME["STATUS"].fields if field.offset >= 8)
"""Names of the errors of a run, in the order of their bits."""

IDENTITY = tuple(
    register.name
    for register in REGISTERS
    if register.access == "constant" and register.name not in ("MAGIC", "PROTOCOL", "GATEWARE")
)
"""The registers whose values an engine's parameters give."""
