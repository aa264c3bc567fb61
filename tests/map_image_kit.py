"""Map images and their files, for tests: small networks with all that an image may hold."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
from map_kit import Builder
from safetensors.numpy import load, save

from dpnet.model.graph.nodes import Source
from dpnet.model.image.maps import MapImage
from dpnet.model.image.maps.writing import file_of
from dpnet.model.maps.calibration.scales import TensorScale
from dpnet.model.maps.layers import MapLayer, MapNetwork, MapTensor, Window
from dpnet.model.maps.profile.records import (
    Accuracies,
    Histogram,
    LayerProfile,
    Noise,
    Profile,
    Row,
    TensorProfile,
    Weights,
)


def scale_of(tensor: MapTensor) -> TensorScale:
    return TensorScale(
        tensor.name, tensor.scale, tensor.signed, -1.5, 2.25, "99.9 % of all", 0.125, 0.5,
        tensor.zero,
    )  # fmt: skip


def image_of(network: MapNetwork, **others: Any) -> MapImage:
    scales = {tensor.name: scale_of(tensor) for tensor in network.tensors}
    argmax = "argmax" in network.host
    given = {
        "network": network,
        "input_shape": network.picture,
        "output_shape": network.tensor(network.output).shape[argmax:],
        "calibration": scales,
    }
    return MapImage(**given | others)


def small_network(*, host: tuple[str, ...] = ()) -> MapNetwork:
    """A convolution, a depthwise one, a skip, a maximum, an average, a linear layer."""
    net = Builder((3, 8, 8), seed=4)
    x = net.conv("conv1", "picture", 6, (3, 3), k=5)
    y = net.conv("dw", x, 6, (3, 3), groups=6, k=3)
    x = net.conv("conv2", y, 6, (1, 1), k=16, skip={"tensor": x})
    x = net.maximum("max", x, (2, 2))
    x = net.average("mean", x)
    net.conv("fc", x, 4, (1, 1), k=2, signed=True)
    return replace(net.made("fc"), host=host)


def profile_of(network: MapNetwork) -> Profile:
    """A profile as one of the network may be."""
    histogram = Histogram(-1.5, 2.25, (3, 0, 1))
    row = Row(1, Histogram(-1.0, -1.0, (4,)), (-1.0, 0.5), (3, 1))
    weights = Weights(histogram, histogram, 0.25, 1e-9, True, 3, row)
    noise = Noise(1.0, 0.0, 1e-3, 2e-3, 3.5e-3, 1e-12)
    layers = [LayerProfile(layer.name, 4, weights, noise) for layer in network.layers]
    layers[-1] = replace(layers[-1], bits=None, weights=None)
    tensors = [TensorProfile(tensor.name, histogram, 0.125) for tensor in network.tensors]
    return Profile(64, 0.75, tuple(layers), tuple(tensors), Accuracies(10, 9, 8, 7))


def every_fact() -> MapImage:
    """A picture that counts from 17 and is padded outside, codebooks that are shared, windows."""
    net = Builder((2, 8, 7), seed=5)
    net.tensors["picture"] = MapTensor("picture", (2, 8, 7), 0.25, False, 17)
    net.conv("one", "picture", 6, (3, 3), padding=(0, 0, 0, 0), k=4)
    net.conv("rest", "one", 5, (1, 1), k=16, output="both", shape=(5, 6, 5))
    (one, rest) = net.layers
    assert one.entries is not None
    shared = one.entries[[0, 0, 0, 3, 3, 3]]
    top, bottom = Window(0, 4, 0, 5), Window(4, 6, 0, 5)
    net.layers = [
        replace(one, entries=shared),
        replace(rest, window=top),
        replace(rest, name="rest\x1b[31m", window=bottom, bias=-rest.bias),
    ]
    network = replace(net.made("both"), padding=(1, 2, 0, 1), host=("softmax", "argmax"))
    source = Source("conv2d", "body.one", "mynets.py", 41, "self.one(x)")
    about = {"who": "Zoë", "list": [1, 2.5, None]}
    profile = profile_of(network)
    return image_of(network, sources={"one": source}, about=about, profile=profile)


def assert_same(one: MapImage, other: MapImage) -> None:
    names = ("engine", "calibration", "sources", "about", "input_shape", "output_shape", "profile")
    for name in names:
        assert getattr(one, name) == getattr(other, name), name
    for name in ("tensors", "output", "host", "padding"):
        assert getattr(one.network, name) == getattr(other.network, name), name
    for a, b in zip(one.network.layers, other.network.layers, strict=True):
        assert_same_layer(a, b)


def assert_same_layer(one: MapLayer, other: MapLayer) -> None:
    arrays = ("entries", "indices", "bias", "multiplier", "shift")
    for name in arrays:
        x, y = getattr(one, name), getattr(other, name)
        assert (x is None) == (y is None), name
        assert x is None or np.array_equal(x, y), name
    assert (one.skip is None) == (other.skip is None)
    if one.skip is not None and other.skip is not None:
        assert np.array_equal(one.skip.factor, other.skip.factor)
        assert {**vars(one.skip), "factor": 0} == {**vars(other.skip), "factor": 0}
    rest = [{k: v for k, v in vars(x).items() if k not in (*arrays, "skip")} for x in (one, other)]
    assert rest[0] == rest[1]


class MapFile:
    """A map image's file, taken apart: header, description, tensors."""

    def __init__(self, image: MapImage) -> None:
        data = file_of(image)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        self.description: Any = json.loads(header.pop("__metadata__")["dpnet"])
        self.tensors = dict(load(data))

    def bytes(self, sign: bool = True) -> bytes:
        """The file put together again; `sign` makes all checksums right."""
        if sign:
            self._sign()
        return save(self.tensors, {"dpnet": json.dumps(self.description)})

    def _sign(self) -> None:
        layers = self.description["layers"]
        for entry in layers if isinstance(layers, list) else ():
            given = entry.get("crc32") if isinstance(entry, dict) else None
            for name in (given or {}) if isinstance(given, dict) else ():
                if name in self.tensors:
                    given[name] = zlib.crc32(self.tensors[name].tobytes())
        self.description.pop("sha256", None)
        digest = hashlib.sha256(json.dumps(self.description, sort_keys=True).encode())
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode() + tensor.tobytes())
        self.description["sha256"] = digest.hexdigest()
