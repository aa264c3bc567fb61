"""Bits of an index (standard library only): for compression, image, engine and gateware."""

from __future__ import annotations


def index_bits(k: int) -> int:
    """Bits that tell `k` values from each other; none for a single one."""
    return (k - 1).bit_length()


def packed_bits(k: int) -> int:
    """Bits that an index below `k` takes where it is stored, at least 1."""
    return max(1, index_bits(k))
