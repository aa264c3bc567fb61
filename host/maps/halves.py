"""Where on a map engine a picture goes and its results lie: in one of two halves of their stores.

While a run reads the picture and writes the results of one half, the link writes the next picture
and reads the results before in the other one.
"""

from __future__ import annotations

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.regions import Region

__all__ = ["HALVES", "picture_address", "result_address"]

HALVES = 2
BANK_BYTES = 4
"""Of a bank in a word of its region."""


def picture_address(engine: MapEngineParameters, half: int) -> int:
    """Byte address of the first word of a half of the pictures."""
    return Region.VECTOR.base + _offset(engine, engine.picture_depth, half)


def result_address(engine: MapEngineParameters, half: int) -> int:
    """Byte address of the first word of a half of the results."""
    return Region.RESULT.base + _offset(engine, engine.result_depth, half)


def _offset(engine: MapEngineParameters, depth: int, half: int) -> int:
    """Of a region whose banks have `depth` bytes: banks' words lie beside each other, as many as
    the next power of two."""
    words = half * (depth // HALVES // BANK_BYTES) << engine.cluster_bits
    return BANK_BYTES * words
