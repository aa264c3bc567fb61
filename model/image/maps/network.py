"""A whole network in integers in memory, and what people want to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.graph.nodes import Source
from dpnet.model.image.maps.checks import check_content
from dpnet.model.image.maps.writing import write_network
from dpnet.model.maps.calibration.pictures import PictureError, check_pictures
from dpnet.model.maps.calibration.scales import TensorScale
from dpnet.model.maps.layers import MapNetwork
from dpnet.model.maps.outputs import finished, real
from dpnet.model.maps.profile.records import Profile
from dpnet.model.quantizer.quantized import is_masked, is_tensor

__all__ = ["MapImage"]


@dataclass(frozen=True, kw_only=True, eq=False)
class MapImage:
    """A compiled network of feature maps: `network`, which engines and the golden model compute.

    It is placed when it is loaded, for the engine that is there: one file serves every size.
    `engine` is the one that it was compiled for, which holds it.  `input_shape` and `output_shape`
    are those of one picture and one result of the user's network, whose values are those of
    `network` in the same order.  `calibration` says of every
    tensor, by its name, what calibration saw and why its scale is what it is; `sources` where in
    the user's files a layer comes from, by the layer's name.  `about` is for people (JSON types).
    `profile` is what the compiler measured for a report, None if it did not.

    Raises `ImageError` for what no map engine computes: layers that contradict each other, numbers
    beyond their widths, sums that could overflow, networks larger than the largest engine.
    """

    network: MapNetwork
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    engine: MapEngineParameters = field(default_factory=MapEngineParameters)
    calibration: Mapping[str, TensorScale]
    sources: Mapping[str, Source] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    profile: Profile | None = None

    def __post_init__(self) -> None:
        check_content(self)

    @property
    def classes(self) -> int | None:
        """Values of a result that is one vector; None for a map."""
        channels, height, width = self.network.tensor(self.network.output).shape
        return channels if (height, width) == (1, 1) else None

    @property
    def input_range(self) -> tuple[float, float]:
        """The least and the largest value of a picture that is not cut off."""
        first = self.network.input
        return first.scale * (first.low - first.zero), first.scale * (first.high - first.zero)

    @property
    def weights(self) -> int:
        """How many indices there are."""
        return sum(0 if x.indices is None else x.indices.size for x in self.network.layers)

    def pictures(self, what: str, values: Any) -> NDArray[Any]:
        """`values`, an array or a tensor (n, *input_shape), or a single picture, as (n, C, H, W) of
        its own type; `PictureError` for others, and for what is not finite."""
        if is_tensor(values):
            held = values.detach().cpu()
            values = (held.double() if held.is_floating_point() else held).numpy()
        if is_masked(values):
            raise PictureError(f"{what} must have no masked entries: leave these pictures out")
        array = np.asarray(values)
        array = array[None] if array.shape == self.input_shape else array
        if array.shape[1:] == self.input_shape:
            array = array.reshape(len(array), *self.network.picture)
        elif self.input_shape != self.network.picture:
            shape = ", ".join(map(str, self.input_shape))
            raise PictureError(f"{what} must have the shape (n, {shape}), not {array.shape}")
        return check_pictures(what, array, self.network.picture)

    def outputs(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """What the user's network gives, (n, *output_shape), from integers (n, C, H, W) of the
        network's output: real numbers, and the host's part."""
        found = finished(self.network, real(self.network, values))
        return found.reshape(len(found), *self.output_shape)

    def save(self, path: str | Path) -> int:
        """Write the image to `path`, whole or not at all; return the file's size in bytes.

        `ImageError` for an image that is too large to be read again, `OSError` where the file
        cannot be written.
        """
        return write_network(self, Path(path))
