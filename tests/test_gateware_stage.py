"""The stage: bench with index words of 1 to 4 bits, several words, folded rows, both storages."""

from gateware.emit import emit
from gateware.stage import Stage
from model.engine import EngineParameters
from sim.bench import run_bench
from sim.bundle import Bundle

ENGINES = {
    "four": {"columns": 5, "segments": 2, "index_bits": 4, "index_depth": 37},
    "three": {"columns": 3, "segments": 2, "index_bits": 3, "index_depth": 20,
              "storage": "distributed"},
    "folded2": {"columns": 2, "segments": 2, "index_bits": 4, "index_depth": 33},
    "folded4": {"columns": 1, "segments": 3, "index_bits": 2, "index_depth": 41,
                "storage": "distributed"},
    "folded32": {"columns": 1, "segments": 1, "index_bits": 1, "index_depth": 70},
    "narrow": {"columns": 9, "segments": 4, "index_bits": 1, "index_depth": 16,
               "activation_bits": 8},
}  # fmt: skip


def test_stage_bench():
    sizes = {name: {**engine, "max_columns": 48} for name, engine in ENGINES.items()}
    folds = {name: EngineParameters(**engine).fold for name, engine in sizes.items()}
    assert set(folds.values()) == {1, 2, 4, 32}
    bundle = Bundle(
        **{name: Stage(engine=EngineParameters(**engine)) for name, engine in sizes.items()}
    )
    assert run_bench(emit(bundle), "stage", values={"engines": sizes, "cycles": 500}) == 5
