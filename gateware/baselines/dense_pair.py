"""Two rows of a dense tile: their weights, a DSP slice per segment, two adder trees."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array.adder_tree import AdderTree
from dpnet.gateware.baselines.dense_mac import FIELD, DenseMac
from dpnet.gateware.emit import place
from dpnet.gateware.parts.ram import Ram
from dpnet.model.engine.parameters import ceil_div, ceil_log2


class DensePair(wiring.Component):
    """Dot products of two rows with one vector, `segments` columns of both in every cycle.

    Phases, counted from the cycle in which `address` names a word of weights: 1: `x` has the
    activations of the same columns; `latency` - 1: `first` says that a sum starts with them;
    `latency` = 6 + ceil(log2 S): `o` has the sums up to and including them.

    A word of weights has, for each segment from the lowest bits on, the weights of rows 0 and 1.

    Parameters: `segments`, `acc_bits`, `depth` of the weight store.

    Members:

    * `address`, `In(max(1, ceil_log2(depth)))`: word of weights.
    * `x`, `In(signed(8)).array(segments)`: activations, in phase 1.
    * `first`, `In(1)`: a sum starts, in phase `latency` - 1.
    * `o`, `Out(signed(acc_bits)).array(2)`: the sums of both rows, in phase `latency`.
    * `w_address`, `In(max(1, ceil_log2(depth)))`: word of weights to be written.
    * `w_data`, `In(32)`: what is written.
    * `w_enable`, `In(words)`: the 32-bit words of it that `w_data` goes to.
    """

    def __init__(self, *, segments, acc_bits, depth):
        self.segments = segments
        self.acc_bits = acc_bits
        self.depth = depth
        self.latency = 2 + DenseMac.latency + ceil_log2(segments) + 1
        self.words = ceil_div(segments, 2)
        address = max(1, ceil_log2(depth))
        super().__init__(
            {
                "address": In(address),
                "x": In(signed(8)).array(segments),
                "first": In(1),
                "o": Out(signed(acc_bits)).array(2),
                "w_address": In(address),
                "w_data": In(32),
                "w_enable": In(self.words),
            }
        )

    def elaborate(self, platform):
        m = Module()
        store = place(m, Ram(width=32 * self.words, depth=self.depth, granularity=32), "weights")
        data = Signal(32)
        # Registers at the border: these signals go to every pair of the chip.
        m.d.sync += [
            store.r_address.eq(self.address),
            store.w_address.eq(self.w_address),
            store.w_enable.eq(self.w_enable),
            data.eq(self.w_data),
        ]
        m.d.comb += store.w_data.eq(Cat(*[data] * self.words))
        trees = [
            place(m, AdderTree(inputs=self.segments, bits=FIELD), f"tree_{row}") for row in range(2)
        ]
        for s in range(self.segments):
            mac = place(m, DenseMac(), f"mac_{s}")
            m.d.sync += mac.x.eq(self.x[s])
            for row in range(2):
                m.d.comb += [
                    mac.w[row].eq(store.r_data.word_select(2 * s + row, 8)),
                    trees[row].i[s].eq(mac.o[row]),
                ]
        for row in range(2):
            m.d.sync += self.o[row].eq(Mux(self.first, 0, self.o[row]) + trees[row].o)
        return m
