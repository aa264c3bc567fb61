"""The endpoint under proof: its surroundings, and names for what its properties speak of.

The frame receiver is left out for what its own proofs say of it: a request stays, unchanged, until
`done`; so is the responder (see `Loader._answers`), the store checker's CRC stands for what its
proof says, and registers and history, which only go into responses, may give anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amaranth.hdl import Cat, Const, Mux, Signal

from dpnet.gateware.link import checker, endpoint
from dpnet.gateware.link.endpoint import Endpoint
from dpnet.gateware.link.history import TxidHistory
from dpnet.gateware.link.receiver import FrameReceiver
from dpnet.gateware.link.registerfile import RegisterFile
from dpnet.gateware.link.responder import Responder
from dpnet.gateware.parts.bus import BUS_LATENCY
from dpnet.gateware.registers import (
    BY_NAME,
    CONSTANTS,
    MAX_PAYLOAD,
    MAX_RANGES,
    REGION_SHIFT,
    REGISTERS,
    STREAM,
    VERSION,
    Operation,
    Region,
    State,
)
from dpnet.sim.formal.harness import COVERS, Harness, implies
from dpnet.sim.formal.stub import without

DEEP = ("valid_only_after_a_good_commit", "a_good_commit_makes_valid", "no_run_beside_another")
"""Properties that break only after a whole load."""

WORDS = {1: 9, 2: 1 << (REGION_SHIFT - 2), 4: 8, 5: 80, 6: 64}
"""Of every region's stores: few, all that a region may have, none at all."""


class Loader:
    """The endpoint with its surroundings, and names for what the properties speak of."""

    def __init__(self, only: str | None) -> None:
        left_out = FrameReceiver, TxidHistory, RegisterFile, Responder
        with without(endpoint, *left_out), any_crc() as following:
            self.dut = Endpoint(identity=dict.fromkeys(CONSTANTS, 1), words=WORDS)
            self.h = h = Harness(self.dut, only=only)
        h.drive(following)
        self.at, self.walks = h.state(), h.state("walk")
        self.image, self.runs, self.walk = map(h.component, ("image", "runs", "walk"))
        self.state, self.epoch = self.image.state, self.image.epoch
        self.status, self.position = h.inside("status"), h.inside("position")
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
        streams = (request.flags & STREAM).any()
        loading = self.own & (self.state == State.LOADING) & ~streams
        self.streamed = (
            self.own
            & (self.state == State.VALID)
            & streams
            & self.in_image
            & (self.region != Region.LAYERS)
        )
        self.may_write_image = loading | self.streamed
        self.span = (
            ~request.offset[:2].any()
            & ~request.length[:2].any()
            & (request.length != 0)
            & (request.length <= MAX_PAYLOAD)
            & (self.low + request.length <= words_in(self.region) << 2)
        )
        self.committing = request.operation == Operation.COMMIT
        self.ranges = request.length[3:]
        self.started = Signal(6, name="ranges_started")
        with self.h.m.If(self.at("EXAMINE", "COMMIT")):
            self.h.m.d.sync += self.started.eq(0)
        with self.h.m.Elif(self.checker.start):
            self.h.m.d.sync += self.started.eq(self.started + 1)


def words_in(region: Any) -> Any:
    """Words of the stores of a region; all registers of theirs."""
    found = Mux(region == Region.REGISTERS, len(REGISTERS), 0)
    for number, count in WORDS.items():
        found = Mux(region == number, count, found)
    return found


@contextmanager
def any_crc() -> Iterator[Any]:
    """The store checker's gates for a CRC left out: what comes after a word may be anything.
    Nothing is lost by that, as for any CRC there is a word that leads to it."""
    real, following = checker._after_a_word, Signal(32)
    checker._after_a_word = lambda mixed: following
    try:
        yield following
    finally:
        checker._after_a_word = real
