"""One column: its lanes' buckets, one multiplier, the codebooks of its rows, the Σ-check."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gateware.adder_tree import AdderTree
from gateware.emit import place
from gateware.ram import Ram
from model.engine import ceil_log2


class Column(wiring.Component):
    """Σ over the buckets of entry · bucket, for one drained lane group after another.

    `bucket[g * segments + s]` is the output of the lane of stage g and segment s; all but the
    draining stage are 0.  Phases, counted from the cycle in which the buckets show:

    * 0: the stages are ORed;  1 to L: the segments are added (L = ceil(log2(segments)));
    * L + 1: `r_address` must name the entry of this bucket;
    * L + 2: entry and bucket enter the multiplier;  L + 4: the accumulator takes the product,
      afresh where `first` says so;  L + 5: `o` shows the sum up to and including this bucket.

    `first` belongs to phase L + 1 too and is delayed inside.  `mismatch` goes with `o`: the buckets
    so far do not add up to `expected` (the sum of the inputs, which must be steady in phase L + 2).

    Codebooks: `depth` entries of `entry_bits`; written through `w_*`; `r_data` shows the entry of
    the last cycle's `r_address` (the link reads it back while nothing drains).
    """

    def __init__(self, *, stages, segments, bucket_bits, sum_bits, entry_bits,
                 accumulator_bits, depth):  # fmt: skip
        self.stages = stages
        self.segments = segments
        self.bucket_bits = bucket_bits
        self.sum_bits = sum_bits
        self.entry_bits = entry_bits
        self.accumulator_bits = accumulator_bits
        self.depth = depth
        address = max(1, ceil_log2(depth))
        super().__init__({
            "bucket": In(signed(bucket_bits)).array(stages * segments),
            "first": In(1),
            "expected": In(signed(sum_bits)),
            "o": Out(signed(accumulator_bits)),
            "mismatch": Out(1),
            "w_address": In(address),
            "w_data": In(entry_bits),
            "w_enable": In(1),
            "r_address": In(address),
            "r_data": Out(entry_bits),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.tree = tree = AdderTree(inputs=self.segments, bits=self.bucket_bits)
        for s in range(self.segments):
            drained = 0
            for g in range(self.stages):
                drained = drained | self.bucket[g * self.segments + s].as_unsigned()
            m.d.sync += tree.i[s].eq(drained)
        book = place(m, Ram(width=self.entry_bits, depth=self.depth), "book")
        m.d.comb += [
            book.w_address.eq(self.w_address),
            book.w_data.eq(self.w_data),
            book.w_enable.eq(self.w_enable),
            book.r_address.eq(self.r_address),
            self.r_data.eq(book.r_data),
        ]
        # Registers before, between and after the multiplier are those of the DSP slice.
        bucket = Signal(signed(self.sum_bits))
        product = Signal(signed(self.sum_bits + self.entry_bits))
        product_out = Signal.like(product)
        first = Signal(3)
        m.d.sync += [
            bucket.eq(tree.o),
            first.eq(Cat(self.first, first)),
            product.eq(bucket * book.r_data.as_signed()),
            product_out.eq(product),
            self.o.eq(Mux(first[2], 0, self.o) + product_out),
        ]
        self._check(m, tree.o)
        return m

    def _check(self, m, bucket):
        """Every input enters exactly one bucket: Σ buckets = Σ inputs, row by row."""
        total = Signal(signed(self.sum_bits))
        wrong = Signal(2)
        m.d.sync += [
            total.eq(Mux(self.first, 0, total) + bucket),
            wrong.eq(Cat(total != self.expected, wrong)),
            self.mismatch.eq(wrong[1]),
        ]
