"""How pixels become what a net sees (NumPy only)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Preparation:
    """(pixel - mean) / deviation in float32, with a number of each for every channel, or one for
    all of them; pixels are 0 to 255."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.deviation):
            raise ValueError(
                "mean and deviation must have a number for each channel, "
                f"not {self.mean!r} and {self.deviation!r}"
            )
        if not all(map(math.isfinite, self.mean)):
            raise ValueError(f"mean must be finite, not {self.mean!r}")
        if not all(math.isfinite(x) and x > 0 for x in self.deviation):
            raise ValueError(f"deviation must be finite and positive, not {self.deviation!r}")

    @classmethod
    def of_unit(cls, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Preparation:
        """From numbers that are meant for pixels of 0 to 1."""
        return cls(tuple(255.0 * x for x in mean), tuple(255.0 * x for x in deviation))

    def compute(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Pixels (n, channels, height, width), float32 of the same shape."""
        if pixels.ndim != 4 or len(self.mean) not in (1, pixels.shape[1]):
            raise ValueError(
                f"pixels must be (n, {len(self.mean)}, height, width), not {pixels.shape}"
            )
        mean, deviation = (
            np.asarray(numbers, np.float32)[:, None, None]
            for numbers in (self.mean, self.deviation)
        )
        prepared: NDArray[np.float32] = (pixels.astype(np.float32) - mean) / deviation
        return prepared


RAW = Preparation((0.0,), (1.0,))
UNIT = Preparation((0.0,), (255.0,))
IMAGENET = Preparation.of_unit((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = Preparation.of_unit((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
