"""Checks of an image before anything of it is believed.

safetensors accepts altered data, duplicate names, `[0, 2^62]` shapes and 100,000 dimensions; so the
header is looked at first, in Python integers, against what an image may contain.
"""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from typing import Any

from dpnet.model.files import is_text, parse_header, parse_object
from dpnet.model.image.packing import packed_bytes

FORMAT = 1
MAP_FORMAT = " of a map engine"
"""What the format of a whole network's image ends with."""
LARGEST_FILE = 1 << 30
LARGEST_HEADER = 1 << 20
LARGEST_LAYERS = 256
LARGEST_ROWS = 1 << 16
LARGEST_COLUMNS = 1 << 16
LARGEST_K = 16
LARGEST_RANK = 5

DTYPES = {"U8": "<u1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F32": "<f4"}
"""NumPy's names of the types that an image's tensors have."""
_ALLOWED = {
    "indices": ("U8",),
    "codebook": ("F32",),
    "entries": ("I16", "I32"),
    "exponent": ("I16",),
    "bias": ("I32", "I64"),
    "multiplier": ("I32",),
    "shift": ("U8",),
}
_NAME = re.compile(r"(0|[1-9]\d{0,2})\.([a-z]+)")
_FP32, _INTEGER = {"indices", "codebook"}, set(_ALLOWED) - {"codebook"}


class ImageError(ValueError):
    """An image is damaged, of another version, or no image; the message says what and where."""


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies in the file, in bytes behind the header, and what it is."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def require(condition: bool, message: str) -> None:
    """Raise `ImageError(message)` unless `condition`."""
    if not condition:
        raise ImageError(message)


def check_name(name: object) -> None:
    """Raise `ImageError` unless `name` is text that a file can hold."""
    require(isinstance(name, str), f"a layer's name must be text, not {name!r}")
    require(is_text(name), f"a layer's name must be Unicode, not {name!r} with a lone surrogate")


def check_scale(what: str, value: object) -> None:
    """Raise `ImageError` unless `value` is a positive, finite number."""
    positive, shown = False, "one beyond floats"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            positive, shown = 0 < float(value) < math.inf, f"{float(value):g}"
    else:
        shown = repr(value)
    require(positive, f"{what} must be a positive, finite number, not {shown}")


