"""Where on a map engine a picture goes and its results lie: in one of two halves of their stores.

While a run reads the pictures and writes the results of one half, the link writes the next
pictures and reads the results before in the other one.
"""

from __future__ import annotations

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.regions import Region
from dpnet.model.engine.stores import BANK_BYTES, HALVES, copy_words, half_words

__all__ = ["HALVES", "picture_address", "result_address"]


def picture_address(engine: MapEngineParameters, half: int, stage: int | None = None) -> int:
    """Byte address of the first word of a half of the pictures, of a stage's own or of those of all
    stages."""
    copy = 0 if stage is None else stage + 1
    own = BANK_BYTES * copy * copy_words(engine)[Region.VECTOR]
    return _address(engine, Region.VECTOR, half) + own


def result_address(engine: MapEngineParameters, half: int) -> int:
    """Byte address of the first word of a half of the results."""
    return _address(engine, Region.RESULT, half)


def _address(engine: MapEngineParameters, region: Region, half: int) -> int:
    return region.base + BANK_BYTES * half * half_words(engine)[region]
