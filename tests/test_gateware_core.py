"""The array core: bench with random networks, vectors back to back, errors, resets, upsets, and
its address map."""

import pytest

from dpnet.gateware.core import ArrayCore
from dpnet.gateware.emit import emit
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.benches.core.networks import KINDS
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.bundle import Bundle
from dpnet.sim.kit.upsets import open_memories

ENGINES = {
    "full": {
        "stages": 2,
        "columns": 5,
        "segments": 3,
        "max_columns": 45,
        "index_depth": 500,
        "slots": 70,
        "result_slots": 70,
        "vector_words": 800,
        "layers": 12,
        "bank": 4,
        "dsp_columns": 2,
        "lockstep": True,
    },
    "int8": {
        "stages": 2,
        "columns": 11,
        "segments": 2,
        "index_bits": 3,
        "activation_bits": 8,
        "entry_bits": 9,
        "max_columns": 45,
        "index_depth": 300,
        "slots": 40,
        "result_slots": 43,
        "vector_words": 600,
        "layers": 12,
        "bank": 8,
        "row_beats": 1,
        "storage": "distributed",
        "edges": "integer",
        "residues": False,
    },
    "lane": {
        "stages": 1,
        "columns": 1,
        "segments": 1,
        "activation_bits": 8,
        "entry_bits": 19,
        "multiplier": "18x18",
        "max_columns": 30,
        "index_depth": 1500,
        "slots": 60,
        "result_slots": 60,
        "vector_words": 900,
        "layers": 24,
        "row_beats": 32,
        "edges": "fp32",
    },
}
"""Both kinds of results, integers alone, fp32 alone with accumulators of 32 bits; one bank, and
banks that do not divide the columns."""


def bench(*names):
    """Run all benches of the core on these engines, side by side."""
    engines = {name: ENGINES[name] for name in names}
    bundle = Bundle(
        **{name: ArrayCore(engine=EngineParameters(**sizes)) for name, sizes in engines.items()}
    )
    count = run_bench(
        open_memories(emit(bundle)),
        "core.networks",
        more=["core.errors", "core.address_map", "core.streaming", "core.abort"],
        values={"engines": engines, "networks": 3, "batches": 2, "streams": 2},
    )
    floats = len({"full", "lane"} & engines.keys())
    assert count == len(names) * (3 * len(KINDS) + 11) + 3 * floats + ("full" in names)


@pytest.mark.whole
def test_core_bench():
    bench("full")


@pytest.mark.long
def test_core_bench_of_one_kind_of_results():
    bench("int8", "lane")
