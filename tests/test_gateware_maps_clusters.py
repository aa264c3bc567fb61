"""The map engine's clusters equal NumPy: shapes, streams, index modes, maxima, idle cycles,
extremes; every result in its cycle."""

import os
import re

import pytest

from dpnet.gateware.emit import emit
from dpnet.gateware.maps.clusters import Clusters
from dpnet.sim.benches.maps.clusters import KINDS
from dpnet.sim.benches.maps.work import LATENCY, TAG_BITS, parameters_of
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.bundle import Bundle
from dpnet.sim.kit.upsets import open_memories

SIZES = {
    "square": {"clusters": 2, "stages": 2, "streams": 2, "index_depth": 160},
    "least": {"clusters": 1, "stages": 1, "streams": 1, "index_depth": 60, "max_columns": 33},
    "wide": {
        "clusters": 3,
        "stages": 2,
        "streams": 4,
        "index_depth": 192,
        "entry_bits": 11,
        "row_groups": 6,
    },
}


LARGER = {
    "usual": {"clusters": 2, "stages": 8, "streams": 2, "index_depth": 160, "row_groups": 20},
    "odd": {"clusters": 5, "stages": 3, "streams": 3, "index_depth": 180, "max_columns": 4096},
}


def bench(sizes, results):
    """How many tests of the bench pass with clusters of these sizes, side by side."""
    params = {name: parameters_of(one) for name, one in sizes.items()}
    parts = {name: Clusters(params=one, tag_bits=TAG_BITS) for name, one in params.items()}
    assert all(part.latency == LATENCY for part in parts.values())
    values = {"clusters": sizes, "results": results}
    text = open_memories(emit(Bundle(**parts)))
    return run_bench(text, "maps.clusters", values=values)


RESULTS = int(os.environ.get("DPNET_MAP_RESULTS") or rounds(1000, 20))
"""Results compared at each size and kind of pause."""


def test_clusters_equal_numpy():
    assert bench(SIZES, RESULTS) == len(KINDS) + 5


@pytest.mark.long
def test_larger_clusters_equal_numpy():
    assert bench(LARGER, 4 * RESULTS) == len(KINDS) + 5


def test_tags_have_bits():
    message = "tag_bits must be an integer of at least 1, not 0"
    with pytest.raises(ValueError, match=re.escape(message)):
        Clusters(params=parameters_of({}), tag_bits=0)
