"""What a map image's file says in JSON: written from an image, and made into its parts again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.graph.nodes import Source
from dpnet.model.image.header import MAP_FORMAT, ImageError
from dpnet.model.image.maps.layer_tensors import books
from dpnet.model.maps.calibration.scales import TensorScale
from dpnet.model.maps.layers import MapLayer, MapTensor, Skip, Window
from dpnet.model.maps.profile.records import Profile, ProfileError

if TYPE_CHECKING:
    from dpnet.model.image.maps.network import MapImage

__all__ = [
    "FORMAT",
    "described",
    "engine_of",
    "layer_of",
    "profile_of",
    "scale_of",
    "source_of",
    "tensor_of",
]

FORMAT = f"1{MAP_FORMAT}"
"""Text, so that a reader of the array's images says what it has met."""

SEEN = ("low", "high", "choice", "saturated", "error")
"""What is said of a tensor's calibration beside its scale."""

PLAIN = ("name", "input", "output", "output_channel", "groups", "low", "high")
LISTS = ("kernel", "stride", "dilation", "padding")
"""Of a layer, under the names that `MapLayer` has for them."""


def described(image: MapImage, checksums: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """The description of an image whose layers' tensors have these checksums; unsigned."""
    network = image.network
    return {
        "format": FORMAT,
        "bit_order": "little",
        "tensors": [_tensor(one, image.calibration[one.name]) for one in network.tensors],
        "layers": [
            _layer(layer, image.sources.get(layer.name), crc32)
            for layer, crc32 in zip(network.layers, checksums, strict=True)
        ],
        "input_shape": list(image.input_shape),
        "output_shape": list(image.output_shape),
        "output": network.output,
        "host": list(network.host),
        "padding": list(network.padding),
        "engine": asdict(image.engine),
        "about": dict(image.about),
        "profile": None if image.profile is None else image.profile.to_json(),
    }


def _tensor(tensor: MapTensor, scale: TensorScale) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "scale": tensor.scale,
        "signed": bool(tensor.signed),
        "zero": int(tensor.zero),
        **{name: getattr(scale, name) for name in SEEN},
    }


def _layer(layer: MapLayer, source: Source | None, crc32: Mapping[str, int]) -> dict[str, Any]:
    skip, window = layer.skip, layer.window
    return {
        **{name: getattr(layer, name) for name in PLAIN},
        **{name: list(getattr(layer, name)) for name in LISTS},
        "rows": layer.rows,
        "columns": 0 if layer.indices is None else layer.indices.shape[1],
        "k": 0 if layer.entries is None else layer.entries.shape[1],
        "books": books(layer),
        "skip": None
        if skip is None
        else {"tensor": skip.tensor, "stride": list(skip.stride), "channel": skip.channel},
        "window": None if window is None else asdict(window),
        "source": None if source is None else asdict(source),
        "crc32": dict(crc32),
    }


def tensor_of(entry: Mapping[str, Any]) -> MapTensor:
    """A tensor of a description that is checked."""
    one, two, three = entry["shape"]
    scale = float(entry["scale"])
    return MapTensor(entry["name"], (one, two, three), scale, entry["signed"], entry["zero"])


def scale_of(entry: Mapping[str, Any]) -> TensorScale:
    """What is said of the tensor's calibration."""
    return TensorScale(
        tensor=entry["name"],
        scale=float(entry["scale"]),
        signed=entry["signed"],
        zero=entry["zero"],
        choice=entry["choice"],
        low=float(entry["low"]),
        high=float(entry["high"]),
        saturated=float(entry["saturated"]),
        error=float(entry["error"]),
    )


def layer_of(entry: Mapping[str, Any], arrays: Mapping[str, Any]) -> MapLayer:
    """A layer of a description that is checked, with its numbers."""
    numbers, skip = dict(arrays), None
    if entry["skip"] is not None:
        given = entry["skip"]
        stride = given["stride"][0], given["stride"][1]
        skip = Skip(given["tensor"], numbers.pop("factor"), stride, given["channel"])
    named: dict[str, Any] = {name: entry[name] for name in PLAIN}
    named |= {name: tuple(entry[name]) for name in LISTS}
    window = None if entry["window"] is None else Window(**entry["window"])
    return MapLayer(**named, **numbers, skip=skip, window=window)


def source_of(entry: Mapping[str, Any]) -> Source | None:
    """Where a layer comes from, if the file says it."""
    return None if entry["source"] is None else Source(**entry["source"])


def profile_of(document: object) -> Profile | None:
    """What the compiler measured, if the file has it; `ImageError` for what is no profile."""
    try:
        return None if document is None else Profile.from_json(document)
    except ProfileError as error:
        raise ImageError(str(error)) from error


def engine_of(values: Mapping[str, Any]) -> MapEngineParameters:
    """The engine that the image was compiled for; `ImageError` for one that cannot be built."""
    try:
        return MapEngineParameters(**values)
    except ValueError as error:
        raise ImageError(f"engine: {error}") from error
