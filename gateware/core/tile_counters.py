"""What a run counts: products' distance, tiles whose results are owed, tiles that are streamed."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array import PRODUCTS
from dpnet.model.engine.parameters import LEAST_INTERVAL


class Pace(wiring.Component):
    """Products `LEAST_INTERVAL` cycles apart.

    Members:

    * `launch`, `In(1)`: a product begins; not while `wait`.
    * `launched`, `Out(1)`: `launch`, a cycle later.
    * `product`, `Out(range(PRODUCTS))`: with `launched`, that product's number.
    * `wait`, `Out(1)`: the next product must not begin yet.
    """

    def __init__(self):
        super().__init__(
            {"launch": In(1), "launched": Out(1), "product": Out(range(PRODUCTS)), "wait": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        pace = Signal(range(LEAST_INTERVAL))
        m.d.sync += [
            pace.eq(Mux(pace == 0, 0, pace - 1)),
            self.wait.eq(pace[1:] != 0),
            self.launched.eq(self.launch),
        ]
        with m.If(self.launch):
            m.d.sync += [
                self.product.eq(self.product + 1),
                pace.eq(LEAST_INTERVAL - 1),
                self.wait.eq(1),
            ]
        return m


class OpenTiles(wiring.Component):
    """Tiles that began, each with `engine.stages` · `engine.bank_columns` results `done` later.

    A tile counts from the second cycle after its `begin` on.

    Parameters: `engine`, an `EngineParameters`.

    Members:

    * `begin`, `In(1)`: a tile begins.
    * `done`, `In(1)`: a result is there.
    * `streams`, `In(1)`: tiles are those of a streamed layer.
    * `clear`, `In(1)`: sets `streamed` to 0.
    * `forget`, `In(1)`: no tile is open any more.
    * `finished`, `Out(1)`: the last result of every tile that was begun is there, or comes in this
      cycle.
    * `streamed`, `Out(16)`: tiles whose results are there, counted while `streams`.
    """

    def __init__(self, *, engine):
        self.engine = engine
        super().__init__(
            {
                "begin": In(1),
                "done": In(1),
                "streams": In(1),
                "clear": In(1),
                "forget": In(1),
                "finished": Out(1),
                "streamed": Out(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        last = self.engine.stages * self.engine.bank_columns - 1
        results = Signal(range(last + 1))
        whole = Signal()
        open_tiles = Signal(8)
        one = Signal()
        none = Signal()
        m.d.comb += whole.eq(self.done & (results == last))
        with m.If(self.done):
            m.d.sync += results.eq(Mux(whole, 0, results + 1))
        m.d.sync += [
            open_tiles.eq(open_tiles + self.begin - whole),
            one.eq(open_tiles == 1),
            none.eq(open_tiles == 0),
        ]
        with m.If(self.forget):
            m.d.sync += [results.eq(0), open_tiles.eq(0)]
        with m.If(self.clear):
            m.d.sync += self.streamed.eq(0)
        with m.Elif(whole & self.streams):
            m.d.sync += self.streamed.eq(self.streamed + 1)
        m.d.comb += self.finished.eq(one & whole | none)
        return m


class Releases(wiring.Component):
    """Tiles of a layer that `streams`: which may begin, and how long they were waited for.

    Members:

    * `streams`, `In(1)`: the layer's tiles are streamed.
    * `tiles`, `In(16)`: all tiles of the layer, with `load`.
    * `load`, `In(1)`: takes `tiles`.
    * `clear`, `In(1)`: begins a run: no tile has begun, no cycle was waited.
    * `released`, `In(16)`: tiles made available since `clear`.
    * `begin`, `In(1)`: a tile begins.
    * `stall`, `In(1)`: nothing but a release is missing.
    * `free`, `Out(1)`: a tile may begin, also where nothing streams: `released`, in the cycle
      before, exceeded the tiles begun since `clear`.
    * `left`, `Out(16)`: tiles of `tiles` that have not begun.
    * `stalled`, `Out(32)`: cycles with `stall` since `clear`.
    """

    def __init__(self):
        super().__init__(
            {
                "streams": In(1),
                "tiles": In(16),
                "load": In(1),
                "clear": In(1),
                "released": In(16),
                "begin": In(1),
                "stall": In(1),
                "free": Out(1),
                "left": Out(16),
                "stalled": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        started = Signal(16)
        stalling = Signal()
        m.d.sync += [
            self.free.eq(~self.streams | (self.released != started)),
            stalling.eq(self.stall),
            self.stalled.eq(self.stalled + stalling),
        ]
        with m.If(self.load):
            m.d.sync += self.left.eq(self.tiles)
        with m.Elif(self.begin & self.streams):
            m.d.sync += [started.eq(started + 1), self.left.eq(self.left - 1)]
        with m.If(self.clear):
            m.d.sync += [started.eq(0), self.stalled.eq(0)]
        return m
