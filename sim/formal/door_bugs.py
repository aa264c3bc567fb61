"""Planted bugs of the doors: FIFO, AXI4-Lite, UART, AXI3."""

from __future__ import annotations

from dpnet.sim.formal.proof import Bug

_FIFO = "amaranth/lib/fifo.py"
_AXI = "gateware/doors/axi.py"
_UART = "gateware/doors/uart.py"

_DOORS: tuple[Bug, ...] = (
    Bug(
        "byte-overwritten", "fifo-8", "as_they_went_in", 10, _FIFO,
        "inner_r_rdy & (~self.r_rdy | self.r_en)", "inner_r_rdy",
    ),
    Bug(
        "always-room", "fifo-8", "never_more_than_fit", 14, _FIFO,
        "self.w_rdy.eq(inner_level != inner_depth)", "self.w_rdy.eq(1)",
    ),
    Bug(
        "room-for-one", "fifo-8", "room_after_a_byte_is_taken", 10, _FIFO,
        "self.w_rdy.eq(inner_level != inner_depth)", "self.w_rdy.eq(inner_level == 0)",
    ),
    Bug(
        "last-byte-held-back", "fifo-8", "a_byte_shows_a_cycle_later", 10, _FIFO,
        "inner_r_rdy.eq(inner_level != 0)", "inner_r_rdy.eq(inner_level > 1)",
    ),
    Bug(
        "answer-withdrawn", "axi-write", "b_stays", 10, _AXI,
        "with m.If(answering & self.s_axi_bready):", "with m.If(answering):",
    ),
    Bug(
        "data-taken-twice", "axi-write", "one_answer_a_write", 10, _AXI,
        "self.s_axi_wready.eq(~has_data)", "self.s_axi_wready.eq(1)",
    ),
    Bug(
        "mirror-of-tx", "axi-write", "nothing_sent_outside_the_map", 10, _AXI,
        "mapped = address[2:] == TX_OFFSET // 4", "mapped = address[2:5] == TX_OFFSET // 4",
    ),
    Bug(
        "same-byte-again", "axi-write", "strobed_bytes_lowest_first", 10, _AXI,
        "m.d.sync += [data.eq(data[8:]), strobes.eq(strobes[1:])]",
        "m.d.sync += [strobes.eq(strobes[1:])]",
    ),
    Bug(
        "lowest-strobe-only", "axi-write", "okay_when_all_are_sent", 10, _AXI,
        "with m.If(mapped & strobes.any()):", "with m.If(mapped & strobes[0]):",
    ),
    Bug(
        "waits-for-a-strobe", "axi-write", "answer_in_time", 14, _AXI,
        "with m.If(~strobes[0] | sent.w_rdy):", "with m.If(strobes[0] & sent.w_rdy):",
    ),
    Bug(
        "read-data-withdrawn", "axi-read", "r_stays", 10, _AXI,
        "with m.If(answering & self.s_axi_rready):", "with m.If(answering):",
    ),
    Bug(
        "read-before-the-answer", "axi-read", "one_answer_a_read", 10, _AXI,
        "self.s_axi_arready.eq(~answering)", "self.s_axi_arready.eq(1)",
    ),
    Bug(
        "status-halves-swapped", "axi-read", "the_register_that_was_asked_for", 10, _AXI,
        "Cat(waiting, space)", "Cat(space, waiting)",
    ),
    Bug(
        "status-takes-a-byte", "axi-read", "a_byte_is_gone_only_if_read", 10, _AXI,
        "                with m.Case(STATUS_OFFSET // 4):\n",
        "                with m.Case(STATUS_OFFSET // 4):\n"
        "                    m.d.comb += received.r_en.eq(1)\n",
    ),
    Bug(
        "sent-byte-overwritten", "axi-read", "sent_bytes_stay", 12, _FIFO,
        "inner_r_rdy & (~self.r_rdy | self.r_en)", "inner_r_rdy",
    ),
    Bug(
        "highest-bit-first", "uart-tx-small", "line_shows_the_bit_of_its_time", 40, _UART,
        "Cat(0, self.i.payload, 1)", "Cat(0, self.i.payload[::-1], 1)",
    ),
    Bug(
        "stop-bit-cut", "uart-tx-small", "takes_a_byte_when_the_line_is_free", 85, _UART,
        "ends = following[-1] & (left <= 1)", "ends = following[-1] & (left <= 2)",
        first=70,
    ),
    Bug(
        "bits-backwards", "uart-rx-small", "every_byte_once", 84, _UART,
        "shift.eq(Cat(shift[1:], bit))", "shift.eq(Cat(bit, shift[:-1]))",
        first=74,
    ),
    Bug(
        "odd-bytes-lost", "uart-rx-small", "none_is_lost", 90, _UART,
        "with m.If((left == 9) & bit):", "with m.If((left == 8) & bit):",
        first=74,
    ),
    Bug(
        "stop-bit-inverted", "uart-rx-small", "no_error_on_a_good_line", 84, _UART,
        "self.valid.eq(bit), self.error.eq(~bit)", "self.valid.eq(~bit), self.error.eq(bit)",
        first=74,
    ),
    Bug(
        "start-without-edge", "uart-line-small", "never_stuck_on_a_high_line", 90, _UART,
        'with m.State("IDLE"), m.If(~line):', 'with m.State("IDLE"):',
        first=70,
    ),
    Bug(
        "byte-of-a-break", "uart-line-small", "a_byte_or_an_error", 84, _UART,
        "self.valid.eq(bit), self.error.eq(~bit)", "self.valid.eq(1), self.error.eq(~bit)",
        first=70,
    ),
)  # fmt: skip

