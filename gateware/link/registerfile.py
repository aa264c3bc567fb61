"""The registers of an engine as the link reads them."""

from amaranth import Array, Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.registers import CONSTANTS, REGISTERS


class RegisterFile(wiring.Component):
    """All of `dpnet.gateware.registers.REGISTERS`, one read a cycle, latency 1.

    Parameters: `identity`, the values of the constant registers by name, 32 bits unsigned.
    Members: `index` (byte address / 4), `value` one cycle later; the value of each register that is
    read or kept, by its name in lower case.
    """

    def __init__(self, *, identity):
        if set(identity) != set(CONSTANTS):
            wrong = sorted(set(identity) ^ set(CONSTANTS))
            raise ValueError(f"identity must have exactly the constant registers, not {wrong}")
        for name, value in identity.items():
            if not isinstance(value, int) or not 0 <= value < 1 << 32:
                raise ValueError(f"identity[{name!r}] must fit 32 unsigned bits, not {value!r}")
        self.identity = dict(identity)
        shown = [r.name.lower() for r in REGISTERS if r.access in ("read", "write")]
        super().__init__(
            {
                "index": In(range(len(REGISTERS))),
                "value": Out(32),
                **{name: In(32) for name in shown},
            }
        )

    def elaborate(self, platform):
        m = Module()
        table = Array(self._source(register) for register in REGISTERS)
        m.d.sync += self.value.eq(table[self.index])
        return m

    def _source(self, register):
        if register.access == "constant":
            return Const(self.identity[register.name], 32)
        if register.access == "command":
            return Const(0, 32)
        return getattr(self, register.name.lower())
