"""The registers of an engine as the link reads them: parameters, state, counters."""

from amaranth import Array, C, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.parts.bus import ERRORS
from dpnet.gateware.registers import (
    GATEWARE,
    IDENTITY,
    MAGIC,
    MAX_VECTORS,
    REGISTERS,
    RUN_ERRORS,
    VERSION,
)

COUNTER_BITS = 16


class RegisterFile(wiring.Component):
    """All of `dpnet.gateware.registers.REGISTERS`, one read a cycle, latency 1.

    Parameters: `identity`, the values of the registers `IDENTITY` by name, 32 bits unsigned.
    Members: `index` (byte address / 4), `value` one cycle later; `image_*`, `epoch`, `run` as kept
    by the endpoint, as well as `vectors`, `released` and `changed` (the image did); `started`, one
    cycle when a run starts, clears its sticky errors; `frame`, one cycle for a good frame,
    `dropped` and `rejected` one for a bad and for a refused one; `checked` one for a pass over the
    image, with `differs` if it found the image changed; `busy`, `cycles`, `tiles_done`, `stalled`
    and `errors` of the core.
    """

    def __init__(self, *, identity):
        if set(identity) != set(IDENTITY):
            wrong = sorted(set(identity) ^ set(IDENTITY))
            raise ValueError(f"identity must have exactly the registers of IDENTITY, not {wrong}")
        for name, value in identity.items():
            if not isinstance(value, int) or not 0 <= value < 1 << 32:
                raise ValueError(f"identity[{name!r}] must fit 32 unsigned bits, not {value!r}")
        if RUN_ERRORS != ERRORS:
            raise AssertionError(f"STATUS has {RUN_ERRORS}, the core {ERRORS}")
        self.identity = dict(identity)
        super().__init__(
            {
                "index": In(range(len(REGISTERS))),
                "value": Out(32),
                "image_state": In(2),
                "image_crc": In(32),
                "image_words": In(32),
                "epoch": In(8),
                "run": In(16),
                "started": In(1),
                "frame": In(1),
                "dropped": In(1),
                "rejected": In(1),
                "checked": In(1),
                "differs": In(1),
                "changed": In(1),
                "vectors": In(range(MAX_VECTORS + 1)),
                "released": In(16),
                "busy": In(1),
                "cycles": In(48),
                "tiles_done": In(16),
                "stalled": In(32),
                "errors": In(len(ERRORS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        free, nonce = Signal(32), Signal(32)
        m.d.sync += free.eq(free + 1)
        with m.If(self.frame & (nonce == 0)):
            m.d.sync += nonce.eq(Mux(free == 0, 1, free))

        sticky = Signal(len(ERRORS))
        m.d.sync += sticky.eq(Mux(self.started, 0, sticky) | self.errors)

        checks = Signal(COUNTER_BITS)
        m.d.sync += checks.eq(checks + self.checked)

        def counter(strobe, name):
            count = Signal(COUNTER_BITS, name=f"{name.lower()}_count")
            with m.If(strobe & ~count.all()):
                m.d.sync += count.eq(count + 1)
            return count

        values = {
            "MAGIC": MAGIC,
            "PROTOCOL": VERSION,
            "GATEWARE": GATEWARE,
            **self.identity,
            "BOOT_NONCE": nonce,
            "EPOCH": self.epoch,
            "STATUS": Cat(self.image_state, self.busy, self.changed, C(0, 4), sticky),
            "IMAGE_CRC": self.image_crc,
            "IMAGE_WORDS": self.image_words,
            "RUN": self.run,
            "CYCLES_LO": self.cycles[:32],
            "CYCLES_HI": self.cycles[32:],
            "TILES": self.tiles_done,
            "STALLED": self.stalled,
            "CHECKS": checks,
            "IMAGE_ERRORS": counter(self.checked & self.differs, "IMAGE_ERRORS"),
            "FRAME_ERRORS": counter(self.dropped, "FRAME_ERRORS"),
            "REJECTED": counter(self.rejected, "REJECTED"),
            **{name.upper(): counter(self.errors[bit], name) for bit, name in enumerate(ERRORS)},
            "VECTORS": self.vectors,
            "RELEASE": Cat(self.run, self.released),
            "START": 0,
        }
        table = Array(Signal(32, name=register.name.lower()) for register in REGISTERS)
        m.d.comb += [
            signal.eq(values[register.name])
            for signal, register in zip(table, REGISTERS, strict=True)
        ]
        m.d.sync += self.value.eq(table[self.index])
        return m
