"""What a page is about: an image, placed in its engine, and what is known of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dpnet.host.maps.comparing import Compared
from dpnet.host.page.numbers import decibels
from dpnet.model.engine.maps.costs import Bytes, Cycles, layer_costs
from dpnet.model.engine.maps.figures import network_figures
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import Placement, place
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.accuracy import Accuracy
from dpnet.model.maps.layers import MapTensor
from dpnet.model.maps.profile.records import Profile, TensorProfile

__all__ = ["Layer", "Subject", "subject"]

Shape = tuple[int, int, int]

FLOAT = 4
"""Bytes of a weight or a bias as it was."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer for its page: `number` from 0, `operator` in a few words, shapes (C, H, W), `k`
    entries to a row (0 of a maximum), `weights` of which each is added at `adds` / `weights`
    positions, `source` in the user's files ("" if unknown), `float_bytes` of its weights and biases
    as they were, 0 if it has learned none.  `cycles` and `bytes` are with copies of what it makes.
    """

    number: int
    name: str
    operator: str
    reads: Shape
    makes: Shape
    k: int
    weights: int
    adds: int
    source: str
    float_bytes: int
    cycles: Cycles
    bytes: Bytes

    @property
    def anchor(self) -> str:
        return f"layer-{self.number}"

    def utilization(self, lanes: int) -> float:
        """The share of all lanes and cycles that add a weight of the layer."""
        return self.adds / (lanes * self.cycles.total) if self.cycles.total else 0.0


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An image called `name` (its file's name) of `file_bytes`, its `placement` and layers; its
    `profile`, the accuracy `measured` on pictures that were given, and what an engine gave that it
    `ran` on, None without."""

    name: str
    image: MapImage
    file_bytes: int
    placement: Placement
    layers: tuple[Layer, ...]
    profile: Profile | None = None
    measured: Accuracy | None = None
    ran: Compared | None = None

    @property
    def lanes(self) -> int:
        return self.placement.params.lanes

    @property
    def cycles(self) -> int:
        """Of a picture."""
        return self.placement.plan.cycles

    @property
    def additions(self) -> int:
        return sum(layer.adds for layer in self.layers)

    @property
    def utilization(self) -> float:
        return self.additions / (self.lanes * self.cycles)

    @property
    def weights(self) -> int:
        """Of all layers that have learned some."""
        return sum(layer.weights for layer in self.layers if layer.float_bytes)

    @property
    def float_bytes(self) -> int:
        return sum(layer.float_bytes for layer in self.layers)

    @property
    def profile_bytes(self) -> int:
        """Of the image's file: what is in it for this page alone."""
        if self.profile is None:
            return 0
        # The description is a text in the header of the file, which is JSON itself.
        return len(json.dumps(json.dumps(self.profile.to_json()))) - len('""')

    @property
    def engine_bytes(self) -> int:
        """What is loaded into the engine."""
        return sum(layer.bytes.total for layer in self.layers)

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
    ran: Compared | None = None,
) -> Subject:
    """The subject of a page: on the engine that it `ran` on, else on the one that it was compiled
    for.  Raises `NetworkTooLarge` for an image that this engine does not hold."""
    placement = place(image.engine if ran is None else ran.engine, image.network)
    costs = layer_costs(placement)
    return Subject(
        name=name,
        image=image,
        file_bytes=file_bytes,
        placement=placement,
        layers=tuple(_layers(image, placement.params, profile, costs)),
        profile=profile,
        measured=measured,
        ran=ran,
    )


def _layers(
    image: MapImage,
    engine: MapEngineParameters,
    profile: Profile | None,
    costs: Iterable[tuple[Cycles, Bytes]],
) -> Iterator[Layer]:
    figures = network_figures(engine, image.network).layers
    # The copies have no layer, and are in the costs of the one that writes what they copy.
    own = [(one, one.layer) for one in figures if one.layer is not None]
    for n, ((one, layer), (cycles, bytes_)) in enumerate(zip(own, costs, strict=True)):
        weights = 0 if layer.indices is None else int(layer.indices.size)
        source = image.sources.get(one.name)
        # The weights of a mean are one number, which nobody has learned.
        learned = weights > 0 and not one.operator.startswith("mean")
        if profile is not None:
            learned &= profile.layers[n].bits is not None
        yield Layer(
            number=n,
            name=one.name,
            operator=one.operator,
            reads=one.input,
            makes=one.output,
            k=one.k or 0,
            weights=weights,
            adds=one.adds,
            source="" if source is None else str(source),
            float_bytes=FLOAT * (weights + layer.rows) if learned else 0,
            cycles=cycles,
            bytes=bytes_,
        )


def _sums(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    first, second = zip(*pairs, strict=True)
    return sum(first), sum(second)
