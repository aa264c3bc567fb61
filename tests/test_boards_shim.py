"""The pin shim: inputs arrive as they were shifted in, every output bit reaches `o`."""

import random

import pytest
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from dpnet.boards.parts.shim import FOLD, GROUP, PinShim


class Echo(wiring.Component):
    """Inputs of many widths, more than two groups of them, whose values a test can see; outputs
    that a test sets through `force`."""

    def __init__(self):
        self.force = Signal(11)
        super().__init__(
            {
                "a": In(3),
                "b": In(GROUP + 5).array(2),
                "c": In(1),
                "x": Out(7),
                "y": Out(1).array(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += Cat(self.x, *self.y).eq(self.force)
        return m


class NoOutputs(wiring.Component):
    """Nothing of it could be told from nothing."""

    a: In(1)

    def elaborate(self, platform):
        return Module()


def simulate(component, testbench):
    shim = PinShim(component=component)
    top = Module()
    top.submodules.shim = shim
    simulator = Simulator(top)
    simulator.add_clock(1e-6)

    async def run(context):
        await testbench(context, shim)

    simulator.add_testbench(run)
    simulator.run()


def test_load_copies_the_shifted_bits_to_the_inputs_group_by_group():
    echo, draw = Echo(), random.Random(1)
    ports = [(echo.a, 3), (echo.b[0], GROUP + 5), (echo.b[1], GROUP + 5), (echo.c, 1)]
    total = sum(width for _, width in ports)
    serial = [draw.getrandbits(1) for _ in range(3 * total)]
    at = 2 * total
    bits = [serial[at + n // GROUP - n] for n in range(total)]
    expected = []
    for _, width in ports:
        expected.append(sum(bit << n for n, bit in enumerate(bits[:width])))
        bits = bits[width:]

    async def testbench(context, shim):
        assert (shim.input_bits, shim.output_bits, shim.groups) == (total, 11, 3)
        seen = []
        for tick, bit in enumerate(serial):
            context.set(shim.i, bit)
            context.set(shim.load, tick == at)
            await context.tick()
            seen.append([context.get(port) for port, _ in ports])
        assert seen[at] == [0, 0, 0, 0]
        assert seen[at + 1 + 3 - 1 :] == [expected] * (len(serial) - at - 3)

    simulate(echo, testbench)


def test_each_output_bit_alone_changes_o_exactly_once():
    echo = Echo()

    async def testbench(context, shim):
        assert shim.links == -(-11 // FOLD)
        for bit in range(11):
            seen = []
            for tick in range(shim.links + 4):
                context.set(echo.force, (tick == 0) << bit)
                await context.tick()
                seen.append(context.get(shim.o))
            assert [tick for tick, o in enumerate(seen) if o] == [shim.links - bit // FOLD]

    simulate(echo, testbench)


def test_a_component_without_outputs_is_refused():
    component = NoOutputs()
    with pytest.raises(ValueError) as caught:
        PinShim(component=component)
    assert str(caught.value) == f"component must have inputs and outputs, not {component!r}"
