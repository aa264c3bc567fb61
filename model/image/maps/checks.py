"""What a map image holds: a network that engines compute, and notes that fit it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.files import is_text
from dpnet.model.image.header import ImageError, check_name, check_scale, require
from dpnet.model.image.maps.limits import (
    LARGEST_INDICES,
    LARGEST_LAYERS,
    LARGEST_MAXIMA,
    LARGEST_PADDED,
    LARGEST_ROWS,
    LARGEST_VALUES,
    LONGEST_TEXT,
)
from dpnet.model.maps.checks import ACC_BITS, MapError, check_network
from dpnet.model.maps.layers import MapLayer, MapNetwork, MapTensor
from dpnet.model.maps.profile.records import Profile, ProfileError

if TYPE_CHECKING:
    from dpnet.model.image.maps.network import MapImage

__all__ = ["HOST_OPERATORS", "check_content"]

Integers = NDArray[np.int64]

HOST_OPERATORS = ("softmax", "log_softmax", "sigmoid", "argmax")
"""What may be left to the host, in float, at the end."""

BLOCK = 1 << 20
"""Weights that are looked at at once."""


def check_content(image: MapImage) -> None:
    """Raise `ImageError` unless all parts of the image fit each other."""
    network = image.network
    require(isinstance(network, MapNetwork), f"network must be a MapNetwork, not {network!r}")
    engine = image.engine
    fits = isinstance(engine, MapEngineParameters)
    require(fits, f"engine must be MapEngineParameters, not {engine!r}")
    _check_names(network)
    _check_sizes(network)
    try:
        check_network(network)
    except MapError as error:
        raise ImageError(str(error)) from error
    _check_input(network)
    for layer in network.layers:
        _check_sums(layer, network)
    _check_host(network)
    _check_shapes(image)
    _check_notes(image)


def _check_names(network: MapNetwork) -> None:
    names = [layer.name for layer in network.layers]
    for name in [*names, *(tensor.name for tensor in network.tensors)]:
        check_name(name)
        require(len(name) <= LONGEST_TEXT, f"a name must have at most {LONGEST_TEXT} characters")
    require(len(set(names)) == len(names), "layers must have different names")


def _check_sizes(network: MapNetwork) -> None:
    """What is to be allocated for the checks."""
    layers = network.layers
    require(1 <= len(layers) <= LARGEST_LAYERS, f"layers must be 1 to {LARGEST_LAYERS}")
    for tensor in network.tensors:
        check_scale(f"tensor {tensor.name}: scale", tensor.scale)
        sides = tensor.shape
        require(len(sides) == 3 and min(sides) > 0, f"tensor {tensor.name} has the shape {sides}")
    values = sum(math.prod(tensor.shape) for tensor in network.tensors)
    require(values <= LARGEST_VALUES, f"tensors have {values:,} values, at most {LARGEST_VALUES:,}")
    rows = sum(layer.rows for layer in layers)
    require(rows <= LARGEST_ROWS, f"layers have {rows:,} rows, at most {LARGEST_ROWS:,}")
    weights = sum(0 if layer.indices is None else layer.indices.size for layer in layers)
    require(
        weights <= LARGEST_INDICES, f"layers have {weights:,} weights, at most {LARGEST_INDICES:,}"
    )
    _check_windows(network)


def _check_windows(network: MapNetwork) -> None:
    shapes = {tensor.name: tensor.shape for tensor in network.tensors}
    maxima = 0
    for layer in network.layers:
        top, bottom, left, right = layer.padding
        _, height, width = shapes.get(layer.input, (1, 1, 1))
        area = (height + top + bottom) * (width + left + right)
        require(
            area <= LARGEST_PADDED,
            f"layer {layer.name}: its padded map has {area:,} positions, at most "
            f"{LARGEST_PADDED:,}",
        )
        if layer.indices is None:
            maxima += math.prod(layer.kernel) * math.prod(shapes.get(layer.output, (1, 1, 1))[1:])
    require(maxima <= LARGEST_MAXIMA, "its maxima have larger windows than any engine runs")


def _check_input(network: MapNetwork) -> None:
    """The picture, which alone may count from another integer, and is then padded by the host."""
    for tensor in network.tensors[1:]:
        require(tensor.zero == 0, f"tensor {tensor.name}: zero must be 0, but for the picture")
    first = network.input
    inside = first.low <= first.zero <= first.high
    require(inside, f"the picture's zero must be {first.low} to {first.high}, not {first.zero}")
    plain = all(
        not any(layer.padding) and layer.indices is not None
        for layer in network.layers
        if layer.input == first.name
    )
    require(
        first.zero == 0 or plain,
        "a picture whose zero is not 0 must be read by sums without padding alone",
    )
    padded = min(network.padding) >= 0 and min(network.picture) > 0
    require(padded, f"padding {network.padding} leaves no picture of {first.shape}")


def _check_sums(layer: MapLayer, network: MapNetwork) -> None:
    """Whatever the picture is, the layer's sums fit an accumulator."""
    if layer.entries is None or layer.indices is None:
        return
    largest = np.abs(layer.bias.astype(np.int64))
    largest = largest + _magnitude(network.tensor(layer.input)) * _row_sums(layer)
    if layer.skip is not None:
        factor = np.abs(layer.skip.factor.astype(np.int64))
        largest = largest + _magnitude(network.tensor(layer.skip.tensor)) * factor
    wrong = np.flatnonzero(largest >= 1 << ACC_BITS - 1)
    require(
        not wrong.size,
        f"layer {layer.name}: the sums of row {wrong[0] if wrong.size else 0} may need more than "
        f"the {ACC_BITS} bits of an accumulator",
    )


