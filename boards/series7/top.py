"""A 7-series chip of pure logic around an engine: oscillator, reset button, UART, lamps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.boards.board import Engine
from dpnet.boards.parts.engines import UartEngine
from dpnet.boards.series7.clocking import clock_by_mmcm, find_mmcm
from dpnet.boards.series7.design import Pad
from dpnet.gateware.emit import place

LAMPS = {
    "alive": "blinks about once a second: clock and reset are right",
    "failed": "the last run had an error, or the line of a UART lost a byte",
    "link": "bytes come or go",
    "busy": "a run is under way",
}
"""The lamps, the most important ones first, and what they say."""


@dataclass(frozen=True)
class Oscillator:
    """The clock that a board gives its chip: `mhz`, and its pad, or the P and N of a pair."""

    mhz: float
    pads: tuple[Pad, ...]

    def __post_init__(self) -> None:
        if len(self.pads) not in (1, 2):
            raise ValueError(f"pads must be one or a pair, not {self.pads!r}")

    @property
    def ports(self) -> tuple[str, ...]:
        """The names of its ports at a top: clk100, or clk200_p and clk200_n."""
        name = f"clk{self.mhz:.0f}"
        return (name,) if len(self.pads) == 1 else (f"{name}_p", f"{name}_n")


class UartTop(wiring.Component):
    """An engine with a UART behind the board's pins, its clock made of an oscillator by an MMCM.

    Parameters: `engine`, `mhz` (see `find_mmcm`), `baud`, `oscillator`, `lamps` (those of `LAMPS`
    that have a pin), `has_button`.
    Readable: `clock_hz`, what the MMCM makes.
    Members:

    * the oscillator's `ports`;
    * `button` (where there is one): every change of it restarts the engine, see `Restart`;
    * `rx` (asynchronous), `tx`: the line as the FPGA sees it;
    * `led_NAME` for each of `lamps`.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        mhz: float,
        baud: int,
        oscillator: Oscillator,
        lamps: Collection[str],
        has_button: bool = True,
    ) -> None:
        self.oscillator = oscillator
        self.lamps = tuple(lamps)
        self.has_button = has_button
        self.mmcm = find_mmcm(input_mhz=oscillator.mhz, mhz=mhz)
        self.clock_hz = round(self.mmcm.mhz * 1_000_000)
        self.logic = UartEngine(engine=engine, clock_hz=self.clock_hz, baud=baud)
        super().__init__(
            {name: In(1) for name in oscillator.ports}
            | ({"button": In(1)} if has_button else {})
            | {"rx": In(1, init=1), "tx": Out(1, init=1)}
            | {f"led_{name}": Out(1) for name in self.lamps}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        clock_by_mmcm(
            m,
            self.mmcm,
            oscillator=self._oscillator(m),
            button=self.button if self.has_button else Const(0),
        )
        inner = place(m, self.logic, "logic")
        shown = {
            "alive": inner.alive,
            "failed": inner.failed | inner.lost,
            "link": inner.received | inner.sent,
            "busy": inner.busy,
        }
        m.d.comb += [inner.rx.eq(self.rx), self.tx.eq(inner.tx)]
        m.d.comb += [getattr(self, f"led_{name}").eq(shown[name]) for name in self.lamps]
        return m

    def _oscillator(self, m: Module) -> Any:
        pins = [getattr(self, name) for name in self.oscillator.ports]
        if len(pins) == 1:
            return pins[0]
        board = Signal(name="board")
        m.submodules.ibufds = Instance("IBUFDS", i_I=pins[0], i_IB=pins[1], o_O=board)
        return board
