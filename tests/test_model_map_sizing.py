"""Map engines for chips: estimates beside Yosys' counts, and the search."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import pytest
from map_image_kit import small_network
from map_kit import NETWORKS

from dpnet.model.engine.devices import BOARDS, KINDS, LIMITS, XC7A35T, XC7Z020, XC7Z045, Device
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge, place
from dpnet.model.engine.maps.sizing import search
from dpnet.model.engine.maps.sizing.configurations import MAP_ENGINES
from dpnet.model.engine.maps.sizing.estimate import estimate_maps, map_parts
from dpnet.model.engine.maps.sizing.search import propose, sized

FILE = Path(__file__).parents[1] / "docs" / "results" / "resources.json"
YOSYS = {
    row["name"]: row for row in json.loads(FILE.read_text())["rows"] if row["name"] in MAP_ENGINES
}

TINY = Device("tiny", {"lut": 12_000, "lutram": 4_000, "ff": 20_000, "dsp": 130, "bram36": 60})


def near(found: int, counted: int, part: float) -> bool:
    return abs(found - counted) <= part * counted


@pytest.mark.parametrize("name", YOSYS)
def test_estimates_are_within_a_tenth_of_yosys(name: str) -> None:
    found = estimate_maps(MAP_ENGINES[name])
    counts = {kind: (getattr(found, kind), YOSYS[name][kind]) for kind in KINDS}
    assert not {kind: both for kind, both in counts.items() if not near(*both, 0.1)}


def test_all_of_them_are_measured() -> None:
    assert set(YOSYS) == set(MAP_ENGINES)


def test_every_size_counts() -> None:
    """A larger engine of any kind takes more of something, and nothing less."""
    usual = MapEngineParameters()
    larger = {
        "clusters": 3, "stages": 9, "streams": 3, "index_depth": 50_001, "row_groups": 700,
        "map_depth": 100_000, "picture_depth": 60_000, "result_depth": 20_000,
        "passes": 1000, "taps": 4000,
    }  # fmt: skip
    for name, size in larger.items():
        base = replace(usual, streams=1) if name == "index_depth" else usual
        one, two = estimate_maps(base), estimate_maps(replace(base, **{name: size}))
        more = [getattr(two, kind) - getattr(one, kind) for kind in KINDS]
        assert max(more) > 0 and min(more[:4]) >= 0, name
    # Narrower buckets are smaller lanes.
    assert estimate_maps(replace(usual, max_columns=64)).lut < estimate_maps(usual).lut


def test_parts_add_up() -> None:
    parts = map_parts(MapEngineParameters())
    total = estimate_maps(MapEngineParameters())
    assert sum(part.lut for part in parts.values()) == total.lut
    assert parts["lanes"].lutram == 256 * 12


def test_multipliers_of_another_chip() -> None:
    with pytest.raises(ValueError, match="estimates are for multiplier '25x18', not '18x18'"):
        estimate_maps(MapEngineParameters(multiplier="18x18"))


@pytest.mark.parametrize("device", [XC7A35T, XC7Z020, TINY], ids=lambda device: device.name)
def test_proposals_fit_and_come_fastest_first(device: Device) -> None:
    network = small_network()
    found = propose(network, device)
    assert found and [one.cycles.total for one in found] == sorted(
        one.cycles.total for one in found
    )
    for one in found:
        assert place(one.engine, network).plan.cycles == one.cycles.total
        for kind in KINDS:
            assert getattr(one.resources, kind) <= device.sizes[kind] * LIMITS[kind]
        assert one.resources == estimate_maps(one.engine)
        assert one.binds in (*KINDS, "adds", "drains", "waits")


@pytest.mark.parametrize("apart", [False, True])
def test_no_engine_that_fits_is_faster(apart: bool) -> None:
    """All shapes of up to 8 clusters and stages, one by one."""
    network = small_network()
    best = propose(network, TINY, apart=apart)[0]
    fitting = 0
    for clusters, stages, streams in product((1, 2, 3, 4, 6, 8), (1, 2, 3, 4, 6, 8), (1, 2, 4)):
        shape = MapEngineParameters(clusters=clusters, stages=stages, streams=streams)
        if streams == 1 and not apart:
            continue
        engine, placement = sized(shape, network, apart)
        taken = estimate_maps(engine)
        if all(getattr(taken, kind) <= TINY.sizes[kind] * LIMITS[kind] for kind in KINDS):
            fitting += 1
            assert placement.plan.cycles / placement.plan.pictures >= best.each
    assert fitting > 10


def test_shapes_are_left_out_by_stores_that_no_plan_goes_below() -> None:
    network = small_network()
    for clusters, stages, streams in product((1, 2, 5), (1, 4), (2, 4)):
        least = search._least(network, clusters, stages, streams, search.FAMILIES["xc7"])
        assert least is not None
        engine, _ = sized(least, network)
        for name in (field.name for field in fields(engine) if field.type == "int"):
            assert getattr(least, name) <= getattr(engine, name), name


@pytest.mark.parametrize(
    "network, board, shape, cycles",
    [
        ("ds-cnn", "arty-z7-20", (7, 6, 2), 15_402),
        ("resnet-8", "arty-z7-20", (8, 4, 2), 29_772),
        ("ds-cnn", "ulx3s", (3, 10, 2), 25_942),
        ("resnet-8", "ulx3s", (5, 4, 2), 48_999),
    ],
)
def test_first_proposals(
    network: str, board: str, shape: tuple[int, int, int], cycles: int
) -> None:
    """As docs/networks.md says it."""
    best = propose(NETWORKS[network](), BOARDS[board], count=1)[0]
    assert (best.engine.clusters, best.engine.stages, best.engine.streams) == shape
    assert best.cycles.total == cycles


def test_two_block_rams_more_would_hold_more_lanes() -> None:
    """As docs/networks.md says it of ResNet-8 and the XC7Z020."""
    shape = MapEngineParameters(clusters=10, stages=4, streams=1)
    engine, placement = sized(shape, NETWORKS["resnet-8"]())
    assert placement.plan.cycles == 26_396
    assert estimate_maps(engine).bram36 == XC7Z020.sizes["bram36"] + 2


@pytest.mark.parametrize("apart", [False, True])
def test_an_engine_as_large_as_its_network(apart: bool) -> None:
    """It holds the network, and none whose stores are a step smaller does."""
    network = NETWORKS["ds-cnn"]()
    engine, placement = sized(MapEngineParameters(clusters=3, stages=2), network, apart)
    assert place(engine, network, apart).plan.cycles == placement.plan.cycles
    assert (engine.clusters, engine.stages, engine.lanes) == (3, 2, 6 * LANES)
    steps = {
        "index_depth": 128, "row_groups": 8, "taps": 32, "passes": 8, "map_depth": 64,
        "picture_depth": 64,
    }  # fmt: skip
    for name, step in steps.items():
        with pytest.raises(NetworkTooLarge, match=name):
            place(replace(engine, **{name: getattr(engine, name) - step}), network, apart)
    with pytest.raises(NetworkTooLarge, match="max_columns"):
        place(replace(engine, max_columns=engine.max_columns // 2), network, apart)


def test_a_network_that_no_chip_holds() -> None:
    chip = Device("chip", {**XC7Z045.sizes, "bram36": 9})
    assert propose(NETWORKS["ds-cnn"](), chip) == []
