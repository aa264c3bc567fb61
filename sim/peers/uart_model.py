"""A UART as a device on the other end of the cable: it knows bit times, no clock of ours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cocotb.triggers import FallingEdge, Timer
from cocotb.utils import get_sim_time


@dataclass(frozen=True)
class Heard:
    """A byte on a wire: its value, when its start bit began, and whether its frame was right."""

    value: int
    start_ps: int
    good: bool


@dataclass(frozen=True)
class UartModel:
    """8N1 at `baud`, off by `error` (0.02 is 2 % too fast)."""

    baud: float
    error: float = 0.0

    @property
    def bit_ps(self) -> float:
        """Length of a bit."""
        return 1e12 / (self.baud * (1 + self.error))

    async def send(self, pin: Any, data: Iterable[int], gaps_bits: Iterable[float] = ()) -> None:
        """Put bytes on `pin`, the k-th followed by gaps_bits[k] bits of idle line (default 0)."""
        gaps = iter(gaps_bits)
        edge_ps = float(get_sim_time("ps"))
        for value in data:
            for level in [0, *(value >> bit & 1 for bit in range(8)), 1]:
                pin.value = level
                edge_ps += self.bit_ps
                await _until(edge_ps)
            edge_ps += next(gaps, 0) * self.bit_ps
            await _until(edge_ps)

    async def hold(self, pin: Any, level: int, bits: float) -> None:
        """Keep `pin` at `level` for so many bits."""
        pin.value = level
        await _until(get_sim_time("ps") + bits * self.bit_ps)

    async def receive(self, pin: Any, count: int) -> list[Heard]:
        """The next `count` bytes on `pin`, each bit taken in its middle and near both its ends."""
        heard: list[Heard] = []
        while len(heard) < count:
            if int(pin.value):
                await FallingEdge(pin)
            start_ps = get_sim_time("ps")
            value, good = 0, True
            for position in range(10):
                levels = set()
                for share in (0.2, 0.5, 0.8):
                    await _until(start_ps + (position + share) * self.bit_ps)
                    levels.add(int(pin.value))
                level = int(pin.value)
                good = good and len(levels) == 1 and level == {0: 0, 9: 1}.get(position, level)
                if 1 <= position <= 8:
                    value |= level << (position - 1)
            heard.append(Heard(value, int(start_ps), good))
        return heard


async def _until(when_ps: float) -> None:
    wait = round(when_ps) - int(get_sim_time("ps"))
    if wait > 0:
        await Timer(wait, "ps")
