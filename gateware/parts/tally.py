"""What happened since reset, and since the last run started, counted."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.parts.bus import ERRORS
from dpnet.gateware.registers import RUN_ERRORS

COUNTER_BITS = 16


class Tally(wiring.Component):
    """Counters that stop at their end, the errors of the last run, a number for this boot.

    Members: `frame`, one cycle for a good frame, `dropped` and `rejected` for a bad and for a
    refused one; `checked` for a pass over the image, with `differs` if it found the image changed;
    `started` for a start of a run; `errors`, strobes of the core.  `boot_nonce`, cycles to the
    first frame, 0 only before it; `checks`, passes, modulo 2^16; `image_errors`, `frame_errors`,
    `rejections`; `sticky`, errors since the last start; `counts`, cycles with each error.
    """

    def __init__(self):
        if RUN_ERRORS != ERRORS:
            raise AssertionError(f"STATUS has {RUN_ERRORS}, the core {ERRORS}")
        strobes = "frame", "dropped", "rejected", "checked", "differs", "started"
        counters = "checks", "image_errors", "frame_errors", "rejections"
        super().__init__(
            {
                **{name: In(1) for name in strobes},
                "errors": In(len(ERRORS)),
                "boot_nonce": Out(32),
                **{name: Out(COUNTER_BITS) for name in counters},
                "sticky": Out(len(ERRORS)),
                "counts": Out(COUNTER_BITS).array(len(ERRORS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        free = Signal(32)
        m.d.sync += [
            free.eq(free + 1),
            self.sticky.eq(Mux(self.started, 0, self.sticky) | self.errors),
            self.checks.eq(self.checks + self.checked),
        ]
        with m.If(self.frame & (self.boot_nonce == 0)):
            m.d.sync += self.boot_nonce.eq(Mux(free == 0, 1, free))
        for strobe, count in (
            (self.checked & self.differs, self.image_errors),
            (self.dropped, self.frame_errors),
            (self.rejected, self.rejections),
            *((self.errors[bit], count) for bit, count in enumerate(self.counts)),
        ):
            with m.If(strobe & ~count.all()):
                m.d.sync += count.eq(count + 1)
        return m
