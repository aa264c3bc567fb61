"""The copier: bench with banks, columns and segments of every kind."""

from gateware.copier import Copier
from gateware.emit import emit
from model.engine import EngineParameters
from sim.bench import run_bench
from sim.bundle import Bundle

ENGINES = {
    "one": {"stages": 1, "columns": 1, "segments": 1, "slots": 9, "vector_words": 16},
    "odd": {"stages": 3, "columns": 5, "segments": 3, "slots": 7, "vector_words": 40},
    "banks": {"stages": 2, "columns": 37, "segments": 2, "slots": 3, "vector_words": 128},
    "full": {"stages": 2, "columns": 16, "segments": 4, "slots": 4, "vector_words": 64},
}


def test_copier_bench():
    bundle = Bundle(
        **{name: Copier(engine=EngineParameters(**sizes)) for name, sizes in ENGINES.items()}
    )
    assert run_bench(emit(bundle), "copier", values={"engines": ENGINES, "copies": 60}) == 2