def _row_sums(layer: MapLayer) -> Integers:
    """Of the magnitudes of each row's weights."""
    assert layer.entries is not None and layer.indices is not None
    found = np.empty(layer.rows, np.int64)
    for rows in _blocks(*layer.indices.shape):
        weights = np.take_along_axis(layer.entries[rows], layer.indices[rows].astype(np.intp), 1)
        found[rows] = np.abs(weights).sum(axis=1)
    return found


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, BLOCK // columns)
    return (slice(start, start + step) for start in range(0, rows, step))


def _magnitude(tensor: MapTensor) -> int:
    return max(-tensor.low, tensor.high)


def _check_host(network: MapNetwork) -> None:
    unknown = [kind for kind in network.host if kind not in HOST_OPERATORS]
    listed = ", ".join(HOST_OPERATORS)
    require(not unknown, f"host must be of {listed}, not {unknown[0] if unknown else ''!r}")


def _check_shapes(image: MapImage) -> None:
    """The user's shapes have the values that the network has."""
    network = image.network
    picture, result = network.picture, network.tensor(network.output).shape
    if "argmax" in network.host:
        result = (1, *result[1:])
    for name, given, own in (
        ("input_shape", image.input_shape, picture),
        ("output_shape", image.output_shape, result),
    ):
        same = math.prod(given) == math.prod(own)
        require(same, f"{name} {given} has other values than the network's {own}")


def _check_profile(image: MapImage) -> None:
    profile = image.profile
    known = profile is None or isinstance(profile, Profile)
    require(known, f"profile must be a Profile, not {profile!r}")
    try:
        if profile is not None:
            profile.check(image.network)
    except ProfileError as error:
        raise ImageError(str(error)) from error


def _check_notes(image: MapImage) -> None:
    network = image.network
    for tensor in network.tensors:
        scale = image.calibration.get(tensor.name)
        require(scale is not None, f"calibration must say how {tensor.name} was scaled")
        assert scale is not None
        same = (scale.tensor, scale.scale, scale.signed, scale.zero) == (
            tensor.name, tensor.scale, tensor.signed, tensor.zero,
        )  # fmt: skip
        require(same, f"calibration says another scale than tensor {tensor.name} has")
    require(len(image.calibration) == len(network.tensors), "calibration of no tensor")
    names = {layer.name for layer in network.layers}
    require(set(image.sources) <= names, "sources must be those of layers")
    _check_profile(image)
    try:
        json.dumps(dict(image.about), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ImageError(f"about must hold JSON's types only: {error}") from error
    choices = [scale.choice for scale in image.calibration.values()]
    texts = [dict(image.about), choices, *(vars(source) for source in image.sources.values())]
    require(is_text(texts), "it holds text that is no Unicode (a lone surrogate)")
