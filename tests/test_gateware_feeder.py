"""The feeder and the scanner: bench with integers and fp32, segments and rows of exponents."""

from dpnet.gateware.core.feeder import Feeder, Scanner
from dpnet.gateware.emit import emit
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.benches.core.feeder import KINDS
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.bundle import Bundle

FEEDERS = {
    "three": {"segments": 3, "max_columns": 64, "index_bits": 2},
    "whole": {"segments": 16, "activation_bits": 8, "max_columns": 64, "columns": 1},
    "wide": {"segments": 2, "max_columns": 64, "edges": "fp32"},
    "unpacked": {"segments": 1, "max_columns": 64, "packed": False},
    "integer": {"segments": 2, "max_columns": 64, "edges": "integer"},
    "int8": {
        "segments": 5,
        "activation_bits": 8,
        "max_columns": 64,
        "edges": "integer",
        "index_bits": 3,
    },
}
SCANNERS = {"scan1": 1, "scan4": 4, "scan20": 20, "scan24": 24, "scan64": 64}


def test_feeder_bench():
    engines = {name: EngineParameters(**sizes) for name, sizes in FEEDERS.items()}
    # With packed indices and without, for words from either port.
    assert {(engine.packs, engine.fp32) for engine in engines.values()} == {
        (packs, fp32) for packs in (True, False) for fp32 in (True, False)
    }
    bundle = Bundle(
        **{name: Feeder(engine=engine) for name, engine in engines.items()},
        **{name: Scanner(exponents=count) for name, count in SCANNERS.items()},
    )
    values = {"feeders": FEEDERS, "scanners": SCANNERS, "cycles": 150, "scans": rounds(25)}
    assert run_bench(emit(bundle), "core.feeder", values=values) == 2 * len(KINDS)
