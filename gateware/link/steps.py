"""The steps in which an endpoint carries out a request, and what they share."""

from dataclasses import dataclass

from amaranth import Mux, Signal
from amaranth.lib import fifo

from dpnet.gateware.link.checker import StoreChecker
from dpnet.gateware.link.history import TxidHistory
from dpnet.gateware.link.image import ImageRecord
from dpnet.gateware.link.imagecheck import ImageCheck
from dpnet.gateware.link.receiver import FrameReceiver
from dpnet.gateware.link.registerfile import RegisterFile
from dpnet.gateware.link.responder import Responder
from dpnet.gateware.link.runs import RunControl
from dpnet.gateware.link.verdict import Verdict
from dpnet.gateware.link.walk import RangeWalk
from dpnet.gateware.parts.tally import Tally
from dpnet.gateware.registers import REGION_SHIFT, Operation, Region, Status


@dataclass(frozen=True)
class Parts:
    """The parts of an endpoint, and what passes between the states of its machine: `status` of the
    request; `position`, the next payload word to fetch (the one before is in the receiver's `word`)
    or the next word to ask for; `wanted`, the CRC-32 that a COMMIT names; `asked`, that a register
    was asked for a cycle ago."""

    receiver: FrameReceiver
    verdict: Verdict
    history: TxidHistory
    checker: StoreChecker
    image_check: ImageCheck
    image: ImageRecord
    runs: RunControl
    walk: RangeWalk
    registers: RegisterFile
    tally: Tally
    words: fifo.SyncFIFOBuffered
    responder: Responder
    status: Signal
    position: Signal
    wanted: Signal
    asked: Signal

    @property
    def request(self):
        """The header of the request."""
        return self.receiver.header

    @property
    def in_registers(self):
        """Whether the request is for the registers."""
        return self.request.offset[REGION_SHIFT:] == Region.REGISTERS

    @property
    def committing(self):
        """Whether the request is a COMMIT."""
        return self.request.operation == Operation.COMMIT


def accept_steps(m, x, core):
    image_check, receiver = x.image_check, x.receiver
    with m.State("IDLE"):
        m.d.sync += x.position.eq(0)
        m.d.comb += [
            x.checker.clear.eq(1),
            image_check.go.eq(~receiver.valid & ~core.busy),
            core.bus.read.eq(image_check.read),
            core.bus.address.eq(image_check.read_address),
        ]
        with m.If(image_check.complete):
            differs = x.checker.image_crc != x.image.crc
            m.d.comb += [image_check.again.eq(1), x.image.lose.eq(differs)]
            m.d.comb += [x.tally.checked.eq(1), x.tally.differs.eq(differs)]
        # A run or another reader of the stores starts when all answers are in.
        with m.Elif(receiver.valid & ~image_check.pending):
            m.d.comb += [x.history.examine.eq(1), x.tally.frame.eq(1)]
            m.next = "EXAMINE"
    with m.State("EXAMINE"):
        m.d.sync += [x.status.eq(x.verdict.status), x.position.eq(1)]
        m.next = "RESPOND"
        with m.If(x.verdict.status == Status.OK), m.Switch(x.request.operation):
            with m.Case(Operation.WRITE):
                m.next = "WRITE"
            with m.Case(Operation.BEGIN):
                m.next = "BEGIN"
            with m.Case(Operation.COMMIT):
                m.next = "COMMIT"
            with m.Case(Operation.CHECK):
                m.d.comb += x.walk.go.eq(1)
                m.next = "WALK"
            with m.Case(Operation.HELLO):
                m.d.sync += x.position.eq(0)


def write_steps(m, x, bus):
    request, position = x.request, x.position
    with m.State("WRITE"):
        with m.If(x.in_registers):
            m.d.comb += x.runs.write.eq(1)
            m.d.sync += x.status.eq(x.runs.status)
            m.next = "RESPOND"
        with m.Else():
            m.d.comb += [bus.write.eq(1), bus.address.eq(request.offset[2:] + position - 1)]
            m.d.sync += position.eq(position + 1)
            with m.If(position == request.length[2:]):
                m.next = "RESPOND"
    m.d.comb += x.image.new_epoch.eq(request.epoch)
    with m.State("BEGIN"):
        m.d.comb += x.image.begin.eq(1)
        m.next = "RESPOND"


def check_steps(m, x):
    image, walk, word = x.image, x.walk, x.receiver.word
    m.d.comb += [image.new_crc.eq(x.wanted), image.new_words.eq(walk.total)]
    with m.State("COMMIT"):
        m.d.sync += x.wanted.eq(word)
        with m.If(image.valid):
            with m.If(word != image.crc):
                m.d.sync += x.status.eq(Status.STALE)
            m.next = "RESPOND"
        with m.Else():
            m.d.comb += [x.image_check.forget.eq(1), walk.go.eq(1)]
            m.next = "WALK"
    with m.State("WALK"), m.If(walk.done):
        with m.If(~walk.good):
            m.d.sync += x.status.eq(Status.BAD_ADDRESS)
        with m.Elif(x.committing):
            with m.If(x.checker.crc == x.wanted):
                m.d.comb += image.commit.eq(1)
            with m.Else():
                m.d.sync += x.status.eq(Status.CHECK_FAILED)
        m.next = "RESPOND"


def respond_steps(m, x, bus):
    request, responder, position, words = x.request, x.responder, x.position, x.words
    good = x.status == Status.OK
    with m.State("RESPOND"):
        m.d.sync += position.eq(0)
        m.d.comb += responder.header.valid.eq(1)
        with m.If(responder.header.ready):
            m.d.comb += [x.history.accept.eq(good), x.tally.rejected.eq(~good)]
            m.next = "DONE"
            with m.If(good), m.Switch(request.operation):
                with m.Case(Operation.READ):
                    m.next = "READ"
                with m.Case(Operation.CHECK, Operation.HELLO):
                    m.next = "ANSWER"
    with m.State("READ"):
        m.d.sync += [x.asked.eq(x.in_registers), position.eq(position + 1)]
        m.d.comb += [bus.read.eq(~x.in_registers), bus.address.eq(request.offset[2:] + position)]
        with m.If(position == request.length[2:] - 1):
            m.next = "DRAIN"
    with m.State("ANSWER"):
        is_check = request.operation == Operation.CHECK
        # Of a HELLO its first and only word.
        m.d.comb += words.w_en.eq(1)
        m.d.comb += words.w_data.eq(Mux(is_check, x.checker.crc, x.receiver.word))
        m.next = "DONE"
    # The next READ finds the words of this one gone, so that `words` never overflows.
    with m.State("DRAIN"), m.If(responder.header.ready):
        m.next = "DONE"
    with m.State("DONE"):
        m.d.comb += x.receiver.done.eq(1)
        m.next = "IDLE"
