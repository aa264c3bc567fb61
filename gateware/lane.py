"""One lane: a bucket memory, an adder, and write-back in the same cycle at the same address."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out


class Lane(wiring.Component):
    """Adds `x` to bucket `index`, one weight per cycle, whatever the indices are.

    Buckets are never emptied: they count on modulo 2^`bits`, and the column takes the difference
    between two drains.  A cycle with `add` = 0 drains: the bucket at `index` stays as it is, and
    `o` shows its sum with `chain`, what the lane before this one in the row drained, in the next
    cycle; after all other cycles `o` is 0.  `chain` must be 0 while the lane adds, and `x` while it
    drains.  An idle cycle adds `x` = 0.

    Parameters: `buckets` (a power of two), `activation_bits` (signed `x`), `bits` (signed bucket,
    `chain` and `o`), `adder`: "lut", or "dsp" for the multiplier and adder of a DSP slice; such a
    lane has no `chain` and is the first one of its row.
    """

    def __init__(self, *, buckets, activation_bits, bits, adder="lut"):
        if buckets < 2 or buckets & (buckets - 1):
            raise ValueError(f"buckets must be a power of two of at least 2, not {buckets!r}")
        if bits < activation_bits:
            raise ValueError(f"bits must be at least {activation_bits}, not {bits!r}")
        if adder not in ("lut", "dsp"):
            raise ValueError(f"adder must be 'lut' or 'dsp', not {adder!r}")
        self.buckets = buckets
        self.activation_bits = activation_bits
        self.bits = bits
        self.adder = adder
        super().__init__({
            "index": In(range(buckets)),
            "x": In(signed(activation_bits)),
            "add": In(1),
            **({"chain": In(signed(bits))} if adder == "lut" else {}),
            "o": Out(signed(bits)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.mem = mem = memory.Memory(
            shape=signed(self.bits), depth=self.buckets, init=[]
        )
        read = mem.read_port(domain="comb")
        write = mem.write_port()
        total = Signal(signed(self.bits))
        if self.adder == "lut":
            # One LUT a bit: the OR goes into the adder's own, and no gate stands before or after
            # it (as there would if drained buckets were emptied: 29 LUTs at 34 bits).  Yosys 0.70
            # finds this only if the name comes behind the memory's in the text; else 35 LUTs more.
            operand = Signal(signed(self.bits), name="x_or_chain")
            m.d.comb += operand.eq(self.x | self.chain)
            drained = total
        else:
            # The product with 0 or 1 is what makes synthesis take a whole DSP slice for the sum.
            keep = Signal(signed(2))
            m.d.comb += keep.eq(self.add)
            operand = self.x * keep
            drained = read.data
        m.d.comb += [
            total.eq(read.data + operand),
            read.addr.eq(self.index),
            write.addr.eq(self.index),
            # `add` as it is opens the memory and resets `o`: no LUT for an inverter.
            write.en.eq(self.add),
            write.data.eq(total),
        ]
        o = Signal(signed(self.bits), reset_less=True)
        m.d.sync += o.eq(Mux(self.add, 0, drained))
        m.d.comb += self.o.eq(o)
        return m
