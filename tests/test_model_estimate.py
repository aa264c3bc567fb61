"""Estimated resources against Yosys' (docs/results/resources.json), and the file against Yosys."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from dpnet.boards.series7.counting import TOP
from dpnet.boards.series7.netlist import synthesize
from dpnet.gateware.core import ArrayCore
from dpnet.gateware.emit import emit
from dpnet.model.engine.configurations import ARRAYS, LEAN, PLANNED, SMALL
from dpnet.model.engine.devices import KINDS
from dpnet.model.engine.estimate import Estimate, block_rams, estimate, multiplexer, parts
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.evidence import declared

ENGINES = {
    "default": EngineParameters(),
    **PLANNED,
    **{name: made.engine for name, made in (ARRAYS | LEAN | SMALL).items()},
}
FILE = Path(__file__).parents[1] / "docs" / "results" / "resources.json"
ROWS = {row["name"]: row for row in json.loads(FILE.read_text())["rows"] if row["name"] in ENGINES}
"""Of arrays; map engines are in tests/test_model_map_sizing.py."""
LIVE = "int8-2x4x2"


def near(found, counted, part, least=2):
    return abs(found - counted) <= max(least, part * counted)


@pytest.mark.parametrize("name", ROWS)
def test_estimates_are_within_a_tenth_of_yosys(name):
    row, found = ROWS[name], estimate(ENGINES[name])
    assert row["lanes"] == ENGINES[name].lanes
    wrong = {
        kind: (getattr(found, kind), row[kind])
        for kind in KINDS
        if not near(getattr(found, kind), row[kind], 0.1)
    }
    assert not wrong


def test_the_rows_differ_in_every_size():
    known = [ENGINES[name] for name in ROWS]
    assert len(known) >= 6
    for size in (
        "stages",
        "columns",
        "segments",
        "index_bits",
        "activation_bits",
        "entry_bits",
        "bank",
        "dsp_columns",
        "edges",
        "row_beats",
        "slots",
        "index_depth",
    ):
        assert len({getattr(engine, size) for engine in known}) >= 3 - (size == "index_bits"), size


@pytest.mark.long
def test_the_file_is_what_yosys_counts_now():
    counted = synthesize(emit(ArrayCore(engine=PLANNED[LIVE]), TOP), TOP)
    # A file that is admitted to be older than the gateware is of an engine that is nearly the same.
    allowed = 0.05 if FILE.name in declared() else 0.02
    for kind in KINDS:
        assert near(ROWS[LIVE][kind], getattr(counted, kind), allowed), (
            f"{kind} of {LIVE} is {getattr(counted, kind)}: make resources, "
            "and copy build/resources.json to docs/results/"
        )


def test_parts_add_up_and_lanes_are_counted_exactly():
    engine = PLANNED["fp32-4x24x4"]
    made = parts(engine)
    assert sum(made.values(), Estimate()) == estimate(engine)
    # 34 bits: 18 memory LUTs; 336 lanes add with 34 LUTs, 48 with a DSP slice.
    assert made["lanes"] == Estimate(lut=384 * 18 + 336 * 34, lutram=384 * 18, ff=384 * 34, dsp=48)


@pytest.mark.parametrize("size", ["stages", "columns", "segments", "activation_bits", "slots"])
def test_more_of_anything_never_takes_less(size):
    engine = PLANNED["fp32-2x48x6"]
    larger = replace(engine, **{size: getattr(engine, size) + 1})
    small, large = estimate(engine), estimate(larger)
    for field in fields(Estimate):
        assert getattr(small, field.name) <= getattr(large, field.name), field.name


@pytest.mark.parametrize(
    "width, depth, halves",
    [(36, 512, 1), (37, 512, 2), (26, 1024, 2), (18, 1024, 1), (26, 513, 2), (26, 2048, 3)],
)
def test_block_rams(width, depth, halves):
    assert block_rams(width, depth) == halves


@pytest.mark.parametrize("inputs, luts", [(1, 0), (2, 1), (4, 1), (5, 2), (8, 3), (16, 5)])
def test_multiplexers(inputs, luts):
    assert multiplexer(inputs) == luts


@pytest.mark.parametrize("changes", [{"storage": "distributed"}, {"multiplier": "18x18"}])
def test_engines_for_other_chips_are_refused(changes):
    engine = EngineParameters(**changes)
    with pytest.raises(ValueError) as error:
        estimate(engine)
    assert str(error.value) == (
        "estimates are for storage 'block' and multiplier '25x18', not "
        f"{engine.storage!r} and {engine.multiplier!r}"
    )
