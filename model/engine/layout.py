"""Where everything lies in an engine's stores: one address map for gateware, host and tests.

Word addresses are made of fields of a power-of-two size, so that the gateware splits them without
arithmetic.  Where a field is not full, words read as 0 and writes vanish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpnet.model.engine.parameters import EngineParameters, ceil_div, ceil_log2
from dpnet.model.engine.records import LAYER, ROW, Record
from dpnet.model.engine.regions import Region

__all__ = [
    "LAYER_WORDS",
    "ROW_WORDS",
    "Descriptor",
    "Fields",
    "Region",
    "codebook_address",
    "codebook_store",
    "index_address",
    "index_rows",
    "index_store",
    "record_words",
    "result_bytes",
    "results",
    "row_address",
    "row_store",
    "slot_words",
    "vector_row_bytes",
    "vector_store",
]

Words = NDArray[np.uint32]


LAYER_WORDS = LAYER.words
ROW_WORDS = ROW.words


class Fields:
    """Bits of each field of a word address, highest field first, for one engine."""

    def __init__(self, engine: EngineParameters) -> None:
        self.stage = ceil_log2(engine.stages)
        self.index_word = ceil_log2(engine.index_words)
        self.column = ceil_log2(engine.columns)
        self.k = engine.index_bits
        self.bank = ceil_log2(engine.banks)
        self.bank_column = ceil_log2(engine.bank_columns)
        self.segment = ceil_log2(engine.segments)
        self.row_beat = ceil_log2(engine.row_beats)
        self._index_words = engine.index_words

    def index(self, stage: int, n: int) -> int:
        """The fields below the row in an INDEX word address: word n of a stage, segment by
        segment."""
        segment, word = divmod(n, self._index_words)
        return (stage << self.segment | segment) << self.index_word | word


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """One layer as the sequencer reads it: the words of `dpnet.model.engine.records.LAYER`.

    `beats` and `tiles` of a vector; `rows`; `k` values in a codebook; the first `index_row`, `slot`
    and `result_slot`; `in_row` and `out_row`, the rows of the vector store with the input and with
    the output; `vector_rows` of them from one vector to the next, where a run takes several: their
    results follow each other, tiles · stages slots each.  `index_bits` of a packed index;
    `out_bits` and `relu` of requantized results; `fp32_in`, `fp32_out`: what comes and leaves;
    `forward`: the results become the input of the layer at `out_row`.

    A layer with `stream` > 0 has that many tiles in all, of which the stores hold `tiles` at a
    time: tile t takes the place of tile t - tiles, and starts when the host has released it.
    """

    beats: int
    tiles: int
    rows: int
    k: int
    index_row: int
    slot: int
    result_slot: int
    in_row: int
    out_row: int = 0
    out_bits: int = 8
    vector_rows: int = 0
    index_bits: int = 4
    stream: int = 0
    fp32_in: bool = False
    fp32_out: bool = False
    relu: bool = False
    forward: bool = False

    def words(self) -> Words:
        """Its `LAYER_WORDS` 32-bit words; `ValueError` if a number does not fit its field."""
        return record_words(
            LAYER,
            beats=self.beats,
            tiles=self.tiles,
            rows=self.rows,
            last_k=self.k - 1,
            fp32_in=self.fp32_in,
            fp32_out=self.fp32_out,
            relu=self.relu,
            forward=self.forward,
            streams=self.stream > 0,
            index_row=self.index_row,
            slot=self.slot,
            result_slot=self.result_slot,
            in_row=self.in_row,
            out_row=self.out_row,
            out_bits=self.out_bits,
            index_mode=self.index_bits - 1,
            vector_rows=self.vector_rows,
            stream=self.stream,
        )


def record_words(record: Record, **values: ArrayLike) -> Words:
    """A value (…) for each used field of `record` -> its words (…, `record.words`).

    Negative numbers are stored in two's complement.  Raises `ValueError` for what does not fit its
    field, signed or not.
    """
    if values.keys() != record.places.keys():
        raise ValueError(f"values must be for {', '.join(record.places)}, not {', '.join(values)}")
    columns = {name: np.asarray(value).astype(np.int64) for name, value in values.items()}
    shape = np.broadcast_shapes(*(column.shape for column in columns.values()))
    words = np.zeros((*shape, record.words), np.int64)
    for name, (offset, bits) in record.places.items():
        column = columns[name]
        wrong = (column < -(1 << bits - 1)) | (column >= 1 << bits)
        if wrong.any():
            raise ValueError(f"{name} must fit {bits} bits, not {int(column[wrong].flat[0])}")
        kept = column & (1 << bits) - 1
        for word in range(offset // 32, (offset + bits - 1) // 32 + 1):
            shift = offset - 32 * word
            words[..., word] |= (kept << shift if shift >= 0 else kept >> -shift) & 0xFFFFFFFF
    return words.astype(np.uint32)


def index_rows(
    engine: EngineParameters, indices: NDArray[np.integer], bits: int = 4
) -> NDArray[np.uint8]:
    """indices (R, C) -> rows of the index store (tiles · n, stages, segments, columns), padded with
    0; n = beats, or where the engine packs `engine.index_rows(C, K)`, each tile from a row on.

    Beat b of tile t is for lane m of segment s of stage g the index of matrix row
    (t · stages + g) · columns + m and matrix column b · segments + s.  `bits`, 1 to 4, are those of
    an index of the layer, `engine.index_bits_of(K)`; only an engine that packs looks at them.  A
    lane has a nibble of each row: with 4 bits one beat; with 2 beats 2r and 2r + 1 from bit 0 up,
    with 1 beats 4r to 4r + 3; with 3 those of beats 4q, 4q + 1 and 4q + 2 are in the low bits of
    rows 3q, 3q + 1 and 3q + 2, and bit i of that of beat 4q + 3 is bit 3 of row 3q + i.
    """
    rows, columns = indices.shape
    tiles, beats = engine.tiles(rows), engine.beats(columns)
    padded = np.zeros((tiles * engine.tile_rows, beats * engine.segments), np.uint8)
    padded[:rows, :columns] = indices
    split = padded.reshape(tiles, engine.stages, engine.columns, beats, engine.segments)
    packed = _packed(split.transpose(0, 3, 1, 4, 2), bits if engine.packs else 4)
    return packed.reshape(-1, engine.stages, engine.segments, engine.columns)


def _packed(beats: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Indices (tiles, beats, …) of so many bits -> nibbles (tiles, rows, …)."""
    if bits == 4:
        return beats
    step = 2 if bits == 2 else 4
    missing = -beats.shape[1] % step
    full = np.pad(beats, [(0, 0), (0, missing), *[(0, 0)] * (beats.ndim - 2)])
    parts = [full[:, n::step] for n in range(step)]
    if bits < 3:
        together: NDArray[np.uint8] = np.bitwise_or.reduce(
            [part << n * bits for n, part in enumerate(parts)]
        )
        return together
    *low, fourth = parts
    rows = np.stack([part | (fourth >> n & 1) << 3 for n, part in enumerate(low)], 2)
    flat = rows.reshape(len(beats), -1, *beats.shape[2:])
    # One or two beats at the end need no more rows than beats.
    return flat[:, : flat.shape[1] - max(0, missing - 1)]


