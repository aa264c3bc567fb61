"""Normalize: an integer and a power of two to fp32, rounded once to nearest even."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, signed
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from dpnet.gateware.arithmetic.shift import constant_sticky_right, round_up, sticky_right
from dpnet.gateware.arithmetic.stream_pipeline import StreamPipeline
from dpnet.model.golden.normalize import SCALE_BITS

BIAS = 127
INFINITE_EXPONENT = 255
LEAST_WIDTH = 27  # below it, 24 bits, guard and sticky could not be taken from the magnitude
SPLIT = 32  # the magnitude's negation is two additions of at most this many bits


class NormalizeUnit(wiring.Component):
    """`value * 2**scale` as fp32, equal to `Normalize.compute` bit for bit.

    Takes one beat per cycle; latency `latency` cycles: 12 above 32 bits, else 11.

    Parameters: `params`, a `Normalize`.

    Members:

    * `i`,
      `In(stream.Signature(StructLayout({"value": signed(width), "scale": signed(SCALE_BITS)})))`:
      an integer and a power of two.
    * `o`, `Out(stream.Signature(StructLayout({"word": 32, "overflow": 1})))`: IEEE bits, and
      whether they became an infinity.
    """

    def __init__(self, *, params):
        self.params = params
        self.latency = 2 + normalize_latency(params.width) + 1
        i = StructLayout({"value": signed(params.width), "scale": signed(SCALE_BITS)})
        o = StructLayout({"word": 32, "overflow": 1})
        super().__init__({"i": In(stream.Signature(i)), "o": Out(stream.Signature(o))})

    def elaborate(self, platform):
        m = Module()
        pipe = StreamPipeline.between(m, self.i, self.o)
        negative = self.i.p.value[-1]
        flipped = self.i.p.value.as_unsigned() ^ negative.replicate(self.params.width)
        s = pipe.stage(
            negative=negative,
            scale=self.i.p.scale,
            low=flipped[:SPLIT] + negative,
            high=flipped[SPLIT:],
        )
        # At 32 bits or fewer `high` is empty and the carry is the magnitude's top bit, always 0.
        lower = len(flipped[:SPLIT])
        high = (s.high + s.low[lower])[: len(s.high)]
        s = pipe.stage(negative=s.negative, scale=s.scale, magnitude=Cat(s.low[:lower], high))
        s = normalize_stages(pipe, s)
        magnitude, overflow = saturated(s)
        s = pipe.stage(word=Cat(magnitude, s.negative), overflow=overflow)
        assert pipe.depth == self.latency
        pipe.finish(self.o, word=s.word, overflow=s.overflow)
        return m


def normalize_latency(width):
    """Stages that `normalize_stages` adds for a magnitude of `width` bits."""
    return len(_shift_groups(max(width, LEAST_WIDTH))) + 5


def normalize_stages(pipe, s):
    """Add the stages that turn an integer into an fp32 magnitude; return the last one.

    `s` has the fields `magnitude` (unsigned) and `scale` (signed), and any others, which are
    carried along.  The stage returned has, for `magnitude * 2**scale`, the fields `rounded`, the
    lower 31 bits of the fp32 word, and `huge`, set if they are meaningless because it overflowed
    before rounding.  `saturated` makes one of the two.
    """
    top = len(s.magnitude) - 1
    padding = max(LEAST_WIDTH - len(s.magnitude), 0)
    carried, magnitude = vars(s), Cat(Const(0, padding), s.magnitude)
    # The exponent that a one in the highest place would have.
    s = SimpleNamespace(**{**carried, "scale": s.scale + (top + BIAS), "magnitude": magnitude})
    s.zeros = Const(0, 0)
    for steps in _shift_groups(len(magnitude)):
        magnitude, zeros = s.magnitude, s.zeros
        for step in steps:
            zero = ~magnitude[-step:].any()
            magnitude = Mux(zero, Cat(Const(0, step), magnitude[:-step]), magnitude)
            zeros = Cat(zero, zeros)
        s = pipe.stage(s, magnitude=magnitude, zeros=zeros)
    s = pipe.stage(
        s,
        exponent=s.scale - s.zeros,
        significand=constant_sticky_right(s.magnitude, len(s.magnitude) - 26),
    )
    below = 1 - s.exponent  # how far the leading one is below the smallest normal exponent
    s = pipe.stage(
        s,
        huge=(s.exponent >= INFINITE_EXPONENT) & s.significand[-1],
        exponent=s.exponent[:8],
        distance=Mux(below < 0, 0, Mux(below > 31, 31, below))[:5],
    )
    s = pipe.stage(s, significand=sticky_right(s.significand, s.distance[:3]))
    s = pipe.stage(s, significand=sticky_right(s.significand, s.distance[3:], unit=8))
    return pipe.stage(s, rounded=rounded(s.significand, s.exponent))


def rounded(significand, exponent):
    """The 31 bits of an fp32 magnitude, rounded to nearest even.

    `significand` has 24 bits, then guard and sticky.  Its highest bit is 0 for a subnormal only;
    the exponent's field is then 0, whatever `exponent` is.
    """
    field = Mux(significand[-1], exponent[:8], 0)
    return (Cat(significand[2:25], field) + round_up(significand))[:31]


def saturated(s):
    """(31 bits, overflow) of a stage with `rounded` and `huge`: infinity instead of overflow."""
    overflow = s.huge | s.rounded[23:].all()
    return Mux(overflow, INFINITE_EXPONENT << 23, s.rounded)[:31], overflow


def _shift_groups(width):
    """Normalizing shifts for `width` bits, those of one stage together."""
    return [group for group in ([32], [16], [8, 4], [2, 1]) if group[0] < width]
