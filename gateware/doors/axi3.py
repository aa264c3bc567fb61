"""AXI3 to byte streams: the way in over a Zynq-7000's M_AXI_GP0."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.doors.axi import ADDRESS_BITS, OKAY, RX_OFFSET, SLVERR, AxiLiteDoor

ID_BITS = 12
GP0_BASE = 0x4000_0000
WRITE_CYCLES, READ_CYCLES = 7, 2
"""From one word of a burst to the next, if the manager and the streams do not wait."""

FIXED, INCR, WRAP, RESERVED = range(4)
"""How the address goes on from beat to beat (AxBURST)."""

ADDRESS = data.StructLayout({"id": ID_BITS, "addr": 32, "len": 4, "size": 3, "burst": 2})
"""What both address channels carry, by the names of AXI3 behind `aw` and `ar`; `len` counts the
beats after the first, `size` is the logarithm of a beat's bytes."""


def axi3_members(prefix="s_axi_"):
    """Members of an AXI3 subordinate: its five channels as far as they are looked at."""
    address = {name: In(field.shape) for name, field in ADDRESS}
    handshake = {"valid": In(1), "ready": Out(1)}
    channels = {
        "aw": {**address, **handshake},
        "w": {"id": In(ID_BITS), "data": In(32), "strb": In(4), "last": In(1), **handshake},
        "b": {"id": Out(ID_BITS), "resp": Out(2), "valid": Out(1), "ready": In(1)},
        "ar": {**address, **handshake},
        "r": {
            "id": Out(ID_BITS),
            "data": Out(32),
            "resp": Out(2),
            "last": Out(1),
            "valid": Out(1),
            "ready": In(1),
        },
    }
    return {
        f"{prefix}{channel}{name}": member
        for channel, members in channels.items()
        for name, member in members.items()
    }


class Burst(wiring.Component):
    """The beats of one burst on a bus of 32 bits (AMBA AXI3 specification, section 4).

    The first beat shows in the cycle after `load`, each other one in the cycle after `step`.

    Members:

    * `i`, `In(ADDRESS)`: what an address channel carries.
    * `load`, `In(1)`: takes `i` in.
    * `step`, `In(1)`: moves on to the next beat.
    * `id`, `Out(ID_BITS)`: of the burst.
    * `address`, `Out(32)`: of the beat.
    * `lanes`, `Out(4)`: the bytes that the beat may touch.
    * `last`, `Out(1)`: it is the burst's last one.
    * `bad`, `Out(1)`: for all beats of a burst that there is not on this bus: more than four bytes
      a beat, the reserved kind, a WRAP of other than 2, 4, 8 or 16 beats or from an address that is
      no multiple of a beat's bytes.
    """

    i: In(ADDRESS)
    load: In(1)
    step: In(1)
    id: Out(ID_BITS)
    address: Out(32)
    lanes: Out(4)
    last: Out(1)
    bad: Out(1)

    def elaborate(self, platform):
        m = Module()
        held, left = Signal(ADDRESS), Signal(4)
        # The bits of the address within a beat, and within what a WRAP goes around in.
        within, around = Signal(2), Signal(6)
        m.d.comb += [
            within.eq(Cat(held.size != 0, held.size[1])),
            around.eq((held.len << held.size[:2]) | within),
            self.id.eq(held.id),
            self.last.eq(left == 0),
        ]
        # From the address to the end of the beat, which is aligned.
        first, end = self.address[:2], self.address[:2] | within
        m.d.comb += self.lanes.eq((Const(15, 4) << first) & (Const(15, 4) >> (3 - end)[:2]))

        odd_length = (held.len == 0) | ((held.len & (held.len + 1)[:4]) != 0)
        odd_wrap = odd_length | ((held.addr[:2] & within) != 0)
        m.d.comb += self.bad.eq(
            (held.size > 2) | (held.burst == RESERVED) | ((held.burst == WRAP) & odd_wrap)
        )

        advanced, following = Signal(32), Signal(32)
        m.d.comb += [advanced.eq(Cat(end, self.address[2:]) + 1), following.eq(advanced)]
        with m.If(held.burst == FIXED):
            m.d.comb += following.eq(self.address)
        with m.Elif(held.burst == WRAP):
            wrapped = (advanced[:6] & around) | (self.address[:6] & ~around)
            m.d.comb += following.eq(Cat(wrapped, self.address[6:]))
        with m.If(self.step):
            m.d.sync += [self.address.eq(following), left.eq(left - 1)]
        with m.If(self.load):
            m.d.sync += [held.eq(self.i), self.address.eq(self.i.addr), left.eq(self.i.len)]
        return m


