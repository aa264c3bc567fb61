"""What the 32-bit words of a store mean that has several of them for one thing (standard library
only): the one description that compiler, gateware, simulators and tests read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DENSE_ROW", "LAYER", "ROW", "Record"]

WORD_BITS = 32


@dataclass(frozen=True)
class Record:
    """`fields`, (name, bits) from the lowest bit of the first word on.  A name that begins with
    "unused" is 0 when written, and nobody looks at it.  Raises `ValueError` unless they fill whole
    words."""

    fields: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        if self.bits % WORD_BITS:
            raise ValueError(f"fields must fill words of {WORD_BITS} bits, not {self.bits} bits")

    @property
    def bits(self) -> int:
        """Bits of all fields."""
        return sum(bits for _, bits in self.fields)

    @property
    def words(self) -> int:
        """32-bit words."""
        return self.bits // WORD_BITS

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """(lowest bit, bits) of each field that is used."""
        found, offset = {}, 0
        for name, bits in self.fields:
            if not name.startswith("unused"):
                found[name] = offset, bits
            offset += bits
        return found


LAYER = Record(
    (
        ("beats", 16),
        ("tiles", 16),
        ("rows", 16),
        ("last_k", 8),
        ("fp32_in", 1),
        ("fp32_out", 1),
        ("relu", 1),
        ("forward", 1),
        ("streams", 1),
        ("unused", 3),
        ("index_row", 32),
        ("slot", 16),
        ("result_slot", 16),
        ("in_row", 16),
        ("out_row", 16),
        ("out_bits", 8),
        ("index_mode", 2),
        ("unused_5", 6),
        ("vector_rows", 16),
        ("stream", 16),
        ("unused_6", 16),
        ("unused_7", 32),
    )
)
"""A layer as the sequencer reads it; `dpnet.model.engine.layout.Descriptor` says what they mean."""

ROW = Record(
    (
        ("bias", 40),
        ("unused", 24),
        ("multiplier", 16),
        ("shift", 6),
        ("unused_2", 10),
        ("exponent", 12),
        ("unused_3", 20),
    )
)
"""Parameters of a row of a matrix: bias and exponent are signed."""

DENSE_ROW = Record(
    (
        ("bias", 32),
        ("multiplier", 16),
        ("shift", 6),
        ("relu", 1),
        ("unused", 9),
    )
)
"""The same for the dense engine; its bias is sign-extended to the word."""
