"""What an engine takes of an ECP5.

Memories, block RAMs and multipliers are counted; LUTs and flip-flops are those of an XC7
(`dpnet.model.engine.estimate`) times what Yosys made of six engines.  Standard library only;
tests/test_model_estimate_ecp5.py holds all of it within 10 % of Yosys.
"""

from __future__ import annotations

from dataclasses import replace

from dpnet.model.engine.estimate import Estimate, parts
from dpnet.model.engine.parameters import EngineParameters, ceil_div

MEMORY_LUTS = 6
"""LUT sites of a memory of 16 × 4 bits: four hold it, two are taken by its write port."""

_LANES, _REST, _FP32 = 3.46, 2.355, 0.51
"""LUTs of four inputs and of carries for one of an XC7's: of the lanes, of all else, and of all
else once more where there is fp32, whose shifters and wide multiplications suit six inputs."""

_FLIP_FLOPS, _SPLIT = 1.09, 290
"""Flip-flops for one of an XC7's, as delays are no memories here; and those of a column whose
entries are multiplied in two parts."""

_REQUANTIZE = 3
"""Multipliers of a unit that requantizes."""


def estimate_ecp5(engine: EngineParameters) -> Estimate:
    """Sites of an ECP5 that the compute core of `engine` takes, in the sense of
    `dpnet.model.engine.devices.KINDS`; raises `ValueError` for engines that are made for another
    chip."""
    if engine.storage != "block" or engine.multiplier != "18x18":
        raise ValueError(
            "estimates for an ECP5 are for storage 'block' and multiplier '18x18', not "
            f"{engine.storage!r} and {engine.multiplier!r}"
        )
    by_part = parts(replace(engine, multiplier="25x18"))
    both = sum(by_part.values(), Estimate())
    lanes = by_part["lanes"].lut - by_part["lanes"].lutram
    rest = both.lut - both.lutram - lanes
    memories = engine.lanes * lane_memories(engine)
    logic = _LANES * lanes + (_REST + _FP32 * engine.fp32) * rest
    return Estimate(
        lut=round(logic) + MEMORY_LUTS * memories,
        lutram=memories,
        ff=round(_FLIP_FLOPS * both.ff) + _SPLIT * engine.columns * engine.split_entries,
        dsp=multipliers(engine),
        bram18=both.bram18,
    )


def lane_memories(engine: EngineParameters) -> int:
    """Memories of 16 × 4 bits that hold the buckets of a lane."""
    return ceil_div(engine.sum_bits, 4)


def lane_luts(engine: EngineParameters) -> int:
    """LUT sites of a lane with its memories."""
    return round(_LANES * engine.sum_bits) + MEMORY_LUTS * lane_memories(engine)


def multipliers(engine: EngineParameters) -> int:
    """MULT18X18D: those that multiply a column's buckets by its entries, those of the units that
    requantize, and one for each adder that is asked into a DSP slice."""
    each = pieces(engine.sum_bits) * pieces(engine.entry_bits)
    requantize = _REQUANTIZE * engine.banks if engine.integer else 0
    return engine.columns * each + requantize + engine.stages * engine.dsp_columns


def pieces(bits: int) -> int:
    """Parts of a signed number that a multiplier takes: a sign and 17 bits of it."""
    return ceil_div(bits - 1, 17)
