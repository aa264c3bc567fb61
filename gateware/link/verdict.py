"""Whether a request may be carried out, as far as its header and the engine's state tell."""

from amaranth import C, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.link.receiver import HEADER
from dpnet.gateware.parts.reach import check_words, words_of
from dpnet.gateware.registers import (
    HELLO_BYTES,
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
from dpnet.model.engine.parameters import ceil_log2


class Verdict(wiring.Component):
    """Status of a request before it is carried out; combinational.

    OK may still turn into a worse one: a START without an image or while another run is on, a
    RELEASE or ABORT of another run, a number of vectors that no run takes, ranges that are none, a
    CRC that is wrong.

    During a run stores are neither read nor written, but by a streamed tile; in an engine of
    halves nothing is streamed, and the half of pictures that the run does not use may be written
    then, and that of results read.

    Parameters: `words`, how many the stores of each region have (regions left out: none);
    `halves`, those of a half of VECTOR and of RESULT in an engine that has such, else None; of
    VECTOR there may be copies behind each other, as far apart as the power of two that holds both
    halves.
    Members: `header` of the request; `state`, `epoch` and `busy` of the engine; `half` that its run
    uses; `status`.
    """

    header: In(HEADER)
    state: In(State)
    epoch: In(8)
    busy: In(1)
    half: In(1)
    status: Out(Status)

    def __init__(self, *, words, halves=None):
        self.words = check_words(words)
        self.halves = halves
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        header, own = self.header, Signal()
        # Epoch 0 is never that of an image: the engine has it only while EMPTY.
        m.d.comb += own.eq(header.epoch == self.epoch)
        with m.If(header.version != VERSION):
            self._refuse(m, Status.BAD_OPERATION)
        with m.Else(), m.Switch(header.operation):
            with m.Case(Operation.READ):
                with m.If(self._bad_span(m)):
                    self._refuse(m, Status.BAD_ADDRESS)
                with m.Elif(
                    (header.offset[REGION_SHIFT:] != Region.REGISTERS)
                    & self.busy
                    & ~self._other_half(Region.RESULT)
                ):
                    self._refuse(m, Status.BUSY)
            with m.Case(Operation.WRITE):
                self._judge_write(m, own)
            with m.Case(Operation.BEGIN):
                self._judge_begin(m, own)
            with m.Case(Operation.COMMIT):
                ranges = header.length[3:]
                with m.If((header.length[:3] != 4) | (ranges == 0) | (ranges > MAX_RANGES)):
                    self._refuse(m, Status.BAD_ADDRESS)
                with m.Elif(~own | (self.state == State.EMPTY)):
                    self._refuse(m, Status.STALE)
            with m.Case(Operation.CHECK):
                with m.If(header.length != 8):
                    self._refuse(m, Status.BAD_ADDRESS)
                with m.Elif(self.busy):
                    self._refuse(m, Status.BUSY)
            with m.Case(Operation.HELLO), m.If(header.length != HELLO_BYTES):
                self._refuse(m, Status.BAD_ADDRESS)
            with m.Default():
                self._refuse(m, Status.BAD_OPERATION)
        return m

    def _refuse(self, m, status):
        m.d.comb += self.status.eq(status)

    def _bad_span(self, m):
        """Whether it is not words, too many, or there is nothing at one of them."""
        offset, length = self.header.offset, self.header.length
        words = words_of(m, offset[REGION_SHIFT:], self.words, "words_there")
        return (
            offset[:2].any()
            | length[:2].any()
            | (length == 0)
            | (length > MAX_PAYLOAD)
            | (offset[2:REGION_SHIFT] + length[2:] > words)
        )

    def _other_half(self, region):
        """Whether it is of `region`, and of that half alone, of one copy, which the run does not
        use."""
        if self.halves is None:
            return C(0)
        header, words = self.header, self.halves[region]
        copy = ceil_log2(2 * words)
        first, count = header.offset[2 : 2 + copy], header.length[2:]
        here = header.offset[REGION_SHIFT:] == region
        end = first + count
        return here & Mux(self.half, end <= words, (first >= words) & (end <= 1 << copy))

    def _judge_write(self, m, own):
        header = self.header
        region, low = header.offset[REGION_SHIFT:], header.offset[:REGION_SHIFT]
        written, registers = Signal(), region == Region.REGISTERS
        for register in REGISTERS:
            if register.access in ("write", "command"):
                with m.If(low == register.offset):
                    m.d.comb += written.eq(1)
        image = (region >= Region.IMAGE_FIRST) & (region <= Region.IMAGE_LAST)
        streams = (header.flags & STREAM).any()
        loading = own & (self.state == State.LOADING) & ~streams
        # Descriptors never stream.
        streamed = own & (self.state == State.VALID) & streams & image & (region != Region.LAYERS)
        if self.halves is not None:
            streamed = C(0)
        free = streamed | self._other_half(Region.VECTOR)
        wrong = registers & (~written | (header.length != 4)) | (region == Region.MAPS)
        with m.If(self._bad_span(m) | wrong):
            self._refuse(m, Status.BAD_ADDRESS)
        with m.Elif(image & ~loading & ~streamed):
            self._refuse(m, Status.STALE)
        with m.Elif(~registers & self.busy & ~free):
            self._refuse(m, Status.BUSY)

    def _judge_begin(self, m, own):
        with m.If(self.header.length != 0):
            self._refuse(m, Status.BAD_ADDRESS)
        with m.Elif(self.header.epoch == 0):
            self._refuse(m, Status.STALE)
        # A late repetition for the valid image does nothing, so it may come at any time.
        with m.Elif(self.busy & ~(own & (self.state == State.VALID))):
            self._refuse(m, Status.BUSY)
