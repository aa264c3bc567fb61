"""What a stage reads: its copy of the banks, the addresses of its clusters, and its activations."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.emit import place
from dpnet.gateware.maps.control.drains import SkipLayout
from dpnet.gateware.maps.control.layouts import (
    SIDES,
    ReadLayout,
    SpotLayout,
    StartLayout,
    address_bits,
    bank_bits,
)
from dpnet.gateware.maps.control.places import bank_sum, rotated
from dpnet.gateware.maps.control.writer import BankWriteLayout
from dpnet.gateware.maps.delay import delayed
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.model.engine.maps.limits import SPREAD_BITS
from dpnet.model.engine.maps.parameters import LANES

WORD_BYTES = 4


class AccessLayout(data.StructLayout):
    """A read of all clusters on its way to the banks.

    Fields:

    * `word`, `address_bits(params)`: the address that all others are counted from.
    * `spread`, `data.ArrayLayout(SPREAD_BITS, clusters)`: words from there to each cluster's.
    * `there`, `clusters`: the clusters that read.
    * `amount`, `bank_bits(params)`: the bank of cluster 0; the others have those behind it.
    * `wrapped`, `bank_bits(params)`: banks below this one are read a word further.
    * `picture`, `1`: of pictures, not of maps.
    * `inside`, `1`: the top bit of what is read is inverted.
    * `outside`, `1`: the top bit of the 0 of a cluster that does not read is inverted.
    """

    def __init__(self, params):
        super().__init__(
            {
                "word": address_bits(params),
                "spread": data.ArrayLayout(SPREAD_BITS, params.clusters),
                "there": params.clusters,
                "amount": bank_bits(params),
                "wrapped": bank_bits(params),
                "picture": 1,
                "inside": 1,
                "outside": 1,
            }
        )


class StageReads(wiring.Component):
    """A stage's banks, read by its clusters: with a command in cycle t the address is at the banks
    in t + `READ_CYCLES` and `x` there in t + 3.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `read`, `In(ReadLayout(params))`: the command.
    * `next_read`, `Out(ReadLayout(params))`: it, `LANES` cycles later; no addition where the
      stage's item is its tile's last one.
    * `take`, `In(1)`: the stage's next item, between its last addition and the item's first one.
    * `item`, `In(StartLayout(params))`: that item.
    * `spots`, `In(SpotLayout()).array(clusters)`: its positions.
    * `skips`, `In(1)`: this stage drains; a cycle after the command, as all of `skip`.
    * `skip`, `In(SkipLayout(params))`: what is read then.
    * `x`, `Out(signed(8)).array(clusters)`: what each cluster reads, 128 less where it is
      unsigned; of 0 where it reads nothing, -128 in a maximum; 0 of an idle cycle.
    * `maps`, `In(BankWriteLayout(address_bits(params))).array(clusters)`: a byte for each bank.
    * `mine`, `In(1)`: these bytes are for this stage.
    * `picture_address`, `In(address_bits(params) - 2)`: word of the pictures' banks to be written.
    * `picture_word`, `In(32)`: what is written.
    * `picture_write`, `In(clusters)`: the bank that it is written to.
    * `link_read`, `In(1)`: the link reads; takes the read ports.
    * `link_address`, `In(address_bits(params) - 2)`: the word.
    * `link_map`, `In(clusters)`: the bank of maps that it is in.
    * `link_picture`, `In(clusters)`: the bank of pictures that it is in.
    * `link_word`, `Out(32)`: that word, 3 cycles later; 0 of none.
    * `corrupt`, `Out(1)`: strobes if a word that was read had a wrong parity.
    """

    def __init__(self, *, params):
        self.params = params
        clusters, bits = params.clusters, address_bits(params)
        super().__init__(
            {
                "read": In(ReadLayout(params)),
                "next_read": Out(ReadLayout(params)),
                "take": In(1),
                "item": In(StartLayout(params)),
                "spots": In(SpotLayout()).array(clusters),
                "skips": In(1),
                "skip": In(SkipLayout(params)),
                "x": Out(signed(8)).array(clusters),
                "maps": In(BankWriteLayout(bits)).array(clusters),
                "mine": In(1),
                "picture_address": In(bits - 2),
                "picture_word": In(32),
                "picture_write": In(clusters),
                "link_read": In(1),
                "link_address": In(bits - 2),
                "link_map": In(clusters),
                "link_picture": In(clusters),
                "link_word": Out(32),
                "corrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        item = Signal(StartLayout(params))
        with m.If(self.take):
            m.d.sync += item.eq(self.item)
        passed = self.read.add & ~item.last
        m.d.comb += [
            self.next_read.as_value()[1:].eq(delayed(m, self.read.as_value()[1:], LANES, "line")),
            self.next_read.add.eq(delayed(m, passed, LANES, "adds", reset_less=False)),
        ]
        own, spreads = self._own(m, item)
        access = self._with_skips(m, own, spreads)
        # The way back: a cycle at the banks, one for their answer.
        late = Cat(access.amount, access.picture, access.inside, access.outside)
        kept = delayed(m, Cat(late, access.there), 2, "kept", reset_less=False)
        bits = bank_bits(params)
        amount, flags, there = kept[:bits], kept[bits : bits + 3], kept[bits + 3 :]
        found, corrupt = self._banks(m, access, flags[0])
        turned = rotated(m, found, amount, "back", back=True)
        for c, x in enumerate(self.x):
            value = Mux(there[c], turned[c], 0)
            top = Mux(there[c], flags[1], flags[2])
            m.d.comb += x.eq(value ^ (top << 7))
        m.d.comb += self.corrupt.eq(corrupt)
        return m

    def _own(self, m, item):
        """(what the additions read, a cycle after the command, all but the spreads; these)"""
        params, read = self.params, self.read
        own = Signal(AccessLayout(params), name="own")
        amount, _ = bank_sum(m, item.bank, read.bank, params.clusters, "amount")
        m.d.sync += [
            own.amount.eq(amount),
            own.picture.eq(item.picture),
            own.inside.eq(read.add & item.unsigned),
            own.outside.eq(read.add & (item.unsigned | item.maximum)),
            own.word.eq(item.word + read.word),
            own.wrapped.eq(read.bank),
        ]
        spreads = []
        for c, given in enumerate(self.spots):
            spot, mine = Signal(SpotLayout(), name=f"spot_{c}"), Signal(name=f"inside_{c}")
            with m.If(self.take):
                m.d.sync += spot.eq(given)
            m.d.comb += mine.eq(Cat(_reaches(spot[side], read[side]) for side in SIDES).all())
            m.d.sync += own.there[c].eq(read.add & item.used[c] & mine)
            spreads.append(spot.spread)
        return own, spreads

    def _with_skips(self, m, own, spreads):
        """What is read in the end: additions, or skip values."""
        skip, access = self.skip, Signal(AccessLayout(self.params), name="access")
        chosen = (
            (access.there, skip.there, own.there),
            (access.amount, skip.bank, own.amount),
            (access.wrapped, 0, own.wrapped),
            (access.picture, skip.picture, own.picture),
            (access.inside, skip.unsigned, own.inside),
            (access.outside, skip.unsigned, own.outside),
            *((access.spread[c], skip.spread[c], spread) for c, spread in enumerate(spreads)),
        )
        m.d.comb += [one.eq(Mux(self.skips, *values)) for one, *values in chosen]
        # The link reads all banks at its address.
        m.d.comb += access.word.eq(
            Mux(
                self.link_read,
                self.link_address << 2,
                Mux(self.skips, skip.word, own.word),
            )
        )
        return access

    def _banks(self, m, access, picture):
        """(the byte of each bank, whether one is corrupt)"""
        params, clusters = self.params, self.params.clusters
        asked = []
        for c in range(clusters):
            asked.append(Signal(SPREAD_BITS + 1, name=f"asked_{c}"))
            m.d.comb += asked[c].eq(Cat(access.there[c], access.spread[c]))
        turned = rotated(m, asked, access.amount, "turned")
        pictured, linked = Signal(), Signal()
        of_maps, of_pictures = Signal(clusters), Signal(clusters)
        m.d.sync += [
            pictured.eq(access.picture),
            linked.eq(self.link_read),
            of_maps.eq(self.link_map),
            of_pictures.eq(self.link_picture),
        ]
        found, corrupt, word = [], 0, 0
        for b in range(clusters):
            there, low = Signal(name=f"there_{b}"), Signal(2, name=f"low_{b}")
            at = Signal(address_bits(params), name=f"at_bank_{b}")
            spread, carry = turned[b][1:], access.wrapped > b
            m.d.sync += [
                there.eq(turned[b][0]),
                at.eq(access.word + Mux(self.link_read, 0, spread) + (carry & ~self.link_read)),
                low.eq(at[:2]),
            ]
            maps, pictures = self._map_bank(m, b), self._picture_bank(m, b)
            for bank, mine, link in (
                (maps, ~pictured, of_maps[b]),
                (pictures, pictured, of_pictures[b]),
            ):
                hidden = ~link if bank is pictures else (~link).replicate(WORD_BYTES)
                m.d.comb += [
                    bank.r_address.eq(at[2:]),
                    bank.r_use.eq(Mux(linked, link, there & mine)),
                    bank.r_hide.eq(Mux(linked, hidden, 0)),
                ]
                corrupt |= bank.corrupt
                word |= bank.late
            byte = Signal(8, name=f"byte_{b}")
            m.d.comb += byte.eq(Mux(picture, pictures.r_data, maps.r_data).word_select(low, 8))
            found.append(byte)
        # The lanes' words show here too, but nobody looks while they work.
        m.d.comb += self.link_word.eq(word)
        return found, corrupt

    def _map_bank(self, m, b):
        bank = place(
            m,
            CheckedRam(width=32, depth=self.params.map_depth // WORD_BYTES, granularity=8),
            f"maps_{b}",
        )
        write = self.maps[b]
        m.d.comb += [
            bank.w_address.eq(write.address[2:]),
            bank.w_data.eq(write.byte),
            bank.w_enable.eq((write.enable & self.mine) << write.address[:2]),
        ]
        return bank

    def _picture_bank(self, m, b):
        bank = place(
            m, CheckedRam(width=32, depth=self.params.picture_depth // WORD_BYTES), f"pictures_{b}"
        )
        m.d.comb += [
            bank.w_address.eq(self.picture_address),
            bank.w_data.eq(self.picture_word),
            bank.w_enable.eq(self.picture_write[b]),
        ]
        return bank


def _reaches(far, least):
    """`far` ≥ `least`, bit by bit: a carry chain would take twice as many LUTs."""
    found = Const(1, 1)
    for one, other in zip(far, least, strict=True):
        found = Mux(one ^ other, one, found)
    return found
