"""The stage: one to seven segments, folded, wide and packed index rows, both storages."""

from dpnet.gateware.array.stage import BeatLayout, Stage
from dpnet.gateware.emit import emit
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.benches.array.stage import KINDS
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.bundle import Bundle
from dpnet.sim.kit.upsets import open_memories

ENGINES = {
    "two": {
        "columns": 5,
        "segments": 2,
        "index_bits": 4,
        "index_depth": 37,
        "dsp_columns": 3,
        "packed": False,
    },
    "words": {
        "columns": 9,
        "segments": 3,
        "index_bits": 4,
        "index_depth": 10,
        "storage": "distributed",
        "packed": False,
    },
    "packed": {
        "columns": 6,
        "segments": 4,
        "index_bits": 4,
        "index_depth": 29,
        "activation_bits": 8,
    },
    "one": {"columns": 2, "segments": 1, "index_bits": 4, "index_depth": 33},
    "seven": {
        "columns": 1,
        "segments": 7,
        "index_bits": 1,
        "index_depth": 41,
        "storage": "distributed",
    },
    "narrow": {
        "columns": 9,
        "segments": 4,
        "index_bits": 1,
        "index_depth": 16,
        "activation_bits": 8,
        "dsp_columns": 9,
    },
}


def test_stage_bench():
    sizes = {name: {**engine, "max_columns": 48} for name, engine in ENGINES.items()}
    stages = {name: Stage(engine=EngineParameters(**engine)) for name, engine in sizes.items()}
    for stage in stages.values():
        assert ("mode" in BeatLayout(stage.engine).members) == stage.engine.packs
        assert stage.latency == 3 + stage.engine.segments - 1
    verilog = open_memories(emit(Bundle(**stages)))
    values = {"engines": sizes, "cycles": rounds(400)}
    assert run_bench(verilog, "array.stage", values=values) == len(KINDS) + 2
