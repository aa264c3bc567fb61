"""The segment: bench with index words of 1 to 4 bits, several words, folded and packed rows, both
storages."""

from dpnet.gateware.array.segment import Segment
from dpnet.gateware.emit import emit
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.benches.array.segment import KINDS
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.bundle import Bundle
from dpnet.sim.kit.upsets import open_memories

ENGINES = {
    "four": {"columns": 5, "index_bits": 4, "index_depth": 37, "dsp_columns": 2, "packed": False},
    "words": {"columns": 17, "index_bits": 4, "index_depth": 21, "packed": False},
    "three": {"columns": 6, "index_bits": 3, "index_depth": 20, "storage": "distributed"},
    "packed": {"columns": 5, "index_bits": 4, "index_depth": 40, "dsp_columns": 2},
    "packed_words": {"columns": 19, "index_bits": 4, "index_depth": 33, "activation_bits": 8},
    "folded2": {"columns": 4, "index_bits": 4, "index_depth": 33, "dsp_columns": 4},
    "folded4": {"columns": 4, "index_bits": 2, "index_depth": 41, "storage": "distributed"},
    "folded32": {"columns": 1, "index_bits": 1, "index_depth": 70},
    "narrow": {"columns": 33, "index_bits": 1, "index_depth": 16, "activation_bits": 8},
}
FIRST = ("four", "packed", "folded2", "narrow")


def test_segment_bench():
    segments = {
        name: {"engine": {**sizes, "max_columns": 48}, "first": name in FIRST}
        for name, sizes in ENGINES.items()
    }
    engines = {name: EngineParameters(**values["engine"]) for name, values in segments.items()}
    assert {engine.fold for engine in engines.values()} == {1, 2, 4, 32}
    assert {name for name in engines if engines[name].packs} == {"packed", "packed_words"}
    assert {engine.index_words for engine in engines.values()} == {1, 2, 3}
    bundle = Bundle(
        **{name: Segment(engine=engine, first=name in FIRST) for name, engine in engines.items()}
    )
    values = {"segments": segments, "cycles": rounds(500)}
    assert (
        run_bench(open_memories(emit(bundle)), "array.segment", values=values) == 2 * len(KINDS) + 1
    )


def test_only_later_segments_have_a_chain():
    engine = EngineParameters(**ENGINES["four"])
    assert "chain" not in Segment(engine=engine).signature.members
    assert "chain" in Segment(engine=engine, first=False).signature.members


def test_only_segments_that_pack_are_told_how():
    for packed in (False, True):
        engine = EngineParameters(**{**ENGINES["packed"], "packed": packed})
        members = Segment(engine=engine).signature.members
        assert [name in members for name in ("mode", "next_position")] == [packed, packed]
