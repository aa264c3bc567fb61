"""The fault campaign, small: every kind of place, and whether the campaign can be trusted."""

import functools
import json

import numpy as np
import pytest

import dpnet.sim.measure.faults
from dpnet.gateware.core import ArrayCore
from dpnet.gateware.emit import emit
from dpnet.model.engine.configurations import SMALL, Configuration
from dpnet.model.engine.layout import Region
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.board.bare_core import CHANGED, BareCore, Place, build_core, reachable
from dpnet.sim.kit.bench import rounds
from dpnet.sim.measure.faults import (
    KINDS,
    VECTORS,
    Campaign,
    Count,
    Kind,
    Tally,
    Twins,
    campaign,
    fault_free,
    main,
    places_by_kind,
    short,
)

pytestmark = pytest.mark.whole

NAME = "small-fp32"
MADE = SMALL[NAME]
INJECTIONS = rounds(200, 4)
CHECKED = [kind for kind in KINDS if kind.is_checked(MADE.engine)]
UNCHECKED = [kind for kind in KINDS if not kind.is_checked(MADE.engine)]
TWICE = "small-fp32-lockstep"
PACKED = Configuration(
    EngineParameters(
        stages=1,
        columns=5,
        segments=2,
        activation_bits=8,
        entry_bits=9,
        max_columns=64,
        index_depth=64,
        slots=4,
        result_slots=16,
        vector_words=256,
        layers=4,
        edges="integer",
        row_beats=1,
        lockstep=True,
    ),
    9,
    20,
)


@functools.cache
def program(name=NAME):
    return build_core(emit(ArrayCore(engine=SMALL[name].engine)), faults=True)[0]


@pytest.fixture
def core():
    with BareCore(program()) as running:
        yield running


def twins(seed=5):
    return Twins(MADE.engine, np.random.default_rng(seed), rows=MADE.rows, columns=MADE.columns)


def kind_named(name):
    return next(kind for kind in KINDS if kind.name == name)


def test_every_memory_and_the_adders_registers_can_be_reached(core):
    engine, found = MADE.engine, places_by_kind(core.places())
    sizes = {
        "index words": (engine.stages * engine.segments, 33),
        "codebook words": (1, engine.columns * (engine.entry_bits + 1)),
        "row parameters": (engine.banks, 4 * 33),
        "vectors": (1, engine.segments * 33),
        "exponents": (2, engine.row_beats * 9),
        "layer descriptors": (1, 8 * 33),
        "results": (engine.banks, 33),
        # One bit of each is in a memory of its own.
        "buckets": (2 * engine.lanes, engine.sum_bits - 1),
        "buckets at the last drain": (1, engine.columns * engine.sum_bits),
        "segments' adder (chain)": (engine.lanes, engine.sum_bits),
        "sum of the gains": (engine.columns, engine.sum_bits),
    }
    assert {
        name: (len(found[kind_named(name)]), found[kind_named(name)][0].width) for name in sizes
    } == sizes


def test_a_flip_lands_where_it_is_aimed_and_twice_is_none(core):
    product = twins()
    product.fill(core)
    [buffer] = places_by_kind(core.places())[kind_named("results")]
    slot = product.layers[0].descriptor.result_slot
    assert slot == 0
    late = core.run(0, 0).cycles - 10  # the first row's result has been written
    before = core.read(Region.RESULT.base, 8)
    for word, bit in ((0, 3), (2, 31)):
        with core.trial():
            assert core.run_with_faults(0, late, [(buffer, word, bit)])[1] == 1
            after = core.read(Region.RESULT.base, 8)
            assert (before ^ after).tolist() == [(n == word) << bit for n in range(8)]
            assert core.read_errors == 1 << 4  # parity
        with core.trial():
            core.run_with_faults(0, late, [(buffer, word, bit)] * 2)
            assert np.array_equal(core.read(Region.RESULT.base, 8), before)
            assert core.read_errors == 0


def test_a_trial_leaves_the_core_as_it_was(core):
    product = twins()
    product.fill(core)
    bucket = places_by_kind(core.places())[kind_named("buckets")][0]
    with core.trial():
        run, _ = core.run_with_faults(0, 30, [(bucket, 3, 7)], vectors=VECTORS)
        assert run.errors == 1 << 2  # sigma
    assert core.run(0, 0, VECTORS).errors == 0
    assert product.right(core, 0)


def test_the_word_that_changed_is_the_one_that_was_written(core):
    """A lane writes only while it adds: none in the run's first cycles."""
    product = twins()
    product.fill(core)
    bucket = places_by_kind(core.places())[kind_named("bucket adder")][0]
    with core.trial():
        assert core.run_with_faults(0, 2, [(bucket, CHANGED, 0)])[1] == 0
    done = []
    for at in range(12, 40):
        with core.trial():
            run, flips = core.run_with_faults(0, at, [(bucket, CHANGED, 0)])
            assert bool(run.errors) == bool(flips)
            done.append(flips)
    assert sum(done) > 5


