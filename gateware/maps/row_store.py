"""The parameters of rows, one read for all clusters."""

from amaranth.hdl import Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.emit import place
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.gateware.parts.records import record_layout
from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.maps.records import MAP_ROW
from dpnet.model.engine.parameters import ceil_log2

ROW = record_layout(MAP_ROW)


def stored_bits():
    """Bits of each 32-bit word of `MAP_ROW` that are stored: up to the last one that is used."""
    ends = [0] * MAP_ROW.words
    for offset, bits in MAP_ROW.places.values():
        for n in range(offset // 32, -(-(offset + bits) // 32)):
            ends[n] = max(ends[n], min(offset + bits - 32 * n, 32))
    return ends


class RowStore(wiring.Component):
    """`MAP_ROW` for each row of each row group; bits that no field has are not stored and are 0.

    The link reads while nothing is used.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `address`, `In(ceil_log2(params.row_groups) + 4)`: the row.
    * `use`, `In(1)`: it counts.
    * `row`, `Out(record_layout(MAP_ROW))`: its parameters, 2 cycles later.
    * `corrupt`, `Out(1)`: strobes 4 cycles after a row of odd parity was used.
    * `w_address`, `In(ceil_log2(params.row_groups) + 4)`: row to be written.
    * `w_data`, `In(32)`: what is written.
    * `w_enable`, `In(MAP_ROW.words)`: the 32-bit words of it that `w_data` goes to.
    * `r_address`, `In(ceil_log2(params.row_groups) + 4)`: row that the link reads.
    * `r_enable`, `In(1)`: the link reads; takes the read port.
    * `r_pick`, `In(MAP_ROW.words)`: the one 32-bit word to be shown.
    * `r_word`, `Out(32)`: that word, 3 cycles later; 0 if none.
    """

    def __init__(self, *, params):
        self.params = params
        address = ceil_log2(params.row_groups) + ceil_log2(LANES)
        super().__init__(
            {
                "address": In(address),
                "use": In(1),
                "row": Out(ROW),
                "corrupt": Out(1),
                "w_address": In(address),
                "w_data": In(32),
                "w_enable": In(MAP_ROW.words),
                "r_address": In(address),
                "r_enable": In(1),
                "r_pick": In(MAP_ROW.words),
                "r_word": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        row, word, corrupt = [], 0, 0
        for n, bits in enumerate(stored_bits()):
            store = place(
                m, CheckedRam(width=bits, depth=self.params.row_groups * LANES), f"word_{n}"
            )
            m.d.comb += [
                store.w_address.eq(self.w_address),
                store.w_data.eq(self.w_data),
                store.w_enable.eq(self.w_enable[n]),
                store.r_address.eq(Mux(self.r_enable, self.r_address, self.address)),
                store.r_use.eq(self.use & ~self.r_enable),
                store.r_hide.eq(self.r_enable & ~self.r_pick[n]),
            ]
            row += [store.late, Const(0, 32 - bits)]
            word, corrupt = word | store.r_word, corrupt | store.corrupt
        m.d.comb += [
            self.row.as_value().eq(Cat(row)),
            self.r_word.eq(word),
            self.corrupt.eq(corrupt),
        ]
        return m
