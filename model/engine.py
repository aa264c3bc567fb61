"""The parameters of an engine: one object that gateware, compiler, host and tests share.

Standard library only, so that gateware and host may import it without PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass

BANK = 16
"""Columns that share one serializer and one normalize/requantize unit (one result a cycle)."""

SCAN_WORDS = 16
"""Least number of words that the vector store reads at once when the shared exponent is looked
for.
"""

MAX_K = 16


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
    `slots` groups of `columns` rows (one codebook per row), `vector_words` 32-bit activations,
    `layers` descriptors.  `max_columns` is the longest row; with it no bucket can overflow.
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
    vector_words: int = 4096
    layers: int = 16
    storage: str = "block"

    def __post_init__(self) -> None:
        limits = {
            "stages": (1, 1024), "columns": (1, 256), "segments": (1, 64), "index_bits": (1, 4),
            "activation_bits": (2, 25), "entry_bits": (2, 25), "max_columns": (1, 4096),
            "index_depth": (1, 1 << 24), "slots": (1, 1 << 16), "vector_words": (1, 1 << 20),
            "layers": (1, 256),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer from {low} to {high}, not {value!r}")
        if self.storage not in ("block", "distributed"):
            raise ValueError(f"storage must be 'block' or 'distributed', not {self.storage!r}")
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
        return ceil_div(self.columns, BANK)

    @property
    def bank_columns(self) -> int:
        return min(self.columns, BANK)

    @property
    def slot_cycles(self) -> int:
        """Cycles from one stage to the next: a drain, and time to send a bank's results on."""
        return max(self.buckets, self.bank_columns)

    @property
    def bucket_bits(self) -> int:
        return self.activation_bits + ceil_log2(ceil_div(self.max_columns, self.segments))

    @property
    def sum_bits(self) -> int:
        """Width of a bucket added up over the segments, and of the sum of a whole vector."""
        return self.activation_bits + ceil_log2(self.max_columns)

    @property
    def accumulator_bits(self) -> int:
        """|Σ c S| ≤ 2^(entry-1) · Σ|x| ≤ 2^(entry-1) · max_columns · 2^(activation-1), a bound that
        two most negative factors reach: one bit more than it has, for the sign."""
        return self.entry_bits + self.sum_bits

    @property
    def row_beats(self) -> int:
        """Beats in one row of the vector store, a power of two."""
        return 1 << ceil_log2(ceil_div(SCAN_WORDS, self.segments))

    @property
    def vector_rows(self) -> int:
        return ceil_div(self.vector_words, self.row_beats * self.segments)

    @property
    def row_bits(self) -> int:
        """Index bits that a stage reads at once."""
        return self.columns * self.segments * self.index_bits

    @property
    def fold(self) -> int:
        """Index rows in one 32-bit word of the store, where a row is short."""
        return max(1, 1 << (32 // self.row_bits).bit_length() - 1) if self.row_bits <= 16 else 1

    @property
    def index_words(self) -> int:
        """32-bit bus words in one word of a stage's index store."""
        return ceil_div(self.row_bits, 32)

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

    def array_cycles(self, rows: int, columns: int, k: int) -> int:
        """Cycles from the first beat of a product into the array to its last result out of it, both
        included: the tiles, (G-1) · slot_cycles until the last stage drains, the pipeline of
        9 + ceil(log2 S) cycles, and the other results of the bank."""
        return (
            (self.tiles(rows) - 1) * self.tile_cycles(columns, k)
            + self.beats(columns) + k + (self.stages - 1) * self.slot_cycles
            + 8 + ceil_log2(self.segments) + self.bank_columns - 1
        )  # fmt: skip

    def scan_cycles(self, columns: int) -> int:
        """Cycles in which the shared exponent of an fp32 vector is found: all its rows of the
        vector store, then the comparator tree.
        """
        return ceil_div(self.beats(columns), self.row_beats) + self.scan_latency + 1

    @property
    def scan_latency(self) -> int:
        return 2 + ceil_log2(self.row_beats * self.segments)

    def copy_cycles(self, rows: int) -> int:
        """Cycles in which `rows` results become the next layer's input."""
        return ceil_div(rows, self.segments) * self.segments + 1

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
    ) -> int:
        """Cycles of one layer, exactly: 3 for its descriptor, the scan of an fp32 vector,
        `array_cycles`, 6 from a command to its beat, 1 + 10 to requantize a result or 1 +
        `normalize_cycles`, and the copy to the next layer.  A run adds 1."""
        return (
            3
            + (self.scan_cycles(columns) if fp32_in else 0)
            + 6
            + self.array_cycles(rows, columns, k)
            + 1 + (self.normalize_cycles if fp32_out else 10)
            + (self.copy_cycles(rows) if forward else 0)
        )  # fmt: skip