def test_what_is_checked_is_never_silent():
    counts = list(campaign(NAME, MADE, program(), INJECTIONS, 7, kinds=CHECKED))
    assert {count.kind.name: count.silent_places for count in counts if count.silent} == {}
    for count in counts:
        assert count.injected == count.detected + count.harmless == INJECTIONS
        # Many words have been used before they change: exponents most of all.
        assert count.detected > INJECTIONS // 20, count.kind.name
    assert all(
        count.detected == INJECTIONS for count in counts if count.kind.name == "bucket adder"
    )


@pytest.mark.long
def test_what_works_in_lockstep_is_never_silent():
    made = SMALL[TWICE]
    kinds = [kind for kind in KINDS if kind.lockstep]
    assert set(kinds) == {k for k in KINDS if k.is_checked(made.engine)} - set(CHECKED)
    for count in campaign(TWICE, made, program(TWICE), INJECTIONS, 7, kinds=kinds):
        assert count.checked and not count.silent, (count.kind.name, count.silent_places)
        assert count.detected > INJECTIONS // 20, count.kind.name


@pytest.mark.long
@pytest.mark.parametrize(
    ("ignored", "pattern"),
    [
        ("parity", r"next_address$"),
        ("parity", r"array\.\\?delay"),
        ("parity", r"post_\d+\.\\?where"),
        ("parity", r"\.hidden$"),
        ("sigma", r"array\.(k|slot|product|tag|result__payload)$"),
        ("sigma", r"^(scale|offset)_\d+$"),
        ("sigma", r"^(feeder__)?exponent$"),
        ("parity", r"^(read|\\?write.*)$"),
    ],
)
def test_registers_that_hand_something_on_are_checked(ignored, pattern, monkeypatch):
    """Each by a check of its own: without it some faults are silent."""
    check_by(monkeypatch, SMALL[TWICE], program(TWICE), ignored, pattern)


@pytest.mark.long
def test_unpacked_indices_are_checked(monkeypatch):
    built = build_core(emit(ArrayCore(engine=PACKED.engine)), faults=True)[0]
    assert PACKED.engine.packs
    check_by(monkeypatch, PACKED, built, "parity", r"segment_\d+\.\\?(index_|cut_|next_|late)")


def check_by(monkeypatch, made, built, ignored, pattern):
    """Nothing is silent in registers of these names, but would be if this error were ignored."""
    kind = Kind("these", "register", pattern, lockstep=True)
    monkeypatch.setattr(dpnet.sim.measure.faults, "KINDS", (kind, Kind("others", "register", r"")))
    [heeded] = campaign("these", made, built, 150, 3, kinds=[kind])
    [deaf] = campaign("these", made, built, 150, 3, kinds=[kind], ignored=[ignored])
    assert heeded.silent == 0 < heeded.detected, heeded.silent_places
    assert deaf.silent > 0


@pytest.mark.long
def test_runs_in_lockstep_raise_no_alarm():
    clocks, alarms = zip(*fault_free(SMALL[TWICE], program(TWICE), 50_000, 1), strict=True)
    assert sum(clocks) >= 50_000 and sum(alarms) == 0


@pytest.mark.long
def test_what_is_not_checked_is_counted_as_silent():
    """The gap of an engine without lockstep is real, and named."""
    counts = list(campaign(NAME, MADE, program(), INJECTIONS, 7, kinds=UNCHECKED))
    assert all(count.silent for count in counts), [c.kind.name for c in counts if not c.silent]


@pytest.mark.parametrize(
    ("ignored", "name"),
    [
        ("sigma", "bucket adder"),
        ("sigma", "sum of the gains"),
        ("parity", "codebook words"),
        ("parity", "results"),
    ],
)
def test_the_campaign_notices_a_check_that_is_off(ignored, name):
    """The same injections with and without heeding the strobe.  The sum of the gains is only a
    check: a fault there spoils no result, so that it turns harmless instead."""
    kind = kind_named(name)
    [heeded] = campaign(NAME, MADE, program(), 60, 3, kinds=[kind])
    [deaf] = campaign(NAME, MADE, program(), 60, 3, kinds=[kind], ignored=[ignored])
    assert heeded.silent == 0 < heeded.detected
    if name == "sum of the gains":
        assert deaf.silent == deaf.detected == 0
    else:
        assert deaf.silent > 3
    assert deaf.injected == heeded.injected


def test_runs_without_faults_raise_no_alarm():
    clocks, alarms = zip(*fault_free(MADE, program(), 100_000, 1), strict=True)
    assert sum(clocks) >= 100_000 and sum(alarms) == 0


