"""docs/engine-cycles.md says what an engine takes: its terms worked out here, its examples."""

import json
import math
import random
from pathlib import Path

from dpnet.model.engine.parameters import EDGES, MULTIPLIERS, EngineParameters
from dpnet.model.golden.interleaved import PARTIALS

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "engine-cycles.md").read_text(encoding="utf-8")


def written_terms(engine, rows, columns, k, *, fp32_in, fp32_out, forward, vectors):
    """A layer's cycles by the page's terms, letter for letter."""
    g, m, s, w = engine.stages, engine.columns, engine.segments, engine.row_beats
    b = min(m, engine.bank)
    d = max(1 << engine.index_bits, b)
    q = 7 if engine.multiplier == "18x18" and engine.entry_bits > 18 else 6
    f = 3 if engine.edges == "integer" else 8
    t, n = math.ceil(rows / (g * m)), math.ceil(columns / s)
    tile = max(n + k, (g - 1) * d + max(k, b))
    product = (t - 1) * tile + n + k + (g - 1) * d + s + b + q + 2
    scan = math.ceil(n / w) + int(math.log2(w)) + 3 if fp32_in else 0
    longest = engine.activation_bits + math.ceil(math.log2(engine.max_columns)) + engine.entry_bits
    out = (12 if longest > 32 else 11) if fp32_out else 10
    settle = 0 if engine.edges == "integer" else 2 + math.ceil(math.log2(s))
    copy = s * math.ceil(rows / s) + 2 + settle if forward else 0
    interval = max(t * tile, 8, scan + 1 if fp32_in else 0)
    return 2 + scan + f + product + 2 + out + copy + (vectors - 1) * interval


def test_the_terms_are_those_of_the_engine():
    source = random.Random(1)
    for _ in range(2000):
        edges = source.choice(EDGES)
        engine = EngineParameters(
            stages=source.randint(1, 12),
            columns=source.randint(1, 40),
            segments=source.randint(1, 5),
            index_bits=source.randint(1, 4),
            activation_bits=source.randint(2, 25),
            entry_bits=source.randint(2, 25),
            max_columns=source.randint(64, 4096),
            bank=source.randint(1, 16),
            row_beats=1 << source.randint(0, 6),
            edges=edges,
            multiplier=source.choice(MULTIPLIERS),
        )
        fp32 = edges == "fp32" or (edges == "both" and source.random() < 0.5)
        layer = source.randint(1, 300), source.randint(1, 64), source.randint(1, engine.buckets)
        options = {
            "fp32_in": fp32,
            "fp32_out": fp32,
            "forward": source.random() < 0.5,
            "vectors": source.randint(1, 9),
        }
        assert engine.layer_cycles(*layer, **options) == written_terms(engine, *layer, **options)


def test_the_examples_add_up():
    default, integer = EngineParameters(), EngineParameters(edges="integer")
    for engine, fp32, line in (
        (default, True, "1 + 2 + (64 + 3 + 3) + 8 + 4,362 + 2 + 12           = 4,457     fp32\n"),
        (
            default,
            False,
            "1 + 2 + 8 + 4,362 + 2 + 10                          = 4,385     integers\n",
        ),
        (
            integer,
            False,
            "1 + 2 + 3 + 4,362 + 2 + 10                          = 4,380     integers, on",
        ),
    ):
        assert line in TEXT
        sum_text, _, total = line.replace(",", "").partition("=")
        assert eval(sum_text) == int(total.split()[0])
        assert 1 + engine.layer_cycles(1000, 1024, 16, fp32_in=fp32, fp32_out=fp32) == int(
            total.split()[0]
        )
    assert "P   = 7·528 + 512 + 16 + 7·16 + 2 + 16 + 6 + 2            = 4,362\n" in TEXT
    assert default.array_cycles(1000, 1024, 16) == 4362 == 7 * 528 + 512 + 16 + 7 * 16 + 26
    assert default.interval_cycles(1000, 1024, 16, fp32_in=True) == 4224 == 8 * 528
    assert f"min(C, {PARTIALS})" in TEXT


def test_the_example_is_what_was_counted():
    rows = json.loads((DOCS / "results" / "make-sim.json").read_text(encoding="utf-8"))["table6"]
    counted = [row["cycles"] for row in rows if (row["rows"], row["engine"]) == (1000, "array")]
    assert counted == [4457]
