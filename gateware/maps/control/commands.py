"""Stage 0's commands: a tile's taps, the channels of each, and where its indices lie."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.maps.clusters import CommandLayout
from dpnet.gateware.maps.control.layouts import (
    SIDES,
    PassLayout,
    ReadLayout,
    StartLayout,
    address_bits,
    bank_bits,
    index_bits,
)
from dpnet.gateware.maps.delay import delayed
from dpnet.gateware.parts.records import record_layout
from dpnet.model.engine.maps.records import TAP
from dpnet.model.engine.parameters import ceil_log2


class Commands(wiring.Component):
    """A tile's additions, one a cycle, the first one `latency` cycles after `launch`.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `launch`, `In(1)`: a tile begins; the one before has given its last addition.
    * `first`, `In(1)`: with `launch`: of `pass_`; else of the pass of the tile before.
    * `pass_`, `In(PassLayout(params))`: with `first`.
    * `item`, `In(StartLayout(params))`: with `launch`, the tile's first item.
    * `tap_address`, `Out(ceil_log2(taps) or 1)`: entry of the tap table.
    * `tap_use`, `Out(1)`: it counts.
    * `tap`, `In(64)`: the entry, two cycles later.
    * `read`, `Out(ReadLayout(params))`: what stage 0 reads.
    * `command`, `Out(CommandLayout(params))`: what it does with it, in the same cycle.
    * `last`, `Out(1)`: this is the tile's last addition.
    """

    latency = 5

    def __init__(self, *, params):
        self.params = params
        super().__init__(
            {
                "launch": In(1),
                "first": In(1),
                "pass_": In(PassLayout(params)),
                "item": In(StartLayout(params)),
                "tap_address": Out(ceil_log2(params.taps) or 1),
                "tap_use": Out(1),
                "tap": In(32 * TAP.words),
                "read": Out(ReadLayout(params)),
                "command": Out(CommandLayout(params)),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        work = Signal(self._work_layout())
        with m.If(self.launch & self.first):
            m.d.sync += [
                work[name].eq(self.pass_.fields[name])
                for name in self._work_layout().members
                if name not in ("base", "needed")
            ]
        with m.If(self.launch):
            m.d.sync += [work.base.eq(self.item.base), work.needed.eq(self.item.needed)]
        walk = self._loops(m, work)
        # The tap table's entry takes two cycles; the flags wait for it.
        flags = delayed(m, walk, 2, "flags", reset_less=False)
        running, first_channel, first_tap, first_addition, last = (flags[n] for n in range(5))
        self._reads(m, work, running, first_channel)
        self._indices(m, work, running, first_addition)
        maximum = running & work.maximum
        m.d.sync += [
            self.last.eq(running & last),
            self.command.maximum.eq(maximum),
            self.command.first.eq(first_tap),
            self.command.channel.eq(flags[5:]),
        ]
        return m

    def _work_layout(self):
        params = self.params
        return data.StructLayout(
            {
                "first_tap": ceil_log2(params.taps) or 1,
                "taps": 16,
                "channels": 16,
                "channel_words": address_bits(params),
                "maximum": 1,
                "index_mode": 2,
                "base": data.ArrayLayout(index_bits(params), params.streams),
                "needed": params.streams,
            }
        )

    def _loops(self, m, work):
        """Taps, and channels within them; what is known of the addition whose tap is being read."""
        begin, running = Signal(), Signal()
        taps, channels = Signal(16, name="taps_left"), Signal(16, name="channels_left")
        channel = Signal(4)
        flags = Signal(3, name="first_flags")
        first_channel, first_tap, first_addition = flags
        last_channel, last = Signal(), Signal()
        m.d.sync += begin.eq(self.launch)
        m.d.comb += [
            last_channel.eq(channels == 0),
            last.eq(last_channel & (taps == 0)),
            self.tap_use.eq(running & first_channel),
        ]
        with m.If(begin):
            m.d.sync += [
                running.eq(1),
                self.tap_address.eq(work.first_tap),
                taps.eq(work.taps - 1),
                channels.eq(work.channels - 1),
                channel.eq(0),
                flags.eq(0b111),
            ]
        with m.Elif(running):
            m.d.sync += [
                running.eq(~last),
                channels.eq(Mux(last_channel, work.channels, channels) - 1),
                channel.eq(Mux(last_channel, 0, channel + 1)),
                taps.eq(taps - last_channel),
                self.tap_address.eq(self.tap_address + last_channel),
                first_channel.eq(last_channel),
                first_tap.eq(first_tap & ~last_channel),
                first_addition.eq(0),
            ]
        return Cat(running, flags, last, channel)

    def _reads(self, m, work, running, first_channel):
        """Each channel lies a plane behind the one before."""
        read, tap = self.read, data.View(record_layout(TAP), self.tap)
        m.d.sync += read.add.eq(running)
        with m.If(first_channel):
            m.d.sync += [
                read.word.eq(tap.offset_word),
                read.bank.eq(tap.offset_bank[: bank_bits(self.params)]),
                *(read[name].eq(tap[name]) for name in SIDES),
            ]
        with m.Else():
            m.d.sync += read.word.eq(read.word + work.channel_words)

    def _indices(self, m, work, running, first):
        """A word of indices is for one, two or four additions."""
        command, mode = self.command, work.index_mode
        further = Signal()
        m.d.comb += further.eq(
            mode[1] | (mode[0] & command.position[0]) | ((mode == 0) & command.position.all())
        )
        m.d.sync += [
            command.use.eq(Mux(running & ~work.maximum, work.needed, 0)),
            command.mode.eq(mode),
            command.position.eq(Mux(first, 0, command.position + 1)),
        ]
        for n in range(self.params.streams):
            m.d.sync += command.address[n].eq(
                Mux(first, work.base[n], command.address[n] + further)
            )
