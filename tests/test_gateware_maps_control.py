"""What tells the map engine's units what to do: a bench for each part."""

import pytest

from dpnet.gateware.emit import emit
from dpnet.gateware.maps.control.commands import Commands
from dpnet.gateware.maps.control.drains import Drains
from dpnet.gateware.maps.control.item_store import ItemStore
from dpnet.gateware.maps.control.reader import PassReader
from dpnet.gateware.maps.control.reads import StageReads
from dpnet.gateware.maps.control.walker import Walker
from dpnet.gateware.maps.control.writer import Writer
from dpnet.sim.benches.maps.control.passes import SIZES, params_of
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.bundle import Bundle

KINDS = {
    "reader": PassReader,
    "walker": Walker,
    "items": ItemStore,
    "commands": Commands,
    "drains": Drains,
    "writer": Writer,
    "reads": StageReads,
}
BENCHES = {
    "reader": ({"passes": 12}, 1),
    "walker": ({"passes": 10}, 3),
    "item_store": ({"cycles": 600}, 2),
    "commands": ({"tiles": 25}, 2),
    "drains": ({"passes": 8}, 3),
    "writer": ({"passes": 8}, 2),
    "reads": ({"items": 25}, 3),
}
"""What each bench is told besides sizes, and its tests."""


@pytest.fixture(scope="module")
def parts():
    """One simulation for all benches, because building it takes longer than they do."""
    return emit(
        Bundle(
            **{
                f"{what}_{name}": kind(params=params_of(sizes))
                for what, kind in KINDS.items()
                for name, sizes in SIZES.items()
            }
        )
    )


@pytest.mark.parametrize("bench", BENCHES)
def test_bench(parts, bench):
    values, count = BENCHES[bench]
    assert run_bench(parts, f"maps.control.{bench}", values={"sizes": SIZES, **values}) == count
