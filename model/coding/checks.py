"""Checks of a file of coded layers before anything of it is believed.

As `dpnet.model.image.header`, and for the same reason: safetensors accepts altered data, duplicate
names and any shape, so the header is looked at first, in Python integers.
"""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

from dpnet.model.coding.streams import CODERS, TABLES
from dpnet.model.files import parse_header, parse_object

FORMAT = 1
KEY = "dpnet-coded"
LARGEST_FILE = 1 << 34
LARGEST_HEADER = 1 << 24
LARGEST_LAYER = 1 << 30  # weights
LARGEST_K = 1 << 16

_ITEM_BYTES = {"U8": 1, "U16": 2, "U32": 4, "F32": 4, "F64": 8}
_ALLOWED = {
    "stream": ("U32",),
    "table": ("U8", "U16"),
    "codebook": ("F32", "F64"),
    "used": ("U16",),
}


class CodedError(ValueError):
    """A file of coded layers is damaged, of another version, or none; the message says how."""


def require(condition: bool, message: str) -> None:
    """Raise `CodedError(message)` unless `condition`."""
    if not condition:
        raise CodedError(message)


def description_crc(description: dict[str, Any]) -> int:
    """CRC-32 of everything in the description but itself."""
    rest = {name: value for name, value in description.items() if name != "crc32"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


def check_header(data: bytes) -> dict[str, Any]:
    """Check everything that the header says; return the description of the layers."""
    header, rest = parse_header(data, LARGEST_HEADER, "file of coded layers", CodedError)
    metadata = header.pop("__metadata__", None)
    require(
        isinstance(metadata, dict) and set(metadata) == {KEY} and isinstance(metadata[KEY], str),
        "a safetensors file, but not one of coded layers",
    )
    description = parse_object(metadata[KEY].encode(), "the description", CodedError)
    found = description.get("format")
    require(found == FORMAT, f"its format is {found!r}, this program reads {FORMAT}")
    require(set(description) == {"format", "coder", "layers", "crc32"}, "it has other keys")
    require(description["crc32"] == description_crc(description), "the description is damaged")
    require(description["coder"] in CODERS, f"its coder is {description['coder']!r}")
    require(isinstance(description["layers"], list), "its layers are no list")
    names = set()
    for n, layer in enumerate(description["layers"]):
        _check_layer(n, layer)
        names.add(layer["name"])
    require(len(names) == len(description["layers"]), "two layers have the same name")
    _check_tensors(header, description["layers"], rest)
    return description


def _check_layer(n: int, layer: Any) -> None:
    types = {
        "name": str,
        "shape": list,
        "k": int,
        "tables": str,
        "indices_crc32": int,
        "crc32": dict,
    }
    require(isinstance(layer, dict) and set(layer) == set(types), f"layer {n} has other keys")
    for name, kind in types.items():
        require(type(layer[name]) is kind, f"layer {n}: {name} has the wrong type")
    shape = layer["shape"]
    require(
        2 <= len(shape) <= 8
        and all(type(side) is int and side >= 1 for side in shape)
        and math.prod(shape) <= LARGEST_LAYER,
        f"layer {n}: its shape must be two to eight positive numbers, up to 2^30 weights",
    )
    require(1 <= layer["k"] <= LARGEST_K, f"layer {n}: k must be 1 to {LARGEST_K}")
    require(layer["tables"] in TABLES, f"layer {n}: its tables are {layer['tables']!r}")
    kinds = {name.partition(".")[2] for name in layer["crc32"]}
    require(
        all(name.partition(".")[0] == str(n) for name in layer["crc32"])
        and kinds - {"used"} == {"stream", "table", "codebook"},
        f"layer {n} has other tensors",
    )


def _check_tensors(header: dict[str, Any], layers: list[dict[str, Any]], size: int) -> None:
    expected = {name for layer in layers for name in layer["crc32"]}
    require(
        set(header) == expected, f"tensors {sorted(set(header) ^ expected)} are missing or surplus"
    )
    spans = []
    for name, entry in header.items():
        number, _, kind = name.partition(".")
        require(
            isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"},
            f"tensor {name}: damaged entry",
        )
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        require(dtype in _ALLOWED[kind], f"tensor {name}: its type {dtype!r} is not allowed")
        _check_shape(name, kind, dtype, shape, layers[int(number)])
        require(
            isinstance(offsets, list)
            and len(offsets) == 2
            and all(type(offset) is int for offset in offsets)
            and offsets[0] >= 0
            and offsets[1] - offsets[0] == _ITEM_BYTES[dtype] * math.prod(shape),
            f"tensor {name}: its place in the file is wrong",
        )
        spans.append(tuple(offsets))
    end = 0
    for start, stop in sorted(spans):
        require(start == end, "tensors overlap or leave gaps")
        end = stop
    require(
        end == size, f"the file has {size} bytes of tensors instead of {end}: cut off or damaged"
    )


def _check_shape(name: str, kind: str, dtype: str, shape: Any, layer: dict[str, Any]) -> None:
    rows, k = layer["shape"][0], layer["k"]
    require(
        isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape),
        f"tensor {name}: its shape is damaged",
    )
    if kind == "table":
        high = {"layer": 1, "row": rows, "adaptive": 0}[layer["tables"]]
        wide = "U16" if layer["tables"] == "layer" else "U8"
        require(shape == [high, k] and dtype == wide, f"tensor {name}: no table of this layer")
    elif kind == "used":
        require(shape == [rows], f"tensor {name}: its shape must be [{rows}], not {shape!r}")
    else:
        longest = rows * k if kind == "codebook" else 2 * math.prod(layer["shape"]) + 16
        require(len(shape) == 1 and shape[0] <= longest, f"tensor {name}: too many values")