_AXI3 = "gateware/doors/axi3.py"

_BURSTS: tuple[Bug, ...] = (
    Bug(
        "wrap-as-of-words", "axi3-burst", "address_by_the_formulas", 8, _AXI3,
        "(held.len << held.size[:2])", "(held.len << 2)",
    ),
    Bug(
        "never-aligned", "axi3-burst", "address_by_the_formulas", 8, _AXI3,
        "Cat(end, self.address[2:]) + 1", "self.address + within + 1",
    ),
    Bug(
        "fixed-moves-on", "axi3-burst", "address_by_the_formulas", 8, _AXI3,
        "with m.If(held.burst == FIXED):", "with m.If(held.burst == RESERVED):",
    ),
    Bug(
        "lanes-beyond-the-beat", "axi3-burst", "lanes_by_the_formulas", 8, _AXI3,
        " & (Const(15, 4) >> (3 - end)[:2])", "",
    ),
    Bug(
        "lanes-below-the-address", "axi3-burst", "lanes_by_the_formulas", 8, _AXI3,
        "self.address[:2], self.address[:2] | within",
        "self.address[:2] & ~within, self.address[:2] | within",
    ),
    Bug(
        "last-but-one", "axi3-burst", "last_on_the_last_beat_only", 8, _AXI3,
        "self.last.eq(left == 0)", "self.last.eq(left <= 1)",
    ),
    Bug(
        "wrap-of-three-beats", "axi3-burst", "bad_if_and_only_if_not_on_this_bus", 8, _AXI3,
        "(held.len == 0) | ((held.len & (held.len + 1)[:4]) != 0)", "held.len == 0",
    ),
    Bug(
        "wrap-from-anywhere", "axi3-burst", "bad_if_and_only_if_not_on_this_bus", 8, _AXI3,
        "odd_length | ((held.addr[:2] & within) != 0)", "odd_length",
    ),
    Bug(
        "eight-bytes-a-beat", "axi3-burst", "bad_if_and_only_if_not_on_this_bus", 8, _AXI3,
        "(held.size > 2)", "(held.size > 3)",
    ),
    Bug(
        "id-of-the-next-burst", "axi3-burst", "the_id_of_the_burst", 8, _AXI3,
        "self.id.eq(held.id)", "self.id.eq(self.i.id)",
    ),
)  # fmt: skip

