"""What a page is about: an image, placed in its engine, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dpnet.host.page.numbers import decibels
from dpnet.model.engine.maps.figures import LayerFigures, layer_figures
from dpnet.model.engine.maps.placement import Placement, place
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.accuracy import Accuracy
from dpnet.model.maps.layers import MapTensor
from dpnet.model.maps.profile.records import Profile, TensorProfile

__all__ = ["Layer", "Subject", "subject"]

FLOAT = 4
"""Bytes of a weight or a bias as it was."""


@dataclass(frozen=True)
class Layer:
    """A layer for its page: `number` from 0, `figures` of the engine, `source` in the user's files
    ("" if unknown), `float_bytes` of its weights and biases as they were, 0 if it has learned none.
    """

    number: int
    figures: LayerFigures
    source: str
    float_bytes: int

    @property
    def anchor(self) -> str:
        return f"layer-{self.number}"

    @property
    def name(self) -> str:
        return self.figures.name


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An image called `name` (its file's name) of `file_bytes`, its `placement` and layers; its
    `profile`, and the accuracy `measured` on pictures that were given, None without."""

    name: str
    image: MapImage
    file_bytes: int
    placement: Placement
    layers: tuple[Layer, ...]
    profile: Profile | None = None
    measured: Accuracy | None = None

    @property
    def lanes(self) -> int:
        return self.placement.params.lanes

    @property
    def cycles(self) -> int:
        """Of a picture."""
        return self.placement.plan.cycles

    @property
    def additions(self) -> int:
        return sum(layer.figures.additions for layer in self.layers)

    @property
    def utilization(self) -> float:
        return self.additions / (self.lanes * self.cycles)

    @property
    def float_bytes(self) -> int:
        return sum(layer.float_bytes for layer in self.layers)

    @property
    def engine_bytes(self) -> int:
        """What is loaded into the engine."""
        return sum(layer.figures.bytes.total for layer in self.layers)

    @property
    def result_ratio(self) -> float | None:
        """Of the network's result to its error in integers, in dB."""
        if self.profile is None:
            return None
        last = [
            one.noise
            for one, layer in zip(self.profile.layers, self.image.network.layers, strict=True)
            if layer.output == self.image.network.output
        ]
        return decibels(*_sums((one.signal, one.integers) for one in last))

    def tensors(self) -> Iterable[tuple[MapTensor, TensorProfile | None]]:
        """The tensors, with what the profile says of them."""
        known = [*self.profile.tensors] if self.profile else [None] * len(self._tensors)
        return zip(self._tensors, known, strict=True)

    @property
    def _tensors(self) -> tuple[MapTensor, ...]:
        return self.image.network.tensors


def subject(
    image: MapImage,
    name: str,
    file_bytes: int,
    profile: Profile | None = None,
    measured: Accuracy | None = None,
) -> Subject:
    """The subject of a page.  Raises `NetworkTooLarge` for an image that its own engine does not
    hold."""
    placement = place(image.engine, image.network)
    layers = []
    for n, figures in enumerate(layer_figures(placement)):
        source = image.sources.get(figures.name)
        rows = image.network.layers[n].rows
        bytes_ = FLOAT * (figures.weights + rows) if _learned(figures) else 0
        layers.append(Layer(n, figures, "" if source is None else str(source), bytes_))
    return Subject(
        name=name,
        image=image,
        file_bytes=file_bytes,
        placement=placement,
        layers=tuple(layers),
        profile=profile,
        measured=measured,
    )


def _learned(figures: LayerFigures) -> bool:
    """Whether the layer's weights can have been parameters of the user's network: those of an
    average are one number."""
    return figures.weights > 0 and not figures.operator.startswith(("average", "copy"))


def _sums(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    first, second = zip(*pairs, strict=True)
    return sum(first), sum(second)
