"""Planted bugs, at least one for each property."""

from __future__ import annotations

from dpnet.sim.formal.door_bugs import DOOR_BUGS
from dpnet.sim.formal.proof import Bug

_COBS = "gateware/link/cobs.py"
_RECEIVER = "gateware/link/receiver.py"

_CHECKS = """taken
                & beat.end
                & beat.good
                & check.match_detected
                & (count == expected)
                & (reads | (header.length <= MAX_PAYLOAD))
                & ~header.response
"""
"""What makes a frame a request."""

_LINK: tuple[Bug, ...] = (
    Bug(
        "short-block-without-zero", "cobs", "a_beat_for_every_byte_that_stands_for_one", 8, _COBS,
        "implied.eq(byte != 0xFF)", "implied.eq(byte != 0x02)",
    ),
    Bug(
        "beat-without-byte", "cobs", "no_beat_without_a_byte", 8, _COBS,
        "self.o.valid.eq(self.i.valid & gives)", "self.o.valid.eq(gives)",
    ),
    Bug(
        "beat-lost", "cobs", "a_byte_is_taken_with_its_beat", 8, _COBS,
        "self.i.ready.eq(self.o.ready | ~gives)", "self.i.ready.eq(1)",
    ),
    Bug(
        "never-ready", "cobs", "every_byte_is_taken_if_beats_are", 8, _COBS,
        "self.i.ready.eq(self.o.ready | ~gives)", "self.i.ready.eq(self.o.ready & gives)",
    ),
    Bug(
        "code-as-data", "cobs", "the_beat_is_the_byte", 8, _COBS,
        "self.o.payload.data.eq(Mux(code, 0, byte))", "self.o.payload.data.eq(byte)",
    ),
    Bug(
        "end-at-01", "cobs", "frames_end_at_00", 8, _COBS,
        "self.o.payload.end.eq(zero)", "self.o.payload.end.eq(byte[1:] == 0)",
    ),
    Bug(
        "cut-block-good", "cobs", "good_if_no_block_is_cut", 8, _COBS,
        "self.o.payload.good.eq(zero & code)", "self.o.payload.good.eq(zero)",
    ),
    Bug(
        "beat-withdrawn", "cobs", "a_beat_stays_until_it_is_taken", 8, _COBS,
        "with m.If(self.i.valid & self.i.ready):", "with m.If(self.i.valid):",
    ),
    Bug(
        "cut-block-goes-on", "cobs-resync", "after_any_00_as_after_reset", 8, _COBS,
        "m.d.sync += [left.eq(0), inside.eq(0), implied.eq(0)]",
        "m.d.sync += [inside.eq(0), implied.eq(0)]",
    ),
    Bug(
        "crc-ignored", "receiver", "accepted_if_and_only_if_good", 17, _RECEIVER,
        "& check.match_detected", "",
    ),
    Bug(
        "length-ignored", "receiver", "accepted_if_and_only_if_good", 20, _RECEIVER,
        " & (count == expected)", "",
    ),
    Bug(
        "short-frame-not-counted", "receiver", "dropped_if_not", 17, _RECEIVER,
        "self.dropped.eq(taken & beat.end & ~accepted)",
        "self.dropped.eq(taken & beat.end & beat.good & ~accepted)",
    ),
    Bug(
        "deaf-without-a-frame", "receiver", "taken_while_there_is_room", 6, _RECEIVER,
        "decoder.o.ready.eq(full != 2)", "decoder.o.ready.eq(full == 1)",
    ),
    Bug(
        "third-frame", "receiver-store", "two_frames_at_most", 12, _RECEIVER,
        _CHECKS, "decoder.o.valid & beat.end\n",
    ),
    Bug(
        "frame-over-a-waiting-one", "receiver-store", "requests_in_order", 12, _RECEIVER,
        _CHECKS, "decoder.o.valid & beat.end\n",
    ),
    Bug(
        "payload-in-one-bank", "receiver-store", "payload_as_sent", 30, _RECEIVER,
        "read.addr.eq(Cat(self.address, reading))", "read.addr.eq(Cat(self.address, ~reading))",
        first=22,
    ),
    Bug(
        "count-goes-on", "receiver-resync", "after_any_00_as_after_reset", 30, _RECEIVER,
        """        with m.If(taken & beat.end):
            m.d.sync += count.eq(0)
""",
        """        with m.If(taken & beat.end & beat.good):
            m.d.sync += count.eq(0)
""",
        first=22,
    ),
)  # fmt: skip

