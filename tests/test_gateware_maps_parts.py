"""Parts of the map engine's clusters: units, stage paths, stores, and the way from sum to byte."""

import pytest

from dpnet.gateware.emit import emit
from dpnet.gateware.maps.finish import Finish
from dpnet.gateware.maps.index_stores import IndexStores
from dpnet.gateware.maps.rounding import Rounding
from dpnet.gateware.maps.row_store import RowStore, stored_bits
from dpnet.gateware.maps.stage_path import StagePath
from dpnet.gateware.maps.unit import Unit
from dpnet.model.engine.widths import accumulator_widths
from dpnet.sim.benches.maps import finish, stage_path, stores, unit
from dpnet.sim.benches.maps.work import parameters_of
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.bundle import Bundle
from dpnet.sim.kit.upsets import open_memories

PARAMS = {
    "narrow": parameters_of({"streams": 1, "index_depth": 20, "row_groups": 1, "max_columns": 7}),
    "usual": parameters_of({"streams": 2, "index_depth": 74, "row_groups": 3}),
    "wide": parameters_of({"streams": 3, "index_depth": 51, "row_groups": 2, "max_columns": 4096}),
}
VALUES = {
    "unit": {
        "units": {f"unit_{name}": one.cluster.sum_bits for name, one in PARAMS.items()},
        "cycles": 900,
    },
    "stage_path": {
        "paths": {
            f"path_{name}_{n}": {
                "streams": one.streams,
                "first": n == 0,
            }
            for name, one in PARAMS.items()
            for n in range(2)
        },
        "cycles": 1000,
    },
    "stores": {
        "indices": {
            f"indices_{name}": {"streams": one.streams, "depth": one.stream_depth}
            for name, one in PARAMS.items()
        },
        "rows": {f"rows_{name}": {"row_groups": one.row_groups} for name, one in PARAMS.items()},
        "cycles": 800,
    },
    "finish": {
        "units": {
            f"finish_{name}": accumulator_widths(one.cluster)[1] for name, one in PARAMS.items()
        },
        "cycles": 900,
    },
}
COUNTS = {
    "unit": len(unit.KINDS) + 1,
    "stage_path": len(stage_path.KINDS),
    "stores": 2,
    "finish": len(finish.KINDS) + 2,
}


def parts():
    found = {}
    for name, params in PARAMS.items():
        found |= {
            f"unit_{name}": Unit(params=params),
            f"path_{name}_0": StagePath(params=params, first=True),
            f"path_{name}_1": StagePath(params=params, first=False),
            f"indices_{name}": IndexStores(params=params),
            f"rows_{name}": RowStore(params=params),
            f"finish_{name}": Finish(params=params),
        }
    return found


@pytest.mark.parametrize("bench", VALUES)
def test_parts(bench):
    text = open_memories(emit(Bundle(**parts())))
    assert run_bench(text, f"maps.{bench}", values=VALUES[bench]) == COUNTS[bench]


def test_what_of_a_row_is_stored():
    assert tuple(stored_bits()) == stores.ROW_BITS
    assert Finish.latency == finish.LATENCY


def test_rounding():
    text = emit(Rounding())
    assert run_bench(text, "maps.rounding", values={"count": rounds(8000)}) == 3
