"""The container of images of both kinds: a safetensors file whose description signs its tensors.

The file's metadata has one key, `dpnet`: JSON with a CRC-32 per tensor, and a SHA-256 over itself
and all tensors.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from dpnet.model.file_kinds import ENOUGH, kind_of
from dpnet.model.files import opened
from dpnet.model.image.header import LARGEST_HEADER, ImageError, Stored, require

__all__ = ["checksums", "packed", "read_file", "unpacked"]

Tensors = dict[str, NDArray[Any]]
Header = tuple[dict[str, Any], dict[str, Stored]]
Image = TypeVar("Image")


def read_file(
    path: str | Path, largest: int, what: str, read: Callable[[io.BufferedIOBase, int], Image]
) -> Image:
    """What `read` makes of an opened file and its size; `ImageError` with the path in front for a
    file that cannot be read, is larger than `what` ever is, or that `read` refuses."""
    try:
        with opened(Path(path)) as (file, size):
            require(size <= largest, f"{size} bytes are more than any {what} has")
            return read(file, size)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def unpacked(
    file: io.BufferedIOBase,
    length: int,
    check: Callable[[bytes, int], Header],
    kept: Callable[[str, NDArray[Any]], NDArray[Any]],
) -> tuple[dict[str, Any], Tensors]:
    """The description and the tensors of a file of `length` bytes, whose header `check` believes.

    Every tensor is what `kept` makes of it by its name; only one of them is in memory twice.
    Raises `ImageError` for whatever is no image, or damaged.
    """
    start = file.read(ENOUGH)
    if kind := kind_of(start):
        raise ImageError(f"no dpnet image but {kind}")
    start += file.read(min(int.from_bytes(start[:8], "little"), LARGEST_HEADER))
    description, stored = check(start, length)
    base = 8 + int.from_bytes(start[:8], "little")
    crcs = {name: crc for layer in description["layers"] for name, crc in layer["crc32"].items()}
    signature = _Signature({name: x for name, x in description.items() if name != "sha256"})
    tensors = {}
    for name in sorted(stored):
        array = _tensor(name, stored[name], file, base, crcs[name])
        signature.add(name, array)
        tensors[name] = kept(name, array)
    require(description["sha256"] == signature.hex, "the SHA-256 over the file is wrong")
    return description, tensors


def packed(description: Mapping[str, Any], tensors: Tensors, largest: int, what: str) -> bytes:
    """The bytes of a file; `ImageError` for one that would be too large to be read again."""
    signature = _Signature(description)
    for name in sorted(tensors):
        signature.add(name, tensors[name])
    signed = {**description, "sha256": signature.hex}
    data: bytes = save(tensors, {"dpnet": json.dumps(signed, sort_keys=True)})
    header = int.from_bytes(data[:8], "little")
    require(
        header <= LARGEST_HEADER,
        f"its description takes {header:,} bytes, an image has at most {LARGEST_HEADER:,}: put "
        "less into about, or shorten the names",
    )
    require(len(data) <= largest, f"{len(data):,} bytes are more than any {what} has")
    return data


def checksums(parts: Tensors) -> dict[str, int]:
    """The CRC-32 of each tensor."""
    return {name: zlib.crc32(np.ascontiguousarray(array).data) for name, array in parts.items()}


def _tensor(name: str, place: Stored, file: io.BufferedIOBase, base: int, crc: int) -> NDArray[Any]:
    """A tensor as the file has it, checked."""
    file.seek(base + place.start)
    data = bytearray(place.stop - place.start)
    require(file.readinto(data) == len(data), "the file was cut off while it was read")
    require(zlib.crc32(data) == crc, f"tensor {name}: its CRC-32 is wrong")
    return np.frombuffer(data, place.dtype).reshape(place.shape)


class _Signature:
    """SHA-256 over a description without its own, and over the tensors in the order of names."""

    def __init__(self, description: Mapping[str, Any]) -> None:
        self._digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())

    def add(self, name: str, array: NDArray[Any]) -> None:
        """The next tensor."""
        self._digest.update(f"{name} {array.dtype} {array.shape}".encode())
        self._digest.update(np.ascontiguousarray(array).data)

    @property
    def hex(self) -> str:
        return self._digest.hexdigest()
