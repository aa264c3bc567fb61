"""What a map engine takes of an XC7 chip, counted part by part without synthesizing it.

As `dpnet.model.engine.estimate` counts arrays, of which lanes and columns are the same.  Memories
are counted as Yosys builds them; of all else the figures are Yosys' for three engines, with the
sizes on which each depends.  tests/test_model_map_sizing.py holds these three within 10 % of Yosys,
and three others that were counted afterwards.  Standard library only.
"""

from __future__ import annotations

from dpnet.model.engine.estimate import Estimate, block_rams, column, lane
from dpnet.model.engine.maps.limits import SPREAD_BITS
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.records import MAP_ROW, PASS
from dpnet.model.engine.parameters import ceil_div, ceil_log2
from dpnet.model.engine.widths import accumulator_widths

BYTE = 8
WORD = 32
INDEX_WORD = 64
POSITIONS = 16
"""Positions that the walker makes in a step of its own."""

SHAPES = ((36, 1024), (18, 2048), (9, 4096), (4, 8192), (2, 16384), (1, 32768))
"""Bits and words of a whole block RAM."""


def estimate_maps(params: MapEngineParameters) -> Estimate:
    """What the compute core of `params` takes (`MapCore`, without a link); raises `ValueError` for
    engines that are not made for an XC7."""
    return sum(map_parts(params).values(), Estimate())


def map_parts(params: MapEngineParameters) -> dict[str, Estimate]:
    """The same part by part, all of a kind together; raises `ValueError`."""
    if params.multiplier != "25x18":
        raise ValueError(f"estimates are for multiplier '25x18', not {params.multiplier!r}")
    others = params.stages - 1
    return {
        "lanes": lane(params.cluster, dsp=False).times(params.lanes),
        "columns": column(params.cluster).times(params.clusters * LANES),
        "units": unit(params).times(params.units),
        "clusters": one_cluster(params).times(params.clusters),
        "reads": stage_reads(params).times(params.stages),
        "paths": path(params, first=True) + path(params, first=False).times(others),
        "indices": index_stores(params),
        "rows": row_stores(params),
        "results": results(params),
        "control": control(params),
    }


def unit(params: MapEngineParameters) -> Estimate:
    """The sum of what is added, and what it was when the unit drained; the maxima of 16 rows."""
    bits = params.cluster.sum_bits
    return Estimate(lut=bits + 22, lutram=4, ff=2 * bits + 32)


def one_cluster(params: MapEngineParameters) -> Estimate:
    """One of 16 columns' sums, the values of the unit that drains, the former values of the
    buckets, and the way from a sum to a byte: 388 LUTs and three multipliers."""
    bits, summed = params.cluster.sum_bits, accumulator_widths(params.cluster)[1] + 3
    drained = ceil_div(77 * (bits + 2 * BYTE) * params.stages, 100)
    return Estimate(
        lut=5 * summed + drained + 388,
        lutram=44 + bits,
        ff=287 + bits,
        dsp=3,
        bram18=block_rams(LANES * bits, params.stages * LANES),
    )


def stage_reads(params: MapEngineParameters) -> Estimate:
    """A stage's copies of the maps and of the picture.  Places are turned to the banks and bytes
    back to the clusters, two steps of a turn to a LUT."""
    clusters = params.clusters
    turned = (SPREAD_BITS + 1 + BYTE) * ceil_div(ceil_log2(clusters), 2)
    own = Estimate(lut=clusters * (turned + 103) + 43, lutram=33, ff=43 * clusters + 77)
    maps = Estimate(lut=17, ff=71) + memory(36, params.map_depth // 4)
    pictures = Estimate(lut=14, ff=53) + memory(33, params.picture_depth // 4)
    return own + (maps + pictures).times(clusters)


def path(params: MapEngineParameters, *, first: bool) -> Estimate:
    """A stage's command on its way, and its indices out of the streams' words."""
    chosen = INDEX_WORD * (params.streams - 1)
    if first:
        return Estimate(lut=chosen + 14, lutram=6, ff=80)
    return Estimate(lut=2 * chosen + 84, lutram=INDEX_WORD * params.streams + 6, ff=80)


def index_stores(params: MapEngineParameters) -> Estimate:
    """A store for each stream, and the lanes' indices out of its words."""
    each = Estimate(lut=128, ff=169) + memory(33, params.stream_depth).times(2)
    return each.times(params.streams) + Estimate(lut=40, ff=9)


def row_stores(params: MapEngineParameters) -> Estimate:
    """The entries of 16 rows in a word; what a row has besides, in four words."""
    depth = params.row_groups * LANES
    words = sum((memory(bits, depth) for bits in row_bits()), Estimate())
    return memory(params.entry_bits + 1, depth).times(LANES) + words + Estimate(lut=40)


def row_bits() -> tuple[int, ...]:
    """Bits that are kept of each word of a row's parameters, with their parity."""
    used = [0] * MAP_ROW.words
    for offset, bits in MAP_ROW.places.values():
        for bit in range(offset, offset + bits):
            used[bit // WORD] += 1
    return tuple(bits + 1 for bits in used)


def results(params: MapEngineParameters) -> Estimate:
    """A bank of results for each cluster, and the link's one of their words."""
    bank = Estimate(lut=14, ff=53) + memory(36, params.result_depth // 4)
    return bank.times(params.clusters) + Estimate(lut=18 * params.clusters + 10, ff=WORD)


def control(params: MapEngineParameters) -> Estimate:
    """Items, walker and writer, by clusters: each bank takes one cluster's byte; descriptors and
    taps; all else does not depend on sizes."""
    clusters, steps = params.clusters, ceil_div(params.clusters, POSITIONS)
    items = Estimate(lut=60 * clusters + 20, lutram=36 * clusters + 56, ff=16)
    chosen = ceil_div(44 * clusters * (clusters - 1), 10)
    writer = Estimate(lut=chosen + 25 * clusters + 54, lutram=params.stages, ff=97 * clusters + 140)
    walker = Estimate(lut=600 * steps + 194, ff=70 * steps + 1092)
    passes = memory(33, ceil_div(PASS.words, 2) * params.passes)
    stores = (passes + memory(33, params.taps)).times(2)
    rest = Estimate(lut=1087 + 6 * clusters, lutram=39, ff=2780 + 14 * clusters, dsp=2)
    return items + writer + walker + stores + rest


def memory(bits: int, depth: int) -> Estimate:
    """Words that are written whole or by bytes, in block RAMs: as few as hold them, of one shape or
    a second one for what nine bits do not divide, and what picks one of several behind each
    other."""
    halves = block_rams(bits, depth)
    if bits > 9 and bits % 9:
        halves = min(halves, block_rams(bits - bits % 9, depth) + block_rams(bits % 9, depth))
    return Estimate(bram18=halves, lut=picked(bits, depth))


def picked(bits: int, depth: int) -> int:
    """LUTs that pick one of the block RAMs behind each other."""
    blocks = [(ceil_div(bits, wide) * ceil_div(depth, deep), -deep) for wide, deep in SHAPES]
    rows = ceil_div(depth, -min(blocks)[1])
    if rows == 1:
        return 0
    each = 1 if rows <= 4 else (rows + 1) // 2
    return bits * each + rows
