"""The walker: positions row by row, with registers that only add."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.maps.control.layouts import (
    ItemLayout,
    PassLayout,
    PositionLayout,
    address_bits,
    index_bits,
    stage_bits,
    stream_bits,
)
from dpnet.gateware.maps.control.places import Place, choose, field_place, place_sum
from dpnet.model.engine.maps.parameters import LANES


class Walker(wiring.Component):
    """Gives each item of a pass its positions, a position a cycle, and says which items make up a
    tile: `dpnet.model.engine.maps.steps.dispatcher`, in hardware.

    The first position shows in the cycle after `begin`; an item's positions follow each other, and
    so do items while there is `room`.  An item takes as many cycles as the pass's groups are wide,
    at most `LANES`, the cycles from one stage's start to the next one's.

    Parameters: `params`, a `MapEngineParameters` of at most `LANES` clusters.

    Members:

    * `begin`, `In(1)`: begins a pass; not while `busy`.
    * `coming`, `In(PassLayout(params))`: that pass, with `begin`.
    * `half`, `In(1)`: of the picture, with `begin`.
    * `clear`, `In(1)`: forgets the pass.
    * `pass_`, `Out(PassLayout(params))`: the pass that was begun last.
    * `busy`, `Out(1)`: items are still to come.
    * `room`, `In(1)`: another item may begin.
    * `valid`, `Out(1)`: there is a position.
    * `cluster`, `Out(range(max(2, clusters)))`: its cluster.
    * `position`, `Out(PositionLayout(params))`: the position; not `used` where the group ends
      before it.
    * `done`, `Out(1)`: the item's last one.
    * `item`, `Out(ItemLayout(params))`: with `done`.
    """

    def __init__(self, *, params):
        if params.clusters > LANES:
            raise ValueError(
                f"clusters must be at most {LANES}, a position a cycle, not {params.clusters!r}"
            )
        self.params = params
        super().__init__(
            {
                "begin": In(1),
                "coming": In(PassLayout(params)),
                "half": In(1),
                "clear": In(1),
                "pass_": Out(PassLayout(params)),
                "busy": Out(1),
                "room": In(1),
                "valid": Out(1),
                "cluster": Out(range(max(2, params.clusters))),
                "position": Out(PositionLayout(params)),
                "done": Out(1),
                "item": Out(ItemLayout(params)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fields, coming = self.pass_.fields, self.coming.fields
        # A group's end, the window's and the pass's; the window is walked over again for each row
        # group.
        left, groups, row_groups = Signal(7), Signal(20), Signal(12)
        last_group, last_row_group = Signal(), Signal()
        again = Signal()
        m.d.comb += [
            self.valid.eq(self.busy & (self.room | (self.cluster != 0))),
            self.done.eq(self.valid & (left == 0)),
            last_group.eq(groups == 0),
            last_row_group.eq(row_groups == 0),
            again.eq(self.done & last_group),
        ]
        with m.If(self.begin):
            m.d.sync += [
                self.pass_.eq(self.coming),
                self.busy.eq(1),
                self.cluster.eq(0),
                left.eq(coming.group_width - 1),
                groups.eq(coming.groups - 1),
                row_groups.eq(coming.row_groups - 1),
            ]
        with m.Elif(self.valid):
            m.d.sync += [self.cluster.eq(self.cluster + 1), left.eq(left - 1)]
            with m.If(self.done):
                m.d.sync += [
                    self.cluster.eq(0),
                    left.eq(fields.group_width - 1),
                    groups.eq(Mux(last_group, fields.groups - 1, groups - 1)),
                    row_groups.eq(row_groups - last_group),
                    self.busy.eq(~(last_group & last_row_group)),
                ]
        with m.If(self.clear):
            m.d.sync += self.busy.eq(0)
        self._walk(m, again)
        self._items(m, again, row_groups)
        return m

    def _walk(self, m, again):
        """The position, and the next one."""
        bits = address_bits(self.params)
        step, fresh, restart = Signal(), Signal(), Signal()
        begin = self.begin
        fields = self.pass_.fields
        first, coming = self._first_read(m)
        # `over`: the window has no more rows; `crossed`: the group's first row has ended.
        over, crossed, row_ends = Signal(), Signal(), Signal()
        columns, rows = Signal(16), Signal(16)
        position = self.position
        m.d.comb += [
            restart.eq(begin | again),
            fresh.eq(begin),
            position.used.eq(~over & (~crossed | fields.wraps)),
            step.eq(self.valid & position.used & ~again),
            row_ends.eq(columns == 0),
        ]
        size = self.coming.fields, fields
        width, height = (Mux(fresh, *(one[name] for one in size)) for name in ("width", "height"))
        with m.If(restart):
            m.d.sync += [
                columns.eq(width - 1),
                rows.eq(height - 1),
                over.eq(0),
                position.x.eq(0),
                position.y.eq(0),
            ]
        with m.Elif(step):
            m.d.sync += [
                columns.eq(Mux(row_ends, fields.width, columns) - 1),
                position.x.eq(Mux(row_ends, 0, position.x + ~position.x[-1])),
            ]
            with m.If(row_ends):
                m.d.sync += [
                    rows.eq(rows - 1),
                    over.eq(rows == 0),
                    position.y.eq(position.y + ~position.y[-1]),
                ]
        with m.If(restart | self.done):
            m.d.sync += crossed.eq(0)
        with m.Elif(step & row_ends):
            m.d.sync += crossed.eq(1)
        self._read_places(m, restart, step, row_ends, first, coming, bits)
        self._write_place(m, restart, step, row_ends, bits)

    def _first_read(self, m):
        """Words of the first position's places: those of the row group in work, and (read, skip)
        of the pass that begins."""
        params, bits = self.params, address_bits(self.params)
        first = Signal(bits, name="first_read")
        coming = []
        for name, kind in (("read", "picture"), ("skip", "skip_picture")):
            half = Mux(self.coming.fields[kind] & self.half, params.picture_depth // 2, 0)
            coming.append(Signal(bits, name=f"coming_{name}"))
            m.d.comb += coming[-1].eq(self.coming.fields[f"{name}_word"] + half)
        following = Signal(bits, name="next_read")
        m.d.comb += following.eq(first + self.pass_.fields.block_words)
        return (first, following), coming

    def _read_places(self, m, restart, step, row_ends, first, coming, bits):
        clusters, fields, position = self.params.clusters, self.pass_.fields, self.position
        first, following = first
        skip = Signal(bits, name="first_skip")
        with m.If(self.begin):
            m.d.sync += [first.eq(coming[0]), skip.eq(coming[1])]
        with m.Elif(restart):
            m.d.sync += first.eq(following)
        for name, again in (("read", following), ("skip", skip)):
            word, bank = position[f"{name}_word"], position[f"{name}_bank"]
            # A step by one place is one by a bank.
            by = choose(row_ends, field_place(fields, f"{name}_row"), Place(0, 1))
            moved = place_sum(m, Place(word, bank), by, clusters, bits, name)
            with m.If(restart):
                begun = coming[name == "skip"]
                m.d.sync += [
                    word.eq(Mux(self.begin, begun, again)),
                    bank.eq(
                        Mux(
                            self.begin,
                            self.coming.fields[f"{name}_bank"],
                            fields[f"{name}_bank"],
                        )
                    ),
                ]
            with m.Elif(step):
                m.d.sync += [word.eq(moved.word), bank.eq(moved.bank)]

    def _write_place(self, m, restart, step, row_ends, bits):
        """In x a step from position to position, in y one from row to row; after a map's planes
        their wrap."""
        clusters, fields, position = self.params.clusters, self.pass_.fields, self.position
        row = Place(
            Signal(bits, name="row_word"), Signal.like(position.write_bank, name="row_bank")
        )
        phases, wraps = {}, {}
        source = {
            name: Mux(self.begin, self.coming.fields[name], fields[name])
            for name in ("first_x_phase", "first_y_phase", "write_word", "write_bank")
        }
        for axis in ("x", "y"):
            phases[axis] = Signal(8, name=f"{axis}_phase")
            wraps[axis] = Signal(name=f"{axis}_wraps")
            m.d.comb += wraps[axis].eq(phases[axis] + 1 == fields[f"{axis}_phases"])
        x, y = (
            choose(
                wraps[axis],
                field_place(fields, f"write_{axis}_wrap"),
                field_place(fields, f"write_{axis}"),
            )
            for axis in ("x", "y")
        )
        here = Place(position.write_word, position.write_bank)
        moved = place_sum(
            m, choose(row_ends, row, here), choose(row_ends, y, x), clusters, bits, "write"
        )
        with m.If(restart):
            m.d.sync += [
                phases["x"].eq(source["first_x_phase"]),
                phases["y"].eq(source["first_y_phase"]),
            ]
            for place in (here, row):
                m.d.sync += [
                    place.word.eq(source["write_word"]),
                    place.bank.eq(source["write_bank"]),
                ]
        with m.Elif(step):
            m.d.sync += [here.word.eq(moved.word), here.bank.eq(moved.bank)]
            with m.If(row_ends):
                m.d.sync += [
                    row.word.eq(moved.word),
                    row.bank.eq(moved.bank),
                    phases["x"].eq(fields.first_x_phase),
                    phases["y"].eq(Mux(wraps["y"], 0, phases["y"] + 1)),
                ]
            with m.Else():
                m.d.sync += phases["x"].eq(Mux(wraps["x"], 0, phases["x"] + 1))

    def _items(self, m, again, row_groups):
        """Where a tile ends, and what else is known of an item."""
        params, fields = self.params, self.pass_.fields
        stage, spread = Signal(stage_bits(params)), Signal(stream_bits(params))
        first = Signal()
        ends, final, last_row_group = Signal(), Signal(), row_groups == 0
        crowded = (spread == params.streams - 1) & ~fields.shared
        m.d.comb += [
            final.eq(again & last_row_group),
            ends.eq((stage == params.stages - 1) | (again & crowded) | final),
        ]
        with m.If(self.begin):
            m.d.sync += [stage.eq(0), spread.eq(0), first.eq(1)]
        with m.Elif(self.done):
            m.d.sync += [
                stage.eq(Mux(ends, 0, stage + 1)),
                spread.eq(Mux(ends | fields.shared, 0, spread + again)),
                first.eq(0),
            ]
        used, banks = self._group(m)
        stream, base = self._indices(m, again)
        slot = Signal.like(self.item.drain.slot)
        with m.If(self.begin):
            m.d.sync += slot.eq(self.coming.fields.slot)
        with m.Elif(again):
            m.d.sync += slot.eq(slot + 1)
        for part in (self.item.start, self.item.drain, self.item.write):
            m.d.comb += [part.first.eq(first), part.last.eq(ends), part.used.eq(used)]
        start, drain, write = self.item.start, self.item.drain, self.item.write
        m.d.comb += [
            start.final.eq(final),
            start.bank.eq(banks["read"]),
            start.picture.eq(fields.picture),
            start.unsigned.eq(fields.unsigned),
            start.maximum.eq(fields.maximum),
            start.stream.eq(stream),
            start.needed.eq(self._needed(stream, row_groups)),
            drain.bank.eq(banks["skip"]),
            drain.slot.eq(slot),
            write.final.eq(final),
        ]
        m.d.comb += [start.base[n].eq(word) for n, word in enumerate(base)]
        for part in (drain, write):
            m.d.comb += [part.short.eq(last_row_group), part.ends.eq(again)]

    def _group(self, m):
        """The clusters that have a position, and the banks of the first one."""
        used, kept = Signal(self.params.clusters), Signal(self.params.clusters)
        here = Signal(self.params.clusters)
        begins = Signal()
        m.d.comb += [
            begins.eq(self.cluster == 0),
            here.eq(self.position.used << self.cluster),
            used.eq(here | Mux(begins, 0, kept)),
        ]
        with m.If(self.valid):
            m.d.sync += kept.eq(used)
        banks = {}
        for name in ("read", "skip"):
            bank = self.position[f"{name}_bank"]
            held, banks[name] = Signal.like(bank, name=f"{name}_held"), Signal.like(bank)
            m.d.comb += banks[name].eq(Mux(begins, bank, held))
            with m.If(self.valid & begins):
                m.d.sync += held.eq(bank)
        return used, banks

    def _indices(self, m, again):
        """The stream of the row group in work, and the word at which the row group that is the next
        one of each stream begins."""
        params, fields = self.params, self.pass_.fields
        coming, count = self.coming.fields, self.params.streams
        words = self.pass_.index_words
        stream = Signal(stream_bits(params), name="stream")
        base = [Signal(index_bits(params), name=f"base_{n}") for n in range(count)]
        with m.If(self.begin):
            m.d.sync += stream.eq(coming.first_stream)
            for n, word in enumerate(base):
                late = Mux(coming.first_stream > n, self.coming.index_words, 0)
                m.d.sync += word.eq(coming.first_index + late)
        with m.Elif(again & ~fields.shared):
            m.d.sync += stream.eq(Mux(stream == count - 1, 0, stream + 1))
            for n, word in enumerate(base):
                with m.If(stream == n):
                    m.d.sync += word.eq(word + words)
        return stream, base

    def _needed(self, stream, left):
        """Streams of the row group in work and of those, `left` in number, that come after it."""
        count, shared = self.params.streams, self.pass_.fields.shared
        return Cat(
            Cat(
                (stream == (n - after) % count) & ((left >= after) & ~shared if after else 1)
                for after in range(count)
            ).any()
            for n in range(count)
        )
