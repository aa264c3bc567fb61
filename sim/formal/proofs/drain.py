"""Drain control: buckets that cannot overflow, drains that visit each once, a sequencer that ends.

The lane is proved at the default engine's full size, and again at a small one for planted bugs; the
sequencer for a small array, its counters at their full widths.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Cat, Mux, Signal, signed

from dpnet.gateware.array.lane import Lane
from dpnet.gateware.core.sequencer import Sequencer
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.widths import drain_row
from dpnet.sim.formal.harness import Harness, implies
from dpnet.sim.formal.proof import Proof

FULL = EngineParameters()
SMALL = EngineParameters(
    stages=2,
    columns=2,
    segments=1,
    index_bits=2,
    activation_bits=4,
    entry_bits=4,
    max_columns=4,
    index_depth=16,
    slots=4,
    result_slots=4,
    vector_words=8,
    layers=4,
    bank=2,
    row_beats=2,
)
OPEN_TILES = 200
"""Tiles on their way through the array at once, which it keeps far below: a tile is done within
`array_cycles` of its first beat."""


def bucket(*, engine: EngineParameters, only: str | None = None) -> Harness:
    """One bucket of a lane against the true sum of what a tile added to it, at most `max_columns`
    values between two drains of it."""
    dut = Lane(buckets=engine.buckets, activation_bits=engine.activation_bits, bits=engine.sum_bits)
    h = Harness(dut, only=only)
    h.drive(dut.index, dut.x, dut.add, dut.chain)
    h.assume(implies(dut.add, dut.chain == 0) & implies(~dut.add, dut.x == 0))
    watched = h.constant(range(engine.buckets), "watched")
    held = Signal(signed(engine.sum_bits))
    h.m.d.comb += held.eq(h.word("mem", watched))
    added, at_drain = Signal(signed(48)), Signal(signed(engine.sum_bits))
    count = Signal(range(engine.max_columns + 1))
    here = dut.index == watched
    h.assume(implies(here & dut.add & (dut.x != 0), count < engine.max_columns))
    with h.m.If(here & dut.add):
        h.m.d.sync += [added.eq(added + dut.x), count.eq(count + (dut.x != 0))]
    with h.m.Elif(here):
        h.m.d.sync += [added.eq(0), count.eq(0), at_drain.eq(held)]
    least = -(1 << engine.activation_bits - 1)
    h.invariant(
        "sum",
        (added >= least * count) & (added <= (-least - 1) * count) & (count <= engine.max_columns),
    )
    h.invariant("modulo", (held - at_drain)[: engine.sum_bits] == added[: engine.sum_bits])
    gain = Signal(signed(engine.sum_bits))
    h.m.d.comb += gain.eq(held - at_drain)
    h.prove("no_bucket_overflows", gain == added)
    drained = h.past(here & ~dut.add)
    shown = Signal(signed(engine.sum_bits))
    h.m.d.comb += shown.eq(h.past(held) + h.past(dut.chain).as_signed())
    h.prove("a_drain_shows_the_bucket", implies(drained, dut.o == shown))
    h.prove("a_drain_leaves_the_bucket", implies(drained, held == h.past(held).as_signed()))
    h.prove("silent_while_adding", implies(h.past(dut.add), dut.o == 0))
    h.cover("the_most_negative_sum", (added == least * engine.max_columns) & (count != 0))
    return h


class Run:
    """A sequencer with its surroundings: any well-formed descriptors, an array that gives as many
    results as tiles ask for, each some time later, and a copier, a scan and a link that answer."""

    def __init__(self, engine: EngineParameters, only: str | None) -> None:
        self.engine = engine
        self.dut = dut = Sequencer(engine=engine)
        self.h = h = Harness(dut, only=only)
        self.at, self.layer = h.state(), dut.layer
        h.drive(
            dut.start,
            dut.first,
            dut.last,
            dut.last_vector,
            dut.released,
            dut.layer_data,
            dut.settled,
            dut.nonfinite,
            dut.sigma,
            dut.result_done,
            dut.copied,
        )
        h.assume(implies(dut.start, ~dut.busy))
        read = dut.layer.shape()(dut.layer_data)
        h.assume(_well_formed(read, engine))
        self.per_tile = engine.stages * engine.bank_columns
        self.owed = Signal(16, name="owed")
        begins = h.inside("begin")
        h.m.d.sync += self.owed.eq(self.owed + Mux(begins, self.per_tile, 0) - dut.result_done)
        h.assume(implies(dut.result_done, self.owed != 0))
        h.assume(implies(begins, self.owed <= OPEN_TILES * self.per_tile))


def _well_formed(layer: Any, engine: EngineParameters) -> Any:
    return (
        (layer.beats != 0)
        & (layer.tiles != 0)
        & (layer.last_k < engine.buckets)
        & implies(layer.streams, layer.stream != 0)
    )


def sequencing(*, engine: EngineParameters, only: str | None = None) -> Harness:
    run = Run(engine, only)
    h, at, dut, layer = run.h, run.at, run.dut, run.layer
    command = dut.command
    beats, drained = Signal(17), Signal(9)
    h.m.d.sync += [
        beats.eq(Mux(command.drain | at("PREPARE"), 0, beats + command.beat)),
        drained.eq(Mux(command.drain, drained + 1, 0)),
    ]
    working = at("PREPARE", "READY", "BEATS", "DRAIN")
    _counters(run, beats, drained)
    h.prove(
        "buckets_in_order_each_once",
        implies(
            command.drain,
            (command.address == drain_row(engine) + drained)
            & (command.first == (drained == 0))
            & implies(
                at("DRAIN"), (drained <= layer.last_k) & (command.last == (drained == layer.last_k))
            ),
        ),
    )
    h.prove(
        "a_drain_is_whole",
        implies(
            h.past(command.drain) & ~command.drain,
            drained == Mux(h.past(at("DRAIN")), layer.last_k + 1, engine.buckets),
        ),
    )
    h.prove(
        "a_tile_is_drained_after_its_beats",
        implies(at("DRAIN") & (drained == 0), beats == layer.beats),
    )
    h.prove(
        "beats_and_drains_apart",
        ~(command.beat & command.drain) & implies(command.beat, beats < layer.beats),
    )
    whole = h.inside("open_tiles.open_tiles")
    h.prove(
        "as_many_results_as_tiles",
        run.owed + h.inside("open_tiles.results") == whole * run.per_tile,
    )
    _progress(run)
    h.cover("a_drain_ends", at("DRAIN") & command.last & (layer.last_k == 3))
    h.cover("a_run_ends", at("IDLE") & h.past(at("WAIT")))
    h.invariant("layer", implies(working | at("WAIT", "COPY"), _well_formed(layer, engine)))
    return h


def _counters(run: Run, beats: Any, drained: Any) -> None:
    h, at, layer, engine = run.h, run.at, run.layer, run.engine
    left, last, count = (h.inside(n) for n in ("left_beats", "last_beat", "count"))
    tiles = h.inside("left_tiles")
    h.invariant("fsm", at.legal)
    h.invariant(
        "beats",
        implies(
            at("BEATS"),
            (left != 0)
            & (left <= layer.beats)
            & (last == (left == 1))
            & (beats == layer.beats - left),
        ),
    )
    h.invariant(
        "beats_to_come",
        implies(at("READY", "DRAIN"), (left == layer.beats) & (last == (left == 1))),
    )
    h.invariant("no_beats_yet", implies(at("READY"), beats == 0))
    h.invariant(
        "drain",
        implies(
            at("DRAIN"),
            (count == drained)
            & (count <= layer.last_k)
            & (h.inside("drained") == (count == layer.last_k))
            & implies(count == 0, beats == layer.beats),
        ),
    )
    h.invariant(
        "flush",
        implies(
            at("FLUSH"),
            implies(count <= engine.buckets, drained == count) & (count <= engine.flush_cycles),
        ),
    )
    h.invariant(
        "others",
        implies(~at("DRAIN", "FLUSH"), implies(drained != 0, h.past(at("DRAIN", "FLUSH")))),
    )
    h.invariant(
        "idle",
        implies(at("BEATS") & h.past(at("BEATS")), drained == 0)
        & implies(at("IDLE"), (count == 0) | h.past(~at("IDLE"), init=0)),
    )
    h.invariant(
        "tiles", implies(at("READY", "BEATS", "DRAIN"), (tiles != 0) & (tiles <= layer.tiles))
    )
    for name, fact in (
        ("one_bucket", h.inside("times.one_bucket") == (layer.last_k == 0)),
        ("one_beat", h.inside("times.one_beat") == (layer.beats == 1)),
        ("before_last", h.inside("times.before_last") == (layer.last_k - 1)[:8]),
    ):
        h.invariant(name, implies(at("READY", "BEATS", "DRAIN"), fact))
    h.invariant("last_tile", implies(at("DRAIN"), h.inside("last_tile") == (tiles == 1)))
    h.invariant(
        "last_round",
        implies(
            at("DRAIN"),
            h.inside("last_round")
            == Mux(layer.streams, h.inside("releases.left") == 0, h.inside("vectors") == 0),
        ),
    )
    h.invariant("results", h.inside("open_tiles.results") < run.per_tile)
    tiles = h.inside("open_tiles.open_tiles")
    h.invariant("open", tiles <= OPEN_TILES + 1)
    # Where all that is open is forgotten, nothing is: no run is told to end here (`abort` is the
    # proof of those that are).
    h.invariant("never_ended", ~h.inside("aborted") & ~at("ABORT"))
    fresh = h.inside("fresh")
    h.invariant("fresh", implies(at("READY") & fresh, h.inside("due@elaborate")))
    h.invariant("not_fresh", implies(at("BEATS", "DRAIN"), ~fresh))
    before = at("IDLE", "FLUSH", "COPY", "DECODE", "PREPARE") | at("READY") & fresh
    h.invariant("nothing_open", implies(before, (tiles == 0) & (run.owed == 0)))
    for name, count in (("one", 1), ("none", 0)):
        said = h.inside(f"open_tiles.{name}")
        h.invariant(f"{name}_open", said == h.past(tiles == count))
        # Nothing begins while the end is waited for.
        h.invariant(f"{name}_at_the_end", implies(at("WAIT") & said, tiles <= count))


def _progress(run: Run) -> None:
    """Three measures that only become less: `rank` of a layer at each change of state, the steps of
    a state while it lasts, the layers of a run.  What may hold a step up is the surroundings: a
    scan that is on, a release, results, a copy."""
    h, at, layer = run.h, run.at, run.layer
    vectors, due = h.inside("vectors"), h.inside("due@elaborate")
    stream_left, tiles = h.inside("releases.left"), h.inside("left_tiles")
    phase = Mux(at("READY"), 2, at("BEATS"))
    stream_phase = Mux(at("BEATS"), 2, at("DRAIN"))
    rank = Signal(32)
    h.m.d.comb += rank.eq(
        Mux(
            layer.streams,
            Cat(stream_phase[:2], stream_left),
            Cat(phase[:2], tiles, (2 * vectors - due)[:11]),
        )
    )
    inside = at("READY", "BEATS", "DRAIN")
    stays = run.at.signal == h.past(run.at.signal)
    h.invariant("vectors_to_come", implies(at("READY") & due & ~layer.streams, vectors != 0))
    h.invariant("due_in_ready_only", implies(at("BEATS", "DRAIN"), ~due))
    h.invariant("stream_to_come", implies(at("READY") & layer.streams, stream_left != 0))
    h.prove(
        "every_tile_leads_on",
        implies(
            inside & h.past(inside) & ~(stays & ~h.past(at("DRAIN")) & ~at("DRAIN")),
            (rank < h.past(rank)) | (stays & (rank == h.past(rank))),
        ),
    )
    left, count = h.inside("left_beats"), h.inside("count")
    h.prove(
        "beats_and_drains_go_on",
        implies(stays & at("BEATS"), left < h.past(left))
        & implies(stays & at("DRAIN"), (count > h.past(count)) | (rank < h.past(rank))),
    )
    h.invariant("launched", implies(run.dut.launched, at("BEATS")))
    gap, pace = h.inside("left_gap"), h.inside("pace.pace")
    scan, settle = h.inside("scan_rows.left"), h.inside("scan_rows.settle")
    # A row of the scan sets `settle` again: rows weigh more than all that it is set to.
    scanning = Mux(scan != 0, 8 * scan + 32, 2 * settle)
    measure = (
        gap + scanning + 2 * pace + h.inside("pace.wait") + ~h.inside("scan_rows.scanned").bool()
    )
    steps = Signal(20)
    h.m.d.comb += steps.eq(measure)
    waits = ~h.inside("releases.free")
    h.prove(
        "ready_goes_on_when_released",
        implies(stays & at("READY"), (steps < h.past(steps)) | h.past(waits)),
    )
    done = Signal(3)
    h.m.d.sync += done.eq(Mux(at("WAIT") & (run.owed == 0), done + ~done.all(), 0))
    h.invariant("none_is_seen", implies(done != 0, h.inside("open_tiles.none") | ~at("WAIT")))
    h.prove("a_wait_ends_with_the_last_result", implies(at("WAIT"), done <= 2))
    number, following, final = (h.inside(n) for n in ("number", "following", "final"))
    h.invariant("following", implies(~at("IDLE", "FLUSH"), following == (number + 1)[:8]))
    to_come = (final - number)[:8]
    h.prove(
        "layers_come_to_an_end",
        implies(at("DECODE") & h.past(at("WAIT", "COPY")), to_come < h.past(to_come)),
    )
    h.prove("a_copy_ends_when_copied", implies(h.past(at("COPY") & run.dut.copied), ~at("COPY")))


PROOFS = (
    Proof(
        "lane-4",
        "lane for 4 values of 4 bits: no bucket overflows, drains are exact",
        partial(bucket, engine=SMALL),
        1,
        8,
    ),
    Proof(
        "lane",
        f"lane for {FULL.max_columns} values of {FULL.activation_bits} bits: the same",
        partial(bucket, engine=FULL),
        1,
        like="lane-4",
    ),
    Proof(
        "drain",
        "sequencer: every bucket drained once, no deadlock",
        partial(sequencing, engine=SMALL),
        1,
        40,
    ),
)
