"""What the link means: registers, operations, statuses and regions of an engine.

The one description that gateware, host, models and documentation read (standard library only).  A
constant register is a row of the table, and nothing else: what an engine says of itself
(`identity`), what a host makes of it (`parameters_of`) and the pages (`dpnet.gateware.tables`)
follow from its row.

A request or response is `00 | COBS(header, payload, crc32) | 00`.  The header has 10 bytes, little
endian: operation (bits 3:0), version (6:4, `VERSION`) and `RESPONSE` (7), txid, epoch, flags,
offset (4 bytes), length (2 bytes); the CRC is CRC-32/ISO-HDLC (`zlib.crc32`) of header and payload,
4 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from dpnet.gateware.constants import CLOCK, NUMBER, Choice, Constant, Factors, Flag, Number
from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.parameters import EDGES
from dpnet.model.engine.regions import REGION_SHIFT, Region

__all__ = [
    "BY_NAME",
    "CONSTANTS",
    "CRC_BYTES",
    "FIRST",
    "GATEWARE",
    "HEADER_BYTES",
    "HELLO_BYTES",
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
    "identity",
    "parameters_of",
]

MAGIC = 0x44504E54
"""The letters DPNT: what the first register of every engine reads."""

VERSION = 6
"""Version of frames, operations and registers, 1 to 7, one more with every change of these but
those that an engine of before refuses: an engine and a host of two versions do not talk, and say
so."""

GATEWARE = 7
"""Version of the gateware, one more with every change of what an engine does."""

HEADER_BYTES = 10
CRC_BYTES = 4
MAX_PAYLOAD = 256
HISTORY = 32
"""Txids before its own that a response reports on, one bit of its offset each: bit k set means
that the request with txid - 1 - k was carried out with status OK."""

RESPONSE = 0x80
"""Set in the first byte of a response: an engine drops what has it, so that an echo gets no answer,
and answers every operation from 0 to 15."""

FIRST = 1
"""Request flag: forget the txids seen so far.  The first request of a host, a HELLO, has it."""

STREAM = 2
"""Request flag: a WRITE to INDEX, CODEBOOK or ROWS is part of a streamed tile, which is taken while
the image is VALID, also during a run."""

MAX_RANGES = 31
"""Ranges that one COMMIT names at most."""


HELLO_BYTES = 4
"""Bytes of the host's choice that a HELLO has, and its answer."""


class Operation(IntEnum):
    """Operations of a request.

    READ: length bytes wanted from offset (no payload).  WRITE: the payload to offset.  BEGIN: the
    image becomes invalid, the engine is LOADING under the frame's epoch (not 0).  COMMIT: payload
    crc32, then (word address, word count) pairs; VALID if these words have this CRC-32.  CHECK:
    payload word address, word count; the response's payload is the CRC-32 of these words.  HELLO:
    the response's payload is that of the request, 4 bytes: what comes before it is for another.
    """

    READ = 1
    WRITE = 2
    BEGIN = 3
    COMMIT = 4
    CHECK = 5
    HELLO = 6


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
    weight, the interleaved one a single cycle.  A map engine runs whole networks; its layers are
    passes."""

    ARRAY = 0
    BASELINE = 1
    INTERLEAVED = 2
    MAPS = 3


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

    `access` is "constant" (fixed when the engine is built: `constant` says as what), "read",
    "write" (keeps what was written last) or "command" (does something when it is written, reads 0).
    """

    name: str
    offset: int
    access: str
    doc: str
    fields: tuple[Field, ...] = ()
    constant: Constant | None = None

    def field(self, name: str) -> Field:
        """The field of this name; `KeyError` if there is none."""
        return {field.name: field for field in self.fields}[name]


_Row = tuple[str, str, str, tuple[Field, ...], Constant | None]


def _constant(
    name: str,
    doc: str,
    array: str | int,
    baseline: str | int,
    maps: str | int,
    code: Number = NUMBER,
    *fields: Field,
) -> _Row:
    return name, "constant", doc, fields, Constant(array, baseline, maps, code)


def _register(access: str, name: str, doc: str, *fields: Field) -> _Row:
    return name, access, doc, fields, None


_FAMILIES: Mapping[int, str] = {Kind.ARRAY: "array", Kind.MAPS: "maps"}
_KINDS = Choice(tuple(kind.name.lower() for kind in Kind))
_STROBES = "cycles with this error since reset; stops at 65535"

