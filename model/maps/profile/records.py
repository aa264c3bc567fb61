"""A profile: what became of a network's weights and values on their way to integers, small enough
to lie in an image.

    found = Profile.from_json(document)
    found.check(network)

All numbers are finite and have six digits, so that a profile is the same after it was JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dpnet.model.maps.layers import MapLayer, MapTensor, Network
from dpnet.model.maps.profile.fields import ProfileError, from_plain, plain

__all__ = [
    "Accuracies",
    "Histogram",
    "LayerProfile",
    "Noise",
    "Profile",
    "ProfileError",
    "Row",
    "TensorProfile",
    "Weights",
]


@dataclass(frozen=True)
class Histogram:
    """`counts` of the values in equal bins from `low` to `high`; the last bin has `high` too."""

    low: float
    high: float
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.counts or self.low > self.high:
            raise ProfileError(
                f"a histogram must have bins from low to high, not {len(self.counts)} from "
                f"{self.low:g} to {self.high:g}"
            )


@dataclass(frozen=True)
class Row:
    """A layer's row `number`, whose error is in the middle of all rows': its weights, and its
    centroids with how many weights each stands for."""

    number: int
    weights: Histogram
    centroids: tuple[float, ...]
    uses: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.centroids) != len(self.uses):
            raise ProfileError("a row must have as many centroids as uses of them")


@dataclass(frozen=True)
class Weights:
    """A layer's weights: all of them as they were, and as their centroids in the same bins; mean
    squares of them (`power`) and of what the codebooks changed (`noise`); whether they were on
    codebooks already and are `kept`; how many codebooks there are; a row."""

    before: Histogram
    after: Histogram
    power: float
    noise: float
    kept: bool
    codebooks: int
    row: Row


@dataclass(frozen=True)
class Noise:
    """Mean squares of a layer's results in float (`signal`) and of their differences from it.

    `alone_codebooks`: this layer alone has its codebooks; `alone`: it alone is in integers, its
    inputs rounded to theirs; `codebooks`, `integers`: so are all layers up to here.  `output`: the
    difference of the network's result where this layer alone is in integers.
    """

    signal: float
    alone_codebooks: float
    alone: float
    codebooks: float
    integers: float
    output: float

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 0:
            raise ProfileError(f"mean squares must be 0 or more, not {self!r}")


@dataclass(frozen=True)
class LayerProfile:
    """A layer; `bits` of its indices as they were asked for, None where nothing was learned."""

    name: str
    bits: int | None
    weights: Weights | None
    noise: Noise


@dataclass(frozen=True)
class TensorProfile:
    """A tensor's real values with codebooks, and the share of its integers that saturate."""

    name: str
    values: Histogram
    saturated: float

    def __post_init__(self) -> None:
        if not 0 <= self.saturated <= 1:
            raise ProfileError(f"a share must be from 0 to 1, not {self.saturated!r}")


@dataclass(frozen=True)
class Accuracies:
    """How many of `pictures` are right: in float, with codebooks, in integers."""

    pictures: int
    floats: int
    codebooks: int
    integers: int

    def __post_init__(self) -> None:
        if not 0 < self.pictures >= max(self.floats, self.codebooks, self.integers):
            raise ProfileError(f"of 1 picture or more not more may be right, not {self!r}")


@dataclass(frozen=True)
class Profile:
    """Layers and tensors in the network's order, over a sample of `pictures` of the calibration;
    `result` is the mean square of the network's result in float.  `accuracy` is None where there
    were no labels."""

    pictures: int
    result: float
    layers: tuple[LayerProfile, ...]
    tensors: tuple[TensorProfile, ...]
    accuracy: Accuracies | None = None

    def to_json(self) -> dict[str, Any]:
        """The profile in JSON's types."""
        found: dict[str, Any] = plain(self)
        return found

    @classmethod
    def from_json(cls, document: object) -> Profile:
        """The profile that `to_json` gave; `ProfileError` for anything else, whatever it is."""
        found: Profile = from_plain(cls, document, "the profile")
        return found

    def check(self, network: Network[MapTensor, MapLayer]) -> None:
        """Raise `ProfileError` unless it is one of this network."""
        for what, own, wanted in (
            ("layers", self.layers, network.layers),
            ("tensors", self.tensors, network.tensors),
        ):
            if [one.name for one in own] != [one.name for one in wanted]:
                raise ProfileError(f"the profile has other {what} than the network")
