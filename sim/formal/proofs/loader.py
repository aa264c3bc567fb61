"""The endpoint: BEGIN, WRITE, COMMIT; valid only after a good COMMIT; nothing beyond the stores."""

from __future__ import annotations

from amaranth.hdl import Array, Mux, Signal

from dpnet.gateware.link.receiver import PAYLOAD_WORDS
from dpnet.gateware.parts.bus import BUS_LATENCY
from dpnet.gateware.registers import (
    BY_NAME,
    HELLO_BYTES,
    MAX_RANGES,
    REGION_SHIFT,
    REGISTERS,
    VERSION,
    Operation,
    Region,
    State,
    Status,
)
from dpnet.sim.formal.harness import Harness, implies
from dpnet.sim.formal.proof import Proof
from dpnet.sim.formal.proofs.endpoint import Loader, words_in
from dpnet.sim.formal.proofs.fifo import level_invariants


def loading(**options: str | None) -> Harness:
    loader = Loader(**options)
    _invariants(loader)
    _reading(loader)
    _summing(loader)
    _properties(loader)
    return loader.h


def _invariants(x: Loader) -> None:
    """What the states stand for: the request that brought the endpoint there, and the place."""
    h, at, request, position, length = x.h, x.at, x.request, x.position, x.words_asked
    is_ok = x.status == Status.OK
    h.invariant("fsm", at.legal)
    h.invariant("state", (x.state <= State.VALID) & ((x.state == State.EMPTY) == (x.epoch == 0)))
    h.invariant("request", implies(~at("IDLE"), x.receiver.valid))
    h.invariant("examine", implies(at("EXAMINE"), position == 0))
    h.invariant(
        "write",
        implies(
            at("WRITE"),
            is_ok
            & x.span
            & (request.operation == Operation.WRITE)
            & (request.version == VERSION)
            & (position >= 1)
            & (position <= length),
        ),
    )
    written = Array([register.access in ("write", "command") for register in REGISTERS])
    h.invariant(
        "write_register",
        implies(
            at("WRITE") & x.in_registers,
            (length == 1) & (x.low < 4 * len(REGISTERS)) & written[x.low[2:9]],
        ),
    )
    h.invariant("write_image", implies(at("WRITE") & x.in_image, x.may_write_image))
    h.invariant("write_others", implies(at("WRITE") & ~x.in_registers & ~x.streamed, ~x.core.busy))
    h.invariant(
        "begin", implies(at("BEGIN"), (request.operation == Operation.BEGIN) & (request.epoch != 0))
    )
    summing = at("WALK")
    h.invariant("walks", x.walks.legal & (summing == ~x.walks("IDLE")))
    h.invariant(
        "commit",
        implies(
            at("COMMIT") | summing & x.committing,
            x.own
            & (request.length[:3] == 4)
            & (x.ranges >= 1)
            & (x.ranges <= MAX_RANGES)
            & (request.version == VERSION)
            & x.committing
            & is_ok,
        ),
    )
    h.invariant(
        "commit_word",
        implies(at("COMMIT"), (position == 1) & (x.asked_for == 0) & (x.state != State.EMPTY)),
    )
    h.invariant(
        "check",
        implies(
            summing & ~x.committing,
            (request.length == 8) & is_ok & (request.operation == Operation.CHECK) & ~x.core.busy,
        ),
    )
    h.invariant("responds", implies(at("READ", "DRAIN", "ANSWER"), is_ok))
    greets = request.operation == Operation.HELLO
    h.invariant(
        "hello",
        implies(
            (at("RESPOND") & is_ok | at("ANSWER")) & greets,
            (request.length == HELLO_BYTES) & (position == 0) & (x.asked_for == 0),
        ),
    )
    h.invariant("read", implies(at("READ"), (position < length)))
    h.invariant(
        "reads",
        implies(
            at("READ", "DRAIN") | at("RESPOND") & is_ok & (request.operation == Operation.READ),
            x.span,
        ),
    )
    h.invariant("read_operation", implies(at("READ", "DRAIN"), request.operation == Operation.READ))
    checks = request.operation == Operation.CHECK
    h.invariant("answer", implies(at("ANSWER"), (checks & (request.length == 8)) | greets))
    h.invariant(
        "respond",
        implies(
            at("RESPOND") & is_ok & (request.operation == Operation.CHECK), request.length == 8
        ),
    )


