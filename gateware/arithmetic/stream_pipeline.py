"""Pipelines between two streams: stages of registers that stall together."""

from types import SimpleNamespace

from amaranth.hdl import Signal, Value


class StreamPipeline:
    """Register stages of one pipeline, added to `m` one after the other.

    `valid` says that the values given to the first stage are a beat; all stages move on while
    `advance`, and hold everything while not.  A stage loads its registers with a beat only: while
    none follows they keep the last one, so the last stage doubles as a register of the last result.
    `depth` is the number of stages so far, the latency in cycles if never stalled; `valid` that of
    the newest stage.
    """

    def __init__(self, m, *, valid, advance):
        self._m = m
        self.advance = advance
        self.valid = valid
        self.depth = 0

    @classmethod
    def between(cls, m, i, o):
        """The pipeline that takes every beat of the stream `i` and stalls while `o` refuses one."""
        m.d.comb += i.ready.eq(~o.valid | o.ready)
        return cls(m, valid=i.valid, advance=i.ready)

    def stage(self, carried=None, **values):
        """Register `values` and, unchanged, the rest of the stage `carried`; return the registers.

        A register has the shape of its value.  Those that nobody reads vanish in synthesis.
        """
        values = {**(vars(carried) if carried else {}), **values}
        registers = {
            name: Signal(Value.cast(value).shape(), name=f"s{self.depth}_{name}", reset_less=True)
            for name, value in values.items()
        }
        valid = Signal(name=f"s{self.depth}_valid")
        with self._m.If(self.advance):
            self._m.d.sync += valid.eq(self.valid)
            with self._m.If(self.valid):
                self._m.d.sync += [registers[name].eq(value) for name, value in values.items()]
        self.valid = valid
        self.depth += 1
        return SimpleNamespace(**registers)

    def finish(self, o, **fields):
        """Offer the newest stage on the stream `o`, with these payload fields."""
        self._m.d.comb += o.valid.eq(self.valid)
        self._m.d.comb += [getattr(o.payload, name).eq(value) for name, value in fields.items()]
