"""The endpoint: BEGIN, WRITE, COMMIT; valid only after a good COMMIT; nothing outside the map.

The frame receiver is left out for what its own proofs say of it: a request stays, unchanged, until
`done`; so is the responder (see `Answers`), the store checker's CRC stands for what its proof says,
and registers and history, which only go into responses, may give anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amaranth.hdl import Array, Cat, Const, Mux, Signal

from dpnet.gateware.link import checker, endpoint
from dpnet.gateware.link.endpoint import Endpoint
from dpnet.gateware.link.history import TxidHistory
from dpnet.gateware.link.receiver import PAYLOAD_WORDS, FrameReceiver
from dpnet.gateware.link.registerfile import RegisterFile
from dpnet.gateware.link.responder import Responder
from dpnet.gateware.parts.bus import BUS_LATENCY
from dpnet.gateware.registers import (
    BY_NAME,
    IDENTITY,
    MAX_PAYLOAD,
    MAX_RANGES,
    REGION_SHIFT,
    REGISTERS,
    STREAM,
    VERSION,
    Operation,
    Region,
    State,
    Status,
)
from dpnet.sim.formal.harness import COVERS, Harness, implies
from dpnet.sim.formal.proof import Proof
from dpnet.sim.formal.proofs.fifo import level_invariants
from dpnet.sim.formal.stub import without

DEEP = ("valid_only_after_a_good_commit", "a_good_commit_makes_valid", "no_run_beside_another")
"""Properties that break only after a whole load."""

REGION_WORDS = 1 << (REGION_SHIFT - 2)


class Loader:
    """The endpoint with its surroundings, and names for what the properties speak of."""

    def __init__(self, only: str | None) -> None:
        left_out = FrameReceiver, TxidHistory, RegisterFile, Responder
        with without(endpoint, *left_out), _any_crc() as following:
            self.dut = Endpoint(identity=dict.fromkeys(IDENTITY, 1))
            self.h = h = Harness(self.dut, only=only)
        h.drive(following)
        self.at = h.state()
        self.state, self.epoch = h.inside("_state"), h.inside("_epoch")
        self.status, self.position = h.inside("_status"), h.inside("_position")
        self.receiver, self.request = h.component("receiver"), h.component("receiver").header
        self.checker, self.words = h.component("checker"), h.component("words")
        self.image_check = h.component("image_check")
        self.core, self.bus = self.dut.core, self.dut.core.bus
        h.drive(h.component("history").bitmap, h.component("registers").value)
        self._requests()
        self._stores()
        self._answers()
        self._names()
        self._hints()

    def _requests(self) -> None:
        """The receiver: any request, any payload.  `first_word`, and the `pair` of words of the
        range number `watched`, are looked at again; other words may be anything each time."""
        h, receiver = self.h, self.receiver
        h.drive(receiver.valid, receiver.header, receiver.dropped)
        self.first_word, self.pair = (
            h.free(32, "first_word"),
            (h.free(32, "range_address"), h.free(32, "range_count")),
        )
        self.watched = h.constant(range(MAX_RANGES), "watched_range")
        self.asked_for = h.past(receiver.address)
        kept = Cat(receiver.header.as_value(), self.first_word, *self.pair)
        held = h.past(receiver.valid & ~receiver.done)
        h.assume(~held | (receiver.valid & (kept == h.past(kept))))
        place = Cat(Const(0, 1), self.watched) + 1
        words = ((0, self.first_word), (place, self.pair[0]), (place + 1, self.pair[1]))
        word = h.free(32, "other_word")
        for number, value in words:
            word = Mux(self.asked_for == number, value, word)
        h.m.d.comb += receiver.word.eq(word)

    def _stores(self) -> None:
        """A core: reads are answered `BUS_LATENCY` cycles later; a run starts with `start` only
        (and after reset), and lasts as long as it likes."""
        h, core, bus = self.h, self.core, self.bus
        self.flight = Signal(BUS_LATENCY, name="flight")
        h.m.d.sync += self.flight.eq(Cat(bus.read, self.flight[:-1]))
        h.m.d.comb += bus.r_valid.eq(self.flight[-1])
        h.drive(bus.r_data, core.busy, core.cycles, core.tiles_done, core.stalled, core.errors)
        h.assume(implies(core.busy, h.past(core.busy | core.start, init=1)))
        h.assume(implies(h.past(core.start), core.busy))
        self.in_flight = sum(self.flight[n] for n in range(BUS_LATENCY))

    def _answers(self) -> None:
        """A responder: takes a header while idle, then as many words as that says, each when it
        likes, and some time after these is idle again."""
        h, responder = self.h, self.h.component("responder")
        self.idle, self.owed = Signal(init=1, name="idle"), Signal(7, name="owed")
        h.drive(responder.o.valid, responder.o.payload, self.dut.o.ready)
        self.rests = h.free(1, "rests")
        takes = h.free(1, "takes_a_word")
        h.m.d.comb += [
            responder.header.ready.eq(self.idle),
            responder.words.ready.eq(takes & (self.owed != 0)),
        ]
        self.answered = responder.header.valid & responder.header.ready
        with h.m.If(self.answered):
            h.m.d.sync += [self.idle.eq(0), self.owed.eq(responder.header.payload.length[2:9])]
        with h.m.Elif(responder.words.valid & responder.words.ready):
            h.m.d.sync += self.owed.eq(self.owed - 1)
        with h.m.Elif(self.rests & (self.owed == 0)):
            h.m.d.sync += self.idle.eq(1)

    def _hints(self) -> None:
        """Requests one after the other, of a short load and a run."""
        h, request = self.h, self.request
        load, words = 12, 4  # so many words keep a request waiting beyond the bound
        address = Region.IMAGE_FIRST << (REGION_SHIFT - 2)
        waiting = "a_request_waits_for_the_image_check_at_most"
        writes = request.operation == Operation.WRITE
        valid = self.state == State.VALID
        for fact in (
            implies(self.state == State.EMPTY, request.operation == Operation.BEGIN),
            implies(
                self.state == State.LOADING,
                writes | self.committing | (request.operation == Operation.BEGIN),
            ),
            implies(valid, writes | self.committing),
            request.offset
            == Mux(
                writes, Mux(valid, BY_NAME["START"].offset, Region.IMAGE_FIRST << REGION_SHIFT), 0
            ),
            request.version == VERSION,
            request.epoch == 1,
            request.flags == 0,
            request.length == Mux(request.operation == Operation.COMMIT, load, Mux(writes, 4, 0)),
            self.receiver.valid,
            self.rests,
            self.bus.r_data == 0,
            self.watched == 0,
            self.pair[0] == address,
            ~self.core.errors.any(),
            self.receiver.header.txid == 0,
        ):
            h.hint(fact, COVERS, *DEEP, waiting)
        h.hint(self.pair[1] == 1, COVERS, *DEEP)
        h.hint(self.pair[1] == words, waiting)

    def _names(self) -> None:
        request = self.request
        self.region, self.low = request.offset[REGION_SHIFT:], request.offset[:REGION_SHIFT]
        self.in_registers = self.region == Region.REGISTERS
        self.words_asked = request.length[2:]
        self.own = request.epoch == self.epoch
        self.in_image = (self.region >= Region.IMAGE_FIRST) & (self.region <= Region.IMAGE_LAST)
        loading = self.own & (self.state == State.LOADING)
        self.streamed = (
            self.own
            & (self.state == State.VALID)
            & (request.flags & STREAM).any()
            & self.in_image
            & (self.region != Region.LAYERS)
        )
        self.may_write_image = loading | self.streamed
        self.span = (
            ~request.offset[:2].any()
            & ~request.length[:2].any()
            & (request.length != 0)
            & (request.length <= MAX_PAYLOAD)
            & (self.region <= Region.RESULT)
            & (self.low + request.length <= 1 << REGION_SHIFT)
        )
        self.committing = request.operation == Operation.COMMIT
        self.ranges = request.length[3:]
        self.started = Signal(6, name="ranges_started")
        with self.h.m.If(self.at("COMMIT")):
            self.h.m.d.sync += self.started.eq(0)
        with self.h.m.Elif(self.checker.start):
            self.h.m.d.sync += self.started.eq(self.started + 1)


@contextmanager
def _any_crc() -> Iterator[Any]:
    """The store checker's gates for a CRC left out: what comes after a word may be anything.
    Nothing is lost by that, as for any CRC there is a word that leads to it."""
    real, following = checker._after_a_word, Signal(32)
    checker._after_a_word = lambda mixed: following
    try:
        yield following
    finally:
        checker._after_a_word = real


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
    written = Array([register.access in ("write", "start") for register in REGISTERS])
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
    summing = at("ADDRESS", "COUNT", "SUM", "SUMMED")
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
    h.invariant("responds", implies(at("READ", "DRAIN", "CHECKED"), is_ok))
    h.invariant("read", implies(at("READ"), (position < length)))
    h.invariant(
        "reads",
        implies(
            at("READ", "DRAIN") | at("RESPOND") & is_ok & (request.operation == Operation.READ),
            x.span & implies(x.in_registers, x.low + request.length <= 4 * len(REGISTERS)),
        ),
    )
    h.invariant("read_operation", implies(at("READ", "DRAIN"), request.operation == Operation.READ))
    h.invariant("checked", implies(at("CHECKED"), request.operation == Operation.CHECK))
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
    answers, asked = h.inside("image_check.answers"), h.inside("_asked")
    level = h.inside("words.inner_level")
    h.invariant("words_flow", implies(level >= 2, words.r_rdy))
    to_ask = Mux(at("READ"), x.words_asked - x.position, at("CHECKED"))
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
        implies(at("SUM"), x.in_flight == (h.inside("checker.wait") - h.inside("checker.ask"))),
    )
    h.invariant("flight_ends", implies(~at("IDLE", "SUM", "READ", "DRAIN"), x.flight == 0))
    h.invariant("registers_do_not_fly", implies(reading & x.in_registers, x.flight == 0))
    h.invariant(
        "checker_idle",
        implies(~at("SUM"), (h.inside("checker.wait") == 0) & (h.inside("checker.ask") == 0)),
    )
    h.invariant("checker", h.inside("checker.ask") <= h.inside("checker.wait"))


def _summing(x: Loader) -> None:
    """COMMIT and CHECK: how far through the ranges."""
    h, at, position, length, started = x.h, x.at, x.position, x.words_asked, x.started
    count = h.inside("image_check.count")
    first = Mux(x.committing, 2, 1)
    summing = at("ADDRESS", "COUNT", "SUM", "SUMMED")
    c = x.committing
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
        implies(at("COUNT") & c & (started == x.watched), h.inside("address") == x.pair[0]),
    )


def _properties(x: Loader) -> None:
    h, at, bus, core = x.h, x.at, x.bus, x.core
    becomes_valid = (x.state == State.VALID) & h.past(x.state != State.VALID, init=0)
    commits = at("SUMMED") & x.committing & x.own & (x.status == Status.OK)
    good = commits & (x.started == x.ranges) & (x.checker.crc == x.first_word)
    h.prove("valid_only_after_a_good_commit", implies(becomes_valid, h.past(good)))
    h.prove(
        "a_good_commit_makes_valid",
        implies(
            h.past(good),
            (x.state == State.VALID) & (h.inside("_image_crc") == h.past(x.first_word)),
        ),
    )
    inside = (x.checker.address[REGION_SHIFT - 2 :] >= Region.IMAGE_FIRST) & (
        x.checker.address[REGION_SHIFT - 2 :] <= Region.RESULT
    )
    h.prove(
        "ranges_as_named_and_inside_the_map",
        implies(
            x.checker.start,
            inside
            & (x.checker.count != 0)
            & (x.checker.address[: REGION_SHIFT - 2] + x.checker.count <= REGION_WORDS)
            & implies(
                x.committing & (x.started == x.watched),
                (h.inside("address") == x.pair[0]) & (x.receiver.word == x.pair[1]),
            ),
        ),
    )
    h.prove("no_run_without_a_valid_image", implies(core.start, (x.state == State.VALID)))
    h.prove("no_run_beside_another", implies(core.start, ~core.busy))
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
            & (x.region <= Region.RESULT)
            & ~x.in_registers,
        ),
    )
    h.prove("image_written_only_while_it_may", implies(bus.write & x.in_image, x.may_write_image))
    h.prove("no_write_beside_a_run", implies(bus.write & core.busy, x.streamed))
    h.prove("response_words_never_overflow", implies(x.words.w_en, x.words.w_rdy))
    new = x.epoch != h.past(x.epoch)
    h.prove(
        "another_epoch_is_not_valid",
        implies(new, (x.state == State.LOADING) & (h.inside("_image_crc") == 0)),
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
    left = Signal(9)
    h.m.d.comb += left.eq(x.words_asked - position)
    rank = Signal(12)
    ranks = {
        "EXAMINE": 1200,
        "COMMIT": 1100,
        "BEGIN": 1100,
        "WRITE": 400 + left,
        "ADDRESS": 400 + 4 * left + 3,
        "COUNT": 400 + 4 * left + 6,
        "SUM": 400 + 4 * left + 5,
        "SUMMED": 399,
        "RESPOND": 300,
        "READ": 100 + left,
        "CHECKED": 50,
        "DRAIN": 50,
        "DONE": 10,
        "IDLE": 0,
    }
    for name in at.names:
        with h.m.If(at(name)):
            h.m.d.comb += rank.eq(ranks[name])
    waits = (at("RESPOND", "DRAIN") & ~x.idle) | (at("SUM") & x.checker.busy)
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
    h.invariant("responded", responded == at("READ", "CHECKED", "DRAIN", "DONE"))
    h.prove(
        "one_response_for_every_request",
        implies(x.receiver.done, responded) & implies(x.answered, ~responded),
    )


PROOFS = (
    Proof("loader", "endpoint: BEGIN, WRITE, COMMIT, runs, and the stores' map", loading, 1, 30),
)
