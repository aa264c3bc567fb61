"""Images and their files, for the tests of image files."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from dpnet.model.image import (
    Image,
    ImageError,
    ImageLayer,
    parse_image,
    write_image,
)

ARRAYS = ("indices", "codebook", "entries", "exponent", "bias", "multiplier", "shift")


def fp32_layer(rng: np.random.Generator, name: str, shape: tuple[int, ...], k: int) -> ImageLayer:
    columns = int(np.prod(shape[1:]))
    return ImageLayer(
        name=name,
        shape=shape,
        k=k,
        indices=rng.integers(0, k, (shape[0], columns), dtype=np.uint8),
        codebook=rng.standard_normal((shape[0], k), np.float32),
    )


def integer_layer(
    rng: np.random.Generator, name: str, rows: int, columns: int, k: int, entry_bits: int = 16
) -> ImageLayer:
    half = 1 << entry_bits - 1
    return ImageLayer(
        name=name,
        shape=(rows, columns),
        k=k,
        indices=rng.integers(0, k, (rows, columns), dtype=np.uint8),
        entries=rng.integers(-half, half, (rows, k)),
        exponent=rng.integers(-60, 60, rows),
        bias=rng.integers(-(1 << 39), 1 << 39, rows),
        multiplier=rng.integers(0, 1 << 16, rows),
        shift=rng.integers(0, 64, rows),
        relu=bool(rng.integers(2)),
        out_bits=int(rng.integers(2, 26)),
    )


def integer_image(seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    layers = (integer_layer(rng, "first", 7, 9, 4), integer_layer(rng, "last", 3, 7, 3, 25))
    return Image(
        layers=layers,
        input_scale=0.125,
        input_bits=9,
        output_scale=1e-3,
        about={"who": "Zoë", "list": [1, 2.5, None]},
    )


def assert_equal(one: Image, other: Image) -> None:
    for name in ("input_scale", "input_bits", "output_scale", "about"):
        assert getattr(one, name) == getattr(other, name)
    for a, b in zip(one.layers, other.layers, strict=True):
        for name in ("name", "shape", "k", "relu", "out_bits"):
            assert getattr(a, name) == getattr(b, name)
        for name in ARRAYS:
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None) == (y is None)
            if x is not None:
                assert x.dtype == y.dtype
                np.testing.assert_array_equal(x, y)


class File:
    """An image's file, taken apart by its description: header, metadata, tensors."""

    def __init__(self, image: Image, folder: Path) -> None:
        path = folder / "original.dpnet"
        write_image(image, path)
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        self.header: Any = json.loads(data[8 : 8 + size])
        self.description: Any = json.loads(self.header.pop("__metadata__")["dpnet"])
        self.tensors = load(data)

    def bytes(self, sign: bool = True) -> bytes:
        """The file put together again; `sign` makes all checksums right."""
        if sign:
            for layer in self.description["layers"]:
                layer["crc32"] = {n: zlib.crc32(self.tensors[n].tobytes()) for n in layer["crc32"]}
            self.description.pop("sha256", None)
            digest = hashlib.sha256(json.dumps(self.description, sort_keys=True).encode())
            for name in sorted(self.tensors):
                tensor = self.tensors[name]
                digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode() + tensor.tobytes())
            self.description["sha256"] = digest.hexdigest()
        return save(self.tensors, {"dpnet": json.dumps(self.description)})


def refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_image(data)
    assert re.fullmatch(message, str(caught.value)), str(caught.value)


def raw(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


# There and back
