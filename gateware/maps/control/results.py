"""The banks of results."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.emit import place
from dpnet.gateware.maps.control.writer import BankWriteLayout
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.model.engine.parameters import ceil_log2

WORD_BYTES = 4


class ResultBanks(wiring.Component):
    """A bank of `result_depth` bytes for each cluster, written by bytes and read by words.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `write`, `In(BankWriteLayout(ceil_log2(result_depth))).array(clusters)`: a byte for each bank.
    * `link_read`, `In(1)`: the link reads.
    * `link_address`, `In(ceil_log2(result_depth) - 2)`: the word.
    * `link_pick`, `In(clusters)`: the bank that it is in.
    * `link_word`, `Out(32)`: that word, 3 cycles later; 0 of none.
    * `corrupt`, `Out(1)`: strobes if it had a wrong parity.
    """

    def __init__(self, *, params):
        self.params = params
        bits = ceil_log2(params.result_depth)
        super().__init__(
            {
                "write": In(BankWriteLayout(bits)).array(params.clusters),
                "link_read": In(1),
                "link_address": In(bits - 2),
                "link_pick": In(params.clusters),
                "link_word": Out(32),
                "corrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word, corrupt = 0, 0
        depth = self.params.result_depth // WORD_BYTES
        for b, write in enumerate(self.write):
            bank = place(m, CheckedRam(width=32, depth=depth, granularity=8), f"bank_{b}")
            m.d.comb += [
                bank.w_address.eq(write.address[2:]),
                bank.w_data.eq(write.byte),
                bank.w_enable.eq(write.enable << write.address[:2]),
                bank.r_address.eq(self.link_address),
                bank.r_use.eq(self.link_read & self.link_pick[b]),
                bank.r_hide.eq((~self.link_pick[b]).replicate(WORD_BYTES)),
            ]
            word, corrupt = word | bank.late, corrupt | bank.corrupt
        m.d.sync += self.link_word.eq(word)
        m.d.comb += self.corrupt.eq(corrupt)
        return m
