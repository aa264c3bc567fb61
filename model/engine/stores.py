"""How far an engine's stores reach in its address map."""

from __future__ import annotations

from dpnet.model.engine.baseline import BaselineParameters
from dpnet.model.engine.layout import LAYER_WORDS, ROW_WORDS, Fields
from dpnet.model.engine.parameters import EngineParameters, ceil_div
from dpnet.model.engine.regions import Region

STORES = tuple(Region(n) for n in range(Region.IMAGE_FIRST, Region.RESULT + 1))
"""The regions that have stores."""


def store_words(params: EngineParameters | BaselineParameters) -> dict[Region, int]:
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
    }
