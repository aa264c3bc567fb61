"""Which requests were carried out: the bitmap of every response."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.registers import HISTORY


class TxidHistory(wiring.Component):
    """A window over the newest txid and the `HISTORY` before it, modulo 256.

    A txid at most `HISTORY` behind the newest is an old one and keeps the window; others move it.

    Members: `examine` for one cycle makes `txid` the one in question, after which `bitmap` has the
    bits of the txids before it (bit 0: txid - 1); with `forget` nothing older is known.  `accept`
    for one cycle, later, notes that it was carried out.
    """

    txid: In(8)
    examine: In(1)
    forget: In(1)
    accept: In(1)
    bitmap: Out(HISTORY)

    def elaborate(self, platform):
        m = Module()
        known = Signal(HISTORY + 1)  # bit k: newest - k was carried out
        newest = Signal(8)
        behind = Signal(8)
        ahead, back = Signal(8), Signal(8)
        m.d.comb += [ahead.eq(self.txid - newest), back.eq(newest - self.txid)]
        moved = Signal.like(known)
        m.d.comb += moved.eq(Mux(ahead <= HISTORY, known << ahead[:6], 0))
        with m.If(self.examine):
            with m.If(self.forget):
                m.d.sync += [known.eq(0), newest.eq(self.txid), behind.eq(0), self.bitmap.eq(0)]
            with m.Elif(back <= HISTORY):
                m.d.sync += [behind.eq(back), self.bitmap.eq((known >> back[:6]) >> 1)]
            with m.Else():
                m.d.sync += [
                    known.eq(moved),
                    newest.eq(self.txid),
                    behind.eq(0),
                    self.bitmap.eq(moved >> 1),
                ]
        with m.If(self.accept):
            m.d.sync += known.eq(known | (1 << behind[:6]))
        return m
