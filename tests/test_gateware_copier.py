"""The copier: bench with banks, columns and segments of every kind."""

from dpnet.gateware.core.copier import Copier
from dpnet.gateware.emit import emit
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.bundle import Bundle

ENGINES = {
    "one": {"stages": 1, "columns": 1, "segments": 1, "result_slots": 9, "vector_words": 16},
    "odd": {"stages": 3, "columns": 5, "segments": 3, "result_slots": 7, "vector_words": 40},
    "banks": {"stages": 2, "columns": 37, "segments": 2, "result_slots": 3, "vector_words": 128},
    "eights": {
        "stages": 2,
        "columns": 21,
        "segments": 5,
        "bank": 8,
        "result_slots": 6,
        "vector_words": 100,
        "row_beats": 4,
    },
    "fours": {
        "stages": 1,
        "columns": 16,
        "segments": 1,
        "bank": 4,
        "result_slots": 5,
        "vector_words": 64,
        "slots": 2,
        "row_beats": 1,
    },
    "full": {"stages": 2, "columns": 16, "segments": 4, "result_slots": 4, "vector_words": 64},
}


def test_copier_bench():
    bundle = Bundle(
        **{name: Copier(engine=EngineParameters(**sizes)) for name, sizes in ENGINES.items()}
    )
    values = {"engines": ENGINES, "copies": rounds(60)}
    assert run_bench(emit(bundle), "core.copier", values=values) == 2