def check_header(data: bytes, length: int) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Check everything that a safetensors header says; return the image's description and its
    tensors by name.  `data` are the first bytes of `length`, the header among them."""
    header, rest = parse_header(data, LARGEST_HEADER, "dpnet image", ImageError, length=length)
    metadata = header.pop("__metadata__", None)
    require(
        isinstance(metadata, dict)
        and set(metadata) == {"dpnet"}
        and isinstance(metadata["dpnet"], str),
        "no dpnet image but a safetensors file: compress it first, with dpnet compress FILE",
    )
    description = parse_object(metadata["dpnet"].encode(), "the description", ImageError)
    _check_description(description)
    return description, _check_tensors(header, description, rest)


def _check_description(description: dict[str, Any]) -> None:
    found = description.get("format")
    require(
        not (isinstance(found, str) and found.endswith(MAP_FORMAT)),
        "it is a whole network's image for a map engine: read it with dpnet.read_image",
    )
    require(
        type(found) is int and found == FORMAT,
        f"its format is {found!r}, this program reads {FORMAT}: compress again",
    )
    types: dict[str, type | tuple[type, ...]] = {
        "bit_order": str,
        "input_scale": (int, float),
        "input_bits": int,
        "output_scale": (int, float),
        "layers": list,
        "about": dict,
        "sha256": str,
    }
    require(
        set(description) == {"format", *types}, "the description has other keys than an image's"
    )
    for name, kind in types.items():
        found = description[name]
        require(
            isinstance(found, kind) and not isinstance(found, bool), f"{name} has the wrong type"
        )
    require(description["bit_order"] == "little", "bit_order must be 'little'")
    require(2 <= description["input_bits"] <= 25, "input_bits must be from 2 to 25")
    check_scale("input_scale", description["input_scale"])
    check_scale("output_scale", description["output_scale"])
    require(1 <= len(description["layers"]) <= LARGEST_LAYERS, "it has no layers, or too many")
    for n, layer in enumerate(description["layers"]):
        _check_entry(n, layer)


def _check_entry(n: int, layer: Any) -> None:
    types = {
        "name": str,
        "shape": list,
        "rows": int,
        "columns": int,
        "k": int,
        "relu": bool,
        "out_bits": int,
        "crc32": dict,
    }
    require(isinstance(layer, dict) and set(layer) == set(types), f"layer {n} has other keys")
    for name, kind in types.items():
        require(
            isinstance(layer[name], kind) and not (kind is int and layer[name] is True),
            f"layer {n}: {name} has the wrong type",
        )
    limits = {"rows": LARGEST_ROWS, "columns": LARGEST_COLUMNS, "k": LARGEST_K, "out_bits": 25}
    for name, limit in limits.items():
        require(
            1 <= layer[name] <= limit, f"layer {n}: {name} must be 1 to {limit}, not {layer[name]}"
        )
    shape = layer["shape"]
    require(
        1 <= len(shape) <= LARGEST_RANK and all(type(side) is int and side >= 1 for side in shape),
        f"layer {n}: its shape must be up to five positive numbers",
    )
    require(
        (shape[0], math.prod(shape[1:])) == (layer["rows"], layer["columns"]),
        f"layer {n}: shape {shape} is not {layer['rows']} × {layer['columns']}",
    )
    kinds = {name.partition(".")[2] for name in layer["crc32"]}
    require(
        all(name.partition(".")[0] == str(n) for name in layer["crc32"])
        and kinds in (_FP32, _INTEGER),
        f"layer {n} must have the tensors of an fp32 or of an integer layer, not {sorted(kinds)}",
    )


def _check_tensors(
    header: dict[str, Any], description: dict[str, Any], size: int
) -> dict[str, Stored]:
    expected = {name for layer in description["layers"] for name in layer["crc32"]}
    require(
        set(header) == expected, f"tensors {sorted(set(header) ^ expected)} are missing or surplus"
    )
    found = {}
    for name, entry in header.items():
        match = _NAME.fullmatch(name)
        require(match is not None and match[2] in _ALLOWED, f"tensor {name!r} is not an image's")
        assert match is not None
        require(
            isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"},
            f"tensor {name}: damaged entry",
        )
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        require(dtype in _ALLOWED[match[2]], f"tensor {name}: its type {dtype!r} is not allowed")
        wanted = _wanted_shape(match[2], description["layers"][int(match[1])])
        require(shape == wanted, f"tensor {name}: its shape must be {wanted}, not {shape!r}")
        count = int(DTYPES[dtype][-1]) * math.prod(wanted)
        require(
            isinstance(offsets, list)
            and len(offsets) == 2
            and all(type(offset) is int for offset in offsets)
            and offsets[0] >= 0
            and offsets[1] - offsets[0] == count,
            f"tensor {name}: its place in the file is wrong",
        )
        found[name] = Stored(DTYPES[dtype], tuple(wanted), *offsets)
    end = 0
    for tensor in sorted(found.values(), key=lambda one: (one.start, one.stop)):
        require(tensor.start == end, "tensors overlap or leave gaps")
        end = tensor.stop
    require(
        end == size, f"the file has {size} bytes of tensors instead of {end}: cut off or damaged"
    )
    return found


def _wanted_shape(kind: str, layer: dict[str, Any]) -> list[int]:
    rows, columns, k = layer["rows"], layer["columns"], layer["k"]
    if kind == "indices":
        return [packed_bytes(rows * columns, k)]
    return [rows, k] if kind in ("codebook", "entries") else [rows]
