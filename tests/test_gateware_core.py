"""The array core: bench with random networks, errors, resets, and its address map."""

from gateware.core import ArrayCore
from gateware.emit import emit
from model.engine import EngineParameters
from sim.bench import run_bench
from sim.bundle import Bundle

ENGINES = {
    "full": {"stages": 2, "columns": 3, "segments": 3, "max_columns": 45, "index_depth": 500,
             "slots": 70, "vector_words": 700, "layers": 12},
    "int8": {"stages": 2, "columns": 18, "segments": 2, "index_bits": 3, "activation_bits": 8,
             "entry_bits": 9, "max_columns": 45, "index_depth": 300, "slots": 30,
             "vector_words": 600, "layers": 12, "storage": "distributed"},
    "lane": {"stages": 1, "columns": 1, "segments": 1, "max_columns": 30, "index_depth": 1500,
             "slots": 60, "vector_words": 500, "layers": 12},
}  # fmt: skip


def test_core_bench():
    bundle = Bundle(
        **{name: ArrayCore(engine=EngineParameters(**sizes)) for name, sizes in ENGINES.items()}
    )
    values = {"engines": ENGINES, "networks": 3}
    assert run_bench(emit(bundle), "core", values=values) == 3 * (3 + 6) + 2
