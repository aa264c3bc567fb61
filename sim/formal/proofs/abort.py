"""The sequencer's way out of a run: told to end, it does, whatever its descriptor says."""

from __future__ import annotations

from functools import partial

from dpnet.gateware.core.sequencer import Sequencer
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.formal.harness import Harness, implies
from dpnet.sim.formal.proof import Proof
from dpnet.sim.formal.proofs.drain import SMALL

RUNNING = ("DECODE", "PREPARE", "READY", "BEATS", "DRAIN", "WAIT", "COPY")


def ending(*, engine: EngineParameters, only: str | None = None) -> Harness:
    """Any descriptor, any answers from the array: results may stay away for ever."""
    dut = Sequencer(engine=engine)
    h = Harness(dut, only=only)
    h.drive(
        dut.start,
        dut.first,
        dut.last,
        dut.last_vector,
        dut.abort,
        dut.released,
        dut.layer_data,
        dut.settled,
        dut.nonfinite,
        dut.sigma,
        dut.result_done,
        dut.copied,
    )
    h.assume(implies(dut.start, ~dut.busy))
    at, count, aborted = h.state(), h.inside("count"), h.inside("aborted")
    told = h.past(dut.abort & at(*RUNNING))
    h.invariant("fsm", at.legal)
    h.invariant("waits", implies(at("ABORT", "FLUSH"), count <= engine.flush_cycles))
    h.prove("a_run_remembers_that_it_is_told", implies(told & ~at("ABORT", "IDLE"), aborted))
    h.prove(
        "what_is_told_goes_to_the_end",
        implies(
            h.past(aborted & at(*RUNNING)),
            at("ABORT") | (at("COPY") & h.past(at("COPY") & ~dut.copied)),
        ),
    )
    h.prove(
        "silent_while_all_leaves",
        implies(at("ABORT"), ~dut.command.beat & ~dut.command.drain & ~dut.copy & dut.busy),
    )
    h.prove(
        "then_every_bucket_is_drained",
        implies(h.past(at("ABORT")), at("ABORT") | (at("FLUSH") & (count == 0))),
    )
    stays = at.signal == h.past(at.signal)
    h.prove(
        "the_end_comes",
        implies(at("ABORT", "FLUSH") & stays, count == h.past(count) + 1)
        & implies(h.past(at("FLUSH")), at("FLUSH", "IDLE"))
        & implies(h.past(at("ABORT", "FLUSH")) & (h.past(count) == engine.flush_cycles), ~stays),
    )
    h.prove(
        "nothing_is_open_afterwards",
        implies(
            h.past(at("ABORT", "FLUSH")),
            (h.inside("open_tiles.open_tiles") == 0)
            & (h.inside("open_tiles.results") == 0)
            & (h.inside("scan_rows.left") == 0),
        ),
    )
    h.prove("ready_for_the_next", implies(h.past(at("IDLE")), ~aborted))
    h.cover("an_abort_ends", at("IDLE") & aborted & h.past(at("FLUSH")))
    h.cover("in_the_middle_of_a_drain", at("ABORT") & h.past(at("DRAIN")))
    return h


PROOFS = (
    Proof(
        "abort",
        "sequencer: a run that is told to end ends, whatever its layers say",
        partial(ending, engine=SMALL),
        1,
        100,
    ),
)
