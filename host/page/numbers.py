"""Numbers as people read them, and the ticks of an axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Axis", "decibels", "percent", "places", "shape_text", "short", "size_text"]


def percent(share: float, digits: int = 1) -> str:
    """0.1234 as 12.3 %; only nothing becomes 0 %."""
    if not share:
        return "0 %"
    least = 10.0**-digits
    if 0 < 100 * share < least / 2:
        return f"< {least:g} %"
    return f"{100 * share:.{digits}f} %"


def short(value: float) -> str:
    """At most four digits: 12,345, 0.01234, 1.2e-07."""
    if 1e4 <= abs(value) < 1e15 or (value == round(value, 0) and abs(value) < 1e4):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def places(value: float) -> str:
    """As `short` for an axis: 10k, 2.5M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):g}{unit}"
    return f"{value:.4g}"


def size_text(count: int) -> str:
    """Bytes: 812 bytes, 12.3 kB, 1.23 MB."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.2f} MB"


def shape_text(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def decibels(signal: float, noise: float) -> float | None:
    """How much larger the signal's power is than the noise's; None where there is no noise, or no
    signal."""
    if noise <= 0 or signal <= 0:
        return None
    return 10 * (math.log10(signal) - math.log10(noise))


LEAST = 1e-290
"""Numbers that are nearer to 0 are taken for 0: a profile may hold whatever a file has."""
ALIKE = 1e-9
"""Of the larger one: numbers that differ by less have no axis between them."""


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with `ticks` at round numbers between them."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, low: float, high: float, count: int = 5) -> Axis:
        """An axis with about `count` ticks over exactly low to high."""
        reach = max(abs(low), abs(high), LEAST)
        if not high - low > reach * ALIKE:
            spare = abs(low) / 2 if abs(low) > LEAST else 0.5
            low, high = low - spare, high + spare
        step = _round_step((high - low) / count)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return cls(low, high, tuple(n * step for n in range(first, last + 1)))

    @classmethod
    def from_zero(cls, high: float, count: int = 6, *, whole: bool = False) -> Axis:
        """An axis from 0 to the next round number; with `whole` all ticks are whole numbers."""
        high = high if high > LEAST else 1.0
        step = _round_step(max(high / count, 1.0) if whole else high / count)
        last = max(1, math.ceil(high / step - 1e-9))
        return cls(0.0, last * step, tuple(n * step for n in range(last + 1)))

    def at(self, value: float) -> float:
        """Where a value lies, 0 to 1; values beyond at the ends."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


def _round_step(step: float) -> float:
    """1, 2, 5 or 10 times a power of ten, at least `step`."""
    unit = 10.0 ** math.floor(math.log10(step))
    return unit * next(n for n in (1, 2, 5, 10) if n * unit >= step * (1 - 1e-9))
