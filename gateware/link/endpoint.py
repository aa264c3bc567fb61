"""The engine's end of the link: requests carried out, responses given."""

from amaranth import Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.link.checker import StoreChecker
from dpnet.gateware.link.history import TxidHistory
from dpnet.gateware.link.imagecheck import ImageCheck
from dpnet.gateware.link.receiver import PAYLOAD_WORDS, FrameReceiver
from dpnet.gateware.link.registerfile import RegisterFile
from dpnet.gateware.link.responder import Responder
from dpnet.gateware.link.verdict import Verdict
from dpnet.gateware.parts.bus import CoreSignature
from dpnet.gateware.registers import (
    BY_NAME,
    FIRST,
    MAX_VECTORS,
    REGION_SHIFT,
    RESPONSE,
    VERSION,
    Operation,
    Region,
    State,
    Status,
)

REGION_WORDS = 1 << (REGION_SHIFT - 2)


class Endpoint(wiring.Component):
    """Requests on a byte stream, carried out one after the other on a core and its stores.

    What they mean is in `dpnet.gateware.registers`.  Every good request has one response, in order.
     A byte of a request a cycle: a WRITE of 256 bytes takes fewer cycles than its bytes.  A start,
     a
    COMMIT and a WRITE that are repeated change nothing and are answered alike.

    While there is a valid image, no run, and no request, the image is read back at a word a cycle
    and compared with its CRC-32, over and over; a request waits at most `BUS_LATENCY` + 1 cycles
    for it.  An image that changed is valid no more.

    Parameters: `identity`, the values of the registers `dpnet.gateware.registers.IDENTITY` by name.
    Members: `i`, request bytes; `o`, response bytes; `core`, see
    `dpnet.gateware.parts.bus.CoreSignature`.
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    core: Out(CoreSignature())

    def __init__(self, *, identity):
        self.identity = dict(identity)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = self._receiver = FrameReceiver()
        m.submodules.verdict = self._verdict = Verdict()
        m.submodules.history = self._history = TxidHistory()
        m.submodules.checker = self._checker = StoreChecker()
        m.submodules.image_check = self._image_check = ImageCheck()
        m.submodules.registers = self._registers = RegisterFile(identity=self.identity)
        m.submodules.words = self._words = fifo.SyncFIFOBuffered(width=32, depth=PAYLOAD_WORDS)
        m.submodules.responder = self._responder = Responder()
        wiring.connect(m, wiring.flipped(self.i), self._receiver.i)
        wiring.connect(m, self._responder.o, wiring.flipped(self.o))
        wiring.connect(m, self._words.r_stream, self._responder.words)

        self._state = Signal(State)
        self._epoch, self._run = Signal(8), Signal(16)
        self._vectors = Signal(range(MAX_VECTORS + 1), init=1)
        self._released = Signal(16)
        self._image_crc, self._image_words = Signal(32), Signal(32)
        self._changed = Signal()
        self._status = Signal(Status)
        # The next payload word to fetch, or the next word to ask for; `word` is the one before.
        self._position = Signal(range(PAYLOAD_WORDS + 1))
        self._asked = Signal()
        self._connect_state(m)
        self._connect_response(m)
        self._connect_words(m)
        with m.FSM():
            self._accept_states(m)
            self._write_states(m)
            self._check_states(m)
            self._respond_states(m)
        return m

    def _connect_state(self, m):
        registers, verdict, core = self._registers, self._verdict, self.core
        m.d.comb += [
            registers.image_state.eq(self._state),
            registers.image_crc.eq(self._image_crc),
            registers.image_words.eq(self._image_words),
            registers.epoch.eq(self._epoch),
            registers.run.eq(self._run),
            registers.vectors.eq(self._vectors),
            core.last_vector.eq(self._vectors - 1),
            registers.changed.eq(self._changed),
            registers.released.eq(self._released),
            core.released.eq(self._released),
            registers.started.eq(core.start),
            registers.dropped.eq(self._receiver.dropped),
            registers.busy.eq(core.busy),
            registers.cycles.eq(core.cycles),
            registers.tiles_done.eq(core.tiles_done),
            registers.stalled.eq(core.stalled),
            registers.errors.eq(core.errors),
            verdict.header.eq(self._receiver.header),
            verdict.state.eq(self._state),
            verdict.epoch.eq(self._epoch),
            verdict.busy.eq(core.busy),
        ]

    def _connect_response(self, m):
        request, response = self._receiver.header, self._responder.header.payload
        m.d.comb += [
            response.operation.eq(request.operation | RESPONSE),
            response.version.eq(VERSION),
            response.txid.eq(request.txid),
            response.epoch.eq(self._epoch),
            response.flags.eq(self._status),
            response.offset.eq(self._history.bitmap),
            self._history.txid.eq(request.txid),
            self._history.forget.eq((request.flags & FIRST) != 0),
        ]
        with m.If(self._status == Status.OK), m.Switch(request.operation):
            with m.Case(Operation.READ):
                m.d.comb += response.length.eq(request.length)
            with m.Case(Operation.CHECK):
                m.d.comb += response.length.eq(4)

    def _connect_words(self, m):
        """Words that come back: from the bus, or a register a cycle after it was asked for."""
        request, bus, checker = self._receiver.header, self.core.bus, self._checker
        registers, words, image_check = self._registers, self._words, self._image_check
        m.d.sync += self._asked.eq(0)
        m.d.comb += [
            self._receiver.address.eq(self._position),
            registers.index.eq(request.offset[2:] + self._position),
            checker.r_valid.eq(bus.r_valid),
            checker.r_data.eq(bus.r_data),
            checker.image_clear.eq(image_check.again | ~image_check.valid),
            checker.image_word.eq(image_check.word),
            image_check.valid.eq(self._state == State.VALID),
            image_check.r_valid.eq(bus.r_valid),
            words.w_en.eq(self._asked | (bus.r_valid & ~checker.busy & ~image_check.pending)),
            words.w_data.eq(Mux(self._asked, registers.value, bus.r_data)),
            bus.read.eq(checker.read),
            bus.address.eq(checker.read_address),
            bus.w_data.eq(self._receiver.word),
        ]

    def _accept_states(self, m):
        request, core, image_check = self._receiver.header, self.core, self._image_check
        with m.State("IDLE"):
            m.d.sync += self._position.eq(0)
            m.d.comb += [
                self._checker.clear.eq(1),
                image_check.go.eq(~self._receiver.valid & ~core.busy),
                core.bus.read.eq(image_check.read),
                core.bus.address.eq(image_check.read_address),
            ]
            with m.If(image_check.complete):
                self._judge_image(m)
            # A run or another reader of the stores starts when all answers are in.
            with m.Elif(self._receiver.valid & ~image_check.pending):
                m.d.comb += [self._history.examine.eq(1), self._registers.frame.eq(1)]
                m.next = "EXAMINE"
        with m.State("EXAMINE"):
            m.d.sync += [self._status.eq(self._verdict.status), self._position.eq(1)]
            m.next = "RESPOND"
            with m.If(self._verdict.status == Status.OK), m.Switch(request.operation):
                with m.Case(Operation.WRITE):
                    m.next = "WRITE"
                with m.Case(Operation.BEGIN):
                    m.next = "BEGIN"
                with m.Case(Operation.COMMIT):
                    m.next = "COMMIT"
                with m.Case(Operation.CHECK):
                    m.next = "ADDRESS"

    def _judge_image(self, m):
        differs = self._checker.image_crc != self._image_crc
        m.d.comb += [
            self._image_check.again.eq(1),
            self._registers.checked.eq(1),
            self._registers.differs.eq(differs),
        ]
        with m.If(differs):
            # LOADING, so that a load of the same image sends only what changed.
            m.d.sync += [self._state.eq(State.LOADING), self._changed.eq(1)]
            m.d.sync += [self._image_crc.eq(0), self._image_words.eq(0)]

    def _write_states(self, m):
        request, bus, position = self._receiver.header, self.core.bus, self._position
        with m.State("WRITE"):
            with m.If(request.offset[REGION_SHIFT:] == Region.REGISTERS):
                with m.Switch(request.offset[:REGION_SHIFT]):
                    with m.Case(BY_NAME["START"].offset):
                        self._start(m)
                    with m.Case(BY_NAME["RELEASE"].offset):
                        self._release(m)
                    with m.Default():
                        self._set_vectors(m)
                m.next = "RESPOND"
            with m.Else():
                m.d.comb += [bus.write.eq(1), bus.address.eq(request.offset[2:] + position - 1)]
                m.d.sync += position.eq(position + 1)
                with m.If(position == request.length[2:]):
                    m.next = "RESPOND"
        with m.State("BEGIN"):
            with m.If((self._state == State.EMPTY) | (self._epoch != request.epoch)):
                m.d.sync += [self._state.eq(State.LOADING), self._epoch.eq(request.epoch)]
                m.d.sync += [self._image_crc.eq(0), self._image_words.eq(0), self._changed.eq(0)]
            m.next = "RESPOND"

    def _set_vectors(self, m):
        word = self._receiver.word
        with m.If((word == 0) | (word > MAX_VECTORS)):
            m.d.sync += self._status.eq(Status.BAD_VALUE)
        with m.Else():
            m.d.sync += self._vectors.eq(word)

    def _fields(self, name):
        """What the word of this request puts into the fields of a register."""
        word = self._receiver.word
        return (word[field.offset : field.offset + field.bits] for field in BY_NAME[name].fields)

    def _release(self, m):
        run, tiles = self._fields("RELEASE")
        with m.If(run != self._run):
            m.d.sync += self._status.eq(Status.STALE)
        with m.Elif(tiles > self._released):
            m.d.sync += self._released.eq(tiles)

    def _start(self, m):
        core = self.core
        run, first, last = self._fields("START")
        m.d.comb += [core.first.eq(first), core.last.eq(last)]
        with m.If(self._state != State.VALID):
            m.d.sync += self._status.eq(Status.NOT_VALID)
        with m.Elif(run != self._run):
            with m.If(core.busy):
                m.d.sync += self._status.eq(Status.BUSY)
            with m.Else():
                m.d.comb += [core.start.eq(1), core.released.eq(0)]
                m.d.sync += [self._run.eq(run), self._released.eq(0)]

    def _check_states(self, m):
        receiver, checker, position = self._receiver, self._checker, self._position
        committing = receiver.header.operation == Operation.COMMIT
        wanted, total, address = Signal(32), Signal(32), Signal(32)
        m.d.comb += [checker.address.eq(address), checker.count.eq(receiver.word)]
        image_check = self._image_check
        m.d.comb += [image_check.span.address.eq(address), image_check.span.count.eq(receiver.word)]
        with m.State("COMMIT"):
            m.d.sync += [wanted.eq(receiver.word), position.eq(2)]
            with m.If(self._state == State.VALID):
                with m.If(receiver.word != self._image_crc):
                    m.d.sync += self._status.eq(Status.STALE)
                m.next = "RESPOND"
            with m.Else():
                m.d.sync += total.eq(0)
                m.d.comb += image_check.forget.eq(1)
                m.next = "ADDRESS"
        with m.State("ADDRESS"):
            m.d.sync += [address.eq(receiver.word), position.eq(position + 1)]
            m.next = "COUNT"
        with m.State("COUNT"):
            region, low = address[REGION_SHIFT - 2 :], address[: REGION_SHIFT - 2]
            last = Mux(committing, Region.IMAGE_LAST, Region.RESULT)
            with m.If(
                (region < Region.IMAGE_FIRST)
                | (region > last)
                | (receiver.word == 0)
                | (low + receiver.word > REGION_WORDS)
            ):
                m.d.sync += self._status.eq(Status.BAD_ADDRESS)
                m.next = "RESPOND"
            with m.Else():
                m.d.comb += [checker.start.eq(1), image_check.note.eq(committing)]
                m.d.sync += total.eq(total + receiver.word)
                m.next = "SUM"
        with m.State("SUM"), m.If(~checker.busy):
            m.d.sync += position.eq(position + 1)
            m.next = "ADDRESS"
            with m.If(position == receiver.header.length[2:]):
                m.next = "SUMMED"
        with m.State("SUMMED"):
            with m.If(committing & (checker.crc == wanted)):
                m.d.sync += [self._state.eq(State.VALID), self._image_crc.eq(wanted)]
                m.d.sync += [self._image_words.eq(total), self._changed.eq(0)]
            with m.Elif(committing):
                m.d.sync += self._status.eq(Status.CHECK_FAILED)
            m.next = "RESPOND"

    def _respond_states(self, m):
        request, responder, bus = self._receiver.header, self._responder, self.core.bus
        position, words = self._position, self._words
        in_registers = request.offset[REGION_SHIFT:] == Region.REGISTERS
        good = self._status == Status.OK
        with m.State("RESPOND"):
            m.d.sync += position.eq(0)
            m.d.comb += responder.header.valid.eq(1)
            with m.If(responder.header.ready):
                m.d.comb += [self._history.accept.eq(good), self._registers.rejected.eq(~good)]
                m.next = "DONE"
                with m.If(good), m.Switch(request.operation):
                    with m.Case(Operation.READ):
                        m.next = "READ"
                    with m.Case(Operation.CHECK):
                        m.next = "CHECKED"
        with m.State("READ"):
            m.d.sync += [self._asked.eq(in_registers), position.eq(position + 1)]
            m.d.comb += [bus.read.eq(~in_registers), bus.address.eq(request.offset[2:] + position)]
            with m.If(position == request.length[2:] - 1):
                m.next = "DRAIN"
        with m.State("CHECKED"):
            m.d.comb += [words.w_en.eq(1), words.w_data.eq(self._checker.crc)]
            m.next = "DONE"
        # The next READ finds the words of this one gone, so that `words` never overflows.
        with m.State("DRAIN"), m.If(responder.header.ready):
            m.next = "DONE"
        with m.State("DONE"):
            m.d.comb += self._receiver.done.eq(1)
            m.next = "IDLE"
