"""Arithmetic modulo 3 against Python's integers."""

import random

import pytest
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.sim import Simulator

from dpnet.gateware.array.residue import digits, fold, fold_to, product
from dpnet.sim.kit.bench import seed


def residues(widths, build, cases):
    """What `build` (of a module and a signal for each width) shows for each case of integers."""
    m = Module()
    inputs = [Signal(signed(width)) for width in widths]
    out = Signal(2)
    m.d.comb += out.eq(build(m, *inputs))
    found = []

    async def bench(ctx):
        for values in cases:
            for signal, value in zip(inputs, values, strict=True):
                ctx.set(signal, value)
            await ctx.delay(1e-6)
            found.append(ctx.get(out))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return found


@pytest.mark.parametrize("width", [2, 3, 4, 5, 6, 7, 9])
def test_every_number_of_few_bits(width):
    cases = [(value,) for value in range(-(1 << width - 1), 1 << width - 1)]

    def residue(m, value):
        few = fold_to(m, digits(value), 2, "few")
        return fold(m, few, "one")[0]

    assert residues([width], residue, cases) == [value % 3 for (value,) in cases]


@pytest.mark.parametrize("width", [18, 25, 34, 35, 59])
def test_wide_numbers_their_extremes_and_every_single_upset(width):
    source = random.Random(f"{seed()} {width}")
    low = -(1 << width - 1)
    cases = [(low,), (-low - 1,), (0,), (-1,), (1,), *((1 << n,) for n in range(width - 1))]
    cases += [(source.randrange(low, -low),) for _ in range(300)]

    def residue(m, value):
        return fold_to(m, digits(value), 1, "one")[0]

    found = residues([width], residue, cases)
    assert found == [value % 3 for (value,) in cases]
    # Turning over a bit adds or takes a power of two: the residue is another one.
    assert all(found[5 + n] for n in range(width - 1))


def test_products():
    cases = [(a, b) for a in range(-32, 32) for b in range(-8, 8)]

    def residue(m, a, b):
        factors = [fold(m, digits(value), f"digit_{n}")[0] for n, value in enumerate((a, b))]
        return product(*factors)

    assert residues([6, 4], residue, cases) == [a * b % 3 for a, b in cases]


def test_a_sum_of_three_digits():
    cases = [(value,) for value in range(-32, 32)]

    def total(m, bits):
        return fold(m, [Cat(bits[n : n + 2]) for n in (0, 2, 4)], "sum")[0]

    codes = [value & 63 for (value,) in cases]
    wanted = [((code & 3) + (code >> 2 & 3) + (code >> 4)) % 3 for code in codes]
    assert residues([6], total, cases) == wanted
