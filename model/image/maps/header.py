"""Checks of a map image's header before anything of it is believed.

What a file may make its reader allocate is bounded here, in Python integers; whether its parts fit
each other is for `checks`, when they are there.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.files import parse_header, parse_object
from dpnet.model.image.header import (
    DTYPES,
    LARGEST_HEADER,
    LARGEST_K,
    LARGEST_RANK,
    MAP_FORMAT,
    ImageError,
    Stored,
    check_scale,
    require,
)
from dpnet.model.image.maps.description import FORMAT, SEEN
from dpnet.model.image.maps.limits import (
    LARGEST_CHANNELS,
    LARGEST_INDICES,
    LARGEST_LAYERS,
    LARGEST_ROWS,
    LARGEST_SIDE,
    LARGEST_VALUES,
    LONGEST_TEXT,
)
from dpnet.model.image.packing import packed_bytes

__all__ = ["check_map_header", "description_of", "is_map_description"]

_KINDS = {
    "bias": ("I32", "I64"),
    "multiplier": ("I32",),
    "shift": ("U8",),
    "indices": ("U8",),
    "entries": ("I16", "I32"),
    "factor": ("I32",),
}
"""A layer's tensors, and the types that they may have."""

Types = Mapping[str, type | tuple[type, ...]]
_NUMBER = (int, float)
_DESCRIPTION: Types = {
    "format": str, "bit_order": str, "tensors": list, "layers": list, "input_shape": list,
    "output_shape": list, "output": str, "host": list, "padding": list, "engine": dict,
    "about": dict, "profile": (dict, type(None)), "sha256": str,
}  # fmt: skip
_TENSOR: Types = {
    "name": str, "shape": list, "scale": _NUMBER, "signed": bool, "zero": int, "low": _NUMBER,
    "high": _NUMBER, "choice": str, "saturated": _NUMBER, "error": _NUMBER,
}  # fmt: skip
_LAYER: Types = {
    "name": str, "input": str, "output": str, "output_channel": int, "kernel": list,
    "stride": list, "dilation": list, "padding": list, "groups": int, "rows": int, "columns": int,
    "k": int, "books": int, "low": int, "high": int, "skip": (dict, type(None)),
    "window": (dict, type(None)), "source": (dict, type(None)), "crc32": dict,
}  # fmt: skip
_SKIP: Types = {"tensor": str, "stride": list, "channel": int}
_WINDOW: Types = {"top": int, "bottom": int, "left": int, "right": int}
_SOURCE: Types = {"node": str, "path": str, "file": str, "line": int, "text": str}
_ENGINE: Types = {
    field.name: type(getattr(MapEngineParameters(), field.name))
    for field in fields(MapEngineParameters)
}


def description_of(data: bytes, length: int) -> tuple[dict[str, Any], dict[str, Any], int]:
    """The header of a file, `data` being its first bytes, without and apart from its description,
    and the bytes of tensors that follow; `ImageError` where there is none."""
    header, rest = parse_header(data, LARGEST_HEADER, "dpnet image", ImageError, length=length)
    metadata = header.pop("__metadata__", None)
    text = metadata.get("dpnet") if isinstance(metadata, dict) and len(metadata) == 1 else None
    require(isinstance(text, str), "no dpnet image but a safetensors file")
    description = parse_object(str(text).encode(), "the description", ImageError)
    return header, description, rest


def is_map_description(description: Mapping[str, Any]) -> bool:
    """Whether it is, or was meant to be, that of a map image."""
    found = description.get("format")
    return isinstance(found, str) and found.endswith(MAP_FORMAT)


