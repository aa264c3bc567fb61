"""The column: bench against Python integers, with upsets for the Σ-check."""

from gateware.column import Column
from gateware.emit import emit
from model.engine import EngineParameters
from sim.bench import run_bench
from sim.bundle import Bundle

ENGINES = {
    "full": EngineParameters(stages=3, segments=3, max_columns=60, slots=5),
    "single": EngineParameters(
        stages=1, segments=1, index_bits=2, max_columns=33, slots=3, activation_bits=8,
        entry_bits=9,
    ),
    "many": EngineParameters(
        stages=2, segments=5, index_bits=3, max_columns=64, slots=4, entry_bits=18
    ),
}  # fmt: skip


def test_column_bench():
    columns, values = {}, {}
    for name, engine in ENGINES.items():
        sizes = {
            field: getattr(engine, field)
            for field in ("stages", "segments", "bucket_bits", "sum_bits", "entry_bits",
                          "accumulator_bits")
        }  # fmt: skip
        sizes["depth"] = engine.slots * engine.buckets
        columns[name] = Column(**sizes)
        values[name] = {
            **sizes, "buckets": engine.buckets, "max_columns": engine.max_columns,
            "activation_bits": engine.activation_bits,
        }  # fmt: skip
    bundle = Bundle(**columns)
    assert run_bench(emit(bundle), "column", values={"columns": values, "rows": 200}) == 5
