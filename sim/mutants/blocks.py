"""Blocks of the gateware that are mutated, each with the bench that must notice it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.lib.wiring import Component

from dpnet.gateware.arithmetic.requantize import RequantizeUnit
from dpnet.gateware.array.column import Column
from dpnet.gateware.array.lane import Lane
from dpnet.gateware.emit import emit
from dpnet.gateware.link.receiver import FrameReceiver
from dpnet.gateware.maps.control.commands import Commands
from dpnet.gateware.maps.control.drains import Drains
from dpnet.gateware.maps.control.reads import StageReads
from dpnet.gateware.maps.control.walker import Walker
from dpnet.gateware.maps.control.writer import Writer
from dpnet.gateware.maps.rounding import Rounding
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.widths import accumulator_widths, limb_widths
from dpnet.model.golden.requantize import Requantize
from dpnet.sim.benches.maps.control.passes import SIZES, params_of
from dpnet.sim.kit.bundle import Bundle

__all__ = ["BLOCKS", "Block"]

LANE = {"buckets": 16, "activation_bits": 25, "bits": 31}
COLUMN: dict[str, Any] = {"stages": 2, "segments": 2, "max_columns": 50}
MAP_SIZE = "narrow"


@dataclass(frozen=True)
class Block:
    """A component as its `bench` expects it at the top; `values` of the bench, as long as it is in
    `make test` or, if it is to be thorough, in `make test-long`; `tests`, those of the bench that
    are of this component (a regular expression, None for all)."""

    name: str
    make: Callable[[], Component]
    bench: str
    values: Callable[[Callable[[int], int]], Mapping[str, Any]]
    tests: str | None = None

    def verilog(self) -> str:
        return emit(self.make())


def _column_values(rounds: Callable[[int], int]) -> dict[str, Any]:
    engine = EngineParameters(**COLUMN)
    low, high = accumulator_widths(engine)
    bits = {"low_bits": low if limb_widths(engine)[0] else 0, "high_bits": high}
    return {"columns": {"one": {"engine": COLUMN, **bits}}, "rows": rounds(150)}


def _requantize_values(rounds: Callable[[int], int]) -> dict[str, Any]:
    params = Requantize()
    return {
        "acc_bits": params.acc_bits,
        "bias_bits": params.bias_bits,
        "multiplier_bits": params.multiplier_bits,
        "latency": 10,
        "count": rounds(4000),
    }


def _map_part(name: str, bench: str, kind: Callable[..., Component], **values: int) -> Block:
    size = SIZES[MAP_SIZE]
    return Block(
        bench,
        lambda: Bundle(**{f"{name}_{MAP_SIZE}": kind(params=params_of(size))}),
        f"maps.control.{bench}",
        lambda rounds: {"sizes": {MAP_SIZE: size}, **values},
    )


BLOCKS = {
    block.name: block
    for block in (
        Block(
            "lane",
            lambda: Bundle(wide=Lane(**LANE)),
            "array.lane",
            lambda rounds: {"lanes": {"wide": LANE}, "weights": rounds(1500)},
            r"/name=0(/|$)",
        ),
        Block(
            "column",
            lambda: Bundle(one=Column(engine=EngineParameters(**COLUMN))),
            "array.column",
            _column_values,
        ),
        Block(
            "requantize",
            lambda: RequantizeUnit(params=Requantize()),
            "arithmetic.requantize",
            _requantize_values,
        ),
        Block("rounding", Rounding, "maps.rounding", lambda rounds: {"count": rounds(8000)}),
        _map_part("walker", "walker", Walker, passes=10),
        _map_part("commands", "commands", Commands, tiles=25),
        _map_part("drains", "drains", Drains, passes=8),
        _map_part("writer", "writer", Writer, passes=8),
        _map_part("reads", "reads", StageReads, items=25),
        Block("receiver", FrameReceiver, "link.receiver", lambda rounds: {}),
    )
}
"""By name.  The walker makes the addresses of the map engine, `commands`, `drains` and `writer` are
what its sequencer is of."""