_CHECKER = "gateware/link/checker.py"
_ENDPOINT = "gateware/link/endpoint.py"
_IMAGE = "gateware/link/image.py"
_RUNS = "gateware/link/runs.py"
_STEPS = "gateware/link/steps.py"
_WALK = "gateware/link/walk.py"
_RESPONDER = "gateware/link/responder.py"
_VERDICT = "gateware/link/verdict.py"

_LOADER: tuple[Bug, ...] = (
    Bug(
        "another-polynomial", "checker", "crc_of_the_words_that_came", 10, _CHECKER,
        "_POLYNOMIAL = 0xEDB88320", "_POLYNOMIAL = 0xEDB88321",
    ),
    Bug(
        "image-takes-all-words", "checker", "crc_of_the_image", 12, _CHECKER,
        "(image_crc, self.image_clear, self.image_word)",
        "(image_crc, self.image_clear, self.r_valid)",
    ),
    Bug(
        "crc-not-inverted", "checker", "crcs_are_inverted", 4, _CHECKER,
        "self.image_crc.eq(~image_crc)", "self.image_crc.eq(image_crc)",
    ),
    Bug(
        "every-second-word", "checker", "reads_the_words_of_the_range", 8, _CHECKER,
        "self.read_address.eq(self.read_address + 1)",
        "self.read_address.eq(self.read_address + 2)",
    ),
    Bug(
        "busy-while-asking", "checker", "busy_until_all_are_there", 8, _CHECKER,
        "self.busy.eq(wait != 0)", "self.busy.eq(ask != 0)",
    ),
    Bug(
        "word-too-many", "responder", "takes_the_words_it_owes", 16, _RESPONDER,
        "self.words.ready.eq(words_left != 0)", "self.words.ready.eq(1)",
    ),
    Bug(
        "idle-too-soon", "responder", "idle_between_frames_only", 18, _RESPONDER,
        """                with m.If(sent & (bytes_left == 0)):
                    m.next = "IDLE"
""",
        """                with m.If(sent):
                    m.next = "IDLE"
""",
    ),
    Bug(
        "five-bytes-of-crc", "responder", "a_frame_has_its_length", 22, _RESPONDER,
        "load(check.crc, 4)", "load(check.crc, 5)",
    ),
    Bug(
        "bytes-for-ever", "responder", "every_byte_leads_on", 10, _RESPONDER,
        "bytes_left.eq(bytes_left - 1)]", "bytes_left.eq(bytes_left)]",
    ),
    Bug(
        "crc-held-back", "responder", "waits_for_others_only", 18, _RESPONDER,
        "m.d.comb += [raw.valid.eq(1), raw.payload.last.eq(bytes_left == 0)]",
        "m.d.comb += [raw.valid.eq(bytes_left != 0), raw.payload.last.eq(bytes_left == 0)]",
    ),
    Bug(
        "commit-unchecked", "loader", "valid_only_after_a_good_commit", 22, _STEPS,
        "with m.If(x.checker.crc == x.wanted):", "with m.If(x.checker.crc != 0xFFFFFFFF):",
    ),
    Bug(
        "commit-keeps-another-crc", "loader", "a_good_commit_makes_valid", 22, _IMAGE,
        "self.crc.eq(self.new_crc)", "self.crc.eq(self.new_words)",
    ),
    Bug(
        "range-beyond-its-store", "loader", "ranges_as_named_and_inside_the_stores", 14, _WALK,
        "(low + self.word <= there)", "(low + self.word <= 2 * there)",
    ),
    Bug(
        "run-without-image", "loader", "no_run_without_a_valid_image", 12, _STEPS,
        "m.d.comb += x.runs.write.eq(1)", "m.d.comb += [x.runs.write.eq(1), x.runs.valid.eq(1)]",
    ),
    Bug(
        "run-beside-another", "loader", "no_run_beside_another", 36, _RUNS,
        "with m.If(self.busy):", "with m.If(self.busy & (self.vectors == 0)):",
        first=26,
    ),
    Bug(
        "another-run-ended", "loader", "only_the_run_that_is_named_is_ended", 14, _RUNS,
        """        with m.If(run != self.run):
            m.d.comb += self.status.eq(Status.STALE)
        with m.Elif(self.busy):""",
        """        with m.If(run[:8] != self.run[:8]):
            m.d.comb += self.status.eq(Status.STALE)
        with m.Elif(self.busy):""",
    ),
    Bug(
        "another-word-given-back", "loader", "a_hello_is_given_back", 14, _STEPS,
        "                m.d.sync += x.position.eq(0)\n", "                pass\n",
    ),
    Bug(
        "one-word-too-many", "loader", "no_write_outside_the_request", 14, _STEPS,
        "with m.If(position == request.length[2:]):",
        "with m.If(position == request.length[2:] + 1):",
    ),
    Bug(
        "write-unloaded", "loader", "image_written_only_while_it_may", 14, _VERDICT,
        "with m.Elif(image & ~loading & ~streamed):",
        "with m.Elif(image & ~own & ~streamed):",
    ),
    Bug(
        "vectors-beside-a-run", "loader", "no_write_beside_a_run", 14, _VERDICT,
        "with m.Elif(~registers & self.busy & ~free):",
        "with m.Elif(image & self.busy & ~free):",
    ),
    Bug(
        "few-response-words", "loader", "response_words_never_overflow", 24, _ENDPOINT,
        "depth=PAYLOAD_WORDS)", "depth=PAYLOAD_WORDS // 16)",
    ),
    Bug(
        "begin-keeps-state", "loader", "another_epoch_is_not_valid", 14, _IMAGE,
        "m.d.sync += [self.state.eq(State.LOADING), self.epoch.eq(self.new_epoch)]",
        "m.d.sync += [self.epoch.eq(self.new_epoch)]",
    ),
    Bug(
        "write-for-ever", "loader", "every_step_leads_on", 14, _STEPS,
        """            m.d.sync += position.eq(position + 1)
            with m.If(position == request.length[2:]):""",
        """            with m.If(position == request.length[2:]):""",
    ),
    Bug(
        "image-check-goes-first", "loader", "a_request_waits_for_the_image_check_at_most", 40,
        _STEPS, "image_check.go.eq(~receiver.valid & ~core.busy)",
        "image_check.go.eq(~core.busy)",
        first=37,
    ),
    Bug(
        "begin-unanswered", "loader", "one_response_for_every_request", 14, _STEPS,
        """x.image.begin.eq(1)
        m.next = "RESPOND"
""",
        """x.image.begin.eq(1)
        m.next = "DONE"
""",
    ),
)  # fmt: skip