def check_map_header(data: bytes, length: int) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Check everything that the header says by itself; return the image's description and its
    tensors by name.  `data` are the first bytes of `length`, the header among them."""
    header, description, rest = description_of(data, length)
    if not is_map_description(description):
        require(
            type(description.get("format")) is not int,
            "an image of the array engine, not of a map engine: read it with dpnet.read_image",
        )
    found = description.get("format")
    require(
        found == FORMAT,
        f"its format is {_shown(found)}, this program reads {FORMAT!r}: compile again",
    )
    _check_types("the description", description, _DESCRIPTION)
    require(description["bit_order"] == "little", "bit_order must be 'little'")
    _check_wholes("padding", description["padding"], 4, 0, LARGEST_SIDE)
    for name in ("input_shape", "output_shape"):
        shape = description[name]
        _check_wholes(name, shape, min(len(shape), LARGEST_RANK), 1, LARGEST_VALUES)
    _check_types("engine", description["engine"], _ENGINE)
    _check_all_tensors(description["tensors"])
    _check_all_layers(description["layers"])
    return description, _places(header, description["layers"], rest)


def _check_all_tensors(entries: Sequence[Any]) -> None:
    count = len(entries)
    most = LARGEST_LAYERS + 1
    require(1 <= count <= most, f"it must have 1 to {most} tensors, not {count}")
    for n, entry in enumerate(entries):
        _check_tensor(f"tensor {n}", entry)
    values = sum(math.prod(entry["shape"]) for entry in entries)
    require(
        values <= LARGEST_VALUES,
        f"its tensors have {values:,} values, the largest engine has room for {LARGEST_VALUES:,}",
    )


def _check_tensor(what: str, entry: Any) -> None:
    _check_types(what, entry, _TENSOR)
    shape = entry["shape"]
    _check_wholes(f"{what}: shape", shape, 3, 1, LARGEST_CHANNELS)
    require(max(shape[1:]) <= LARGEST_SIDE, f"{what}: its sides must be at most {LARGEST_SIDE}")
    check_scale(f"{what}: scale", entry["scale"])
    for name in SEEN:
        value = entry[name]
        finite = isinstance(value, str) or (abs(value) < 1e300)
        require(finite, f"{what}: {name} must be a finite number, not {_shown(value)}")
    for name in ("saturated", "error"):
        require(entry[name] >= 0, f"{what}: {name} must be 0 or more, not {_shown(entry[name])}")
    _check_whole(f"{what}: zero", entry["zero"], 0, 255)


def _check_all_layers(entries: Sequence[Any]) -> None:
    count = len(entries)
    require(1 <= count <= LARGEST_LAYERS, f"it must have 1 to {LARGEST_LAYERS} layers, not {count}")
    for n, entry in enumerate(entries):
        _check_layer(f"layer {n}", entry)
        names = {f"{n}.{kind}" for kind in _shapes(entry)}
        given = entry["crc32"]
        require(set(given) == names, f"layer {n} must have the tensors {sorted(names)}")
        for name, crc in given.items():
            _check_whole(f"the CRC-32 of {name}", crc, 0, (1 << 32) - 1)
    rows = sum(entry["rows"] for entry in entries)
    require(rows <= LARGEST_ROWS, f"it has {rows:,} rows, the largest engine {LARGEST_ROWS:,}")
    indices = sum(entry["rows"] * entry["columns"] for entry in entries)
    require(
        indices <= LARGEST_INDICES,
        f"it has {indices:,} weights, the largest engine has room for {LARGEST_INDICES:,}",
    )


def _check_layer(what: str, entry: Any) -> None:
    _check_types(what, entry, _LAYER)
    for name in ("kernel", "stride", "dilation"):
        _check_wholes(f"{what}: {name}", entry[name], 2, 1, LARGEST_SIDE)
    _check_wholes(f"{what}: padding", entry["padding"], 4, 0, LARGEST_SIDE)
    limits = {
        "output_channel": (0, LARGEST_CHANNELS),
        "groups": (1, LARGEST_CHANNELS),
        "rows": (1, LARGEST_ROWS),
        "columns": (0, LARGEST_INDICES),
        "k": (0, LARGEST_K),
        "books": (0, entry["rows"]),
        "low": (-128, 255),
        "high": (-128, 255),
    }
    for name, (low, high) in limits.items():
        _check_whole(f"{what}: {name}", entry[name], low, high)
    rows, columns, k, books = (entry[name] for name in ("rows", "columns", "k", "books"))
    sums = columns > 0 and k > 0 and books > 0 and rows % books == 0
    require(
        sums or columns == k == books == 0,
        f"{what}: columns {columns}, k {k} and {books} codebooks for {rows} rows are neither a sum "
        "nor a maximum",
    )
    if entry["skip"] is not None:
        require(sums, f"{what}: a maximum has no skip values")
        _check_types(f"{what}: skip", entry["skip"], _SKIP)
        _check_wholes(f"{what}: the skip's stride", entry["skip"]["stride"], 2, 1, LARGEST_SIDE)
        channels = (-LARGEST_CHANNELS, LARGEST_CHANNELS)
        _check_whole(f"{what}: the skip's channel", entry["skip"]["channel"], *channels)
    if entry["window"] is not None:
        _check_types(f"{what}: window", entry["window"], _WINDOW)
        _check_wholes(f"{what}: window", list(entry["window"].values()), 4, 0, LARGEST_SIDE)
    if entry["source"] is not None:
        _check_types(f"{what}: source", entry["source"], _SOURCE)
        _check_whole(f"{what}: the source's line", entry["source"]["line"], 0, 1 << 31)


def _shapes(entry: Mapping[str, Any]) -> dict[str, list[int]]:
    """The shapes of a layer's tensors by kind."""
    rows, columns, k = entry["rows"], entry["columns"], entry["k"]
    found = {kind: [rows] for kind in ("bias", "multiplier", "shift")}
    if k:
        found["indices"] = [packed_bytes(rows * columns, k)]
        found["entries"] = [entry["books"], k]
    if entry["skip"] is not None:
        found["factor"] = [rows]
    return found


