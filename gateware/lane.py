"""One lane: a bucket memory, an adder, and write-back in the same cycle at the same address."""

from amaranth.hdl import Module, Mux, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out


class Lane(wiring.Component):
    """Adds `x` to bucket `index`, one weight per cycle, whatever the indices are.

    In a cycle with `drain` the bucket at `index` goes to `o` (registered, so it shows in the next
    cycle) and becomes `x`, which whoever drains keeps at 0.  In all other cycles the next `o` is 0,
    so that the outputs of lanes that drain in turn may be ORed.  The lane always writes: an idle
    cycle is `x` = 0.

    Parameters: `buckets` (a power of two), `activation_bits` (signed `x`), `bucket_bits` (signed
    `o`; no overflow while at most 2^(bucket_bits - activation_bits) inputs are added between two
    drains).
    """

    def __init__(self, *, buckets, activation_bits, bucket_bits):
        if buckets < 2 or buckets & (buckets - 1):
            raise ValueError(f"buckets must be a power of two of at least 2, not {buckets!r}")
        if bucket_bits < activation_bits:
            raise ValueError(
                f"bucket_bits must be at least {activation_bits}, not {bucket_bits!r}"
            )
        self.buckets = buckets
        self.activation_bits = activation_bits
        self.bucket_bits = bucket_bits
        super().__init__({
            "index": In(range(buckets)),
            "x": In(signed(activation_bits)),
            "drain": In(1),
            "o": Out(signed(bucket_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.mem = mem = memory.Memory(
            shape=signed(self.bucket_bits), depth=self.buckets, init=[]
        )
        read = mem.read_port(domain="comb")
        write = mem.write_port()
        # Gating before the adder costs no LUT (it shares the adder's); after it, 29 (Yosys, xc7).
        kept = Mux(self.drain, 0, read.data)
        m.d.comb += [
            read.addr.eq(self.index),
            write.addr.eq(self.index),
            write.en.eq(1),
            write.data.eq(kept + self.x),
        ]
        m.d.sync += self.o.eq(Mux(self.drain, read.data, 0))
        return m
