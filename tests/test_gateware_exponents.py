"""The beats' largest exponents: bench against a dictionary of all words, with upsets."""

from dpnet.gateware.core.exponents import BeatExponents
from dpnet.gateware.emit import emit
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.benches.core.exponents import KINDS
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.bundle import Bundle
from dpnet.sim.kit.upsets import open_memories

ENGINES = {
    "single": {"segments": 1, "row_beats": 1, "vector_words": 9},
    "two": {"segments": 2, "row_beats": 4, "vector_words": 50},
    "three": {"segments": 3, "row_beats": 4, "vector_words": 60},
    "eight": {"segments": 8, "row_beats": 32, "vector_words": 700},
    "flat": {"segments": 1, "row_beats": 32, "vector_words": 90},
    "one_row": {"segments": 8, "row_beats": 4, "vector_words": 20},
    "narrow": {"segments": 3, "row_beats": 1, "vector_words": 33},
}


def test_exponents_bench():
    engines = {name: EngineParameters(**sizes) for name, sizes in ENGINES.items()}
    assert {engine.segments for engine in engines.values()} == {1, 2, 3, 8}
    assert {engine.row_beats for engine in engines.values()} == {1, 4, 32}
    bundle = Bundle(**{name: BeatExponents(engine=engine) for name, engine in engines.items()})
    values = {"engines": ENGINES, "cycles": 500}
    count = run_bench(open_memories(emit(bundle)), "core.exponents", values=values)
    assert count == 3 * len(KINDS) + 1
