"""Map engines of boards, by what they hold."""

from __future__ import annotations

from dataclasses import replace

from dpnet.model.engine.maps.parameters import MapEngineParameters

__all__ = ["KEYWORDS", "RESNET8", "RESNET8_SLIM"]

KEYWORDS = MapEngineParameters(
    clusters=2,
    stages=2,
    streams=1,
    max_columns=128,
    index_depth=4096,
    row_groups=64,
    taps=256,
    passes=32,
    map_depth=8192,
    picture_depth=1024,
    result_depth=512,
)
"""64 lanes that hold DS-CNN, MLPerf Tiny's keyword spotter, and fit every 7-series chip of ours."""

RESNET8 = MapEngineParameters(
    clusters=4,
    stages=2,
    max_columns=256,
    index_depth=8192,
    row_groups=64,
    taps=256,
    passes=32,
    map_depth=16384,
    picture_depth=2048,
    result_depth=1024,
)
"""128 lanes that hold ResNet-8 and DS-CNN."""

RESNET8_SLIM = replace(
    RESNET8, clusters=2, stages=1, streams=1, map_depth=24704, picture_depth=3072
)
"""32 lanes that hold the same."""
