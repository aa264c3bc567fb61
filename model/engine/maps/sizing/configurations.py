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
    "maps-28x6x4": MapEngineParameters(
        clusters=28,
        stages=6,
        streams=4,
        max_columns=256,
        index_depth=24832,
        row_groups=192,
        taps=128,
        passes=32,
        map_depth=2560,
        picture_depth=2048,
        result_depth=64,
    ),
    "maps-8x4x2": MapEngineParameters(
        clusters=8,
        stages=4,
        max_columns=128,
        index_depth=5376,
        row_groups=32,
        taps=128,
        passes=16,
        map_depth=6208,
        picture_depth=768,
        result_depth=64,
    ),
    "maps-6x6x2": MapEngineParameters(
        clusters=6,
        stages=6,
        max_columns=128,
        index_depth=3840,
        row_groups=56,
        taps=192,
        passes=16,
        map_depth=2688,
        picture_depth=448,
        result_depth=64,
    ),
}
"""The usual engine, a small one, one that fills an XC7Z045 and holds the ResNets of CIFAR-10 and
DS-CNN (decision 0012), and engines as large as their network: MobileNet VWW on that chip, ResNet-8
and DS-CNN on an XC7Z020."""
