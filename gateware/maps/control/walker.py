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
    steps_of,
    stream_bits,
)
from dpnet.gateware.maps.control.walk import (
    WalkLayout,
    begun,
    following,
    inside,
    near,
    place_of,
)


class Walker(wiring.Component):
    """Gives each item of a pass its positions, `steps_of(params)` of them a cycle, and says which
    items make up a tile: `dpnet.model.engine.maps.steps.dispatcher`, in hardware.

    The first positions show in the cycle after `begin`; an item's positions follow each other, and
    so do items while there is `room`.  An item takes at most `LANES` cycles, those from one stage's
    start to the next one's.  Where stages are apart, a group is walked over again for each of them
    that has a picture.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `begin`, `In(1)`: begins a pass; not while `busy`.
    * `coming`, `In(PassLayout(params))`: that pass, with `begin`.
    * `half`, `In(1)`: of the picture, with `begin`.
    * `pictures`, `In(stage_bits(params))`: stages that have one of their own where they are apart,
      less 1; with `begin`.
    * `clear`, `In(1)`: forgets the pass.
    * `pass_`, `Out(PassLayout(params))`: the pass that was begun last.
    * `busy`, `Out(1)`: items are still to come.
    * `room`, `In(1)`: another item may begin.
    * `valid`, `Out(1)`: there are positions.
    * `cluster`, `Out(range(max(2, clusters)))`: the first one's cluster; the others follow.
    * `position`, `Out(PositionLayout(params)).array(steps_of(params))`: they; not `used` where the
      group has none.
    * `done`, `Out(1)`: the item's last ones.
    * `item`, `Out(ItemLayout(params))`: with `done`.
    """

    def __init__(self, *, params):
        self.params = params
        super().__init__(
            {
                "begin": In(1),
                "coming": In(PassLayout(params)),
                "half": In(1),
                "pictures": In(stage_bits(params)),
                "clear": In(1),
                "pass_": Out(PassLayout(params)),
                "busy": Out(1),
                "room": In(1),
                "valid": Out(1),
                "cluster": Out(range(max(2, params.clusters))),
                "position": Out(PositionLayout(params)).array(steps_of(params)),
                "done": Out(1),
                "item": Out(ItemLayout(params)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fields, coming = self.pass_.fields, self.coming.fields
        # A group's end, the window's and the pass's; a group is walked over again for each picture,
        # the window for each row group.
        left, groups, row_groups = Signal(7), Signal(20), Signal(12)
        last_group, last_row_group = Signal(), Signal()
        again, steps = Signal(), steps_of(self.params)
        repeats = self._repeats(m)
        m.d.comb += [
            self.valid.eq(self.busy & (self.room | (self.cluster != 0))),
            self.done.eq(self.valid & (left < steps)),
            last_group.eq(groups == 0),
            last_row_group.eq(row_groups == 0),
            again.eq(self.done & ~repeats & last_group),
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
            m.d.sync += [self.cluster.eq(self.cluster + steps), left.eq(left - steps)]
            with m.If(self.done):
                m.d.sync += [
                    self.cluster.eq(0),
                    left.eq(fields.group_width - 1),
                    groups.eq(Mux(again, fields.groups - 1, groups - ~repeats)),
                    row_groups.eq(row_groups - again),
                    self.busy.eq(~(again & last_row_group)),
                ]
        with m.If(self.clear):
            m.d.sync += self.busy.eq(0)
        self._walk(m, again, left, repeats)
        self._items(m, again, row_groups, repeats)
        return m

    def _repeats(self, m):
        """Whether the next item is the same again, for another picture."""
        pictures, coming = Signal.like(self.pictures), Signal.like(self.pictures)
        left = Signal.like(self.pictures, name="pictures_left")
        m.d.comb += coming.eq(Mux(self.coming.fields.apart, self.pictures, 0))
        with m.If(self.begin):
            m.d.sync += [pictures.eq(coming), left.eq(coming)]
        with m.Elif(self.done):
            m.d.sync += left.eq(Mux(left == 0, pictures, left - 1))
        return left != 0

    def _walk(self, m, again, left, repeats):
        """The positions, and the next ones."""
        params, fields = self.params, self.pass_.fields
        first, coming = self._first_words(m, again)
        walks = [Signal(WalkLayout(params), name="walk")]
        for n, position in enumerate(self.position):
            here = walks[-1]
            m.d.comb += [
                position.used.eq(inside(here) & (left >= n)),
                position.above.eq(here.above),
                position.below.eq(near(here.rows)),
                position.left.eq(here.left),
                position.right.eq(near(here.columns)),
                position.write_word.eq(here.write_word),
                position.write_bank.eq(here.write_bank),
            ]
            after = following(m, params, fields, here, f"after_{n}")
            walks.append(Signal(WalkLayout(params), name=f"walk_{n}"))
            m.d.comb += walks[-1].eq(Mux(left >= n, after, here))
        begin = begun(m, params, self.coming.fields, coming, "begins")
        again_at = begun(m, params, fields, first, "begins_again")
        group_at = self._group_begin(m, walks[0])
        with m.If(self.begin):
            m.d.sync += walks[0].eq(begin)
        with m.Elif(again):
            m.d.sync += walks[0].eq(again_at)
        with m.Elif(self.done & repeats):
            m.d.sync += walks[0].eq(group_at)
        with m.Elif(self.valid):
            m.d.sync += walks[0].eq(walks[-1])
        self._places(m, walks)

    def _group_begin(self, m, walk):
        """Where the group in work begins."""
        found, kept = (Signal(walk.shape(), name=f"group_{what}") for what in ("begin", "kept"))
        m.d.comb += found.eq(Mux(self.cluster == 0, walk, kept))
        with m.If(self.valid):
            m.d.sync += kept.eq(found)
        return found

    def _first_words(self, m, again):
        """Words of the first position's places, read and skip: those of the next row group, and
        those of the pass that begins."""
        params, bits = self.params, address_bits(self.params)
        coming = []
        for name, kind in (("read", "picture"), ("skip", "skip_picture")):
            half = Mux(self.coming.fields[kind] & self.half, params.picture_depth // 2, 0)
            coming.append(Signal(bits, name=f"coming_{name}"))
            m.d.comb += coming[-1].eq(self.coming.fields[f"{name}_word"] + half)
        read, skip, next_read = (
            Signal(bits, name=name) for name in ("first_read", "first_skip", "next_read")
        )
        m.d.comb += next_read.eq(read + self.pass_.fields.block_words)
        with m.If(self.begin):
            m.d.sync += [read.eq(coming[0]), skip.eq(coming[1])]
        with m.Elif(again):
            m.d.sync += read.eq(next_read)
        return (next_read, skip), coming

    def _places(self, m, walks):
        """Where cluster 0 reads, and how far the others are from there."""
        begins = Signal()
        m.d.comb += begins.eq(self.cluster == 0)
        for name, part in (("read", self.item.start), ("skip", self.item.drain)):
            here, held = place_of(walks[0], name), {}
            for kind in ("word", "bank"):
                value = getattr(here, kind)
                held[kind] = Signal.like(value, name=f"{name}_{kind}_held")
                m.d.comb += part[kind].eq(Mux(begins, value, held[kind]))
                with m.If(self.valid & begins):
                    m.d.sync += held[kind].eq(value)
            for position, walk in zip(self.position, walks[:-1], strict=True):
                m.d.comb += position[name].eq(walk[f"{name}_word"] - part.word)

    def _items(self, m, again, row_groups, repeats):
        """Where a tile ends, and what else is known of an item."""
        params, fields = self.params, self.pass_.fields
        stage, spread = Signal(stage_bits(params)), Signal(stream_bits(params))
        first = Signal()
        ends, final, last_row_group = Signal(), Signal(), row_groups == 0
        crowded = (spread == params.streams - 1) & ~fields.shared
        m.d.comb += [
            final.eq(again & last_row_group),
            ends.eq(
                ~repeats & ((stage == params.stages - 1) | (again & crowded) | final | fields.apart)
            ),
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
            start.picture.eq(fields.picture),
            start.unsigned.eq(fields.unsigned),
            start.maximum.eq(fields.maximum),
            start.stream.eq(stream),
            start.needed.eq(self._needed(stream, row_groups)),
            drain.slot.eq(slot),
            write.final.eq(final),
            write.banks.eq(banks),
        ]
        m.d.comb += [start.base[n].eq(word) for n, word in enumerate(base)]
        for part in (drain, write):
            m.d.comb += [part.short.eq(last_row_group), part.ends.eq(again)]

    def _group(self, m):
        """The clusters that have a position, and the banks that these are written to."""
        clusters, begins = self.params.clusters, self.cluster == 0
        many = Cat(position.used for position in self.position)
        banks = 0
        for position in self.position:
            banks |= Mux(position.used, 1 << position.write_bank, 0)
        found = []
        for name, here in (("used", many << self.cluster), ("banks", banks)):
            taken, kept = Signal(clusters, name=name), Signal(clusters, name=f"{name}_kept")
            m.d.comb += taken.eq(here | Mux(begins, 0, kept))
            with m.If(self.valid):
                m.d.sync += kept.eq(taken)
            found.append(taken)
        return found

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
