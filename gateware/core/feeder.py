"""From the vector store to the array: read, align, and keep the commands in step."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.arithmetic.align import AlignUnit
from dpnet.gateware.array import Strobe
from dpnet.gateware.array.stage import BeatLayout
from dpnet.gateware.emit import place
from dpnet.model.engine.widths import row_address_bits
from dpnet.model.golden.align import Align


class CommandLayout(data.StructLayout):
    """What the sequencer wants in a cycle: the beat being read (`beat`), or a drain.

    The other fields are those of `dpnet.gateware.array.stage.BeatLayout` but its `x`, `use` and
    `parity`.
    """

    def __init__(self, engine):
        members = dict(BeatLayout(engine).members)
        for name in ("x", "use", "parity"):
            members.pop(name, None)
        super().__init__({"beat": 1, **members, "address": row_address_bits(engine)})


class Feeder(wiring.Component):
    """Beats of the array, `EngineParameters.feeder_cycles` cycles after their commands, one per
    cycle.

    An engine without fp32 takes integers only, from `row`; all others take `late`.

    Parameters: `engine`, an `EngineParameters`.

    Members:

    * `command`, `In(CommandLayout(engine))`: what the sequencer wants in a cycle.
    * `row`, `In(32 * segments)`: the vector store's word, two cycles after a beat's command.
    * `late`, `In(32 * segments)`: `row`, a cycle later.
    * `fp32`, `In(1)`: words are fp32 numbers, else integers; steady while beats are on their way.
    * `exponent`, `In(8)`: shared exponent (see `AlignUnit`), in the third cycle after the command.
    * `beat`, `Out(Strobe(BeatLayout(engine)))`: what the array does.
    * `invalid`, `Out(1)`: strobes with a beat of which a word cannot be aligned; without fp32 a
      cycle after it.
    """

    def __init__(self, *, engine):
        self.engine = engine
        super().__init__(
            {
                "command": In(CommandLayout(engine)),
                "row": In(32 * engine.segments),
                "late": In(32 * engine.segments),
                "fp32": In(1),
                "exponent": In(8),
                "beat": Out(Strobe(BeatLayout(engine))),
                "invalid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        taps = [self.command]
        for n in range(engine.feeder_cycles):
            taps.append(Signal(CommandLayout(engine), name=f"command_{n + 1}"))
            m.d.sync += taps[-1].eq(taps[-2])
        command, beat = taps[-1], self.beat.payload
        invalid, suspect = 0, Signal()
        m.d.sync += suspect.eq(command.beat)
        for s in range(engine.segments):
            x, wrong = self._aligned(m, s, taps[3])
            m.d.comb += beat.x[s].eq(Mux(command.beat, x, 0))
            invalid = invalid | wrong
        m.d.comb += [
            self.beat.valid.eq(command.beat | command.drain),
            beat.use.eq(command.beat | command.drain),
            self.invalid.eq((command.beat if engine.fp32 else suspect) & invalid),
        ]
        for name in CommandLayout(engine).members:
            if name != "beat":
                m.d.comb += beat[name].eq(command[name])
        if engine.lockstep:
            checked = (name for name in BeatLayout(engine).members if name not in ("x", "parity"))
            m.d.comb += beat.parity.eq(Cat(beat[name] for name in checked).xor())
        return m

    def _aligned(self, m, s, command):
        """(activation, whether it is none) of a word, in step with the last tap; without fp32 the
        latter comes a cycle later, as a block RAM is too slow for more than a register."""
        bits = self.engine.activation_bits
        if not self.engine.fp32:
            x, wrong = Signal(bits), Signal()
            above = self.late.word_select(s, 32)[bits - 1 :]
            m.d.sync += [x.eq(self.row.word_select(s, 32)), wrong.eq(~(above.all() | ~above.any()))]
            return x.as_signed(), wrong
        unit = place(m, AlignUnit(params=Align(bits=bits)), f"align_{s}")
        m.d.comb += [
            unit.i.valid.eq(command.beat),
            unit.i.p.word.eq(self.late.word_select(s, 32)),
            unit.i.p.exponent.eq(self.exponent),
            unit.i.p.fp32.eq(self.fp32),
            unit.o.ready.eq(1),
        ]
        return unit.o.p.x, unit.o.p.invalid


class Scanner(wiring.Component):
    """The shared exponent of an fp32 vector: the largest one, at least 1.

    `exponent` and `nonfinite` include what `take` names 2 + ceil(log2(exponents)) cycles later.

    Members:

    * `row`, `In(8 * exponents)`: biased exponents, one cycle after a row was asked for.
    * `take`, `In(exponents)`: those of `row` that belong to the vector.
    * `clear`, `In(1)`: begins a vector; comes before the first `take`.
    * `exponent`, `Out(8, init=1)`: the largest one since `clear`.
    * `nonfinite`, `Out(1)`: one of them was that of a NaN or infinity.
    """

    def __init__(self, *, exponents):
        self.exponents = exponents
        super().__init__(
            {
                "row": In(8 * exponents),
                "take": In(exponents),
                "clear": In(1),
                "exponent": Out(8, init=1),
                "nonfinite": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        level = []
        for n in range(self.exponents):
            exponent = Signal(8, name=f"exponent_{n}")
            m.d.sync += exponent.eq(Mux(self.take[n], self.row.word_select(n, 8), 0))
            level.append(exponent)
        depth = 0
        while len(level) > 1:
            following = []
            for n in range(0, len(level) - 1, 2):
                larger = Signal(8, name=f"larger_{depth}_{n // 2}")
                m.d.sync += larger.eq(Mux(level[n] > level[n + 1], level[n], level[n + 1]))
                following.append(larger)
            if len(level) % 2:
                kept = Signal(8, name=f"kept_{depth}")
                m.d.sync += kept.eq(level[-1])
                following.append(kept)
            level, depth = following, depth + 1
        with m.If(self.clear):
            m.d.sync += [self.exponent.eq(1), self.nonfinite.eq(0)]
        with m.Else():
            with m.If(level[0] > self.exponent):
                m.d.sync += self.exponent.eq(level[0])
            with m.If(level[0] == 255):
                m.d.sync += self.nonfinite.eq(1)
        return m
