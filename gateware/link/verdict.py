"""Whether a request may be carried out, as far as its header and the engine's state tell."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.link.receiver import HEADER
from dpnet.gateware.registers import (
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


class Verdict(wiring.Component):
    """Status of a request before it is carried out; combinational.

    OK may still turn into a worse one: a START without an image or while another run is on, a
    RELEASE for another run, a number of vectors that no run takes, ranges that are none, a CRC that
    is wrong.

    Members: `header` of the request; `state`, `epoch` and `busy` of the engine; `status`.
    """

    header: In(HEADER)
    state: In(State)
    epoch: In(8)
    busy: In(1)
    status: Out(Status)

    def elaborate(self, platform):
        m = Module()
        header, self._own = self.header, Signal()
        # Epoch 0 is never that of an image: the engine has it only while EMPTY.
        m.d.comb += self._own.eq(header.epoch == self.epoch)
        region, low = header.offset[REGION_SHIFT:], header.offset[:REGION_SHIFT]
        registers = region == Region.REGISTERS
        written = Signal()
        for register in REGISTERS:
            if register.access in ("write", "start"):
                with m.If(low == register.offset):
                    m.d.comb += written.eq(1)
        with m.If(header.version != VERSION):
            self._refuse(m, Status.BAD_OPERATION)
        with m.Else(), m.Switch(header.operation):
            with m.Case(Operation.READ):
                beyond = registers & (low + header.length > 4 * len(REGISTERS))
                with m.If(self._bad_span() | beyond):
                    self._refuse(m, Status.BAD_ADDRESS)
                with m.Elif(~registers & self.busy):
                    self._refuse(m, Status.BUSY)
            with m.Case(Operation.WRITE):
                wrong = registers & (~written | (header.length != 4))
                image = (region >= Region.IMAGE_FIRST) & (region <= Region.IMAGE_LAST)
                loading = self._own & (self.state == State.LOADING)
                # Descriptors never stream.
                stream = (header.flags & STREAM).any() & (region != Region.LAYERS) & image
                streamed = self._own & (self.state == State.VALID) & stream
                with m.If(self._bad_span() | wrong):
                    self._refuse(m, Status.BAD_ADDRESS)
                with m.Elif(image & ~loading & ~streamed):
                    self._refuse(m, Status.STALE)
                with m.Elif(~registers & self.busy & ~streamed):
                    self._refuse(m, Status.BUSY)
            with m.Case(Operation.BEGIN):
                self._judge_begin(m)
            with m.Case(Operation.COMMIT):
                ranges = header.length[3:]
                with m.If((header.length[:3] != 4) | (ranges == 0) | (ranges > MAX_RANGES)):
                    self._refuse(m, Status.BAD_ADDRESS)
                with m.Elif(~self._own | (self.state == State.EMPTY)):
                    self._refuse(m, Status.STALE)
            with m.Case(Operation.CHECK):
                with m.If(header.length != 8):
                    self._refuse(m, Status.BAD_ADDRESS)
                with m.Elif(self.busy):
                    self._refuse(m, Status.BUSY)
            with m.Default():
                self._refuse(m, Status.BAD_OPERATION)
        return m

    def _refuse(self, m, status):
        m.d.comb += self.status.eq(status)

    def _bad_span(self):
        offset, length = self.header.offset, self.header.length
        return (
            offset[:2].any()
            | length[:2].any()
            | (length == 0)
            | (length > MAX_PAYLOAD)
            | (offset[:REGION_SHIFT] + length > 1 << REGION_SHIFT)
            | (offset[REGION_SHIFT:] > Region.RESULT)
        )

    def _judge_begin(self, m):
        with m.If(self.header.length != 0):
            self._refuse(m, Status.BAD_ADDRESS)
        with m.Elif(self.header.epoch == 0):
            self._refuse(m, Status.STALE)
        # A late repetition for the valid image does nothing, so it may come at any time.
        with m.Elif(self.busy & ~(self._own & (self.state == State.VALID))):
            self._refuse(m, Status.BUSY)