_TABLE: tuple[_Row, ...] = (
    _constant("MAGIC", f"0x{MAGIC:08X}", MAGIC, MAGIC, MAGIC),
    _constant("PROTOCOL", "version of frames and registers", VERSION, VERSION, VERSION),
    _constant("GATEWARE", "version of the gateware", GATEWARE, GATEWARE, GATEWARE),
    _constant(
        "KIND",
        "0: array of lanes, 1: the paper's baseline, 2: interleaved baseline, 3: map engine",
        Kind.ARRAY,
        "kind",
        Kind.MAPS,
        _KINDS,
    ),
    _constant("STAGES", "stages of the array or map engine", "stages", 1, "stages"),
    _constant("COLUMNS", "columns (multipliers) of the array or a cluster", "columns", 1, LANES),
    _constant("SEGMENTS", "segments of the array; clusters", "segments", 1, "clusters"),
    _constant("INDEX_BITS", "bits of an index, at most", "index_bits", 0, 4),
    _constant("ENTRY_BITS", "bits of a codebook entry, signed", "entry_bits", 32, "entry_bits"),
    _constant("ACTIVATION_BITS", "bits of an activation, signed", "activation_bits", 32, 8),
    _constant(
        "ACCUMULATOR_BITS",
        "bits of a result before it is normalized or requantized",
        "accumulator_bits",
        32,
        40,
    ),
    _constant(
        "INDEX_DEPTH",
        "words of an index store; of all streams",
        "index_depth",
        "weights",
        "index_depth",
    ),
    _constant("SLOTS", "groups of COLUMNS rows whose codebooks fit", "slots", "rows", "row_groups"),
    _constant("RESULT_SLOTS", "groups of COLUMNS results that fit", "result_slots", "rows", 0),
    _constant("VECTOR_WORDS", "32-bit words of the vector buffer", "vector_words", "columns", 0),
    _constant(
        "MAX_COLUMNS",
        "columns of a matrix, additions to a bucket in a tile, at most",
        "max_columns",
        "columns",
        "max_columns",
    ),
    _constant("LAYERS", "descriptors of layers or passes that fit", "layers", "layers", "passes"),
    _constant(
        "SLOT_CYCLES", "cycles that a stage starts after the one before it", "slot_cycles", 0, LANES
    ),
    _constant("BANK", "columns that share one unit for results, at most", "bank", 1, LANES),
    _constant("ROW_BEATS", "beats of the vector buffer in a row", "row_beats", 1, 0),
    _constant(
        "EDGES",
        "results may be 0: fp32 or integers, 1: fp32, 2: integers",
        "edges",
        EDGES.index("fp32"),
        EDGES.index("integer"),
        Choice(EDGES),
    ),
    _constant("PACKED", "1: indices of fewer bits lie packed", "packed", 0, 1, Flag()),
    _constant(
        "MULTIPLIER",
        "size of the engine's multipliers, signed",
        "multiplier",
        0,
        "multiplier",
        Factors(),
        Field("a", 0, 8, "bits of one factor"),
        Field("b", 8, 8, "bits of the other"),
    ),
    _constant("STREAMS", "row groups of a tile of a map engine, at most", 0, 0, "streams"),
    _constant("TAPS", "entries of its tap table", 0, 0, "taps"),
    _constant("MAP_DEPTH", "bytes of each of its banks of maps", 0, 0, "map_depth"),
    _constant("PICTURE_DEPTH", "bytes of each bank of pictures, two halves", 0, 0, "picture_depth"),
    _constant("RESULT_DEPTH", "bytes of each bank of results, two halves", 0, 0, "result_depth"),
    _constant("CLOCK_HZ", "clock that the engine was built for, in Hz", CLOCK, CLOCK, CLOCK),
    _register(
        "read", "BOOT_NONCE", "differs from one reset to the next; 0 only before the first frame"
    ),
    _register("read", "EPOCH", "epoch of the image; 0 after reset"),
    _register(
        "read",
        "STATUS",
        "what the engine is doing",
        Field("state", 0, 2, "0 empty, 1 loading, 2 valid"),
        Field("busy", 2, 1, "a run is on"),
        Field("image", 3, 1, "the image changed in the stores and is not valid any more"),
        Field("aborted", 4, 1, "last run: it was told to end, and its results mean nothing"),
        Field("nonfinite", 8, 1, "last run: a NaN or infinity in a vector"),
        Field("range", 9, 1, "last run: an activation or a requantizer input beyond its width"),
        Field("sigma", 10, 1, "last run: a bucket sum that differs from the sum of the inputs"),
        Field("overflow", 11, 1, "last run: an fp32 result overflowed to infinity"),
        Field("parity", 12, 1, "last run, or results read since: a stored word changed"),
    ),
    _register("read", "IMAGE_CRC", "CRC-32 of the words of the valid image"),
    _register("read", "IMAGE_WORDS", "words of the valid image"),
    _register("read", "RUN", "number of the last run that was started"),
    _register("read", "CYCLES_LO", "cycles of the last run, bits 31:0"),
    _register("read", "CYCLES_HI", "cycles of the last run, bits 47:32"),
    _register("read", "TILES", "streamed tiles of the last run whose places may be written again"),
    _register("read", "STALLED", "cycles of the last run that waited for a streamed tile"),
    _register("read", "CHECKS", "passes of the check of valid images since reset, modulo 65536"),
    _register("read", "IMAGE_ERRORS", "passes that found the image changed; stops at 65535"),
    _register("read", "FRAME_ERRORS", "frames dropped (COBS, length or CRC wrong); stops at 65535"),
    _register("read", "REJECTED", "requests answered with a status other than OK; stops at 65535"),
    _register("read", "NONFINITE", _STROBES),
    _register("read", "RANGE", _STROBES),
    _register("read", "SIGMA", _STROBES),
    _register("read", "OVERFLOW", _STROBES),
    _register("read", "PARITY", _STROBES),
    _register(
        "write",
        "VECTORS",
        "1 to 256: vectors of the next runs of a single layer; 1 after reset; of a map engine 1 + "
        "the half of pictures and results + 2 · (pictures in flight - 1)",
    ),
    _register(
        "write",
        "RELEASE",
        "streamed tiles of the last run that are in the stores; 0 at its start",
        Field("run", 0, 16, "number of the run; STALE if not equal to RUN"),
        Field("tiles", 16, 16, "tiles since the start; fewer than before change nothing"),
    ),
    _register(
        "command",
        "START",
        "run layers (a map engine: passes) first to last, once for each new run number",
        Field("run", 0, 16, "number of the run; one equal to RUN starts nothing"),
        Field("first", 16, 8, "first layer"),
        Field("last", 24, 8, "last layer"),
    ),
    _register(
        "command",
        "ABORT",
        "end the run that is on, wherever it is",
        Field("run", 0, 16, "number of the run; STALE if not equal to RUN"),
    ),
)

