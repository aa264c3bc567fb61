"""The compute core: stores on the bus, sequencer, feeder, array and what follows it."""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from dpnet.gateware.array import PRODUCTS, Array
from dpnet.gateware.core.copier import Copier
from dpnet.gateware.core.exponents import BeatExponents
from dpnet.gateware.core.feeder import Feeder, Scanner
from dpnet.gateware.core.post import Post
from dpnet.gateware.core.sequencer import Sequencer
from dpnet.gateware.emit import place
from dpnet.gateware.parts.bus import CoreSignature
from dpnet.gateware.parts.bus_decoder import BusDecoder
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.gateware.parts.lockstep import Lockstep
from dpnet.model.engine.layout import LAYER_WORDS, ROW_WORDS, Fields, Region
from dpnet.model.engine.parameters import ceil_log2
from dpnet.model.engine.widths import weight_words
from dpnet.model.golden.align import Align


class ArrayCore(wiring.Component):
    """An array with its stores, as the link uses it.

    The address map is `dpnet.model.engine.layout`'s.  A run of layers `first` to `last` takes the
    sum of their `EngineParameters.layer_cycles` + 1 cycles.

    Parameters: `engine`, an `EngineParameters`.

    Members:

    * `link`, `Out(CoreSignature().flip())`: bus, start and end of runs, errors.
    """

    def __init__(self, *, engine):
        self.engine = engine
        super().__init__({"link": Out(CoreSignature().flip())})

    def elaborate(self, platform):
        m = Module()
        engine, link = self.engine, self.link
        array = place(m, Array(engine=engine), "array")
        guarded = engine.lockstep
        vectors = place(
            m,
            CheckedRam(
                width=32 * engine.segments,
                depth=engine.vector_rows * engine.row_beats,
                granularity=32,
                guarded=guarded,
            ),
            "vectors",
        )
        layers = place(
            m,
            CheckedRam(
                width=32 * LAYER_WORDS, depth=engine.layers, granularity=32, guarded=guarded
            ),
            "layers",
        )
        feeder = place(m, Feeder(engine=engine), "feeder")
        copier = place(m, Copier(engine=engine), "copier")
        sequencer = place(m, Sequencer(engine=engine), "sequencer")
        posts = [place(m, Post(engine=engine), f"post_{b}") for b in range(engine.banks)]
        bus = BusDecoder(m, link.bus, checked=engine.lockstep)
        corrupt = Cat(array.corrupt, vectors.corrupt, layers.corrupt)
        exponent = exponent_behind = 1
        lockstep = Lockstep(m) if engine.lockstep else None
        written = self._vector_store(m, lockstep, bus, vectors, sequencer, copier)
        if engine.fp32:
            exponent, wrong, exponent_behind = self._exponents(m, lockstep, sequencer, written)
            corrupt = Cat(corrupt, wrong)
        else:
            m.d.comb += sequencer.settled.eq(1)
        differs, disturbed = Const(0, 1), Const(0, 0)
        if lockstep:  # driven when all of it is there
            differs, disturbed = Signal(), Signal()
        self._control(m, sequencer, feeder, posts, Cat(corrupt, disturbed), differs)
        launch = self._data(m, lockstep, sequencer, exponent, feeder, array, posts)
        self._array_stores(m, bus, array)
        bank = self._row_stores(m, bus, posts, sequencer, copier)
        self._layer_store(m, bus, layers, sequencer)
        if lockstep:
            self._follow_control(
                m, lockstep, sequencer, feeder, copier, launch, exponent_behind, bank
            )
            m.d.comb += [
                differs.eq(lockstep.differs() | array.differs),
                disturbed.eq(bus.suspect()),
            ]
        m.d.comb += [feeder.row.eq(vectors.r_data), feeder.late.eq(vectors.late)]
        bus.finish(m)
        return m

    def _follow_control(self, m, behind, sequencer, feeder, copier, launch, exponent, bank):
        """Sequencer, feeder and copier once more, with the registers between them."""
        engine = self.engine
        second = behind.follow(Copier(engine=engine), copier, "copier")
        bank_behind = Signal.like(bank)
        m.d.sync += bank_behind.eq(second.r_bank)
        behind.compare("bank", bank_behind, behind.late(bank))
        second = behind.follow(Sequencer(engine=engine), sequencer, "sequencer")
        aligned = Signal.like(feeder.exponent)
        launch_behind = self._launch(m, second, exponent, aligned)[0]
        behind.compare(
            "launch", Cat(launch_behind, aligned), behind.late(Cat(launch, feeder.exponent))
        )
        behind.follow(Feeder(engine=engine), feeder, "feeder", given={"exponent": aligned})

    def _control(self, m, sequencer, feeder, posts, corrupt, different):
        link, layer = self.link, sequencer.layer
        sigma = Cat(post.sigma for post in posts).any()
        differs = ends = Const(0, 1)
        if self.engine.lockstep:
            # What stays different is an error of every run until a reset, but keeps none from
            # ending.
            ends = Signal(Lockstep.latency + 1)
            m.d.sync += ends.eq(Cat(sequencer.busy, ends))
            differs = different & (sequencer.busy | ends.any())
        m.d.comb += [
            sequencer.start.eq(link.start),
            sequencer.first.eq(link.first),
            sequencer.last.eq(link.last),
            sequencer.last_vector.eq(link.last_vector),
            sequencer.abort.eq(link.abort),
            sequencer.released.eq(link.released),
            link.tiles_done.eq(sequencer.tiles_done),
            link.stalled.eq(sequencer.stalled),
            # Errors come a cycle late; a host that sees the end of the run must see them too.
            link.busy.eq(sequencer.busy | ends.any() | link.errors.any()),
            link.cycles.eq(sequencer.cycles),
            sequencer.sigma.eq(sigma),
            sequencer.result_done.eq(posts[0].done),
        ]
        out_of_range = Cat(post.range for post in posts).any()
        m.d.sync += link.errors.eq(
            Cat(
                sequencer.refused | (feeder.invalid & layer.fp32_in),
                out_of_range | (feeder.invalid & ~layer.fp32_in),
                sigma | differs,
                Cat(post.overflow for post in posts).any(),
                Cat(corrupt, *[post.corrupt for post in posts]).any(),
            )
        )

    def _data(self, m, lockstep, sequencer, exponent, feeder, array, posts):
        """Returns the strobe of a product's launch."""
        layer = sequencer.layer
        scale, offset, launched = self._products(m, lockstep, sequencer, exponent, feeder, array)
        m.d.comb += [
            feeder.command.eq(sequencer.command),
            feeder.fp32.eq(layer.fp32_in),
            array.beat.payload.eq(feeder.beat.payload),
            array.beat.valid.eq(feeder.beat.valid),
            array.slot_base.eq(layer.slot),
        ]
        left = self.engine.columns
        for post, row in zip(posts, array.rows, strict=True):
            m.d.comb += [
                # The last bank may be short of columns.
                post.valid.eq(array.result.valid & (array.result.payload.column < left)),
                post.place.eq(array.result.payload),
                post.row.eq(row),
                post.fp32_out.eq(layer.fp32_out),
                post.relu.eq(layer.relu),
                post.out_bits.eq(layer.out_bits),
                post.scale.eq(scale),
                post.slot_offset.eq(offset),
            ]
            left -= self.engine.bank_columns
        return launched

    def _products(self, m, lockstep, sequencer, found, feeder, array):
        """What each product has of its own until its last result: the power of two of an fp32
        product, and the way from its slots to its results.  Returns those of `array.result`, and
        the strobe of a launch."""
        unit = Align(bits=self.engine.activation_bits).scale(0)
        scales = Choice(Signal(signed(12), name=f"scale_{n}") for n in range(PRODUCTS))
        offsets = Choice(
            Signal.like(sequencer.slot_offset, name=f"offset_{n}") for n in range(PRODUCTS)
        )
        number, product = array.result.payload.product, sequencer.product
        launched, exponent = self._launch(m, sequencer, found, feeder.exponent)
        scale = Mux(sequencer.layer.fp32_in, exponent + unit, 0)
        with m.If(launched):
            m.d.sync += [scales[product].eq(scale), offsets[product].eq(sequencer.slot_offset)]
        if lockstep:
            parities = Choice(Signal(name=f"parity_{n}") for n in range(PRODUCTS))
            kept = Signal.like(scales[0])
            m.d.comb += kept.eq(scale)
            with m.If(launched):
                m.d.sync += parities[product].eq(Cat(kept, sequencer.slot_offset).xor())
            lockstep.watch(
                "product",
                array.result.valid & Cat(scales[number], offsets[number], parities[number]).xor(),
            )
        return scales[number], offsets[number], launched

    def _launch(self, m, sequencer, found, exponent):
        """(whether a product was launched, the exponent found for it); `exponent` follows."""
        launched, kept = Signal(name="product"), Signal.like(exponent, name="exponent")
        m.d.sync += launched.eq(sequencer.launched)
        with m.If(sequencer.launched):
            m.d.sync += kept.eq(found)
        with m.If(launched):
            # Not sooner: the last beat of the product before is on its way to the feeder.
            m.d.sync += exponent.eq(kept)
        return launched, kept

    def _array_stores(self, m, bus, array):
        engine, fields = self.engine, Fields(self.engine)
        low = fields.index_word + fields.segment + fields.stage
        index = bus.store(Region.INDEX, low=low, depth=weight_words(engine))
        book = bus.store(Region.CODEBOOK, low=fields.column + fields.k, depth=engine.slots)
        m.d.comb += [
            array.w_data.eq(bus.data),
            array.index_address.eq(index.row),
            array.index_read.eq(bus.reading),
            array.book_address.eq(Cat(bus.address[: fields.k], book.row)),
            array.book_read.eq(bus.reading),
        ]
        words = engine.segments * engine.index_words
        picked = [bus.field(0, low - fields.stage) == fields.index(0, n) for n in range(words)]
        for g in range(engine.stages):
            here = index.inside & (bus.field(low - fields.stage, fields.stage) == g)
            pick = Signal(words, name=f"pick_{g}")
            m.d.comb += [
                pick.eq(Mux(here, Cat(picked), 0)),
                array.index_write[g].eq(Mux(index.write, pick, 0)),
                array.index_pick[g].eq(pick),
            ]
        bus.answer_with(array.index_word)
        here = [bus.field(fields.k, fields.column) == n for n in range(engine.columns)]
        m.d.comb += [
            array.book_write.eq(Mux(book.write, Cat(here), 0)),
            array.book_hide.eq(~Mux(book.inside, Cat(here), 0)),
        ]
        bus.answer_with(array.book_word)

    def _row_stores(self, m, bus, posts, sequencer, copier):
        engine, fields = self.engine, Fields(self.engine)
        word_bits = ceil_log2(ROW_WORDS)
        low = fields.bank_column + fields.bank
        rows = bus.store(Region.ROWS, low=low + word_bits, depth=engine.slots)
        results = bus.store(Region.RESULT, low=low, depth=engine.result_slots)
        bank = Signal.like(copier.r_bank)
        m.d.sync += bank.eq(copier.r_bank)
        copied = Cat(copier.r_column[: fields.bank_column], copier.r_slot)
        word, column = bus.field(0, word_bits), bus.field(word_bits, fields.bank_column)
        asked = bus.field(0, fields.bank_column)
        to_rows = rows.inside & (column < engine.bank_columns)
        to_result = results.inside & (asked < engine.bank_columns)
        row_word = result_word = 0
        for b, post in enumerate(posts):
            row_here = bus.field(word_bits + fields.bank_column, fields.bank) == b
            result_here = bus.field(fields.bank_column, fields.bank) == b
            picked = Mux(to_rows & row_here, 1 << word, 0)
            m.d.comb += [
                post.row_address.eq(Cat(column, rows.row)),
                post.row_data.eq(bus.data),
                post.row_write.eq(Mux(rows.write, picked, 0)),
                post.row_read.eq(bus.reading),
                post.row_hide.eq(~picked),
                post.result_address.eq(Mux(sequencer.busy, copied, Cat(asked, results.row))),
                post.result_use.eq(
                    Mux(
                        sequencer.busy,
                        copier.r_use & (copier.r_bank == b),
                        bus.reading & to_result & result_here,
                    )
                ),
                post.result_hide.eq(bus.reading & ~(to_result & result_here)),
            ]
            row_word, result_word = row_word | post.row_word, result_word | post.result_late
        bus.answer_with(row_word)
        bus.answer_with(result_word)
        m.d.comb += [
            copier.start.eq(sequencer.copy),
            copier.rows.eq(sequencer.layer.rows),
            copier.slot.eq(sequencer.layer.result_slot),
            copier.beat.eq(sequencer.layer.out_row << fields.row_beat),
            sequencer.copied.eq(copier.done),
            copier.r_word.eq(Cat(p.result_word for p in posts).word_select(bank, 32)),
        ]
        return bank

    def _layer_store(self, m, bus, layers, sequencer):
        bits = ceil_log2(LAYER_WORDS)
        store = bus.store(Region.LAYERS, low=bits, depth=self.engine.layers)
        m.d.comb += [
            layers.w_address.eq(store.row),
            layers.w_data.eq(bus.data),
            layers.w_enable.eq(Mux(store.write, 1 << bus.field(0, bits), 0)),
            # Not by `busy`: the first descriptor is read in the cycle of `start`.
            layers.r_address.eq(Mux(bus.reading, store.row, sequencer.layer_address)),
            layers.r_use.eq(sequencer.layer_use),
            sequencer.layer_data.eq(layers.r_data),
        ]
        asked = Mux(store.inside, 1 << bus.field(0, bits), 0)
        m.d.comb += layers.r_hide.eq(Mux(bus.reading, ~asked, 0))
        bus.answer_with(layers.r_word)

    def _vector_store(self, m, lockstep, bus, vectors, sequencer, copier):
        """Returns what is being written: (whether, beat, segment, word)."""
        engine, fields = self.engine, Fields(self.engine)
        store = bus.store(
            Region.VECTOR, low=fields.segment, depth=engine.vector_rows * engine.row_beats
        )
        copying, asked = copier.w_enable, bus.field(0, fields.segment)
        beat = Mux(copying, copier.w_beat, store.row)
        segment = Mux(copying, copier.w_segment, asked)
        data = Mux(copying, copier.w_word, bus.data)
        writing = copying | store.write
        # A register of its own, near the store, for the address that takes the longest way.
        address, use = Signal(vectors.r_address.shape()), Signal()
        coming = Mux(sequencer.busy, sequencer.beat, bus.coming[fields.segment :])
        m.d.sync += [
            address.eq(coming),
            use.eq(sequencer.command.beat),
        ]
        if lockstep:
            odd = Signal()
            m.d.sync += odd.eq(coming[: len(address)].xor())
            lockstep.watch("address", address.xor() ^ odd)
        hidden = []
        for s in range(engine.segments):
            m.d.comb += vectors.w_enable[s].eq(writing & (segment == s))
            hidden.append(~(store.inside & (asked == s)))
        m.d.comb += [
            vectors.w_address.eq(beat),
            vectors.w_data.eq(data),
            vectors.r_address.eq(address),
            vectors.r_use.eq(use),
            # Nothing hides while a run reads, or parity would not be seen.
            vectors.r_hide.eq(Mux(bus.reading, Cat(hidden), 0)),
        ]
        bus.answer_with(vectors.r_word)
        return writing, beat, segment, data

    def _exponents(self, m, lockstep, sequencer, written):
        """The scan of fp32 vectors: (shared exponent, whether a stored one was corrupt, the second
        scan's exponent)."""
        writing, beat, segment, data = written
        beats = place(m, BeatExponents(engine=self.engine), "exponents")
        scanner = place(m, Scanner(exponents=self.engine.row_beats), "scanner")
        m.d.comb += [
            beats.w_enable.eq(writing),
            beats.w_beat.eq(beat),
            beats.w_segment.eq(segment),
            beats.w_exponent.eq(data[23:31]),
            beats.r_row.eq(sequencer.scan_row),
            beats.take.eq(sequencer.scan_take),
            scanner.row.eq(beats.row),
            scanner.take.eq(sequencer.scan_take),
            scanner.clear.eq(sequencer.scan_clear),
            sequencer.settled.eq(beats.settled),
            sequencer.nonfinite.eq(scanner.nonfinite),
        ]
        behind = scanner
        if lockstep:
            follow = lockstep.follow
            second = follow(
                BeatExponents(engine=self.engine), beats, "exponents", trusted=("row", "corrupt")
            )
            behind = follow(
                Scanner(exponents=self.engine.row_beats),
                scanner,
                "scanner",
                given={"row": second.row},
            )
        return scanner.exponent, beats.corrupt, behind.exponent