def _reading(x: Loader) -> None:
    """Where every word is that was asked for and has not reached the responder."""
    h, at, words = x.h, x.at, x.words
    level_invariants(h, "words", PAYLOAD_WORDS)
    answers, asked = h.inside("image_check.answers"), h.inside("asked")
    level = h.inside("words.inner_level")
    h.invariant("words_flow", implies(level >= 2, words.r_rdy))
    to_ask = Mux(at("READ"), x.words_asked - x.position, at("ANSWER"))
    reading = at("READ", "DRAIN")
    here = Mux(reading, x.in_flight, 0)
    h.invariant("words_owed", x.owed == words.level + here + asked + to_ask)
    h.invariant("responder", (x.owed <= PAYLOAD_WORDS) & implies(x.idle, x.owed == 0))
    h.invariant("asked", implies(asked, reading & x.in_registers))
    h.invariant("flight_to_the_check", implies(at("IDLE"), answers == x.in_flight))
    h.invariant("pending_while_idle", implies(answers != 0, at("IDLE")))
    h.invariant("pending_while_valid", implies(answers != 0, x.state == State.VALID))
    h.invariant(
        "flight_to_the_checker",
        implies(
            x.walks("SUM"), x.in_flight == (h.inside("checker.wait") - h.inside("checker.ask"))
        ),
    )
    h.invariant(
        "flight_ends", implies(~(at("IDLE", "READ", "DRAIN") | x.walks("SUM")), x.flight == 0)
    )
    h.invariant("registers_do_not_fly", implies(reading & x.in_registers, x.flight == 0))
    h.invariant(
        "checker_idle",
        implies(~x.walks("SUM"), (h.inside("checker.wait") == 0) & (h.inside("checker.ask") == 0)),
    )
    h.invariant("checker", h.inside("checker.ask") <= h.inside("checker.wait"))


def _summing(x: Loader) -> None:
    """COMMIT and CHECK: how far through the ranges."""
    h, at, length, started = x.h, x.walks, x.words_asked, x.started
    position, count = x.walk.position, h.inside("image_check.count")
    first = Mux(x.committing, 2, 1)
    summing = ~at("IDLE")
    c = x.committing
    h.invariant("before", implies(x.at("EXAMINE", "COMMIT"), position == first))
    h.invariant(
        "at_address", implies(at("ADDRESS"), (x.asked_for == position - 1) & (position < length))
    )
    h.invariant(
        "at_count", implies(at("COUNT"), (x.asked_for == position - 1) & (position <= length))
    )
    h.invariant("at_sum", implies(at("SUM"), position <= length))
    h.invariant(
        "check_places",
        implies(
            ~c,
            implies(at("ADDRESS"), position == first)
            & implies(at("COUNT", "SUM"), position == first + 1),
        ),
    )
    h.invariant(
        "commit_places",
        implies(
            c,
            implies(at("ADDRESS"), position == 2 + 2 * started)
            & implies(at("COUNT"), position == 3 + 2 * started)
            & implies(at("SUM"), position == 1 + 2 * started)
            & implies(at("SUMMED"), length == 1 + 2 * started),
        ),
    )
    h.invariant(
        "commit_state",
        implies(
            summing & c,
            (x.state == State.LOADING)
            & (h.inside("wanted") == x.first_word)
            & (started <= x.ranges),
        ),
    )
    h.invariant("noted", implies(summing & c, count == started))
    h.invariant("valid_has_ranges", implies(x.state == State.VALID, count != 0))
    h.invariant(
        "watched_address",
        implies(at("COUNT") & c & (started == x.watched), h.inside("walk.address") == x.pair[0]),
    )


