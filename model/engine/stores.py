"""How far an engine's stores reach in its address map."""

from __future__ import annotations

from dpnet.model.engine.baseline import BaselineParameters
from dpnet.model.engine.layout import LAYER_WORDS, ROW_WORDS, Fields
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.placement import taps_at
from dpnet.model.engine.maps.records import MAP_ROW, TAP
from dpnet.model.engine.parameters import EngineParameters, ceil_div, ceil_log2
from dpnet.model.engine.regions import Region

STORES = tuple(Region(n) for n in range(Region.IMAGE_FIRST, Region.MAPS + 1))
"""The regions that have stores."""

HALVES = 2
BANK_BYTES = 4
"""Of a bank in a word of its region."""


def store_words(
    params: EngineParameters | BaselineParameters | MapEngineParameters,
) -> dict[Region, int]:
    """Words from the base of each region of `STORES` to the end of its store's last row; 0 where
    the engine has no such store.  What lies behind them is nowhere; inside, an address whose fields
    count further than the store does (see `layout`) reads as 0."""
    if isinstance(params, BaselineParameters):
        return {
            **dict.fromkeys(STORES, 0),
            Region.INDEX: params.weights,
            Region.LAYERS: params.layers * LAYER_WORDS,
            Region.VECTOR: params.columns,
            Region.RESULT: params.rows,
        }
    if isinstance(params, MapEngineParameters):
        return _map_words(params)
    fields = Fields(params)
    result = fields.bank_column + fields.bank
    index_rows = ceil_div(params.index_depth, params.fold)
    return {
        Region.INDEX: index_rows << fields.index_word + fields.segment + fields.stage,
        Region.CODEBOOK: params.slots << fields.column + fields.k,
        Region.ROWS: ROW_WORDS * params.slots << result,
        Region.LAYERS: params.layers * LAYER_WORDS,
        Region.VECTOR: params.vector_rows * params.row_beats << fields.segment,
        Region.RESULT: params.result_slots << result,
        Region.MAPS: 0,
    }


def half_words(params: MapEngineParameters) -> dict[Region, int]:
    """Words of a half of a map engine's pictures and of its results: half 0 begins at the base of
    the region, half 1 behind it."""
    depths = {Region.VECTOR: params.picture_depth, Region.RESULT: params.result_depth}
    return {
        region: depth // HALVES // BANK_BYTES << params.cluster_bits
        for region, depth in depths.items()
    }


def copy_words(params: MapEngineParameters) -> dict[Region, int]:
    """Words from one copy of a map engine's pictures, and of its maps, to the next one.  What is
    written to copy 0 every stage has, of which stage 0's is read; copy 1 + g is stage g's alone.
    """
    depths = {Region.VECTOR: params.picture_depth, Region.MAPS: params.map_depth}
    return {
        region: 1 << ceil_log2(depth // BANK_BYTES) + params.cluster_bits
        for region, depth in depths.items()
    }


def _map_words(params: MapEngineParameters) -> dict[Region, int]:
    lane, halves = ceil_log2(LANES), half_words(params)
    copies = {region: params.stages * words for region, words in copy_words(params).items()}
    return {
        Region.INDEX: params.stream_depth << 1 + ceil_log2(params.streams),
        Region.CODEBOOK: params.row_groups << 2 * lane,
        Region.ROWS: params.row_groups << ceil_log2(MAP_ROW.words) + lane,
        Region.LAYERS: taps_at(params) + params.taps * TAP.words,
        Region.VECTOR: copies[Region.VECTOR] + HALVES * halves[Region.VECTOR],
        Region.RESULT: HALVES * halves[Region.RESULT],
        Region.MAPS: copies[Region.MAPS] + (params.map_depth // BANK_BYTES << params.cluster_bits),
    }
