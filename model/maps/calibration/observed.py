"""What a tensor's values are over many pictures: a histogram that grows, and channels' energies."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 1 << 12
"""On each side of 0: an integer of 8 bits is at least 8 bins wide."""


@dataclass(eq=False)
class Observed:
    """Values seen so far: least and largest, how many lie in each of `BINS` bins on either side of
    0 up to `limit`, a power of two, and by channel the sum of squares."""

    channels: int
    low: float = math.inf
    high: float = -math.inf
    count: int = 0
    limit: float = 0.0
    bins: NDArray[np.int64] = field(init=False)
    squares: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.bins = np.zeros(2 * BINS, np.int64)
        self.squares = np.zeros(self.channels)

    def add(self, values: Floats) -> None:
        """More values (N, C, H, W), at least one, all finite."""
        self.low, self.high = min(self.low, values.min()), max(self.high, values.max())
        self.count += values.size
        self.squares += np.einsum("nchw,nchw->c", values, values)
        self._grow(max(-self.low, self.high))
        if self.limit:
            places = np.floor(values * (BINS / self.limit)).astype(np.int64) + BINS
            places = np.clip(places, 0, 2 * BINS - 1)
            self.bins += np.bincount(places.ravel(), minlength=2 * BINS)
        else:
            self.bins[BINS] += values.size

    @property
    def energy(self) -> Floats:
        """The mean square of each channel."""
        return self.squares * (self.channels / self.count)

    @property
    def centers(self) -> Floats:
        """The middle of each bin."""
        places = np.arange(-BINS, BINS, dtype=np.float64) + 0.5
        return places * (self.limit / BINS)

    def magnitude(self, share: float) -> float:
        """The least magnitude that `share` of the values do not exceed, to a bin's width; the
        largest one for a share of 1."""
        if share >= 1:
            return max(-self.low, self.high)
        folded = self.bins[BINS:] + self.bins[BINS - 1 :: -1]
        place = int(np.searchsorted(np.cumsum(folded), share * self.count))
        return min((place + 1) * self.limit / BINS, max(-self.low, self.high))

    def loss(self, scale: float, low: int, high: int) -> tuple[float, float]:
        """(mean squared error of the values in steps of `scale` clamped to low..high, the share of
        them beyond)."""
        steps = self.centers / scale
        error = (np.clip(np.rint(steps), low, high) - steps) * scale
        beyond = (steps < low - 0.5) | (steps > high + 0.5)
        share = float(self.bins[beyond].sum()) / self.count
        return float((error**2 * self.bins).sum()) / self.count, share

    def _grow(self, magnitude: float) -> None:
        """Room for a larger magnitude: bins of twice the width, as often as needed."""
        if not self.limit and magnitude:
            self.limit = 2.0 ** math.ceil(math.log2(magnitude))
            # So far there were zeros only, which the middle bin holds.
        while self.limit < magnitude:
            half = self.bins.reshape(-1, 2).sum(axis=1)
            self.bins = np.pad(half, BINS // 2)
            self.limit *= 2
