"""The engine's end of the link: requests carried out, responses given."""

from amaranth import C, Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.link.checker import StoreChecker
from dpnet.gateware.link.history import TxidHistory
from dpnet.gateware.link.image import ImageRecord
from dpnet.gateware.link.imagecheck import ImageCheck
from dpnet.gateware.link.receiver import PAYLOAD_WORDS, FrameReceiver
from dpnet.gateware.link.registerfile import RegisterFile
from dpnet.gateware.link.responder import Responder
from dpnet.gateware.link.runs import OFFSET_BITS, RunControl
from dpnet.gateware.link.steps import (
    Parts,
    accept_steps,
    check_steps,
    respond_steps,
    write_steps,
)
from dpnet.gateware.link.verdict import Verdict
from dpnet.gateware.link.walk import RangeWalk
from dpnet.gateware.parts.bus import ERRORS, CoreSignature
from dpnet.gateware.parts.tally import Tally
from dpnet.gateware.registers import (
    FIRST,
    HELLO_BYTES,
    VERSION,
    Operation,
    Status,
)


class Endpoint(wiring.Component):
    """Requests on a byte stream, carried out one after the other on a core and its stores.

    What they mean is in `dpnet.gateware.registers`.  Every good request has one response, in order.
    A byte of a request a cycle: a WRITE of 256 bytes takes fewer cycles than its bytes.  A start, a
    COMMIT and a WRITE that are repeated change nothing and are answered alike.

    While there is a valid image, no run, and no request, the image is read back at a word a cycle
    and compared with its CRC-32, over and over; a request waits at most `BUS_LATENCY` + 1 cycles
    for it.  An image that changed is valid no more.

    Parameters: `identity`, the values of the constant registers by name
    (`dpnet.gateware.registers.identity`); `words`, how many the stores of each region have
    (`dpnet.model.engine.stores.store_words`); `halves`, see `dpnet.gateware.link.verdict.Verdict`.
    Members: `i`, request bytes; `o`, response bytes; `core`, see
    `dpnet.gateware.parts.bus.CoreSignature`; `active`, there is a request, or its answer is on the
    way.
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    core: Out(CoreSignature())
    active: Out(1)

    def __init__(self, *, identity, words, halves=None):
        self.identity = dict(identity)
        self.words = dict(words)
        self.halves = halves
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        status, position = Signal(Status), Signal(range(PAYLOAD_WORDS + 1))
        wanted, asked = Signal(32), Signal()
        x = Parts(
            receiver=FrameReceiver(),
            verdict=Verdict(words=self.words, halves=self.halves),
            history=TxidHistory(),
            checker=StoreChecker(),
            image_check=ImageCheck(),
            image=ImageRecord(),
            runs=RunControl(),
            walk=RangeWalk(words=self.words),
            registers=RegisterFile(identity=self.identity),
            tally=Tally(),
            words=fifo.SyncFIFOBuffered(width=32, depth=PAYLOAD_WORDS),
            responder=Responder(),
            status=status,
            position=position,
            wanted=wanted,
            asked=asked,
        )
        for name, part in vars(x).items():
            if isinstance(part, Elaboratable):
                m.submodules[name] = part
        wiring.connect(m, wiring.flipped(self.i), x.receiver.i)
        wiring.connect(m, x.responder.o, wiring.flipped(self.o))
        wiring.connect(m, x.words.r_stream, x.responder.words)
        _connect_runs(m, x, self.core)
        _connect_registers(m, x, self.core)
        _connect_response(m, x)
        _connect_words(m, x, self.core.bus)
        with m.FSM() as states:
            accept_steps(m, x, self.core)
            write_steps(m, x, self.core.bus)
            check_steps(m, x)
            respond_steps(m, x, self.core.bus)
        idle = states.ongoing("IDLE") & ~x.receiver.valid & x.responder.header.ready
        m.d.comb += self.active.eq(~idle)
        return m


def _connect_runs(m, x, core):
    m.d.comb += [
        x.runs.offset.eq(x.request.offset[:OFFSET_BITS]),
        x.runs.word.eq(x.receiver.word),
        x.runs.valid.eq(x.image.valid),
        x.runs.busy.eq(core.busy),
        x.verdict.header.eq(x.request),
        x.verdict.state.eq(x.image.state),
        x.verdict.epoch.eq(x.image.epoch),
        x.verdict.busy.eq(core.busy),
        x.verdict.half.eq(x.runs.half),
    ]
    for name in ("start", "first", "last", "last_vector", "released", "abort"):
        m.d.comb += getattr(core, name).eq(getattr(x.runs, name))


def _connect_registers(m, x, core):
    """What the registers show, by their names, and what is counted for them."""
    image, runs, tally = x.image, x.runs, x.tally
    shown = {
        "boot_nonce": tally.boot_nonce,
        "epoch": image.epoch,
        "status": Cat(image.state, core.busy, image.changed, runs.aborted, C(0, 3), tally.sticky),
        "image_crc": image.crc,
        "image_words": image.words,
        "run": runs.run,
        "cycles_lo": core.cycles[:32],
        "cycles_hi": core.cycles[32:],
        "tiles": core.tiles_done,
        "stalled": core.stalled,
        "checks": tally.checks,
        "image_errors": tally.image_errors,
        "frame_errors": tally.frame_errors,
        "rejected": tally.rejections,
        **dict(zip(ERRORS, tally.counts, strict=True)),
        "vectors": runs.vectors,
        "release": Cat(runs.run, runs.released),
    }
    m.d.comb += [getattr(x.registers, name).eq(value) for name, value in shown.items()]
    m.d.comb += [
        tally.dropped.eq(x.receiver.dropped),
        tally.started.eq(core.start),
        tally.errors.eq(core.errors),
    ]


def _connect_response(m, x):
    request, response = x.request, x.responder.header.payload
    m.d.comb += [
        response.operation.eq(request.operation),
        response.version.eq(VERSION),
        response.response.eq(1),
        response.txid.eq(request.txid),
        response.epoch.eq(x.image.epoch),
        response.flags.eq(x.status),
        response.offset.eq(x.history.bitmap),
        x.history.txid.eq(request.txid),
        x.history.forget.eq((request.flags & FIRST) != 0),
    ]
    with m.If(x.status == Status.OK), m.Switch(request.operation):
        with m.Case(Operation.READ):
            m.d.comb += response.length.eq(request.length)
        with m.Case(Operation.CHECK):
            m.d.comb += response.length.eq(4)
        with m.Case(Operation.HELLO):
            m.d.comb += response.length.eq(HELLO_BYTES)


def _connect_words(m, x, bus):
    """Words that come back: from the bus, or a register a cycle after it was asked for."""
    request, checker, image_check, walk = x.request, x.checker, x.image_check, x.walk
    m.d.sync += x.asked.eq(0)
    m.d.comb += [
        x.receiver.address.eq(Mux(walk.active, walk.position, x.position)),
        x.registers.index.eq(request.offset[2:] + x.position),
        walk.image.eq(x.committing),
        walk.length.eq(request.length[2:]),
        walk.word.eq(x.receiver.word),
        walk.busy.eq(checker.busy),
        checker.start.eq(walk.start),
        checker.address.eq(walk.address),
        checker.count.eq(walk.count),
        checker.r_valid.eq(bus.r_valid),
        checker.r_data.eq(bus.r_data),
        checker.image_clear.eq(image_check.again | ~image_check.valid),
        checker.image_word.eq(image_check.word),
        image_check.valid.eq(x.image.valid),
        image_check.note.eq(walk.start & x.committing),
        image_check.span.address.eq(walk.address),
        image_check.span.count.eq(walk.count),
        image_check.r_valid.eq(bus.r_valid),
        x.words.w_en.eq(x.asked | (bus.r_valid & ~checker.busy & ~image_check.pending)),
        x.words.w_data.eq(Mux(x.asked, x.registers.value, bus.r_data)),
        bus.read.eq(checker.read),
        bus.address.eq(checker.read_address),
        bus.w_data.eq(x.receiver.word),
    ]