_WRITES: tuple[Bug, ...] = (
    Bug(
        "b-ends-with-the-next-address", "axi3-write", "b_stays", 10, _AXI3,
        "with m.If(self.s_axi_bready):", "with m.If(self.s_axi_bready | self.s_axi_awvalid):",
    ),
    Bug(
        "early-wlast-ends-the-burst", "axi3-write", "one_answer_after_all_beats", 10, _AXI3,
        """m.next = "DATA"
        with m.If(burst.last):""",
        """m.next = "DATA"
        with m.If(burst.last | self.s_axi_wlast):""",
    ),
    Bug(
        "b-with-the-id-of-data", "axi3-write", "the_answer_has_its_id", 10, _AXI3,
        "self.s_axi_bid.eq(burst.id)", "self.s_axi_bid.eq(self.s_axi_wid)",
    ),
    Bug(
        "missing-wlast-waited-for", "axi3-write", "as_many_beats_as_the_address_said", 10, _AXI3,
        """m.next = "DATA"
        with m.If(burst.last):""",
        """m.next = "DATA"
        with m.If(self.s_axi_wlast):""",
    ),
    Bug(
        "data-before-its-address-lost", "axi3-write", "as_many_beats_as_the_address_said", 10,
        _AXI3, "m.d.comb += [self.s_axi_awready.eq(1), burst.load",
        "m.d.comb += [self.s_axi_awready.eq(1), self.s_axi_wready.eq(1), burst.load",
    ),
    Bug(
        "wlast-unchecked", "axi3-write", "nothing_else_reaches_the_door", 10, _AXI3,
        " & (self.s_axi_wlast == burst.last)", "",
    ),
    Bug(
        "wid-unchecked", "axi3-write", "nothing_else_reaches_the_door", 10, _AXI3,
        "(self.s_axi_wid == burst.id)\n            & ", "",
    ),
    Bug(
        "strobes-unchecked", "axi3-write", "nothing_else_reaches_the_door", 10, _AXI3,
        """
            & ((self.s_axi_wstrb & ~burst.lanes) == 0)
""", "\n",
    ),
    Bug(
        "mirrors-of-the-page", "axi3-write", "nothing_else_reaches_the_door", 10, _AXI3,
        "burst.address[ADDRESS_BITS:] == self.base >> ADDRESS_BITS",
        "burst.address[30:] == self.base >> 30",
    ),
    Bug(
        "bad-burst-carried-out", "axi3-write", "nothing_else_reaches_the_door", 10, _AXI3,
        "return inside & ~burst.bad", "return inside",
    ),
    Bug(
        "wait-skipped", "axi3-write", "whatever_is_allowed_reaches_the_door", 10, _AXI3,
        """                    m.next = "WAIT"
""",
        """                    self._written(m, burst)
""",
    ),
    Bug(
        "all-lanes-strobed", "axi3-write", "as_the_manager_sent_it", 10, _AXI3,
        "door.s_axi_wstrb.eq(self.s_axi_wstrb)", "door.s_axi_wstrb.eq(burst.lanes)",
    ),
    Bug(
        "written-where-the-next-burst-is", "axi3-write", "as_the_manager_sent_it", 10, _AXI3,
        "door.s_axi_awaddr.eq(burst.address)", "door.s_axi_awaddr.eq(burst.i.addr)",
    ),
    Bug(
        "failure-of-the-burst-before", "axi3-write", "slverr_if_and_only_if_a_beat_failed", 12,
        _AXI3, "                m.d.sync += failed.eq(0)\n", "",
    ),
    Bug(
        "the-last-answer-counts", "axi3-write", "slverr_if_and_only_if_a_beat_failed", 12, _AXI3,
        "failed.eq(failed | (door.s_axi_bresp != OKAY))", "failed.eq(door.s_axi_bresp != OKAY)",
    ),
    Bug(
        "refused-in-silence", "axi3-write", "slverr_if_and_only_if_a_beat_failed", 12, _AXI3,
        "                    m.d.sync += failed.eq(1)\n", "",
    ),
    Bug(
        "address-only-with-data", "axi3-write", "idle_takes_a_burst", 8, _AXI3,
        "self.s_axi_awready.eq(1)", "self.s_axi_awready.eq(self.s_axi_wvalid)",
    ),
    Bug(
        "write-loses-its-answer-to-a-read", "axi3-write", "leads_on_unless_others_wait", 10, _AXI3,
        "with m.If(door.s_axi_bvalid):", "with m.If(door.s_axi_bvalid & ~self.s_axi_arvalid):",
    ),
    Bug(
        "write-step-missing", "axi3-write", "leads_on_unless_others_wait", 10, _AXI3,
        """        m.d.comb += burst.step.eq(1)
        m.next = "DATA"
""",
        """        m.next = "DATA"
""",
    ),
)  # fmt: skip

