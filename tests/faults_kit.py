"""The faults that `make test-the-tests` plants."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """`old` in `file` becomes `new`, which `tests` must notice."""

    name: str
    meaning: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "lane", "a drain writes the bucket too", "gateware/array/lane.py",
        "write.en.eq(self.add)", "write.en.eq(1)", ("test_gateware_lane",),
    ),
    Fault(
        "lane-system", "the same, seen by the whole system", "gateware/array/lane.py",
        "write.en.eq(self.add)", "write.en.eq(1)", ("test_system",),
    ),
    Fault(
        "drain", "the sequencer drains one bucket too few", "gateware/core/layer_times.py",
        "self.before_last.eq(layer.last_k - 1)",
        "self.before_last.eq(Mux(layer.last_k > 1, layer.last_k - 2, 0))",
        ("test_gateware_core",),
    ),
    Fault(
        "column", "the accumulator never starts afresh", "gateware/array/column.py",
        "Mux(afresh, 0, total) + product", "total + product", ("test_gateware_column",),
    ),
    Fault(
        "sigma", "the Σ-check is always content", "gateware/array/column.py",
        "wrong = [left.any()]", "wrong = [left.any() & 0]", ("test_gateware_column",),
    ),
    Fault(
        "gain", "a column forgets what its buckets held before", "gateware/array/column.py",
        "gain.eq(values[1] - before)", "gain.eq(values[1])", ("test_gateware_column",),
    ),
    Fault(
        "gain-keep", "synthesis may move the gain's subtraction", "gateware/array/column.py",
        'reset_less=True, attrs={"keep": 1})', "reset_less=True)", ("test_boards_netlist",),
    ),
    Fault(
        "residue", "a result is not compared with its residue", "gateware/core/post.py",
        "return now & (residue != kept[4:6])", "return now & 0", ("test_sim_faults",),
    ),
    Fault(
        "stage", "a segment starts with its neighbor instead of a cycle later",
        "gateware/array/segment.py", "m.d.sync += [\n            self.next_address.eq",
        "m.d.comb += [\n            self.next_address.eq", ("test_gateware_stage",),
    ),
    Fault(
        "drain-words", "drain words can be overwritten", "gateware/core/__init__.py",
        "bus.store(Region.INDEX, low=low, depth=weight_words(engine))",
        "bus.store(Region.INDEX, low=low, depth=weight_words(engine) + engine.buckets)",
        ("test_gateware_core",),
    ),
    Fault(
        "array", "the sum of a short tile's inputs is lost to the next one's",
        "gateware/array/__init__.py",
        "owed.eq(total)", "owed.eq(running)", ("test_gateware_array",),
    ),
    Fault(
        "parity", "no upset is seen", "gateware/parts/checked_ram.py",
        "self.corrupt.eq(odd & used[2])", "self.corrupt.eq(0)", ("test_gateware_checked_ram",),
    ),
    Fault(
        "parity-core", "parity of the vectors is not looked at", "gateware/core/__init__.py",
        "vectors.r_use.eq(use)", "vectors.r_use.eq(0)", ("test_gateware_core",),
    ),
    Fault(
        "feeder", "integers are told from none by the row of the next beat",
        "gateware/core/feeder.py",
        "above = self.late.word_select(s, 32)", "above = self.row.word_select(s, 32)",
        ("test_gateware_feeder",),
    ),
    Fault(
        "feeder-idle", "words that no beat asked for reach the lanes", "gateware/core/feeder.py",
        "beat.x[s].eq(Mux(command.beat, x, 0))", "beat.x[s].eq(x)", ("test_gateware_feeder",),
    ),
    Fault(
        "flush", "what a sigma error left in the buckets stays there", "gateware/core/sequencer.py",
        "        with m.If(self.sigma):\n            m.d.sync += dirty.eq(1)\n", "",
        ("test_gateware_core",),
    ),
    Fault(
        "abort-product", "a product that was ended is counted by the sequencer alone",
        "gateware/core/sequencer.py", "command.start.eq((at.count == 0) & at.owed),", "",
        ("test_gateware_core",),
    ),
    Fault(
        "abort-packed", "a run begins where the last one was ended in a row of packed indices",
        "gateware/core/sequencer.py", "            at.packed.eq(0),\n", "",
        ("test_gateware_core",),
    ),
    Fault(
        "vectors", "the next vector does not wait for its scan", "gateware/core/sequencer.py",
        "with m.If(due & (ahead.fp32 & ~ahead.scanned | ahead.wait)):",
        "with m.If(due & ahead.wait):", ("test_gateware_core",),
    ),
    Fault(
        "release", "a streamed tile starts before it is released",
        "gateware/core/tile_counters.py",
        "self.free.eq(~self.streams | (self.released != started))",
        "self.free.eq(1)", ("test_gateware_core",),
    ),
    Fault(
        "copier", "padding of the next layer's input is not zeroed", "gateware/core/copier.py",
        "Mux(real, self.r_word, 0)", "self.r_word", ("test_gateware_copier",),
    ),
    Fault(
        "frame-decoder", "a frame with a wrong CRC is accepted", "gateware/link/receiver.py",
        "& check.match_detected", "", ("test_link_receiver",),
    ),
    Fault(
        "cobs-decoder", "a full block implies a zero", "gateware/link/cobs.py",
        "implied.eq(byte != 0xFF)", "implied.eq(1)", ("test_link_cobs",),
    ),
    Fault(
        "store-ends", "the word behind a store can be read", "gateware/link/verdict.py",
        "(offset[2:REGION_SHIFT] + length[2:] > words)",
        "(offset[2:REGION_SHIFT] + length[2:] > words + 1)", ("test_link_endpoint",),
    ),
    Fault(
        "range-ends", "a COMMIT takes ranges beyond the stores", "gateware/link/walk.py",
        "(low + self.word <= there)", "(there != 0)", ("test_link_endpoint",),
    ),
    Fault(
        "stream-loading", "a streamed tile is taken while an image is loaded",
        "gateware/link/verdict.py", "(self.state == State.LOADING) & ~streams",
        "(self.state == State.LOADING)", ("test_link_image_check",),
    ),
    Fault(
        "multiplier", "every engine says that it has multipliers of 25 × 18",
        "gateware/registers.py", """        "multiplier",
        0,
        "multiplier",
        Factors(),""", """        25 | 18 << 8,
        0,
        25 | 18 << 8,
        Factors(),""", ("test_gateware_registers",),
    ),
    Fault(
        "stale-write", "an image write needs no epoch", "gateware/link/verdict.py",
        "image & ~loading & ~streamed", "image & 0",
        ("test_link_endpoint",),
    ),
    Fault(
        "image-check", "the image is read back beside a run", "gateware/link/steps.py",
        "image_check.go.eq(~receiver.valid & ~core.busy),",
        "image_check.go.eq(~receiver.valid),", ("test_link_image_check",),
    ),
    Fault(
        "rounding", "ties round up instead of to even", "gateware/arithmetic/shift.py",
        "return value[1] & (value[0] | value[2])", "return value[1]",
        ("test_gateware_align", "test_gateware_normalize", "test_gateware_requantize"),
    ),
    Fault(
        "back-pressure", "a pipeline moves on while its output is refused",
        "gateware/arithmetic/stream_pipeline.py",
        "i.ready.eq(~o.valid | o.ready)", "i.ready.eq(1)", ("test_gateware_requantize",),
    ),
    Fault(
        "golden", "the golden product drops the last column", "model/golden/array.py",
        "indices == n, x, 0", "(indices == n) & (np.arange(len(x)) < len(x) - 1), x, 0",
        ("test_golden_array",),
    ),
    Fault(
        "layout", "a stage gets its neighbor's rows", "model/engine/layout.py",
        "split.transpose(0, 3, 1, 4, 2)", "split[:, ::-1].transpose(0, 3, 1, 4, 2)",
        ("test_model_layout",),
    ),
    Fault(
        "cycles", "the second stage's delay is forgotten", "model/engine/parameters.py",
        "            + (self.stages - 1) * self.slot_cycles\n            + SEGMENT_LATENCY",
        "            + SEGMENT_LATENCY", ("test_model_engine",),
    ),
    Fault(
        "quantizer", "breaks are looked for from one too high",
        "model/quantizer/kernels/undecided/layers.py",
        "stack[depth] = j + 1, high, best, i_high", "stack[depth] = j + 1, high, best + 1, i_high",
        ("test_model_quantizer",),
    ),
    Fault(
        "quantizer-doubt", "what float64 cannot tell apart counts as decided",
        "model/quantizer/kernels/price/rows.py",
        "doubt = excess(table, k, price, room) + DOUBTS * (k + 2.0) * error",
        "doubt = 0.0 * error",
        ("test_model_quantizer", "test_model_quantizer_options"),
    ),
    Fault(
        "quantizer-near", "points beside a core are taken from the wrong end",
        "model/quantizer/kernels/near.py", "side = lefts - 1 - i", "side = i",
        ("test_model_quantizer_options",),
    ),
    Fault(
        "quantizer-long", "a window ends a place too early",
        "model/quantizer/kernels/grids/program.py",
        "last[cluster] = max(places[beyond] - 1, places[low[cluster]])",
        "last[cluster] = places[low[cluster]]",
        ("test_model_quantizer_options",),
    ),
    Fault(
        "quantizer-heavy", "a point of half the weight is in a bin with others",
        "model/quantizer/kernels/grids/places.py",
        "if row.heavy[j] > least:", "if row.heavy[j] > least / HEAVY:",
        ("test_model_quantizer_sums",),
    ),
    Fault(
        "quantizer-join", "no two breaks may be at one place of a grid",
        "model/quantizer/kernels/grids/program.py",
        "            if join:\n", "            if join and skip:\n",
        ("test_model_quantizer_sums",),
    ),
    Fault(
        "quantizer-bins", "a break's bin may not reach into that of the one before",
        "model/quantizer/kernels/grids/program.py",
        "places[j + 1] - 1 if skip else places[j]", "places[j]", ("test_model_quantizer_sums",),
    ),
    Fault(
        "quantizer-sums", "what a block's additions lose is forgotten",
        "model/quantizer/kernels/grids/prefix.py", "total_lost + found[1]", "total_lost",
        ("test_model_quantizer_sums",),
    ),
    Fault(
        "quantizer-windows", "the search for breaks begins a cluster too late",
        "model/quantizer/kernels/price/windows.py", "early, limit = bounds[begin], limit",
        "early, limit = bounds[begin + 1], limit", ("test_model_quantizer_sums",),
    ),
    Fault(
        "quantizer-zero", "clusters above 0 are not mirrored",
        "model/quantizer/kernels/undecided/zero.py",
        "mirrored, light = -points[m - positive : m][::-1],",
        "mirrored, light = -points[m - positive : m],",
        ("test_model_quantizer_options",),
    ),
    Fault(
        "quantizer-apart", "far points are brought nearer than is safe",
        "model/quantizer/kernels/apart.py", "AWAY = 4.0", "AWAY = 1e-9",
        ("test_model_quantizer_corners",),
    ),
    Fault(
        "quantizer-weightless", "a mean counts from a value of no weight",
        "model/quantizer/kernels/assign.py",
        "origin = ordered[first] * scale", "origin = ordered[a] * scale",
        ("test_model_quantizer_corners",),
    ),
    Fault(
        "quantizer-symmetric", "an even symmetric codebook has its 0 twice",
        "model/quantizer/rows.py", "once = int(positive[0] == 0)", "once = odd",
        ("test_model_quantizer_corners",),
    ),
    Fault(
        "quantizer-digits", "negative numbers are sorted the other way round",
        "model/quantizer/kernels/radix.py",
        "key[j] = own ^ (every if own >> sign else top)", "key[j] = own ^ top",
        ("test_model_quantizer_ordered",),
    ),
    Fault(
        "quantizer-equal", "a break is between equal values of a long row",
        "model/quantizer/kernels/grids/places.py",
        "place = start_of(row, place)", "pass",
        ("test_model_quantizer_ties",),
    ),
    Fault(
        "quantizer-far", "of far values that occur twice one is left among the others",
        "model/quantizer/kernels/apart.py",
        "start, below = end, below + 1", "start, below = start + 1, below + 1",
        ("test_model_quantizer_ties",),
    ),
    Fault(
        "quantizer-stale", "the digest forgets kernels in rooms",
        "model/quantizer/compiled.py", '"kernels").rglob("*.py")', '"kernels").glob("*.py")',
        ("test_model_quantizer_compiled",),
    ),
    Fault(
        "entropy", "the bits of a cluster are counted from its square",
        "model/coding/intervals.py",
        "return count * math.log2(total / count)",
        "return count * math.log2(total / count + 1)",
        ("test_model_entropy",),
    ),
    Fault(
        "allocate", "the budget is exceeded by a byte", "model/compression/allocate.py",
        "left = budget - int(_pick", "left = budget + 1 - int(_pick", ("test_model_allocate",),
    ),
    Fault(
        "carried", "the parity of a delay is not looked at", "gateware/parts/lockstep.py",
        "~Cat(*taps[-1]).xor()", "Const(0, 1)", ("test_sim_faults",),
    ),
    Fault(
        "regularizer", "the term pushes weights away from their centroids",
        "model/training/regularizer.py", "0.5 * rho[name] * (values", "-0.5 * rho[name] * (values",
        ("test_model_regularizer",),
    ),
    Fault(
        "regularizer-types", "a bfloat16 net has its centroids in bfloat16",
        "model/compression/groups.py", "else values.float()", "else values",
        ("test_model_regularizer_nets",),
    ),
    Fault(
        "weights", "a weight-normed layer is stored without its lengths",
        "model/compression/parts.py",
        "return torch._weight_norm(v, g, -1 if axis is None else axis)", "return v",
        ("test_model_weights",),
    ),
    Fault(
        "weights-rows", "the rows of a transposed convolution run along its inputs",
        "model/compression/weights.py", 'known[f"{prefix}weight"] = module.groups',
        'known[f"{prefix}weight"] = 0', ("test_model_weights",),
    ),
    Fault(
        "matrices", "rows with a 0 lose it when a file is compressed",
        "model/compression/solver.py", "np.asarray((rows == 0).any(axis=1))",
        "np.zeros(len(rows), np.bool_)", ("test_model_matrices",),
    ),
    Fault(
        "image", "a wrong CRC-32 of a tensor is not noticed", "model/image/container.py",
        "zlib.crc32(data) == crc", "True", ("test_model_image_damage",),
    ),
    Fault(
        "chain", "layers that do not fit each other make an image", "model/image/network.py",
        "layer.is_fp32 or layer.columns == before.rows", "True", ("test_model_image_damage",),
    ),
    Fault(
        "row-gain", "a batch norm behind a ReLU is left out", "model/compile/integer.py",
        "unit / next_scale * layer.gain", "unit / next_scale", ("test_model_compile_net",),
    ),
    Fault(
        "pruned", "zeros of pruned weights come back in compiled nets",
        "model/compile/clusters.py", "quantize(rows[mask], k, zero=zero)",
        "quantize(rows[mask], k)", ("test_model_compile_net",),
    ),
    Fault(
        "packed", "an image that is read is unpacked at once", "model/image/packing.py",
        "vars(layer)[self._KEPT] = given\n\n",
        "vars(layer)[self._KEPT] = getattr(given, 'unpacked', lambda: given)()\n\n",
        ("test_model_image_reading",),
    ),
    Fault(
        "hello", "what was said to another program is taken for an answer", "host/link/request.py",
        "return response.payload == request.payload", "return True", ("test_host_link",),
    ),
    Fault(
        "exclusive", "a device is opened beside another program", "host/link/transport.py",
        "exclusive=True", "exclusive=None", ("test_host_transport",),
    ),
    Fault(
        "deadline", "a run that takes too long goes on", "host/driver.py",
        "            with suppress(LinkError):\n                self.abort()\n            raise",
        "            raise", ("test_host_driver_runs",),
    ),
    Fault(
        "taken", "a second client of a simulated board waits for ever", "sim/serve.py",
        "if client is not None and now >= until:", "if False:", ("test_sim_serve",),
    ),
    Fault(
        "host-link", "any answer is taken for the one that was asked for", "host/link/request.py",
        "if response.operation != request.operation | RESPONSE:", "if False:",
        ("test_host_link",),
    ),
    Fault(
        "lockstep", "the second of a pair is compared with itself", "gateware/parts/lockstep.py",
        "found[part] != wanted[part]", "found[part] != found[part]", ("test_sim_faults",),
    ),
    Fault(
        "aim", "the next vector starts where the last one did", "gateware/core/sequencer.py",
        "Mux(due & ~at.fresh, ahead.next_base, at.base)", "at.base",
        ("test_gateware_core",),
    ),
    Fault(
        "axi-padding", "a frame's last byte is padded whatever it is", "host/link/axi_door.py",
        'if data.endswith(b"\\0"):', "if data:", ("test_host_axi_door",),
    ),
    Fault(
        "axi-access", "a word of the door is read before it is written", "host/link/axi.py",
        "self._words[index] = value", "self._words[index] |= value", ("test_host_axi_accesses",),
    ),
    Fault(
        "bench-load", "an image that is there already is timed as a load", "host/phases.py",
        "self._forget(image)", "pass", ("test_host_bench",),
    ),
    Fault(
        "doctor", "what is missing does not count", "host/doctor/examination.py",
        "finding.status == MISSING for finding", "finding.status == NOTE for finding",
        ("test_host_doctor",),
    ),
    Fault(
        "old-bitstream", "an older bitstream is left over", "boards/bitstream.py",
        "    _clear(folder)\n", "", ("test_boards_bitstream",),
    ),
    Fault(
        "pll", "the engine's clock does not wait for the PLL", "boards/ecp5/startup.py",
        "with m.Elif(locked & ~self.stopped)", "with m.Elif(~self.stopped)",
        ("test_boards_ulx3s",),
    ),
    Fault(
        "pll-detector", "the PLL's phase detector runs at 5 MHz", "boards/ecp5/pll.py",
        "PHASE_DETECTOR_MHZ = (10, 400)", "PHASE_DETECTOR_MHZ = (3, 400)",
        ("test_boards_clocks",),
    ),
    Fault(
        "pll-feedback", "a second output is named as fed back, and the first one is",
        "boards/ecp5/pll.py", 'back = o if self.second is None else Signal(name="back")',
        "back = o", ("test_boards_clocks",),
    ),
    Fault(
        "mmcm-phase", "a phase is left out", "boards/series7/clocking.py",
        "            p_CLKOUT0_PHASE=0.0,\n", "", ("test_boards_clocks",),
    ),
    Fault(
        "uio-name", "a UIO device is found by the beginning of its name", "host/link/axi.py",
        "if known == name)", "if known.startswith(name))", ("test_host_axi",),
    ),
    Fault(
        "axi3-wrap", "a wrapping burst does not wrap", "gateware/doors/axi3.py",
        "wrapped = (advanced[:6] & around) | (self.address[:6] & ~around)",
        "wrapped = advanced[:6]", ("test_link_axi3",),
    ),
    Fault(
        "axi3-id", "a read answers with the ID that is asked next", "gateware/doors/axi3.py",
        "self.s_axi_rid.eq(burst.id)", "self.s_axi_rid.eq(self.s_axi_arid)", ("test_link_axi3",),
    ),
    Fault(
        "resync", "a 00 leaves the block before it open", "gateware/link/cobs.py",
        "[left.eq(0), inside.eq(0), implied.eq(0)]", "[inside.eq(0), implied.eq(0)]",
        ("test_sim_soak",),
    ),
    Fault(
        "half-loaded", "a run may start while an image is being loaded",
        "gateware/link/endpoint.py", "x.runs.valid.eq(x.image.valid),",
        "x.runs.valid.eq(x.image.state != 0),", ("test_sim_soak",),
    ),
    Fault(
        "other-image", "a session does not notice that its image was replaced", "host/session.py",
        "if held != self._loaded_crc:", "if held == -1:", ("test_sim_soak",),
    ),
    Fault(
        "ahead", "no more than one window of writes is on its way", "host/link/__init__.py",
        "<= self.ahead_bytes", "<= 0 * self.ahead_bytes", ("test_sim_soak",),
    ),
)  # fmt: skip
