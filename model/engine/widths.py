"""Widths and depths of an engine's parts that gateware and estimates share (standard library
only)."""

from __future__ import annotations

from dpnet.model.engine.parameters import EngineParameters, ceil_div, ceil_log2

LIMB = 17
"""Bits that an 18-bit signed input of a multiplier takes of an unsigned number."""


def limb_widths(engine: EngineParameters) -> tuple[int, int]:
    """(bits of the low limb or 0, bits of the high limb) of a bucket: what a DSP slice's 25 × 18
    multiplier takes at once."""
    bits, entry = engine.sum_bits, engine.entry_bits
    if (bits <= 25 and entry <= 18) or (bits <= 18 and entry <= 25):
        return 0, bits
    return LIMB, bits - LIMB


def accumulator_widths(engine: EngineParameters) -> tuple[int, int]:
    """Bits of the accumulators of the two limbs' products, over all buckets; 1 where there is no
    low limb."""
    low, high = limb_widths(engine)
    return (
        engine.entry_bits + low + 1 + engine.index_bits if low else 1,
        engine.entry_bits + high + engine.index_bits,
    )


def weight_words(engine: EngineParameters) -> int:
    """Words of a segment's index store that hold weights; the drain words come after them."""
    return ceil_div(engine.index_depth, engine.fold)


def store_words(engine: EngineParameters) -> int:
    """Words of a segment's index store."""
    return weight_words(engine) + ceil_div(engine.buckets, engine.fold)


def drain_row(engine: EngineParameters) -> int:
    """Row address of the first drain word."""
    return weight_words(engine) * engine.fold


def row_address_bits(engine: EngineParameters) -> int:
    """Bits of the address of an index row."""
    return ceil_log2(drain_row(engine) + engine.buckets)
