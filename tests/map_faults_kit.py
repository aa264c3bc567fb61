"""The faults of map engines that `make test-the-tests` plants."""

from faults_kit import Fault

MAP_FAULTS = (
    Fault(
        "maps-maximum", "the least value is kept", "gateware/maps/unit.py",
        "(x > read.data)", "(x < read.data)", ("test_gateware_maps_parts",),
    ),
    Fault(
        "maps-owed", "a unit's sum goes on over a drain", "gateware/maps/unit.py",
        "total.eq(Mux(ending, 0, total - x))", "total.eq(total - x)",
        ("test_gateware_maps_clusters",),
    ),
    Fault(
        "maps-skip", "skip values reach the lanes", "gateware/maps/unit.py",
        "added.eq(Mux(self.to_lanes, self.x, 0))", "added.eq(self.x)",
        ("test_gateware_maps_clusters",),
    ),
    Fault(
        "maps-path", "a stage works a cycle too soon", "gateware/maps/stage_path.py",
        "self.path, LANES,", "self.path, LANES - 1,",
        ("test_gateware_maps_clusters",),
    ),
    Fault(
        "maps-stream", "a tile keeps the stream of the one before", "gateware/maps/stage_path.py",
        "with m.If(late[0]):", "with m.If(late[0] & ~late[1]):", ("test_gateware_maps_parts",),
    ),
    Fault(
        "maps-packed", "the second of two 2-bit indices is the first",
        "gateware/maps/index_stores.py",
        "cuts.upper.eq((mode == 1) & position[0])", "cuts.upper.eq(0)",
        ("test_gateware_maps_parts",),
    ),
    Fault(
        "maps-old", "all stages' buckets are compared with those of stage 0",
        "gateware/maps/clusters.py", "Cat(drains[5].bucket.bucket, stage)",
        "Cat(drains[5].bucket.bucket, stage & 0)", ("test_gateware_maps_clusters",),
    ),
    Fault(
        "maps-factor", "the factor of a skip value has no sign", "gateware/maps/finish.py",
        "row.factor.as_signed()", "row.factor", ("test_gateware_maps_parts",),
    ),
    Fault(
        "maps-clamp", "results go beyond the upper limit", "gateware/maps/finish.py",
        "Mux(value > self.high, self.high, value)", "value", ("test_gateware_maps_parts",),
    ),
    Fault(
        "maps-range", "a negative accumulator may leave 40 bits", "gateware/maps/finish.py",
        "~(upper.all() | ~upper.any())", "~(upper[-1] | ~upper.any())",
        ("test_gateware_maps_parts",),
    ),
    Fault(
        "maps-tie", "what was shifted out by 16 is forgotten", "gateware/maps/rounding.py",
        "sticky_right(product, shift[4:], unit=COARSE)",
        "(product >> (shift[4:] << 4)).as_signed()", ("test_gateware_maps_parts",),
    ),
    Fault(
        "maps-narrow", "what is far beyond the limits comes back as a small number",
        "gateware/maps/rounding.py", "Mux(fits, product[: bits + 2], extreme)",
        "product[: bits + 2]", ("test_gateware_maps_parts",),
    ),
    Fault(
        "maps-residue", "a sum is not compared with its residue", "gateware/maps/finish.py",
        "(mismatch | (folded != residue))", "mismatch", ("test_gateware_maps_parts",),
    ),
    Fault(
        "maps-gap", "the gap behind a row has positions",
        "gateware/maps/control/walk.py",
        "~walk.columns[-1] & ~walk.rows[-1]",
        "~walk.rows[-1]",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-carry", "the last bank is not followed by the first one of the next word",
        "gateware/maps/control/places.py",
        "carry.eq(total >= clusters)",
        "carry.eq(total > clusters)",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-crowded", "a tile ends after `streams` row groups though all have the same indices",
        "gateware/maps/control/walker.py",
        "(spread == params.streams - 1) & ~fields.shared",
        "(spread == params.streams - 1)",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-phase", "places of maps in planes do not wrap",
        "gateware/maps/control/walk.py",
        "Mux(wraps, 0, phase + 1)",
        "phase + 1",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-channel", "channels lie a word apart",
        "gateware/maps/control/commands.py",
        "m.d.sync += read.word.eq(read.word + work.channel_words)",
        "m.d.sync += read.word.eq(read.word + 1)",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-index", "2-bit indices go on a word too soon",
        "gateware/maps/control/commands.py",
        "(mode[0] & command.position[0])",
        "(mode[0] & ~command.position[0])",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-before", "rows before the first skip value move its place",
        "gateware/maps/control/drains.py",
        "Mux(channel < 0, 0, work.skip_words)",
        "work.skip_words",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-offset", "the next row group is written over the one before",
        "gateware/maps/control/row_offset.py",
        "self.ends, following, start",
        "self.ends, start, start",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-permuted", "results go to the banks of the other clusters",
        "gateware/maps/control/writer.py",
        "select(o, cluster)",
        "o[b]",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-padding", "padding of unsigned maps is not lowered",
        "gateware/maps/control/reads.py",
        "read.add & (item.unsigned | item.maximum)",
        "read.add & item.maximum",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-turned", "what is read is turned the wrong way",
        "gateware/maps/control/reads.py",
        'turned = rotated(m, found, amount, "back", back=True)',
        'turned = rotated(m, found, amount, "back")',
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-idle", "stages without work add",
        "gateware/maps/control/reads.py",
        "passed = self.read.add & ~item.last",
        "passed = self.read.add",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-room", "an item more is prepared than there is room for",
        "gateware/maps/control/item_store.py",
        "(ahead < AHEAD)",
        "(ahead <= AHEAD)",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-start", "skip values begin a word behind the first row",
        "gateware/maps/control/reader.py",
        "before * fields.skip_words",
        "before",
        ("test_gateware_maps_control",),
    ),
    Fault(
        "maps-wait", "passes do not wait",
        "gateware/maps/control/sequencer.py",
        "last_tile + self.pass_.fields.wait",
        "last_tile",
        ("test_gateware_maps_core",),
    ),
    Fault(
        "maps-abort", "a run that is ended goes on",
        "gateware/maps/control/sequencer.py",
        "m.d.sync += aborted.eq(1)",
        "m.d.sync += aborted.eq(0)",
        ("test_gateware_maps_core",),
    ),
    Fault(
        "halves", "during a run the half that it uses is free", "gateware/link/verdict.py",
        "Mux(self.half, first + count <= words, first >= words)",
        "Mux(self.half, first >= words, first + count <= words)", ("test_link_endpoint",),
    ),
    Fault(
        "half-kept", "the half of a run is what VECTORS says by now", "gateware/link/endpoint.py",
        "x.verdict.half.eq(x.runs.half),", "x.verdict.half.eq(x.runs.last_vector),",
        ("test_link_endpoint",),
    ),
    Fault(
        "maps-answer", "what a map engine reads shows in what the link reads during a run",
        "gateware/maps/core.py", "bus.answer_with(Mux(late, word, 0))", "bus.answer_with(word)",
        ("test_host_maps_sim",),
    ),
)  # fmt: skip