def _properties(x: Loader) -> None:
    h, at, bus, core = x.h, x.at, x.bus, x.core
    becomes_valid = (x.state == State.VALID) & h.past(x.state != State.VALID, init=0)
    commits = x.walks("SUMMED") & x.committing & x.own & (x.status == Status.OK)
    good = commits & (x.started == x.ranges) & (x.checker.crc == x.first_word)
    h.prove("valid_only_after_a_good_commit", implies(becomes_valid, h.past(good)))
    h.prove(
        "a_good_commit_makes_valid",
        implies(
            h.past(good),
            (x.state == State.VALID) & (x.image.crc == h.past(x.first_word)),
        ),
    )
    region, first = x.checker.address[REGION_SHIFT - 2 :], x.checker.address[: REGION_SHIFT - 2]
    last = Mux(x.committing, Region.IMAGE_LAST, Region.MAPS)
    h.prove(
        "ranges_as_named_and_inside_the_stores",
        implies(
            x.checker.start,
            (region >= Region.IMAGE_FIRST)
            & (region <= last)
            & (x.checker.count != 0)
            & (first + x.checker.count <= words_in(region))
            & implies(
                x.committing & (x.started == x.watched),
                (h.inside("walk.address") == x.pair[0]) & (x.receiver.word == x.pair[1]),
            ),
        ),
    )
    h.prove("no_run_without_a_valid_image", implies(core.start, (x.state == State.VALID)))
    h.prove("no_run_beside_another", implies(core.start, ~core.busy))
    h.prove(
        "only_the_run_that_is_named_is_ended",
        implies(
            core.abort,
            at("WRITE")
            & x.in_registers
            & (x.low == BY_NAME["ABORT"].offset)
            & (x.receiver.word[:16] == x.runs.run)
            & core.busy,
        ),
    )
    h.prove(
        "a_hello_is_given_back",
        implies(
            x.words.w_en & (x.request.operation == Operation.HELLO),
            x.words.w_data == x.first_word,
        ),
    )
    low = bus.address[: REGION_SHIFT - 2]
    first = x.low[2:]
    h.prove(
        "no_write_outside_the_request",
        implies(
            bus.write,
            at("WRITE")
            & (bus.address[REGION_SHIFT - 2 :] == x.region)
            & (low >= first)
            & (low < first + x.words_asked)
            & (low < words_in(x.region))
            & ~x.in_registers,
        ),
    )
    h.prove("image_written_only_while_it_may", implies(bus.write & x.in_image, x.may_write_image))
    h.prove("no_write_beside_a_run", implies(bus.write & core.busy, x.streamed))
    h.prove("response_words_never_overflow", implies(x.words.w_en, x.words.w_rdy))
    new = x.epoch != h.past(x.epoch)
    h.prove(
        "another_epoch_is_not_valid",
        implies(new, (x.state == State.LOADING) & (x.image.crc == 0)),
    )
    _progress(x)
    h.cover("a_commit_makes_valid", becomes_valid)
    h.cover("an_image_word_written", bus.write & x.in_image)
    h.cover("a_commit_fails", at("RESPOND") & (x.status == Status.CHECK_FAILED))
    h.cover("a_run_starts", core.start)


def _progress(x: Loader) -> None:
    """Every step but a wait makes `rank` less, so no request takes for ever: the waits are for the
    responder, for the store checker, and for answers to the image check."""
    h, at, position = x.h, x.at, x.position
    left, to_walk = Signal(9), Signal(9)
    h.m.d.comb += [left.eq(x.words_asked - position), to_walk.eq(x.words_asked - x.walk.position)]
    step = Mux(x.walks("ADDRESS"), 3, Mux(x.walks("COUNT"), 6, 5))
    rank = Signal(12)
    ranks = {
        "EXAMINE": 1200,
        "COMMIT": 1100,
        "BEGIN": 1100,
        "WRITE": 400 + left,
        "WALK": Mux(x.walks("SUMMED"), 399, 400 + 4 * to_walk + step),
        "RESPOND": 300,
        "READ": 100 + left,
        "ANSWER": 50,
        "DRAIN": 50,
        "DONE": 10,
        "IDLE": 0,
    }
    for name in at.names:
        with h.m.If(at(name)):
            h.m.d.comb += rank.eq(ranks[name])
    waits = (at("RESPOND", "DRAIN") & ~x.idle) | (x.walks("SUM") & x.checker.busy)
    h.prove("every_step_leads_on", h.past(at("IDLE") | waits, init=1) | (rank < h.past(rank)))
    waited = Signal(4)
    waiting = at("IDLE") & x.receiver.valid
    h.m.d.sync += waited.eq(Mux(waiting, waited + ~waited.all(), 0))
    for n in range(1, BUS_LATENCY + 1):
        h.invariant(f"no_reads_for_{n}", implies(waited >= n, ~x.flight[:n].any()))
    h.invariant(
        "accepted_when_nothing_flies",
        implies(waiting & (waited == BUS_LATENCY + 1), ~x.image_check.complete),
    )
    h.prove(
        "a_request_waits_for_the_image_check_at_most", implies(waiting, waited <= BUS_LATENCY + 1)
    )
    responded = Signal()
    h.m.d.sync += responded.eq((responded | x.answered) & ~x.receiver.done)
    h.invariant("responded", responded == at("READ", "ANSWER", "DRAIN", "DONE"))
    h.prove(
        "one_response_for_every_request",
        implies(x.receiver.done, responded) & implies(x.answered, ~responded),
    )


PROOFS = (
    Proof("loader", "endpoint: BEGIN, WRITE, COMMIT, runs, and the stores' map", loading, 1, 30),
)
