"""Learning rates over the steps of a training, without a state (standard library only).

Each has `rate(step, steps)` for step 0 to steps - 1, and its largest rate, `peak`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Cosine", "OneCycle", "Schedule", "Stepped"]


@dataclass(frozen=True)
class Cosine:
    """From `peak` in the first step to `last` in the last one, along half a cosine."""

    peak: float
    last: float = 0.0

    def __post_init__(self) -> None:
        _check_rates(self.peak, self.last)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step."""
        share = step / (steps - 1) if steps > 1 else 0.0
        return self.last + (self.peak - self.last) * (1.0 + math.cos(math.pi * share)) / 2.0


@dataclass(frozen=True)
class Stepped:
    """`peak`, multiplied by `factor` as soon as each of the shares `at` of the steps is done."""

    peak: float
    at: tuple[float, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check_rates(self.peak, 0.0)
        if any(not 0.0 < share < 1.0 for share in self.at) or list(self.at) != sorted(self.at):
            raise ValueError(f"at must be rising shares between 0 and 1, not {self.at!r}")
        if not 0.0 < self.factor <= 1.0:
            raise ValueError(f"factor must be above 0 and at most 1, not {self.factor!r}")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step."""
        return self.peak * self.factor ** sum(step >= share * steps for share in self.at)


@dataclass(frozen=True)
class OneCycle:
    """Up from `first` to `peak` in the share `rise` of the steps, then down to `last`, in lines."""

    peak: float
    rise: float = 0.25
    first: float = 0.0
    last: float = 0.0

    def __post_init__(self) -> None:
        _check_rates(self.peak, self.first)
        _check_rates(self.peak, self.last)
        if not 0.0 < self.rise < 1.0:
            raise ValueError(f"rise must be between 0 and 1, not {self.rise!r}")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate in the middle of a step, so that none has a rate of 0."""
        done = (step + 0.5) / steps
        if done < self.rise:
            return self.first + (self.peak - self.first) * done / self.rise
        return self.last + (self.peak - self.last) * (1.0 - done) / (1.0 - self.rise)


Schedule: TypeAlias = Cosine | Stepped | OneCycle


def _check_rates(peak: float, other: float) -> None:
    if not (math.isfinite(peak) and peak > 0):
        raise ValueError(f"peak must be finite and positive, not {peak!r}")
    if not 0 <= other <= peak:
        raise ValueError(f"the first and the last rate must be 0 to {peak!r}, not {other!r}")