REGISTERS = tuple(
    Register(name, 4 * position, access, doc, fields, constant)
    for position, (name, access, doc, fields, constant) in enumerate(_TABLE)
)
"""All registers in the order of their addresses, without holes."""

BY_NAME = {register.name: register for register in REGISTERS}

MAX_VECTORS = 256
"""Vectors that a run of a single layer takes at most, register VECTORS."""

RUN_ERRORS = tuple(field.name for field in BY_NAME["STATUS"].fields if field.offset >= 8)
"""Names of the errors of a run, in the order of their bits."""

CONSTANTS = {
    register.name: register.constant for register in REGISTERS if register.constant is not None
}
"""Where the value of every constant register comes from."""

IDENTITY = tuple(name for name in CONSTANTS if name not in ("MAGIC", "PROTOCOL", "GATEWARE"))
"""The registers whose values an engine's parameters and its clock give."""


def identity(params: Any, *, clock_hz: int) -> dict[str, int]:
    """The constant registers by name of an engine built from `params` (`EngineParameters`,
    `BaselineParameters` or `MapEngineParameters`) for a clock of `clock_hz`."""
    return {name: constant.of(params, clock_hz) for name, constant in CONSTANTS.items()}


def parameters_of(values: Mapping[str, int]) -> dict[str, Any]:
    """What the constant registers `values` say of the engine's parameters: attribute to value, the
    clock among them.  `ValueError` for a number that stands for nothing."""
    family = _FAMILIES.get(values["KIND"], "baseline")
    found = {}
    for name, constant in CONSTANTS.items():
        source = constant.source(family)
        if isinstance(source, str):
            try:
                found[source] = constant.code.decode(values[name])
            except ValueError as error:
                raise ValueError(f"{name} is {values[name]}: {error}") from None
    return found
