"""Runs of the core: what writing the registers START, ABORT, RELEASE and VECTORS does."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.registers import BY_NAME, MAX_VECTORS, REGISTERS, Status

OFFSET_BITS = (4 * len(REGISTERS) - 1).bit_length()


class RunControl(wiring.Component):
    """Carries out a WRITE of one of these registers, in the cycle of `write`.

    Members: `write` with `offset` (bytes) and `word`; `status` of it, combinational; `valid`,
    whether there is an image to run; `busy` of the core; `start` with `first` and `last`,
    `last_vector`, `released` and `abort`, see `dpnet.gateware.parts.bus.CoreSignature`; the
    registers `run`, `vectors`, and `aborted`, whether the last run was told to end; `half`, of a
    map engine's pictures and results that the last run was started on.
    """

    write: In(1)
    offset: In(OFFSET_BITS)
    word: In(32)
    status: Out(Status)
    valid: In(1)
    busy: In(1)
    start: Out(1)
    first: Out(8)
    last: Out(8)
    last_vector: Out(8)
    released: Out(16)
    abort: Out(1)
    run: Out(16)
    vectors: Out(range(MAX_VECTORS + 1), init=1)
    aborted: Out(1)
    half: Out(1)

    def elaborate(self, platform):
        m = Module()
        released = Signal(16)
        m.d.comb += [self.last_vector.eq(self.vectors - 1), self.released.eq(released)]
        with m.If(self.write), m.Switch(self.offset):
            with m.Case(BY_NAME["VECTORS"].offset):
                self._set_vectors(m)
            with m.Case(BY_NAME["RELEASE"].offset):
                self._release(m, released)
            with m.Case(BY_NAME["START"].offset):
                self._start(m, released)
            with m.Case(BY_NAME["ABORT"].offset):
                self._abort(m)
        return m

    def _fields(self, name):
        """What the word puts into the fields of a register."""
        return (
            self.word[field.offset : field.offset + field.bits] for field in BY_NAME[name].fields
        )

    def _set_vectors(self, m):
        with m.If((self.word == 0) | (self.word > MAX_VECTORS)):
            m.d.comb += self.status.eq(Status.BAD_VALUE)
        with m.Else():
            m.d.sync += self.vectors.eq(self.word)

    def _release(self, m, released):
        run, tiles = self._fields("RELEASE")
        with m.If(run != self.run):
            m.d.comb += self.status.eq(Status.STALE)
        with m.Elif(tiles > released):
            m.d.sync += released.eq(tiles)

    def _start(self, m, released):
        run, first, last = self._fields("START")
        m.d.comb += [self.first.eq(first), self.last.eq(last)]
        with m.If(~self.valid):
            m.d.comb += self.status.eq(Status.NOT_VALID)
        with m.Elif(run != self.run):
            with m.If(self.busy):
                m.d.comb += self.status.eq(Status.BUSY)
            with m.Else():
                m.d.comb += [self.start.eq(1), self.released.eq(0)]
                m.d.sync += [self.run.eq(run), released.eq(0), self.aborted.eq(0)]
                m.d.sync += self.half.eq(self.last_vector)

    def _abort(self, m):
        """One that comes again, or late, finds its run over, or another one."""
        (run,) = self._fields("ABORT")
        with m.If(run != self.run):
            m.d.comb += self.status.eq(Status.STALE)
        with m.Elif(self.busy):
            m.d.comb += self.abort.eq(1)
            m.d.sync += self.aborted.eq(1)