class Axi3Door(wiring.Component):
    """AXI3 subordinate of 32 bits to a pair of byte streams:
    `dpnet.gateware.doors.axi.AxiLiteDoor`'s four registers, at `base`.

    Every beat of a burst is one write or read of the register at its address, in order, and a
    FIXED burst moves up to 64 bytes to TX or 16 from RX.  All kinds of bursts, of 1 to 16 beats of
    1, 2 or 4 bytes, from any address.  IDs are given back; one burst in each direction at a time,
    neither waiting for the other.  The data of a write may come before its address, but wait.

    SLVERR answers, without effect: a beat outside the map or in the wrong direction; a read of RX
    that is not of a whole word, which would lose the byte or what says that there was one; all
    beats of a burst that is `Burst.bad`; a beat of data whose WID is not its address' ID, whose
    strobes are outside its lanes, or whose WLAST comes early (the burst goes on to its length) or
    is missing.  One such beat gives a write SLVERR; its other beats count.

    AxLOCK, AxCACHE and AxPROT are not there: an exclusive access is carried out and answered OKAY,
    as one that had no success; nothing is cached; everybody may come in.

    Words of a burst follow each other after `WRITE_CYCLES` and `READ_CYCLES`; a write waits while
    the stream has no room, so look at STATUS first.

    Parameters: `base`, a multiple of 4096.

    Members:

    * `s_axi_awid`, `In(ID_BITS)`: ID of a write; its data and its answer bear it too.
    * `s_axi_awaddr`, `In(32)`: byte address of the first beat.
    * `s_axi_awlen`, `In(4)`: beats less 1.
    * `s_axi_awsize`, `In(3)`: logarithm of a beat's bytes, 0 to 2.
    * `s_axi_awburst`, `In(2)`: FIXED, INCR or WRAP.
    * `s_axi_awvalid`, `In(1)`: there is a write address.
    * `s_axi_awready`, `Out(1)`: it is taken.
    * `s_axi_wid`, `In(ID_BITS)`: ID of the data; must be that of their address.
    * `s_axi_wdata`, `In(32)`: a word.
    * `s_axi_wstrb`, `In(4)`: bytes of it that count, within the beat's lanes.
    * `s_axi_wlast`, `In(1)`: it is the burst's last word.
    * `s_axi_wvalid`, `In(1)`: there is a word.
    * `s_axi_wready`, `Out(1)`: it is taken.
    * `s_axi_bid`, `Out(ID_BITS)`: ID of the burst that is answered.
    * `s_axi_bresp`, `Out(2)`: OKAY, or SLVERR if any beat was refused.
    * `s_axi_bvalid`, `Out(1)`: the write is answered.
    * `s_axi_bready`, `In(1)`: it is taken.
    * `s_axi_arid`, `In(ID_BITS)`: ID of a read; its answers bear it too.
    * `s_axi_araddr`, `In(32)`: byte address of the first beat.
    * `s_axi_arlen`, `In(4)`: beats less 1.
    * `s_axi_arsize`, `In(3)`: logarithm of a beat's bytes, 0 to 2.
    * `s_axi_arburst`, `In(2)`: FIXED, INCR or WRAP.
    * `s_axi_arvalid`, `In(1)`: there is a read address.
    * `s_axi_arready`, `Out(1)`: it is taken.
    * `s_axi_rid`, `Out(ID_BITS)`: ID of the burst that is answered.
    * `s_axi_rdata`, `Out(32)`: the register; 0 with SLVERR.
    * `s_axi_rresp`, `Out(2)`: OKAY or SLVERR.
    * `s_axi_rlast`, `Out(1)`: it is the burst's last beat.
    * `s_axi_rvalid`, `Out(1)`: there is a beat.
    * `s_axi_rready`, `In(1)`: it is taken.
    * `i`, `In(stream.Signature(8))`: bytes for RX.
    * `o`, `Out(stream.Signature(8))`: bytes from TX.
    """

    def __init__(self, *, base=GP0_BASE):
        if not isinstance(base, int) or not 0 <= base < 1 << 32 or base % (1 << ADDRESS_BITS):
            raise ValueError(
                f"base must be a multiple of {1 << ADDRESS_BITS} below 2**32, not {base!r}"
            )
        self.base = base
        super().__init__(
            axi3_members() | {"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.door = door = AxiLiteDoor()
        wiring.connect(m, wiring.flipped(self.i), door.i)
        wiring.connect(m, door.o, wiring.flipped(self.o))
        m.submodules.write_burst = writes = self._burst(m, "aw")
        m.submodules.read_burst = reads = self._burst(m, "ar")
        self._write(m, writes, door)
        self._read(m, reads, door)
        return m

    def _burst(self, m, channel):
        burst = Burst()
        for name, _ in ADDRESS:
            m.d.comb += burst.i[name].eq(getattr(self, f"s_axi_{channel}{name}"))
        return burst

    def _allowed(self, burst):
        inside = burst.address[ADDRESS_BITS:] == self.base >> ADDRESS_BITS
        return inside & ~burst.bad

    def _write(self, m, burst, door):
        failed = Signal()
        obeys = (
            (self.s_axi_wid == burst.id)
            & (self.s_axi_wlast == burst.last)
            & ((self.s_axi_wstrb & ~burst.lanes) == 0)
        )
        m.d.comb += [
            door.s_axi_awaddr.eq(burst.address),
            door.s_axi_wdata.eq(self.s_axi_wdata),
            door.s_axi_wstrb.eq(self.s_axi_wstrb),
            self.s_axi_bid.eq(burst.id),
            self.s_axi_bresp.eq(Mux(failed, SLVERR, OKAY)),
        ]
        with m.FSM(name="write"):
            with m.State("ADDRESS"):
                m.d.comb += [self.s_axi_awready.eq(1), burst.load.eq(self.s_axi_awvalid)]
                m.d.sync += failed.eq(0)
                with m.If(self.s_axi_awvalid):
                    m.next = "DATA"
            # The door takes address and data at once: it has answered what was before.
            with m.State("DATA"):
                m.d.comb += self.s_axi_wready.eq(1)
                with m.If(self.s_axi_wvalid & self._allowed(burst) & obeys):
                    m.d.comb += [door.s_axi_awvalid.eq(1), door.s_axi_wvalid.eq(1)]
                    m.next = "WAIT"
                with m.Elif(self.s_axi_wvalid):
                    m.d.sync += failed.eq(1)
                    self._written(m, burst)
            with m.State("WAIT"):
                m.d.comb += door.s_axi_bready.eq(1)
                with m.If(door.s_axi_bvalid):
                    m.d.sync += failed.eq(failed | (door.s_axi_bresp != OKAY))
                    self._written(m, burst)
            with m.State("RESPONSE"):
                m.d.comb += self.s_axi_bvalid.eq(1)
                with m.If(self.s_axi_bready):
                    m.next = "ADDRESS"

    def _written(self, m, burst):
        m.d.comb += burst.step.eq(1)
        m.next = "DATA"
        with m.If(burst.last):
            m.next = "RESPONSE"

    def _read(self, m, burst, door):
        refused = Signal()
        of_rx = burst.address[2:ADDRESS_BITS] == RX_OFFSET // 4
        m.d.comb += [
            door.s_axi_araddr.eq(burst.address),
            self.s_axi_rid.eq(burst.id),
            self.s_axi_rlast.eq(burst.last),
            self.s_axi_rdata.eq(Mux(refused, 0, door.s_axi_rdata)),
            self.s_axi_rresp.eq(Mux(refused, SLVERR, door.s_axi_rresp)),
        ]
        with m.FSM(name="read"):
            with m.State("ADDRESS"):
                m.d.comb += [self.s_axi_arready.eq(1), burst.load.eq(self.s_axi_arvalid)]
                with m.If(self.s_axi_arvalid):
                    m.next = "REGISTER"
            # The door is free: it gives its data only when they are taken.
            with m.State("REGISTER"):
                allowed = self._allowed(burst) & (burst.lanes.all() | ~of_rx)
                m.d.comb += door.s_axi_arvalid.eq(allowed)
                m.d.sync += refused.eq(~allowed)
                m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [self.s_axi_rvalid.eq(1), door.s_axi_rready.eq(self.s_axi_rready)]
                with m.If(self.s_axi_rready):
                    m.d.comb += burst.step.eq(1)
                    m.next = "REGISTER"
                    with m.If(burst.last):
                        m.next = "ADDRESS"