def test_an_alarm_without_a_fault_would_be_counted(monkeypatch):
    """A golden model that is wrong in one result shows as an alarm in every product."""
    right = Twins.right
    monkeypatch.setattr(
        Twins, "right", lambda self, core, which, *n: right(self, core, which, *n) and which != 0
    )
    assert [alarms for _, alarms in fault_free(MADE, program(), 1000, 1)] == [1]


def test_a_kind_without_a_place_is_an_error(core):
    rest = [place for place in core.places() if not short(place).endswith("left")]
    with pytest.raises(LookupError, match="no register or memory belongs to sum of the gains: "):
        places_by_kind(rest)


def test_a_campaign_starts_from_right_results(core):
    product = twins()
    product.golden[1][0] = product.golden[1][0] ^ np.uint32(1)
    with pytest.raises(Exception, match="a run without faults gives wrong results"):
        Campaign(core, product, np.random.default_rng(0))


def test_only_flip_flops_and_memories_are_marked():
    text = (
        "module top(clk, o);\n  output reg [3:0] o;\n  reg \\a.b$1  = 1'h0;\n  reg wire_like;\n"
        "  reg [7:0] mem [0:15];\n  always @* wire_like = 1;\n"
        "  always @(posedge clk) begin\n    \\a.b$1  <= wire_like;\n"
        "    if (1) mem[o][3:0] <= o;\n    o <= 1;\n  end\nendmodule\n"
    )
    marked = [line for line in reachable(text).splitlines() if "public_flat_rw" in line]
    assert [line.split("/*")[0].strip() for line in marked] == [
        "output reg [3:0] o",
        "reg \\a.b$1",
        "reg [7:0] mem [0:15]",
    ]


def test_the_report_adds_up(tmp_path):
    tally = Tally(7, "make faults")
    for name in (NAME, TWICE):
        made = SMALL[name]
        tally.part(made.engine).counts += campaign(name, made, program(name), 5, 7)
    tally.without.cycles, tally.complete.cycles = 10, 100
    tally.write(tmp_path / "faults.json")
    report = json.loads((tmp_path / "faults.json").read_text())
    for part, name, cycles in ((report, TWICE, 100), (report["without_lockstep"], NAME, 10)):
        outcomes = sum(part[what] for what in ("detected", "harmless", "silent"))
        assert part["injected"] == outcomes == 5 * sum(kind.times for kind in KINDS)
        assert {row["kind"] for row in part["kinds"]} == {kind.name for kind in KINDS}
        assert {row["engine"] for row in part["kinds"]} == {name}
        assert (part["false_alarms"], part["fault_free_cycles"]) == (0, cycles)
    assert report["silent"] == report["without_lockstep"]["silent_where_checked"] == 0
    silent = report["without_lockstep"]["silent_by_kind"]
    assert set(silent) == {kind.name for kind in UNCHECKED}
    assert sum(silent.values()) == report["without_lockstep"]["silent"]
    assert "bucket adder" in tally.show()
    assert "Nothing checks there: normalize, requantize (" in tally.show()


@pytest.mark.parametrize(
    ("engine", "kind", "failures"),
    [
        (TWICE, "other registers", 1),
        (TWICE, "index words", 1),
        (NAME, "index words", 1),
        (NAME, "other registers", 0),
    ],
)
def test_a_silent_fault_where_a_check_is_fails(engine, kind, failures):
    tally, kind = Tally(0, "make faults"), kind_named(kind)
    made = SMALL[engine].engine
    count = Count(engine, kind, checked=kind.is_checked(made))
    count.add("silent", [], Place(0, "TOP.top.x", 1, 0))
    tally.part(made).counts.append(count)
    assert tally.failures() == failures


def test_a_false_alarm_fails_in_any_engine():
    for made in (MADE, SMALL[TWICE]):
        tally = Tally(0, "make faults")
        tally.part(made.engine).alarms += 1
        assert tally.failures() == 1


def test_every_flip_flop_of_the_core_belongs_to_a_kind():
    """The checks' own too: what only one of the two engines has is in no kind that is not there."""
    with BareCore(program(TWICE)) as core:
        places = core.places()
        found = places_by_kind(places)
    others = {short(place) for place in found[kind_named("other registers")]}
    assert {p.number for some in found.values() for p in some} == {p.number for p in places}
    assert {"reset_behind", "differs", "parity_0", "link__errors", "ends"} <= others


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nothing"], "no engine is called 'nothing'"), (["--injections", "0"], "must be at least 1")],
)
def test_wrong_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_an_engine_of_integers_has_no_exponents_and_every_other_kind(core):
    """Its names stand in for it: those of the other engine but the parts that scan."""
    without = [p for p in core.places() if not short(p).startswith(("scanner.", "exponents."))]
    assert set(places_by_kind(without)) == {kind for kind in KINDS if not kind.fp32}
    with pytest.raises(LookupError, match="belongs to exponents: "):
        places_by_kind([p for p in core.places() if not short(p).startswith("exponents.")])