_LANE = "gateware/array/lane.py"
_SEQUENCER = "gateware/core/sequencer.py"

_DRAIN: tuple[Bug, ...] = (
    Bug(
        "narrow-bucket", "lane-4", "no_bucket_overflows", 8, "model/engine/parameters.py",
        "return self.activation_bits + ceil_log2(self.max_columns)",
        "return self.activation_bits + ceil_log2(self.max_columns) - 1",
    ),
    Bug(
        "drain-without-chain", "lane-4", "a_drain_shows_the_bucket", 8, _LANE,
        "            drained = total\n", "            drained = bucket\n",
    ),
    Bug(
        "drain-writes", "lane-4", "a_drain_leaves_the_bucket", 8, _LANE,
        "write.en.eq(self.add)", "write.en.eq(1)",
    ),
    Bug(
        "sums-shown-while-adding", "lane-4", "silent_while_adding", 8, _LANE,
        "o.eq(Mux(self.add, 0, drained))", "o.eq(drained)",
    ),
    Bug(
        "every-second-bucket", "drain", "buckets_in_order_each_once", 48, _SEQUENCER,
        "[count.eq(count + 1), at.drained", "[count.eq(count + 2), at.drained",
    ),
    Bug(
        "one-bucket-too-few", "drain", "a_drain_is_whole", 48, "gateware/core/layer_times.py",
        "self.before_last.eq(layer.last_k - 1)",
        "self.before_last.eq(Mux(layer.last_k > 1, layer.last_k - 2, 0))",
    ),
    Bug(
        "one-beat-too-few", "drain", "a_tile_is_drained_after_its_beats", 48, _SEQUENCER,
        "at.last_beat.eq(at.left_beats == 2)", "at.last_beat.eq(at.left_beats == 3)",
    ),
    Bug(
        "beat-in-a-drain", "drain", "beats_and_drains_apart", 48, _SEQUENCER,
        "            command.drain.eq(1),\n",
        "            command.drain.eq(1), command.beat.eq(1),\n",
    ),
    Bug(
        "tiles-not-counted", "drain", "as_many_results_as_tiles", 52, _SEQUENCER,
        "tiles.begin.eq(does.begin)", "tiles.begin.eq(does.launch)",
    ),
    Bug(
        "tile-for-ever", "drain", "every_tile_leads_on", 52, _SEQUENCER,
        "left = Mux(ahead.last_tile, self.layer.tiles, at.left_tiles - 1)",
        "left = Mux(ahead.last_tile, self.layer.tiles, at.left_tiles)",
    ),
    Bug(
        "beats-for-ever", "drain", "beats_and_drains_go_on", 48, _SEQUENCER,
        "at.left_beats.eq(at.left_beats - 1)", "at.left_beats.eq(at.left_beats)",
    ),
    Bug(
        "gap-for-ever", "drain", "ready_goes_on_when_released", 52, _SEQUENCER,
        "at.left_gap.eq(Mux(over, 0, at.left_gap - 1))",
        "at.left_gap.eq(Mux(over, 0, at.left_gap))",
    ),
    Bug(
        "early-result-missed", "drain", "a_wait_ends_with_the_last_result", 52,
        "gateware/core/tile_counters.py",
        "self.finished.eq(one & whole | none)", "self.finished.eq(one & whole)",
    ),
    Bug(
        "last-layer-passed", "drain", "layers_come_to_an_end", 52, _SEQUENCER,
        "with m.If(at.number == at.final):", "with m.If(at.number == 0):",
    ),
    Bug(
        "copy-unnoticed", "drain", "a_copy_ends_when_copied", 52, _SEQUENCER,
        "with m.If(self.copied):", "with m.If(self.copied & self.settled):",
    ),
)  # fmt: skip

