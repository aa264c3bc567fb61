"""The networks of `make arrays`: in small on compiled RTL, and what is said of missing data."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from dpnet.model.data.places import DATA, WEIGHTS, MissingDataError
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import place
from dpnet.model.engine.maps.sizing.configurations import MAP_ENGINES
from dpnet.sim.kit.map_networks import small_network
from dpnet.sim.measure import arrays, maps
from dpnet.sim.measure.maps import ON_CHIPS, OnChip, run_network

SMALL = MapEngineParameters(
    clusters=2,
    stages=2,
    index_depth=24 << 10,
    row_groups=64,
    taps=256,
    map_depth=1 << 15,
    picture_depth=1 << 14,
    result_depth=1 << 14,
)
"""An engine that other tests simulate too."""


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(maps.MAP_ENGINES, "small", SMALL)


def prepared(made):
    """A small network, and random pictures."""
    network = small_network(5)
    pictures = np.random.default_rng(6).integers(-128, 128, (made.pictures, *network.picture))
    return place(made.params, network, made.in_flight), pictures


@pytest.mark.long
@pytest.mark.parametrize("in_flight", [False, True])
def test_a_small_network_equals_golden_and_plan(small, in_flight):
    made = OnChip("small", "small network", in_flight)
    placed, _ = prepared(made)
    row = run_network("a", made, prepared)
    assert (row["mismatches"], row["errors"], row["predicted"]) == (0, 0, True)
    assert row["latency_cycles"] == placed.plan.cycles_of(2 if in_flight else 1)
    assert row["interval_cycles"] * row["pictures_in_flight"] == row["latency_cycles"]
    assert (row["pictures"], row["pictures_in_flight"]) == (2, 2 if in_flight else 1)
    one = sum(int(np.prod(t.shape)) for t in placed.plan.network.tensors[1:])
    assert row["values"] >= 2 * one
    assert row["lanes"] == SMALL.lanes


@pytest.mark.long
def test_what_differs_is_counted(small, monkeypatch):
    """Another picture than the engine has; the cycles are the plan's all the same."""
    real = maps.compute
    monkeypatch.setattr(maps, "compute", lambda network, x: real(network, x[::-1]))
    row = run_network("a", OnChip("small", "small network"), prepared)
    assert row["mismatches"] > 10
    assert row["predicted"] and not row["errors"]


@pytest.mark.long
def test_other_cycles_than_planned_are_told(small):
    """A plan whose first pass waits a cycle less than the words in the engine say."""

    def wrong(made):
        placed, pictures = prepared(made)
        first, *others = placed.plan.passes
        plan = replace(placed.plan, passes=(replace(first, wait=first.wait + 1), *others))
        return replace(placed, plan=plan), pictures

    assert not run_network("a", OnChip("small", "small network"), wrong)["predicted"]


def row_of(name, **others):
    return {
        "name": name,
        "network": "net",
        "pictures_in_flight": 1,
        "engine": "e",
        "lanes": 3072,
        "latency_cycles": 7365,
        "interval_cycles": 7365.0,
        "values": 1000,
        "mismatches": 0,
        "errors": 0,
        "predicted": True,
        "build_seconds": 0.0,
        **others,
    }


@pytest.mark.parametrize("wrong", [{"mismatches": 1}, {"errors": 1}, {"predicted": False}], ids=str)
def test_a_wrong_network_is_an_error(wrong, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(arrays, "run_network", lambda name, made: row_of(name, **wrong))
    out = str(tmp_path / "arrays.json")
    assert arrays.main(["resnet-8-7z045", "ds-cnn-7z020", "--out", out]) == 1
    found = capsys.readouterr()
    assert "results or cycles of resnet-8-7z045, ds-cnn-7z020 are not as" in found.err
    assert "7,365 cycles" in found.out


def test_missing_data_are_told_and_all_else_is_measured(tmp_path, monkeypatch, capsys):
    def run(name, made):
        if made.network == "ds-cnn":
            raise MissingDataError("a file is missing: get it")
        return row_of(name)

    monkeypatch.setattr(arrays, "run_network", run)
    out = tmp_path / "arrays.json"
    assert arrays.main(["ds-cnn-7z020", "resnet-8-7z020", "--out", str(out)]) == 2
    assert [row["name"] for row in json.loads(out.read_text())["rows"]] == ["resnet-8-7z020"]
    told = capsys.readouterr().err
    assert "ds-cnn-7z020: left out: a file is missing: get it\n" in told
    assert told.endswith("error: left out, see above: ds-cnn-7z020\n")


def test_no_data_folder_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(os.environ, DATA, raising=False)
    monkeypatch.delitem(os.environ, WEIGHTS, raising=False)
    assert arrays.main(["resnet-8-7z020", "--out", str(tmp_path / "arrays.json")]) == 2
    assert "resnet-8-7z020: left out: DPNET_DATA must name the folder" in capsys.readouterr().err


def test_every_engine_is_one_that_is_counted():
    assert {made.engine for made in ON_CHIPS.values()} <= set(MAP_ENGINES)
    assert all(made.network in maps.SOURCES for made in ON_CHIPS.values())
