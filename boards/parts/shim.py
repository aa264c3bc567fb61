"""Place a component with hundreds of ports into a package: everything goes over three pins."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

GROUP = 32
"""Bits of the holding register that share a register of `load`."""

FOLD = 3
"""Captured bits that a link of the output chain takes in: with the chain they fill one LUT4."""


class PinShim(wiring.Component):
    """`component` behind the pins `i`, `load` and `o`, so that all of it stays and only it counts.

    * `i` enters a shift register of `input_bits` bits; bit n is bit n of the component's inputs in
      the order of its signature.
    * `load` copies it to the holding register that drives the inputs: bits g · `GROUP` on after
      2 + g cycles, so that `load` itself has no long net.  Without the copy a synthesizer would
      merge the component's own registers with the shift register's.
    * Every output bit is captured in each cycle and runs into a chain of exclusive ORs, `FOLD` bits
      a link, which ends at `o`.

    All paths of the shim go from register to register through one LUT4 at most, so the slowest path
    is the component's up to 200 MHz at least; above, a wire of the shim may be it.  Its `registers`
    are called shim_*, or as the ports that they drive.  `rst` reaches the component as it is; a
    path from a pin is not part of the clock's figure.
    """

    def __init__(self, *, component: wiring.Component) -> None:
        self._component = component
        inputs: list[Any] = []
        outputs: list[Any] = []
        for _, member, value in component.signature.flatten(component):
            bits = inputs if member.flow == wiring.In else outputs
            bits.append(value.as_value() if hasattr(value, "as_value") else value)
        self._inputs = Cat(*inputs)
        self._outputs = Cat(*outputs)
        self.input_bits = len(self._inputs)
        self.output_bits = len(self._outputs)
        if not self.input_bits or not self.output_bits:
            raise ValueError(f"component must have inputs and outputs, not {component!r}")
        self.groups = -(-self.input_bits // GROUP)
        self.links = -(-self.output_bits // FOLD)
        self.registers = 2 * self.input_bits + self.groups + self.output_bits + self.links
        super().__init__({"i": In(1), "load": In(1), "o": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.component = self._component
        # Without reset, so that the shim adds no load to the component's reset.
        shift = Signal(self.input_bits, name="shim_shift", reset_less=True)
        hold = Signal(self.input_bits, name="shim_hold", reset_less=True)
        load = Signal(self.groups, name="shim_load", reset_less=True)
        m.d.sync += [shift.eq(Cat(self.i, shift)), load.eq(Cat(self.load, load))]
        for g in range(self.groups):
            part = slice(g * GROUP, (g + 1) * GROUP)
            with m.If(load[g]):
                m.d.sync += hold[part].eq(shift[part])
        captured = Signal(self.output_bits, name="shim_captured", reset_less=True)
        chain = Signal(self.links, name="shim_chain", reset_less=True)
        m.d.comb += [self._inputs.eq(hold), self.o.eq(chain[-1])]
        m.d.sync += captured.eq(self._outputs)
        for n in range(self.links):
            before = chain[n - 1] if n else 0
            m.d.sync += chain[n].eq(captured[n * FOLD : (n + 1) * FOLD].xor() ^ before)
        return m
