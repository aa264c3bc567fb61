"""The feeder and the scanner: bench with integers and fp32, segments and row lengths."""

from gateware.emit import emit
from gateware.feeder import Feeder, Scanner
from model.engine import EngineParameters
from sim.bench import run_bench
from sim.bundle import Bundle

FEEDERS = {
    "three": {"segments": 3, "max_columns": 64, "index_bits": 2},
    "whole": {"segments": 16, "activation_bits": 8, "max_columns": 64, "columns": 1},
    "wide": {"segments": 2, "scan_words": 32, "max_columns": 64, "edges": "fp32"},
    "integer": {"segments": 2, "scan_words": 4, "max_columns": 64, "edges": "integer"},
    "int8": {"segments": 5, "activation_bits": 8, "max_columns": 64, "edges": "integer"},
}
SCANNERS = {"scan16": 16, "scan20": 20, "scan24": 24}


def test_feeder_bench():
    bundle = Bundle(
        **{name: Feeder(engine=EngineParameters(**sizes)) for name, sizes in FEEDERS.items()},
        **{name: Scanner(words=words) for name, words in SCANNERS.items()},
    )
    values = {"feeders": FEEDERS, "scanners": SCANNERS, "cycles": 150, "scans": 25}
    assert run_bench(emit(bundle), "feeder", values=values) == 6
