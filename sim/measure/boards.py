"""The boards of `make sim`, built while something else is done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dpnet.host.driver import Driver
from dpnet.host.link import Link
from dpnet.sim.board.bytes_board import BOARDS, Parameters, SimTransport, build_board
from dpnet.sim.simulator import Simulator

__all__ = ["Board", "Boards"]


class Board:
    """An open board as a context."""

    def __init__(self, transport: SimTransport) -> None:
        self.transport = transport
        self.driver = Driver(Link(transport))

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()


class Boards:
    """The boards of a run, built one after the other in the background while networks train.

    `sizes` are those that differ from what `sim://NAME` is.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        sizes: Mapping[str, Parameters],
        simulator: Simulator,
        waves: Path | None,
    ) -> None:
        self.started = time.monotonic()
        self._waves = waves / "waves.vcd" if waves else None
        params: dict[str, Parameters] = {**BOARDS, **sizes}
        self._builds: dict[str, Future[list[str]]] = {
            name: pool.submit(self._build, params[name], simulator, name == "array")
            for name in ("baseline", "lane", "array", "maps")
        }

    def _build(self, params: Parameters, simulator: Simulator, traced: bool) -> list[str]:
        return build_board(params, simulator, waves=traced and self._waves is not None)

    def open(self, name: str, *, traced: bool = False) -> Board:
        """Wait for the build, then start the board, with a waveform if it is the `traced` one."""
        build = self._builds[name]
        if not build.done():
            print(f"building the simulator of the {name} (once; kept by content)", flush=True)
        waves = self._waves if traced else None
        return Board(SimTransport(f"sim://{name}", build.result(), waves=waves))
