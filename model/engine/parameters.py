"""The parameters of an engine: one object that gateware, compiler, host and tests share.

Standard library only, so that gateware and host may import it without PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass

from dpnet.model.indices import packed_bits

SEGMENT_LATENCY = 3
"""Cycles from a beat at a segment to its lanes' outputs: index store, index register, lane."""

MULTIPLIERS = ("25x18", "18x18")
"""Signed multipliers of a chip's DSP slices, in bits: DSP48E1, ECP5."""

LEAST_INTERVAL = 8
"""Fewest cycles from one product to the next; then at most 16 of them are on their way at once."""

EDGES = ("both", "fp32", "integer")
"""What an engine's results may become: fp32 words, requantized integers, or either."""


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)


def ceil_log2(n: int) -> int:
    """Bits that count n things: 0 for n = 1."""
    return (n - 1).bit_length()


@dataclass(frozen=True, kw_only=True)
class EngineParameters:
    """Size of an engine: `stages` × `columns` × `segments` lanes, widths in bits, stores in
    entries.

    A row of a matrix is computed by the `segments` lanes of one stage and one column; segment s has
    the matrix columns j with j mod `segments` = s.  `index_depth` counts index words per lane,
    `slots` groups of `columns` rows (one codebook per row), `result_slots` such groups in the
    result buffer, `vector_words` 32-bit activations, `layers` descriptors.  `max_columns` is the
    longest row; with it no bucket can overflow.  `bank` columns share one unit that makes words of
    results, one a cycle; `row_beats` beats make a row of the vector store, whose largest exponents
    are read at once (a power of two).  With `packed`, layers of fewer index bits lie packed in the
    index stores (see `packs`); with `residues`, products are checked modulo 3; with `lockstep`,
    all that no other check covers (control, and the edges of vectors and results) is there twice
    and compared, or carries a parity.  The first lane of each row has its adder in a DSP slice in
    `dsp_columns` columns; `multiplier` is the size of the chip's multipliers.
    Raises `ValueError` for sizes that cannot be built.
    """

    stages: int = 8
    columns: int = 16
    segments: int = 2
    index_bits: int = 4
    activation_bits: int = 25
    entry_bits: int = 25
    max_columns: int = 2048
    index_depth: int = 4096
    slots: int = 64
    result_slots: int = 64
    vector_words: int = 4096
    layers: int = 16
    bank: int = 16
    row_beats: int = 8
    dsp_columns: int = 0
    edges: str = "both"
    packed: bool = True
    residues: bool = True
    lockstep: bool = False
    multiplier: str = "25x18"
    storage: str = "block"

    def __post_init__(self) -> None:
        limits = {
            "stages": (1, 1024),
            "columns": (1, 1024),
            "segments": (1, 64),
            "index_bits": (1, 4),
            "activation_bits": (2, 25),
            "entry_bits": (2, 25),
            "max_columns": (1, 4096),
            "index_depth": (1, 1 << 24),
            "slots": (1, 1 << 16),
            "result_slots": (1, 1 << 16),
            "vector_words": (1, 1 << 20),
            "layers": (1, 256),
            "bank": (1, 16),
            "row_beats": (1, 64),
            "dsp_columns": (0, self.columns),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer from {low} to {high}, not {value!r}")
        if self.row_beats & (self.row_beats - 1):
            raise ValueError(f"row_beats must be a power of two, not {self.row_beats!r}")
        for name in ("packed", "residues", "lockstep"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, not {value!r}")
        if self.storage not in ("block", "distributed"):
            raise ValueError(f"storage must be 'block' or 'distributed', not {self.storage!r}")
        if self.edges not in EDGES:
            raise ValueError(f"edges must be one of {', '.join(EDGES)}, not {self.edges!r}")
        if self.multiplier not in MULTIPLIERS:
            raise ValueError(
                f"multiplier must be one of {', '.join(MULTIPLIERS)}, not {self.multiplier!r}"
            )
        if self.accumulator_bits > 62:
            raise ValueError(f"accumulators must have at most 62 bits, not {self.accumulator_bits}")

    @property
    def lanes(self) -> int:
        return self.stages * self.columns * self.segments

    @property
    def tile_rows(self) -> int:
        """Rows computed at once."""
        return self.stages * self.columns

    @property
    def buckets(self) -> int:
        """Buckets of a lane, the largest K."""
        return 1 << self.index_bits

    @property
    def banks(self) -> int:
        return ceil_div(self.columns, self.bank)

    @property
    def bank_columns(self) -> int:
        return min(self.columns, self.bank)

    @property
    def slot_cycles(self) -> int:
        """Cycles from one stage to the next: a drain, and time to send a bank's results on."""
        return max(self.buckets, self.bank_columns)

    @property
    def sum_bits(self) -> int:
        """Width of a bucket.  Buckets count on without ever being emptied, modulo 2^sum_bits; what
        a tile added, over all segments of a row, and the sum of a whole vector, fit it."""
        return self.activation_bits + ceil_log2(self.max_columns)

    @property
    def accumulator_bits(self) -> int:
        """|Σ c S| ≤ 2^(entry-1) · Σ|x| ≤ 2^(entry-1) · max_columns · 2^(activation-1), a bound that
        two most negative factors reach: one bit more than it has, for the sign."""
        return self.entry_bits + self.sum_bits

    @property
    def vector_rows(self) -> int:
        return ceil_div(self.vector_words, self.row_beats * self.segments)

    @property
    def row_bits(self) -> int:
        """Index bits that a segment of a stage reads at once."""
        return self.columns * self.index_bits

    @property
    def fold(self) -> int:
        """Index rows in one 32-bit word of the store, where a row is short."""
        return max(1, 1 << (32 // self.row_bits).bit_length() - 1) if self.row_bits <= 16 else 1

    @property
    def packs(self) -> bool:
        """Whether layers of 1, 2 and 3 index bits take 1/4, 1/2 and 3/4 of the index rows: rows of
        4-bit indices that fill more than half a word of the store, and are not folded."""
        return self.packed and self.index_bits == 4 and self.row_bits > 16

    def index_bits_of(self, k: int) -> int:
        """Bits that an index of a layer with `k` values per codebook takes in the store."""
        return packed_bits(k) if self.packs else self.index_bits

    def index_rows(self, columns: int, k: int) -> int:
        """Rows of the index store that a tile takes: one a beat, or with `packs` four beats in one,
        two or three rows.  Three rows of 3-bit indices hold those of three beats in their low bits,
        and those of a fourth in their upper ones."""
        beats, bits = self.beats(columns), self.index_bits_of(k)
        if not self.packs or bits == 4:
            return beats
        if bits == 3:
            return 3 * (beats // 4) + min(beats % 4, 3)
        return ceil_div(beats * bits, 4)

    @property
    def index_words(self) -> int:
        """32-bit bus words in one word of a segment's index store."""
        return ceil_div(self.row_bits, 32)

    @property
    def column_cycles(self) -> int:
        """Cycles from a drained bucket at a column to the row's result: OR, two for the difference,
        the multiplier's two (and one where an entry takes two multipliers), hold."""
        return 7 if self.split_entries else 6

    @property
    def split_entries(self) -> bool:
        """Whether an entry is multiplied in two parts, which are added in a cycle of their own."""
        return self.multiplier == "18x18" and self.entry_bits > 18

    @property
    def fp32(self) -> bool:
        """Whether results may leave as fp32."""
        return self.edges != "integer"

    @property
    def integer(self) -> bool:
        """Whether results may leave as requantized integers."""
        return self.edges != "fp32"

    def tiles(self, rows: int) -> int:
        """Tiles of a matrix of `rows` rows."""
        return ceil_div(rows, self.tile_rows)

    def beats(self, columns: int) -> int:
        """Beats of a vector of `columns` activations."""
        return ceil_div(columns, self.segments)

    def tile_cycles(self, columns: int, k: int) -> int:
        """Cycles from one tile to the next: C/S + K; more only where the rows are too short to hide
        the drains of the later stages, (G-1) · slot_cycles, and the sending of the last one's
        results.
        """
        hidden = (self.stages - 1) * self.slot_cycles + max(k, self.bank_columns)
        return max(self.beats(columns) + k, hidden)

    def interval_cycles(self, rows: int, columns: int, k: int, *, fp32_in: bool) -> int:
        """Cycles from one product to the next of the same layer, vectors back to back: its tiles;
        more only where a vector is too short to hide the scan of the next one, and never less than
        `LEAST_INTERVAL`."""
        product = self.tiles(rows) * self.tile_cycles(columns, k)
        return max(product, LEAST_INTERVAL, self.scan_cycles(columns) + 1 if fp32_in else 0)

    def array_cycles(self, rows: int, columns: int, k: int) -> int:
        """Cycles from the first beat of a product into the array to its last result out of it, both
        included: the tiles, (G-1) · slot_cycles until the last stage drains, the way through S
        segments and a column, and the other results of the bank."""
        return (
            (self.tiles(rows) - 1) * self.tile_cycles(columns, k)
            + self.beats(columns)
            + k
            + (self.stages - 1) * self.slot_cycles
            + SEGMENT_LATENCY
            + self.segments
            - 1
            + self.column_cycles
            + 1
            + self.bank_columns
            - 1
        )

    def scan_cycles(self, columns: int) -> int:
        """Cycles in which the shared exponent of an fp32 vector is found: the largest exponents of
        all its beats, a row at a time, then the comparator tree.
        """
        return ceil_div(self.beats(columns), self.row_beats) + self.scan_latency + 1

    @property
    def scan_latency(self) -> int:
        return 2 + ceil_log2(self.row_beats)

    @property
    def feeder_cycles(self) -> int:
        """Cycles from a command to its beat: 3 for the vector store with the registers before and
        behind it, and 5 to align an fp32 word, or to check an integer, which waits for no register
        behind the store."""
        return 8 if self.fp32 else 3

    @property
    def flush_cycles(self) -> int:
        """Cycles after which a drain of every stage has reached the columns."""
        lanes = SEGMENT_LATENCY + self.segments + self.column_cycles
        return self.stages * self.slot_cycles + self.feeder_cycles + lanes

    def copy_cycles(self, rows: int) -> int:
        """Cycles in which `rows` results become the next layer's input, and the largest exponents
        of its beats are found; the last layer of a run does not wait for these."""
        settle = self.settle_cycles if self.fp32 else 0
        return ceil_div(rows, self.segments) * self.segments + 2 + settle

    @property
    def settle_cycles(self) -> int:
        """Cycles that the next layer waits for the largest exponents of words just written."""
        return 2 + ceil_log2(self.segments)

    @property
    def normalize_cycles(self) -> int:
        """Cycles that a result takes to fp32: its leading one is searched in groups of 32 bits."""
        return 12 if self.accumulator_bits > 32 else 11

    def layer_cycles(
        self,
        rows: int,
        columns: int,
        k: int,
        *,
        fp32_in: bool,
        fp32_out: bool,
        forward: bool = False,
        vectors: int = 1,
    ) -> int:
        """Cycles of one layer, exactly: 2 for its descriptor, the scan of an fp32 vector,
        `feeder_cycles`, `array_cycles`, 2 + 10 to requantize a result or 2 + `normalize_cycles`,
        and the copy to the next layer; `interval_cycles` more for each further vector.  A run adds
        1."""
        return (
            2
            + (self.scan_cycles(columns) if fp32_in else 0)
            + self.feeder_cycles
            + self.array_cycles(rows, columns, k)
            + 2
            + (self.normalize_cycles if fp32_out else 10)
            + (self.copy_cycles(rows) if forward else 0)
            + (vectors - 1) * self.interval_cycles(rows, columns, k, fp32_in=fp32_in)
        )
