"""What all units of a stage do: stage 0's commands, 16 cycles later from stage to stage."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.maps.delay import delayed
from dpnet.gateware.maps.index_stores import INDEX_BITS, WORD_BITS
from dpnet.gateware.parts.select import select
from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.parameters import ceil_log2


class PathLayout(data.StructLayout):
    """An addition, on its way from stage to stage.

    Fields:

    * `words`, `data.ArrayLayout(64, streams)`: the lanes' indices, 4 bits each, of each stream.
    * `maximum`, `1`: it goes to the maxima.
    * `first`, `1`: the maximum begins with it.
    * `channel`, `4`: the word of the maxima.
    """

    def __init__(self, params):
        super().__init__(
            {
                "words": data.ArrayLayout(WORD_BITS, params.streams),
                "maximum": 1,
                "first": 1,
                "channel": ceil_log2(LANES),
            }
        )


class UnitLayout(data.StructLayout):
    """What the units of a stage do in a cycle.

    Fields:

    * `add`, `1`: the lanes add; else they drain.
    * `word`, `4`: the word of the maxima that is used or shown.
    * `largest`, `1`: `x` goes to the maxima.
    * `first`, `1`: as the first value of its word.
    * `show`, `1`: the maxima are shown.
    * `ending`, `1`: first cycle of a drain.
    """

    def __init__(self):
        super().__init__(
            {"add": 1, "word": ceil_log2(LANES), "largest": 1, "first": 1, "show": 1, "ending": 1}
        )


class StagePath(wiring.Component):
    """Makes a stage's control of the additions that come along and of its drains.

    With t the cycle of a command of this stage: `start`, `stream`, `drain`, `bucket` and `show`
    belong to t; `path`, of the stage before this one, to its t + 3, 16 cycles sooner than this
    stage's; `next_path` and `to_lanes` to t + 3; `index` and `control` to t + 4.

    Parameters: `params`, a `MapEngineParameters`; `first`, whether it is stage 0, whose `path` is
    its own.

    Members:

    * `path`, `In(PathLayout(params))`: additions of the stage before, or of stage 0.
    * `next_path`, `Out(PathLayout(params))`: those of this stage.
    * `start`, `In(1)`: a tile begins.
    * `stream`, `In(ceil_log2(streams) or 1)`: the stream of its indices, with `start`.
    * `drain`, `In(1)`: the stage drains.
    * `bucket`, `In(4)`: this bucket.
    * `show`, `In(1)`: and the maximum of this number.
    * `to_lanes`, `Out(1)`: what is read goes to the lanes.
    * `index`, `Out(64)`: the buckets of the lanes, 4 bits each.
    * `control`, `Out(UnitLayout())`: what the units do.
    """

    def __init__(self, *, params, first):
        self.params = params
        self.first = first
        path = PathLayout(params)
        super().__init__(
            {
                "path": In(path),
                "next_path": Out(path),
                "start": In(1),
                "stream": In(ceil_log2(params.streams) or 1),
                "drain": In(1),
                "bucket": In(INDEX_BITS),
                "show": In(1),
                "to_lanes": Out(1),
                "index": Out(WORD_BITS),
                "control": Out(UnitLayout()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        path = self.next_path
        drain, bucket, show = self._drain(m)
        word = select(list(path.words), self._stream(m))
        control = self.control
        m.d.comb += [
            path.as_value().eq(
                self.path if self.first else delayed(m, self.path, LANES, "path_line")
            ),
            self.to_lanes.eq(~(drain | path.maximum)),
        ]
        m.d.sync += [
            self.index.eq(Mux(drain, bucket.replicate(LANES), word)),
            control.add.eq(~drain),
            control.word.eq(Mux(drain, bucket, path.channel)),
            control.largest.eq(path.maximum & ~drain),
            control.first.eq(path.first),
            control.show.eq(drain & show),
            control.ending.eq(drain & (bucket == 0)),
        ]
        return m

    def _stream(self, m):
        """The stream of the tile that is added, in t + 3."""
        late = delayed(m, Cat(self.start, self.stream), 2, "start_line")
        stream = Signal.like(self.stream)
        with m.If(late[0]):
            m.d.sync += stream.eq(late[1:])
        return stream

    def _drain(self, m):
        """(whether the stage drains, the bucket, whether maxima are shown), in t + 3."""
        late = delayed(m, Cat(self.drain, self.show, self.bucket), 3, "drain_line")
        return late[0], late[2:], late[1]
