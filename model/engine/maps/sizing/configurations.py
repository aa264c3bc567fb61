"""Map engines with names, which `make resources` synthesizes to compare the estimate with them."""

from __future__ import annotations

from collections.abc import Mapping

from dpnet.model.engine.maps.parameters import MapEngineParameters

MAP_ENGINES: Mapping[str, MapEngineParameters] = {
    "maps": MapEngineParameters(),
    "maps-4x4x2": MapEngineParameters(
        clusters=4, stages=4, index_depth=8192, map_depth=8192, picture_depth=2048
    ),
    "maps-24x8x4": MapEngineParameters(
        clusters=24,
        stages=8,
        streams=4,
        max_columns=256,
        map_depth=4096,
        picture_depth=2048,
        result_depth=1024,
    ),
}
"""The usual engine, a small one, and one that fills an XC7Z045 and holds the ResNets of CIFAR-10
and DS-CNN (decision 0012)."""
