"""What tells the map engine's units what to do: a bench for each part."""

import pytest

from dpnet.gateware.emit import emit
from dpnet.gateware.maps.control.walker import Walker
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.sim.benches.maps.passes import SIZES, params_of
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.bundle import Bundle


def bundle(**kinds):
    """Each of `kinds` for engines of all sizes."""
    return Bundle(
        **{
            f"{what}_{name}": kind(params=params_of(sizes))
            for what, kind in kinds.items()
            for name, sizes in SIZES.items()
        }
    )


def test_walker_bench():
    values = {"sizes": SIZES, "passes": 25}
    assert run_bench(emit(bundle(walker=Walker)), "maps.walker", values=values) == 3


def test_more_clusters_than_a_walker_feeds():
    message = "clusters must be at most 16, a position a cycle, not 17"
    with pytest.raises(ValueError, match=message):
        Walker(params=MapEngineParameters(clusters=17))
