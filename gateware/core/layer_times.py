"""What a layer's descriptor says of its tiles, in registers."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.parts.records import DESCRIPTOR
from dpnet.model.engine.parameters import ceil_log2


class LayerTimes(wiring.Component):
    """What follows from a layer's descriptor, two cycles after it at most.

    Parameters: `engine`, an `EngineParameters`.

    Members:

    * `layer`, `In(DESCRIPTOR)`: the descriptor, steady while it counts.
    * `gap`, `Out(16)`: idle cycles after a tile.
    * `without_gap`, `Out(1)`: 0 of them.
    * `step`, `Out(ceil_log2(result_slots) or 1)`: slots of the result buffer from one product to
      the next.
    * `pitch`, `Out(16)`: rows of the vector store from one vector to the next; 0 if the layer
      streams.
    * `one_beat`, `Out(1)`: a tile has a single beat.
    * `one_bucket`, `Out(1)`: a drain has a single cycle.
    * `before_last`, `Out(8)`: the number of the bucket before the last one, modulo 256.
    """

    def __init__(self, *, engine):
        self.engine = engine
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "gap": Out(16),
                "without_gap": Out(1),
                "step": Out(ceil_log2(engine.result_slots) or 1),
                "pitch": Out(16),
                "one_beat": Out(1),
                "one_bucket": Out(1),
                "before_last": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        engine, layer = self.engine, self.layer
        k = layer.last_k + 1
        least = (engine.stages - 1) * engine.slot_cycles
        hidden = Signal(16)
        taken = Signal(17)
        m.d.sync += [
            hidden.eq(least + Mux(k > engine.bank_columns, k, engine.bank_columns)),
            taken.eq(layer.beats + k),
            self.gap.eq(Mux(taken < hidden, hidden - taken, 0)),
            self.without_gap.eq(taken >= hidden),
            self.step.eq(layer.tiles * engine.stages),
            self.pitch.eq(Mux(layer.streams, 0, layer.vector_rows)),
            self.one_beat.eq(layer.beats == 1),
            self.one_bucket.eq(layer.last_k == 0),
            self.before_last.eq(layer.last_k - 1),
        ]
        return m