_ABORT: tuple[Bug, ...] = (
    Bug(
        "abort-forgotten", "abort", "a_run_remembers_that_it_is_told", 40, _SEQUENCER,
        "with m.If(self.abort & running):", "with m.If(self.abort & running & self.settled):",
    ),
    Bug(
        "abort-waits-for-results", "abort", "what_is_told_goes_to_the_end", 40, _SEQUENCER,
        "        with m.If(aborted):\n",
        "        with m.If(aborted & self.result_done):\n",
    ),
    Bug(
        "drain-while-all-leaves", "abort", "silent_while_all_leaves", 40, _SEQUENCER,
        "                self._abort(m, at, dirty)\n",
        "                self._abort(m, at, dirty)\n"
        "                m.d.comb += command.drain.eq(1)\n",
    ),
    Bug(
        "flush-left-out", "abort", "then_every_bucket_is_drained", 70, _SEQUENCER,
        """            m.d.sync += at.count.eq(0)
            m.next = "FLUSH"
""",
        """            m.d.sync += at.count.eq(0)
            m.next = "IDLE"
""",
    ),
    Bug(
        "abort-for-ever", "abort", "the_end_comes", 40, _SEQUENCER,
        "m.d.sync += [at.count.eq(at.count + 1), dirty.eq(1)]", "m.d.sync += dirty.eq(1)",
    ),
    Bug(
        "tiles-stay-open", "abort", "nothing_is_open_afterwards", 44,
        "gateware/core/tile_counters.py",
        "m.d.sync += [results.eq(0), open_tiles.eq(0)]", "m.d.sync += results.eq(0)",
    ),
    Bug(
        "abort-kept", "abort", "ready_for_the_next", 44, _SEQUENCER,
        "                m.d.sync += aborted.eq(0)\n", "",
    ),
)  # fmt: skip

BUGS = _LINK + _LOADER + DOOR_BUGS + _DRAIN + _ABORT