_READS: tuple[Bug, ...] = (
    Bug(
        "last-beat-not-waited-for", "axi3-read", "r_stays", 10, _AXI3,
        "with m.If(self.s_axi_rready):", "with m.If(self.s_axi_rready | burst.last):",
    ),
    Bug(
        "read-step-missing", "axi3-read", "as_many_beats_as_were_asked_for", 10, _AXI3,
        """                    m.d.comb += burst.step.eq(1)
                    m.next = "REGISTER"
""",
        """                    m.next = "REGISTER"
""",
    ),
    Bug(
        "rlast-always", "axi3-read", "last_on_the_last_beat_only", 10, _AXI3,
        "self.s_axi_rlast.eq(burst.last)", "self.s_axi_rlast.eq(1)",
    ),
    Bug(
        "r-of-the-next-id", "axi3-read", "every_beat_has_its_id", 10, _AXI3,
        "self.s_axi_rid.eq(burst.id)", "self.s_axi_rid.eq(burst.i.id)",
    ),
    Bug(
        "rx-by-bytes", "axi3-read", "nothing_else_is_read", 10, _AXI3,
        "self._allowed(burst) & (burst.lanes.all() | ~of_rx)", "self._allowed(burst)",
    ),
    Bug(
        "read-where-the-next-burst-is", "axi3-read", "nothing_else_is_read", 10, _AXI3,
        "door.s_axi_araddr.eq(burst.address)", "door.s_axi_araddr.eq(burst.i.addr)",
    ),
    Bug(
        "whole-words-only", "axi3-read", "an_allowed_beat_reads_once", 10, _AXI3,
        "(burst.lanes.all() | ~of_rx)", "burst.lanes.all()",
    ),
    Bug(
        "refused-read-with-data", "axi3-read", "slverr_and_no_data_if_refused", 10, _AXI3,
        "Mux(refused, 0, door.s_axi_rdata)", "door.s_axi_rdata",
    ),
    Bug(
        "refused-read-okay", "axi3-read", "slverr_and_no_data_if_refused", 10, _AXI3,
        "Mux(refused, SLVERR, door.s_axi_rresp)", "door.s_axi_rresp",
    ),
    Bug(
        "refused-ever-after", "axi3-read", "the_register_of_its_address", 10, _AXI3,
        "refused.eq(~allowed)", "refused.eq(refused | ~allowed)",
    ),
    Bug(
        "byte-gone-by-a-refused-read", "axi3-read", "a_byte_is_gone_only_if_given", 10, _AXI3,
        "door.s_axi_arvalid.eq(allowed)", "door.s_axi_arvalid.eq(1)",
    ),
    Bug(
        "write-addresses-go-first", "axi3-read", "idle_takes_a_burst", 8, _AXI3,
        "self.s_axi_arready.eq(1)", "self.s_axi_arready.eq(~self.s_axi_awvalid)",
    ),
    Bug(
        "read-behind-an-answer", "axi3-read", "leads_on_unless_others_wait", 12, _AXI3,
        """                m.d.sync += refused.eq(~allowed)
                m.next = "DATA"
""",
        """                m.d.sync += refused.eq(~allowed)
                with m.If(~self.s_axi_bvalid):
                    m.next = "DATA"
""",
    ),
)  # fmt: skip

DOOR_BUGS = _DOORS + _BURSTS + _WRITES + _READS
