"""One lane: a bucket memory, an adder, and write-back in the same cycle at the same address."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.emit import place
from dpnet.model.engine.parameters import ceil_log2


class Lane(wiring.Component):
    """Adds `x` to bucket `index`, one weight per cycle, whatever the indices are.

    Buckets are never emptied: they count on modulo 2^`bits`, and the column takes the difference
    between two drains.  A cycle with `add` = 0 drains: the bucket at `index` stays as it is and
    shows in the next cycle.  An idle cycle adds `x` = 0.

    Parameters: `buckets` (a power of two), `activation_bits`, `bits` of a bucket, `adder`: "lut",
    or "dsp" for the multiplier and adder of a DSP slice; such a lane has no `chain` and is the
    first one of its row.

    Members:

    * `index`, `In(range(buckets))`: the bucket.
    * `x`, `In(signed(activation_bits))`: what is added; must be 0 in a drain.
    * `add`, `In(1)`: add; 0 drains.
    * `chain`, `In(signed(bits))`: what the lane before this one in the row drained; must be 0 while
      the lane adds.  Not with the adder "dsp".
    * `o`, `Out(signed(bits))`: in the cycle after a drain the bucket plus `chain`, else 0.
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
        super().__init__(
            {
                "index": In(range(buckets)),
                "x": In(signed(activation_bits)),
                "add": In(1),
                **({"chain": In(signed(bits))} if adder == "lut" else {}),
                "o": Out(signed(bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        total = Signal(signed(self.bits))
        bucket = self._memory(m, total)
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
            drained = bucket
        m.d.comb += total.eq(bucket + operand)
        o = Signal(signed(self.bits), reset_less=True)
        m.d.sync += o.eq(Mux(self.add, 0, drained))
        m.d.comb += self.o.eq(o)
        return m

    def _memory(self, m, total):
        """The bucket at `index`; `total` takes its place while `add` is set."""
        top = top_bits(self.buckets, self.bits)
        m.submodules.mem = mem = memory.Memory(shape=self.bits - top, depth=self.buckets, init=[])
        read, write = mem.read_port(domain="comb"), mem.write_port()
        m.d.comb += [
            read.addr.eq(self.index),
            write.addr.eq(self.index),
            # `add` as it is opens the memory and resets `o`: no LUT for an inverter.
            write.en.eq(self.add),
            write.data.eq(total),
        ]
        if not top:
            return read.data.as_signed()
        upper = place(m, TopBits(width=top, depth=self.buckets), "upper")
        m.d.comb += [
            upper.address.eq(self.index),
            upper.enable.eq(self.add),
            upper.i.eq(total[self.bits - top :]),
        ]
        return Cat(read.data, upper.o).as_signed()


def top_bits(buckets, bits):
    """Bits of a bucket that have a memory of their own (`TopBits`): those above a multiple of 8, if
    they are 1 to 3.  The chip's usual memory has 8 bits in 4 LUTs, this one a bit in each."""
    return bits % 8 if bits > 8 and 1 <= bits % 8 <= 3 and buckets <= 32 else 0


class TopBits(wiring.Component):
    """`depth` (at most 32) words of `width` bits, all 0 at first, with one address.

    Verilog, because Yosys knows no memory of a single port in LUTs: with `XC7` defined it is the
    chip's own primitive.

    Members:

    * `address`, `In(max(1, ceil_log2(depth)))`: the word, to be read and written.
    * `enable`, `In(1)`: the clock edge writes `i`.
    * `i`, `In(width)`: what is written.
    * `o`, `Out(width)`: the word at `address`, in the same cycle.
    """

    def __init__(self, *, width, depth):
        if depth > 32:
            raise ValueError(f"depth must be at most 32, not {depth!r}")
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "address": In(max(1, ceil_log2(depth))),
                "enable": In(1),
                "i": In(width),
                "o": Out(width),
            }
        )

    def verilog(self, name):
        """The module's text; `emit.place` calls it."""
        address, width = max(1, ceil_log2(self.depth)), self.width
        unused = "1'b0"
        pins = ", ".join(f".A{n}({f'address[{n}]' if n < address else unused})" for n in range(5))
        cells = "\n".join(
            f"  RAM32X1S ram_{n} (.WCLK(clk), .WE(enable), {pins}, .D(i[{n}]), .O(o[{n}]));"
            for n in range(width)
        )
        return f"""module {name}(clk, address, enable, i, o);
  input clk;
  input [{address - 1}:0] address;
  input enable;
  input [{width - 1}:0] i;
  output [{width - 1}:0] o;
`ifdef XC7
{cells}
`else
  reg [{width - 1}:0] mem [0:{self.depth - 1}];
  integer n;
  initial for (n = 0; n < {self.depth}; n = n + 1) mem[n] = 0;
  always @(posedge clk) begin
    if (enable) mem[address] <= i;
  end
  assign o = mem[address];
`endif
endmodule
"""
