"""The indices of all streams: a store for each, and the lanes' indices out of its words."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.emit import place
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.gateware.parts.select import select
from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.parameters import ceil_log2

INDEX_BITS = 4
WORD_BITS = LANES * INDEX_BITS
HALVES = 2
"""32-bit words in a word of indices."""


class IndexStores(wiring.Component):
    """The store of each stream, and what a word of it means.

    A word has a nibble for each lane, lane 0 lowest: an index of 4 bits (`mode` 3), of two
    additions 2 bits each (`mode` 1), or of four additions a bit each (`mode` 0), the first one
    lowest.  `position` tells which of them; bits of the index above those are 0.

    The link reads while nothing is used.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `address`, `In(ceil_log2(params.stream_depth) or 1).array(streams)`: word of each store.
    * `use`, `In(streams)`: the stores whose word counts.
    * `mode`, `In(2)`: bits of an index - 1.
    * `position`, `In(2)`: number of the addition, modulo 4; of a 2-bit index modulo 2 counts.
    * `words`, `Out(64).array(streams)`: 3 cycles later, the lanes' indices, 4 bits each.
    * `corrupt`, `Out(1)`: strobes 4 cycles after a word of odd parity was used.
    * `w_address`, `In(ceil_log2(params.stream_depth) or 1)`: word to be written.
    * `w_data`, `In(32)`: what is written.
    * `w_enable`, `In(2 * streams)`: the 32-bit words that it goes to, those of stream 0 lowest.
    * `r_address`, `In(ceil_log2(params.stream_depth) or 1)`: word that the link reads.
    * `r_enable`, `In(1)`: the link reads; takes the read ports from the lanes.
    * `r_pick`, `In(2 * streams)`: the one 32-bit word to be shown.
    * `r_word`, `Out(32)`: that word, 3 cycles later; 0 if none.
    """

    def __init__(self, *, params):
        self.params = params
        address = ceil_log2(params.stream_depth) or 1
        super().__init__(
            {
                "address": In(address).array(params.streams),
                "use": In(params.streams),
                "mode": In(2),
                "position": In(2),
                "words": Out(WORD_BITS).array(params.streams),
                "corrupt": Out(1),
                "w_address": In(address),
                "w_data": In(32),
                "w_enable": In(HALVES * params.streams),
                "r_address": In(address),
                "r_enable": In(1),
                "r_pick": In(HALVES * params.streams),
                "r_word": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        cuts = self._decoded(m)
        word, corrupt = 0, 0
        for s in range(self.params.streams):
            store = self._store(m, s)
            m.d.sync += self.words[s].eq(_unpacked(store.late, cuts))
            word, corrupt = word | store.r_word, corrupt | store.corrupt
        m.d.comb += [self.r_word.eq(word), self.corrupt.eq(corrupt)]
        return m

    def _decoded(self, m):
        """What picks a lane's bits, when the word shows."""
        mode, position = Signal(2), Signal(2)
        cuts = Signal(data.StructLayout({"pick": 2, "upper": 1, "above_0": 1, "above_1": 1}))
        m.d.sync += [
            mode.eq(self.mode),
            position.eq(self.position),
            cuts.pick.eq(Mux(mode == 0, position, Mux(mode == 1, position[0] << 1, 0))),
            cuts.upper.eq((mode == 1) & position[0]),
            cuts.above_0.eq(mode != 0),
            cuts.above_1.eq(mode == 3),
        ]
        return cuts

    def _store(self, m, s):
        store = place(
            m,
            CheckedRam(width=WORD_BITS, granularity=32, depth=self.params.stream_depth),
            f"store_{s}",
        )
        m.d.comb += [
            store.w_address.eq(self.w_address),
            store.w_data.eq(self.w_data),
            store.w_enable.eq(self.w_enable.word_select(s, HALVES)),
            store.r_address.eq(Mux(self.r_enable, self.r_address, self.address[s])),
            store.r_use.eq(self.use[s] & ~self.r_enable),
            store.r_hide.eq(Mux(self.r_enable, ~self.r_pick.word_select(s, HALVES), 0)),
        ]
        return store


def _unpacked(word, cuts):
    """The lanes' indices in a word of the store: two LUTs of six inputs a lane, and the upper bits'
    ANDs, which a flip-flop has in its reset."""
    indices = []
    for n in range(LANES):
        bits = word[n * INDEX_BITS : (n + 1) * INDEX_BITS]
        indices += [
            select(list(bits), cuts.pick),
            Mux(cuts.upper, bits[3], bits[1]) & cuts.above_0,
            bits[2:] & cuts.above_1.replicate(2),
        ]
    return Cat(indices)
