"""UART, 8 data bits, no parity, one stop bit: pins to byte streams."""

from amaranth import Cat, Module, Signal
from amaranth.lib import cdc, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

PHASE_BITS = 24
"""Bits of the phase accumulator: the rate is right to 0.001 % at 3 Mbaud and 100 MHz."""

LEAST_CYCLES_PER_BIT = 8
RECEIVE_DEPTH = 512
COUNTER_BITS = 16


def phase_step(clock_hz, baud):
    """What the phase of a bit, of `PHASE_BITS` bits, advances by in a cycle."""
    for name, value in (("clock_hz", clock_hz), ("baud", baud)):
        if not isinstance(value, int) or value <= 0:
            raise ValueError(f"{name} must be a positive integer, not {value!r}")
    if clock_hz < LEAST_CYCLES_PER_BIT * baud:
        raise ValueError(
            f"baud must be at most clock_hz / {LEAST_CYCLES_PER_BIT} = "
            f"{clock_hz // LEAST_CYCLES_PER_BIT}, not {baud!r}"
        )
    return round((1 << PHASE_BITS) * baud / clock_hz)


class UartReceiver(wiring.Component):
    """Pin to bytes.

    Each bit is the majority of samples at 3/8, 4/8 and 5/8 of its length, counted from the falling
    edge of the start bit; a start bit that is high by then was a glitch.  A byte whose stop bit is
    low is dropped, and nothing is received until the line is high again.  Clocks may differ by 2 %.

    Parameters: `clock_hz`, `baud` (at most `clock_hz / 8`).

    Members:

    * `rx`, `In(1, init=1)`: the pin, asynchronous.
    * `byte`, `Out(8)`: a byte, with `valid`.
    * `valid`, `Out(1)`: for one cycle.
    * `error`, `Out(1)`: for one cycle when a byte is dropped.
    """

    rx: In(1, init=1)
    byte: Out(8)
    valid: Out(1)
    error: Out(1)

    def __init__(self, *, clock_hz, baud):
        self.step = phase_step(clock_hz, baud)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = cdc.FFSynchronizer(self.rx, line, init=1)
        phase, following = Signal(PHASE_BITS), Signal(PHASE_BITS + 1)
        m.d.comb += following.eq(phase + self.step)

        def passes(eighth):
            return (phase[-3:] != eighth) & (following[-4:-1] == eighth)

        samples, bit, shift, left = Signal(2), Signal(), Signal(8), Signal(range(10))
        m.d.comb += bit.eq((samples[0] & samples[1]) | (line & (samples[0] | samples[1])))
        with m.If(passes(3) | passes(4)):
            m.d.sync += samples.eq(Cat(line, samples[0]))
        with m.FSM():
            with m.State("IDLE"), m.If(~line):
                m.d.sync += [phase.eq(0), left.eq(9)]
                m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += phase.eq(following)
                with m.If(passes(5)):
                    m.d.sync += [left.eq(left - 1), shift.eq(Cat(shift[1:], bit))]
                    with m.If((left == 9) & bit):
                        m.next = "IDLE"
                    with m.If(left == 0):
                        m.d.comb += [self.valid.eq(bit), self.error.eq(~bit)]
                        # From the middle of the stop bit on, a faster sender may start again.
                        m.next = "IDLE"
                        with m.If(~bit):
                            m.next = "BREAK"
            with m.State("BREAK"), m.If(line):
                m.next = "IDLE"
        m.d.comb += self.byte.eq(shift)
        return m


class UartTransmitter(wiring.Component):
    """Bytes to pin; ten bits a byte, no gap between bytes that are there in time.

    Parameters: `clock_hz`, `baud` (at most `clock_hz / 8`).

    Members:

    * `i`, `In(stream.Signature(8))`: bytes to send.
    * `tx`, `Out(1, init=1)`: the pin, a register's output, high when idle.
    """

    i: In(stream.Signature(8))
    tx: Out(1, init=1)

    def __init__(self, *, clock_hz, baud):
        self.step = phase_step(clock_hz, baud)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        phase, following = Signal(PHASE_BITS), Signal(PHASE_BITS + 1)
        shift, left = Signal(9, init=0x1FF), Signal(range(11))
        ends = following[-1] & (left <= 1)
        m.d.comb += [
            following.eq(phase + self.step),
            # A bit that ends makes room at once; the phase keeps its fraction from byte to byte.
            self.i.ready.eq((left == 0) | ends),
        ]
        m.d.sync += phase.eq(following)
        with m.If(left == 0):
            m.d.sync += phase.eq(0)
        with m.Elif(following[-1]):
            m.d.sync += [Cat(self.tx, shift).eq(Cat(shift, 1)), left.eq(left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [Cat(self.tx, shift).eq(Cat(0, self.i.payload, 1)), left.eq(10)]
        return m


class UartDoor(wiring.Component):
    """UART pins to a pair of byte streams.

    Received bytes wait in a FIFO of 512; one that finds it full is lost.

    Parameters: `clock_hz`, `baud` (at most `clock_hz / 8`).

    Members:

    * `rx`, `In(1, init=1)`: pin from the host, asynchronous.
    * `tx`, `Out(1, init=1)`: pin to the host, a register's output.
    * `i`, `In(stream.Signature(8))`: bytes to send.
    * `o`, `Out(stream.Signature(8))`: bytes received.
    * `framing_errors`, `Out(COUNTER_BITS)`: bytes lost to a low stop bit; stops at 65535.
    * `overruns`, `Out(COUNTER_BITS)`: bytes lost to a full FIFO; stops at 65535.
    """

    rx: In(1, init=1)
    tx: Out(1, init=1)
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))
    framing_errors: Out(COUNTER_BITS)
    overruns: Out(COUNTER_BITS)

    def __init__(self, *, clock_hz, baud):
        phase_step(clock_hz, baud)
        self.clock_hz = clock_hz
        self.baud = baud
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        rate = {"clock_hz": self.clock_hz, "baud": self.baud}
        m.submodules.receiver = receiver = UartReceiver(**rate)
        m.submodules.transmitter = transmitter = UartTransmitter(**rate)
        m.submodules.received = received = fifo.SyncFIFOBuffered(width=8, depth=RECEIVE_DEPTH)
        wiring.connect(m, wiring.flipped(self.i), transmitter.i)
        wiring.connect(m, received.r_stream, wiring.flipped(self.o))
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            received.w_data.eq(receiver.byte),
            received.w_en.eq(receiver.valid),
        ]
        with m.If(receiver.error & ~self.framing_errors.all()):
            m.d.sync += self.framing_errors.eq(self.framing_errors + 1)
        with m.If(receiver.valid & ~received.w_rdy & ~self.overruns.all()):
            m.d.sync += self.overruns.eq(self.overruns + 1)
        return m