def index_store(engine: EngineParameters, rows: NDArray[np.uint8]) -> Words:
    """Index rows (n, stages, segments, columns) -> words of the INDEX region from its base on."""
    bits = np.unpackbits(rows[..., None], axis=-1, bitorder="little")[..., : engine.index_bits]
    bits = bits.reshape(len(rows), engine.stages, engine.segments, -1)
    pitch = 32 * engine.index_words // engine.fold
    count = ceil_div(len(rows), engine.fold)
    parts = engine.stages, engine.segments
    full = np.zeros((count * engine.fold, *(1 << ceil_log2(n) for n in parts), pitch), np.uint8)
    full[: len(rows), : engine.stages, : engine.segments, : bits.shape[-1]] = bits
    folded = full.reshape(count, engine.fold, -1, pitch).transpose(0, 2, 1, 3)
    words = np.packbits(folded.reshape(count, -1, 32 * engine.index_words), -1, bitorder="little")
    # packbits keeps the order of its input's axes, which a view of other width does not take.
    whole = np.ascontiguousarray(words).view("<u4")
    return _field(whole, -1, ceil_log2(engine.index_words)).reshape(-1).astype(np.uint32)


def index_address(engine: EngineParameters, row: int) -> int:
    """Byte address in the INDEX region of the word that holds index row `row` as its first one."""
    fields = Fields(engine)
    return Region.INDEX.base + (
        4 * (row // engine.fold) << fields.stage + fields.segment + fields.index_word
    )


def codebook_address(engine: EngineParameters, slot: int) -> int:
    """Byte address of the codebooks of `slot`."""
    fields = Fields(engine)
    return Region.CODEBOOK.base + (4 * slot << fields.column + fields.k)


def row_address(engine: EngineParameters, slot: int) -> int:
    """Byte address of the per-row parameters of `slot`."""
    return Region.ROWS.base + 4 * ROW_WORDS * slot * slot_words(engine)


def codebook_store(engine: EngineParameters, entries: NDArray[np.int64]) -> Words:
    """entries (R, K) of one layer -> words of the CODEBOOK region for its tiles · stages slots."""
    slots = engine.tiles(len(entries)) * engine.stages
    full = np.zeros((slots * engine.columns, engine.buckets), np.int64)
    full[: len(entries), : entries.shape[1]] = entries
    full = full.reshape(slots, engine.columns, engine.buckets) & (1 << engine.entry_bits) - 1
    return _field(full, 1, ceil_log2(engine.columns)).reshape(-1).astype(np.uint32)


def row_store(
    engine: EngineParameters,
    bias: NDArray[np.int64],
    multiplier: NDArray[np.int64],
    shift: NDArray[np.int64],
    exponent: NDArray[np.int64],
) -> Words:
    """Per-row parameters (R,) each -> words of the ROWS region, each row's those of
    `dpnet.model.engine.records.ROW`."""
    slots = engine.tiles(len(bias)) * engine.stages
    full = np.zeros((slots * engine.columns, ROW_WORDS), np.uint32)
    full[: len(bias)] = record_words(
        ROW, bias=bias, multiplier=multiplier, shift=shift, exponent=exponent
    )
    split = full.reshape(slots, engine.columns, ROW_WORDS)
    banks = [
        _field(
            split[:, b * engine.bank_columns : (b + 1) * engine.bank_columns],
            1,
            ceil_log2(engine.bank_columns),
        )
        for b in range(engine.banks)
    ]
    return _field(np.stack(banks, 1), 1, ceil_log2(engine.banks)).astype(np.uint32).reshape(-1)


def vector_store(engine: EngineParameters, vector: Sequence[int] | NDArray[np.integer]) -> Words:
    """A vector (C,) of 32-bit words -> words of the VECTOR region from the start of a row on."""
    words = np.asarray(vector).astype(np.int64) & 0xFFFFFFFF
    beats = engine.beats(len(words))
    full = np.zeros(beats * engine.segments, np.int64)
    full[: len(words)] = words
    split = full.reshape(beats, engine.segments)
    return _field(split, 1, ceil_log2(engine.segments)).astype(np.uint32).reshape(-1)


def vector_row_bytes(engine: EngineParameters) -> int:
    """Bytes of the VECTOR region from one row of the vector store to the next."""
    return 4 * engine.row_beats << ceil_log2(engine.segments)


def result_bytes(engine: EngineParameters, rows: int) -> int:
    """Bytes of the RESULT region that hold the results of `rows` rows."""
    return 4 * ceil_div(rows, engine.columns) * slot_words(engine)


def slot_words(engine: EngineParameters) -> int:
    """Words of the RESULT region in one slot."""
    return 1 << ceil_log2(engine.banks) + ceil_log2(engine.bank_columns)


def results(engine: EngineParameters, words: Words, rows: int) -> Words:
    """Words read from the RESULT region, from a slot on -> one word per matrix row (R,)."""
    split = words.reshape(-1, 1 << ceil_log2(engine.banks), 1 << ceil_log2(engine.bank_columns))
    used = split[:, : engine.banks, : engine.bank_columns].reshape(len(split), -1)
    return used[:, : engine.columns].reshape(-1)[:rows]


def _field(words: NDArray[np.integer], axis: int, bits: int) -> NDArray[np.integer]:
    """Pad `axis` with zeros to 2^bits."""
    padding = [(0, 0)] * words.ndim
    padding[axis] = (0, (1 << bits) - words.shape[axis])
    return np.pad(words, padding)
