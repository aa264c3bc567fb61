"""The map core: random networks on compiled RTL, every value of every layer, every cycle; and what
it does with the link.

DPNET_MAP_CORE_NETWORKS sets the number of networks for each engine.
"""

import os
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from maps_kit import map_networks
from test_model_map_steps import networks

from dpnet.gateware.emit import emit
from dpnet.gateware.maps.core import MapCore
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge, place
from dpnet.model.maps.golden import compute
from dpnet.sim.board.bare_core import BareCore, build_core
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.map_networks import small_network
from dpnet.sim.kit.map_runs import MapRuns
from dpnet.sim.kit.upsets import open_memories

COUNT = int(os.environ.get("DPNET_MAP_CORE_NETWORKS") or rounds(12, 6))
STORES = {
    "index_depth": 24 << 10,
    "row_groups": 64,
    "taps": 256,
    "map_depth": 1 << 15,
    "picture_depth": 1 << 14,
    "result_depth": 1 << 14,
}
SIZES = {
    "2 × 2": {"clusters": 2, "stages": 2},
    "3 × 2": {"clusters": 3, "stages": 2, "streams": 4},
}
MORE = {
    "1 × 1": {"clusters": 1, "stages": 1, "streams": 1},
    "4 × 3": {"clusters": 4, "stages": 3},
    "16 × 1": {"clusters": 16, "stages": 1},
    "18 × 1": {"clusters": 18, "stages": 1},
    "2 × 3 of narrow buckets": {"clusters": 2, "stages": 3, "max_columns": 64},
    "2 × 8": {},
}
BENCH = {
    "clusters": 2,
    "stages": 2,
    "index_depth": 512,
    "row_groups": 8,
    "taps": 20,
    "passes": 6,
    "map_depth": 1024,
    "picture_depth": 1536,
    "result_depth": 64,
}
"""Banks of pictures are larger than those of maps here, and no power of two."""


def params_of(sizes):
    return MapEngineParameters(**{**STORES, **sizes})


@pytest.fixture(scope="module")
def cores():
    """Running cores by size; each is built once."""
    found = {}

    def get(sizes):
        key = tuple(sorted(sizes.items()))
        if key not in found:
            program, _ = build_core(emit(MapCore(params=params_of(sizes))))
            found[key] = BareCore(program).__enter__()
        return found[key]

    yield get
    for core in found.values():
        core.__exit__(None, None, None)


def check(core, params, network, pictures, seed=0):
    """Every picture, in one half and then in the other; then in flight, as many as there are stages
    and then what is left; False for a network that the engine does not hold."""
    tensors = compute(network, pictures)
    wanted = [{name: values[n] for name, values in tensors.items()} for n in range(len(pictures))]
    try:
        runs = MapRuns(core, place(params, network))
        for n in range(len(pictures[:2])):
            assert not list(runs.differences(pictures[n], wanted[n], (n + seed) % 2))
        runs = MapRuns(core, place(params, network, True))
    except NetworkTooLarge:
        return False
    for n in range(0, len(pictures), params.stages):
        some = slice(n, n + params.stages)
        assert not list(runs.in_flight(pictures[some], wanted[some], (n + seed) % 2))
    return True


def most_were_held(held):
    """Networks that an engine does not hold are left out: a test of them alone would be empty."""
    print(f"{sum(held)} of {len(held)} networks ran, the others are larger than the engine")
    assert any(held) and (len(held) < 40 or sum(held) >= 0.7 * len(held))


several = settings(
    max_examples=COUNT,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
"""A failure is not made smaller: that would take an hour."""


def random_networks(cores, sizes):
    held = []

    @several
    @given(networks(), st.integers(0, 1 << 16))
    def run(network, seed):
        tensor = network.input
        rng = np.random.default_rng(seed)
        count = params_of(sizes).stages + rng.integers(1, 3)
        pictures = rng.integers(tensor.low, tensor.high + 1, (count, *tensor.shape))
        held.append(check(cores(sizes), params_of(sizes), network, pictures, seed))

    run()
    most_were_held(held)


def extreme_networks(cores, sizes):
    held = []

    @several
    @given(map_networks())
    def run(made):
        held.append(check(cores(sizes), params_of(sizes), *made))

    run()
    most_were_held(held)


@pytest.mark.parametrize("size", SIZES)
def test_random_networks(cores, size):
    random_networks(cores, SIZES[size])


@pytest.mark.parametrize("size", SIZES)
def test_networks_of_extreme_values(cores, size):
    extreme_networks(cores, SIZES[size])


@pytest.mark.long
@pytest.mark.parametrize("size", MORE)
def test_engines_of_other_sizes(cores, size):
    random_networks(cores, MORE[size])
    extreme_networks(cores, MORE[size])


def test_core_bench():
    text = open_memories(emit(MapCore(params=MapEngineParameters(**BENCH))))
    assert run_bench(text, "maps.core", values={"sizes": BENCH, "rounds": rounds(12, 6)}) == 8


def test_the_benchs_network_fits():
    network = small_network(1)
    assert len(place(MapEngineParameters(**BENCH), network).plan.passes) >= 4


def test_more_passes_than_a_run_names():
    message = "passes must be at most 256, not 300"
    with pytest.raises(ValueError, match=re.escape(message)):
        MapCore(params=MapEngineParameters(passes=300))
