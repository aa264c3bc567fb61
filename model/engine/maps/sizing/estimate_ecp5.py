"""What a map engine takes of an ECP5.

Block RAMs and multipliers are counted.  LUTs and flip-flops are those of an XC7
(`dpnet.model.engine.maps.sizing.estimate`) times what Yosys made of five engines; the delays from
stage to stage, which are memories there, are flip-flops here.  Standard library only;
tests/test_model_map_sizing_ecp5.py holds all of it within 10 % of Yosys.
"""

from __future__ import annotations

from dataclasses import replace

from dpnet.model.engine.estimate import Estimate, block_rams
from dpnet.model.engine.estimate_ecp5 import MEMORY_LUTS, pieces
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.sizing.estimate import INDEX_WORD, map_parts, memory
from dpnet.model.engine.parameters import ceil_div

LINK = Estimate(lut=1_200, lutram=30, ff=1_570, bram18=4)
"""What a bitstream takes beside the engine, as Yosys counts link, UART and lamps of the ULX3S's;
nextpnr counts no more."""

_LANES, _REST = 1.44, 2.84
"""LUTs of four inputs and of carries for one of an XC7's: of the lanes, which are adders, and of
all else."""

_COLUMN_REGISTERS, _REGISTERS = 2.03, 0.91
"""Flip-flops for one of an XC7's: of the columns, whose multipliers have no registers of their own,
and of all else."""

_COMMAND_BITS = 36
"""Bits of a command that wait from stage to stage, beside the words of indices."""


def estimate_maps_ecp5(params: MapEngineParameters) -> Estimate:
    """Sites of an ECP5 that the compute core of `params` takes (`MapCore`, without a link), in the
    sense of `dpnet.model.engine.devices.KINDS`; raises `ValueError` for engines that are made for
    another chip."""
    if params.multiplier != "18x18":
        raise ValueError(
            f"estimates for an ECP5 are for multiplier '18x18', not {params.multiplier!r}"
        )
    by_part = map_parts(replace(params, multiplier="25x18"))
    both = sum(by_part.values(), Estimate())
    lanes = by_part["lanes"].lut - by_part["lanes"].lutram
    memories, in_columns = lane_memories(params), by_part["columns"].ff
    logic = _LANES * lanes + _REST * (both.lut - both.lutram - lanes)
    registers = _COLUMN_REGISTERS * in_columns + _REGISTERS * (both.ff - in_columns)
    return Estimate(
        lut=round(logic) + MEMORY_LUTS * memories,
        lutram=memories,
        ff=round(registers) + delays(params),
        dsp=multipliers(params),
        bram18=both.bram18 + fewer_books(params),
    )


def lane_memories(params: MapEngineParameters) -> int:
    """Memories of 16 × 4 bits: the buckets, the maxima of a unit (two), and what waits for its turn
    by clusters (twelve) and besides."""
    buckets = params.lanes * ceil_div(params.cluster.sum_bits, 4)
    return buckets + 2 * params.units + 12 * params.clusters + 20


def delays(params: MapEngineParameters) -> int:
    """Flip-flops in which commands and words of indices wait from stage to stage."""
    return (params.stages - 1) * LANES * (INDEX_WORD * params.streams + _COMMAND_BITS)


def multipliers(params: MapEngineParameters) -> int:
    """MULT18X18D: the columns', four that requantize in each cluster, and two that count places."""
    columns = LANES * pieces(params.cluster.sum_bits) * pieces(params.entry_bits)
    return (columns + 4) * params.clusters + 2


def fewer_books(params: MapEngineParameters) -> int:
    """0, or how many block RAMs codebooks take less than on an XC7 (negative): the entries of 16
    rows may be one memory here, in words of nine bits."""
    bits, depth = params.entry_bits + 1, params.row_groups * LANES
    apart = LANES * memory(bits, depth).bram18
    return min(0, block_rams(LANES * 9 * ceil_div(bits, 9), depth) - apart)