def _places(header: Mapping[str, Any], layers: Sequence[Any], size: int) -> dict[str, Stored]:
    """Where each tensor lies: they fill the `size` bytes behind the header, one after the other."""
    wanted = {
        f"{n}.{kind}": (kind, shape)
        for n, entry in enumerate(layers)
        for kind, shape in _shapes(entry).items()
    }
    other = sorted(set(header) ^ set(wanted))
    require(not other, f"tensors {_shown(other)} are missing or surplus")
    found = {name: _stored(name, header[name], *wanted[name]) for name in wanted}
    end = 0
    for place in sorted(found.values(), key=lambda one: (one.start, one.stop)):
        require(place.start == end, "tensors overlap or leave gaps")
        end = place.stop
    require(
        end == size, f"the file has {size} bytes of tensors instead of {end}: cut off or damaged"
    )
    return found


def _stored(name: str, entry: Any, kind: str, shape: list[int]) -> Stored:
    what = f"tensor {name}"
    _check_types(what, entry, {"dtype": str, "shape": list, "data_offsets": list})
    dtype, offsets = entry["dtype"], entry["data_offsets"]
    require(dtype in _KINDS[kind], f"{what}: its type {_shown(dtype)} is not allowed")
    require(
        entry["shape"] == shape, f"{what}: its shape must be {shape}, not {_shown(entry['shape'])}"
    )
    count = int(DTYPES[dtype][-1]) * math.prod(shape)
    _check_wholes(f"{what}: data_offsets", offsets, 2, 0, 1 << 62)
    require(offsets[1] - offsets[0] == count, f"{what}: its place in the file is wrong")
    return Stored(DTYPES[dtype], tuple(shape), offsets[0], offsets[1])


def _check_types(what: str, value: Any, types: Types) -> None:
    """`value` has these keys and no others, of these types."""
    keys = isinstance(value, dict) and set(value) == set(types)
    require(keys, f"{what} has other keys than a map image's")
    for name, kind in types.items():
        found = value[name]
        fits = isinstance(found, kind) and (kind is bool or not isinstance(found, bool))
        require(fits, f"{what}: {name} has the wrong type")
        short = not isinstance(found, str) or len(found) <= LONGEST_TEXT
        require(short, f"{what}: {name} is longer than {LONGEST_TEXT} characters")


def _check_wholes(what: str, values: Sequence[Any], count: int, low: int, high: int) -> None:
    fits = len(values) == count
    require(fits, f"{what} must be {count} whole numbers, not {_shown(values)}")
    for value in values:
        _check_whole(what, value, low, high)


def _check_whole(what: str, value: Any, low: int, high: int) -> None:
    fits = type(value) is int and low <= value <= high
    require(fits, f"{what} must be from {low} to {high}, not {_shown(value)}")


def _shown(value: Any) -> str:
    """A value of a file, however long it is, in a message."""
    return reprlib.repr(value)
