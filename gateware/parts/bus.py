"""The store bus: one manager (the link), the stores of an engine as its subordinate.

A 32-bit word a cycle, never refused.  The upper four bits of the byte address name a region.
"""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

BUS_LATENCY = 6
"""Cycles from `read` to `r_valid`, the same for every region; reads may follow each other every
cycle.
"""


class BusSignature(wiring.Signature):
    """Store bus as its manager sees it.

    A request a cycle, none refused.  Where there is no store, writes vanish and reads return 0.

    Members:

    * `address`, `Out(30)`: word address; the uppermost four bits name a region.
    * `write`, `Out(1)`: writes `w_data`.
    * `w_data`, `Out(32)`: what is written.
    * `read`, `Out(1)`: asks for the word.
    * `r_data`, `In(32)`: the word, `BUS_LATENCY` cycles after `read`.
    * `r_valid`, `In(1)`: there is one.
    """

    def __init__(self):
        super().__init__(
            {
                "address": Out(30),
                "write": Out(1),
                "w_data": Out(32),
                "read": Out(1),
                "r_data": In(32),
                "r_valid": In(1),
            }
        )


ERRORS = ("nonfinite", "range", "sigma", "overflow", "parity")
"""Error strobes of a core, lowest bit first: a NaN or infinity in a vector; an integer activation
or a requantizer input beyond its width; a bucket sum that differs from the sum of the inputs; an
fp32 result that overflowed to infinity; a word of a store that was used with a wrong parity.
"""


ABORT_CYCLES = 1 << 17
"""A copy of 65,535 results to the next layer goes on to its end, and every bucket is drained."""


class CoreSignature(wiring.Signature):
    """What the link needs of a compute core, as the link sees it.

    A run of layers `first` to `last` begins with `start`; `busy` rises in the next cycle and falls
    when every result is in the result buffer and all errors of the run have been there.  Stores may
    be written at any time, read only while not `busy` (of a map engine the results of the half that
    is not in work always); reading a result of wrong parity strobes the error `parity` (and `busy`)
    a few cycles later.

    After `abort` `busy` falls within `ABORT_CYCLES`, and the next run is like any other.  What the
    run was about to write is written or not.

    A tile of a streamed layer (`dpnet.model.engine.layout.Descriptor`) starts when `released`
    exceeds the tiles that were started.

    Members:

    * `bus`, `Out(BusSignature())`: to the stores.
    * `start`, `Out(1)`: for one cycle, never while `busy`.
    * `first`, `Out(8)`: first layer, with `start`.
    * `last`, `Out(8)`: last layer, with `start`.
    * `last_vector`, `Out(8)`: vectors of a single layer back to back, less 1, with `start`.
    * `abort`, `Out(1)`: for one cycle while `busy`: ends the run, wherever it is.
    * `busy`, `In(1)`: a run is on.
    * `cycles`, `In(48)`: when not `busy`, the cycles from `start` to the last result, both
      included.
    * `released`, `Out(16)`: streamed tiles made available since `start`; only grows, from 0 at
      `start`.
    * `tiles_done`, `In(16)`: those whose results are written, and whose places may be written
      again.
    * `stalled`, `In(32)`: cycles in which nothing but a release was missing.
    * `errors`, `In(len(ERRORS))`: a strobe for each of `ERRORS`.
    """

    def __init__(self):
        super().__init__(
            {
                "bus": Out(BusSignature()),
                "start": Out(1),
                "first": Out(8),
                "last": Out(8),
                "last_vector": Out(8),
                "abort": Out(1),
                "busy": In(1),
                "cycles": In(48),
                "released": Out(16),
                "tiles_done": In(16),
                "stalled": In(32),
                "errors": In(len(ERRORS)),
            }
        )
