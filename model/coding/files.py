"""Entropy-coded layers in a file: indices by range, ANS or Huffman coding, with their codebooks.

    sizes = write_coded(path, {"fc1.weight": q, "fc2.weight": q2}, coder="ans")
    sizes.indices, sizes.tables, sizes.codebooks, sizes.total, sizes.entropy
    layers = read_coded(path)                # the same indices and codebooks, bit for bit
    layers["fc1.weight"].weight              # (rows, …), the values that the indices select

Needs the extra `coding` (`constriction`); importing this module does not load it. The file is a
safetensors file with one key of metadata, JSON: format, coder, for each layer its name, shape, K,
kind of tables, CRC-32s of its tensors and of its decoded indices; and a CRC-32 of this JSON.
Tensors of layer n: `n.stream` (32-bit words), `n.table` (integer frequencies), `n.codebook` (the
entries that rows use, row after row) and, where rows use fewer than K, `n.used` (how many, less 1).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from dpnet.model.coding.checks import (
    FORMAT,
    KEY,
    LARGEST_FILE,
    LARGEST_K,
    CodedError,
    check_header,
    description_crc,
    require,
)
from dpnet.model.coding.streams import (
    CODERS,
    TABLES,
    Coder,
    Indices,
    Tables,
    best_tables,
    counts_of,
    decode,
    encode,
    stored_table,
)
from dpnet.model.files import opened, replacing
from dpnet.model.quantizer.quantized import Quantized

__all__ = ["CodedBytes", "CodedError", "CodedLayer", "read_coded", "write_coded"]


@dataclass(frozen=True, eq=False)
class CodedLayer:
    """A layer as the file has it: `codebook` (rows, K) float64, `indices` (rows, n) below K, uint8
    up to K = 256 and uint16 above, and the `shape` of its weight, (rows, …) with n values a row.
    """

    codebook: NDArray[np.float64]
    indices: Indices
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        codebook, indices = self.codebook, self.indices
        if codebook.ndim != 2 or indices.ndim != 2 or len(codebook) != len(indices):
            raise ValueError(
                f"codebook and indices must have the same rows, not {codebook.shape!r} and "
                f"{indices.shape!r}"
            )
        if not 1 <= codebook.shape[1] <= LARGEST_K or not np.isfinite(codebook).all():
            raise ValueError(f"codebook must hold 1 to {LARGEST_K} finite entries a row")
        if indices.size == 0 or indices.dtype.kind not in "ui" or indices.min() < 0:
            raise ValueError(f"indices must be filled and not negative, not {indices.dtype}")
        if int(indices.max()) >= codebook.shape[1]:
            raise ValueError(f"indices must be below {codebook.shape[1]}, not {indices.max()}")
        if len(self.shape) < 2 or (self.shape[0], np.prod(self.shape[1:])) != indices.shape:
            raise ValueError(f"shape must be that of {indices.shape!r}, not {self.shape!r}")

    @property
    def weight(self) -> NDArray[np.float64]:
        """The value that each index selects, in the shape of the weight."""
        values = np.take_along_axis(self.codebook, self.indices.astype(np.intp), axis=1)
        return values.reshape(self.shape)


@dataclass(frozen=True)
class CodedBytes:
    """Bytes of a file of coded layers, and what their indices take at least.

    `indices`, `tables` and `codebooks` (with the counts of used entries) are the tensors, `header`
    the rest of the file: names, shapes, checksums. `entropy` is the bound for codes that know each
    row's frequencies without being told, `entropy_by_layer` for those that know each layer's.
    """

    indices: int
    tables: int
    codebooks: int
    header: int
    entropy: float
    entropy_by_layer: float

    @property
    def total(self) -> int:
        """The size of the file."""
        return self.indices + self.tables + self.codebooks + self.header


def write_coded(
    path: Path,
    layers: Mapping[str, Quantized | CodedLayer],
    *,
    coder: Coder = "ans",
    tables: Tables | Literal["auto"] = "auto",
    entries: Literal["float64", "float32"] = "float64",
) -> CodedBytes:
    """Write `layers` to `path`, whole or not at all; return what takes how many bytes.

    `tables` says where frequencies come from: one table per "layer" (2 bytes an entry), one per
    "row" (1 byte an entry), or "adaptive", from the rows before, without any table; "auto" takes
    for each layer what makes it smallest. "huffman" spends whole bits on an index. `entries`
    "float32" rounds the codebooks; else they are exact, in 4 bytes an entry where these suffice.

    10^6 weights take about 10 ms, with "huffman" about 0.1 s.

    Raises ImportError without `constriction`, ValueError for arguments that do not fit.
    """
    if coder not in CODERS or tables not in (*TABLES, "auto"):
        raise ValueError(f"coder and tables must be known, not {coder!r} and {tables!r}")
    if entries not in ("float64", "float32"):
        raise ValueError(f"entries must be 'float64' or 'float32', not {entries!r}")
    tensors: dict[str, NDArray[Any]] = {}
    described = []
    entropies = np.zeros(2)
    for n, (name, given) in enumerate(layers.items()):
        layer = _layer(given, entries)
        counts = counts_of(layer.indices, layer.codebook.shape[1])
        parts, about = _coded(n, layer, counts, coder, tables)
        tensors |= parts
        described.append({"name": name, **about})
        entropies += _entropy(counts), _entropy(counts.sum(0, keepdims=True))
    description: dict[str, Any] = {"format": FORMAT, "coder": coder, "layers": described}
    description["crc32"] = description_crc(description)
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    data = save(tensors, {KEY: text})
    with replacing(Path(path)) as file:
        file.write(data)
    return _sizes(tensors, len(data), entropies)


def _coded(
    n: int,
    layer: CodedLayer,
    counts: NDArray[np.int64],
    coder: Coder,
    tables: Tables | Literal["auto"],
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The tensors of layer `n`, and what the description says of it."""
    k = layer.codebook.shape[1]
    kind = best_tables(counts) if tables == "auto" else tables
    table = stored_table(counts, kind)
    stream = encode(layer.indices, k, table, kind, coder)
    named = {"stream": stream, "table": table, **_codebook_tensors(layer.codebook)}
    parts = {f"{n}.{name}": array for name, array in named.items()}
    return parts, {
        "shape": [int(side) for side in layer.shape],
        "k": k,
        "tables": kind,
        "indices_crc32": _crc(layer.indices),
        "crc32": {name: _crc(array) for name, array in parts.items()},
    }


def read_coded(path: Path) -> dict[str, CodedLayer]:
    """The layers of a file by name; `CodedError` says what is wrong with it and where.

    Raises ImportError without `constriction`.
    """
    try:
        with opened(Path(path)) as (file, size):
            require(size <= LARGEST_FILE, f"{path}: {size} bytes are more than coded layers have")
            data = file.read(size + 1)
    except OSError as error:
        raise CodedError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return parse_coded(data)
    except CodedError as error:
        raise CodedError(f"{path}: {error}") from error


def parse_coded(data: bytes) -> dict[str, CodedLayer]:
    """The layers in the bytes of a file; `CodedError` if anything about them is wrong."""
    description = check_header(data)
    try:
        tensors = load(data)
    except Exception as error:  # the library has many kinds, all mean the same here
        raise CodedError(f"not a safetensors file: {error}") from error
    for layer in description["layers"]:
        for name, crc in layer["crc32"].items():
            require(_crc(tensors[name]) == crc, f"tensor {name}: its CRC-32 is wrong")
    return {
        layer["name"]: _restore(n, layer, tensors, description["coder"])
        for n, layer in enumerate(description["layers"])
    }


def _layer(given: Quantized | CodedLayer, entries: str) -> CodedLayer:
    """What is written of a layer: its indices as wide as they will be read, NumPy's arrays."""
    layer = given if isinstance(given, CodedLayer) else _from_quantized(given)
    with np.errstate(over="ignore"):  # CodedLayer refuses the infinity
        codebook = np.ascontiguousarray(layer.codebook, entries).astype(np.float64)
    narrow: Indices = (
        layer.indices.astype(np.uint8)
        if codebook.shape[1] <= 256
        else layer.indices.astype(np.uint16)
    )
    return CodedLayer(codebook, narrow, layer.shape)


def _from_quantized(given: Quantized) -> CodedLayer:
    """Rows are the entries of the first axis, or everything is one row."""
    q = given if isinstance(given.indices, np.ndarray) else given.to_numpy()
    axes = tuple(range(-q.indices.ndim, 0))
    if q.axis not in (axes, axes[1:]):
        raise ValueError(f"rows must be along all axes but the first, or all, not {q.axis!r}")
    shape = q.indices.shape if q.axis == axes[1:] and len(axes) > 1 else (1, *q.indices.shape)
    indices: Indices = q.indices.reshape(shape[0], -1)
    return CodedLayer(q.codebook.reshape(shape[0], -1), indices, shape)


def _codebook_tensors(codebook: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """The entries without the repeats of the last one in each row."""
    patterns = codebook.view(np.int64)
    repeats = np.cumprod((patterns == patterns[:, -1:])[:, ::-1], axis=1).sum(axis=1)
    used = codebook.shape[1] - repeats + 1
    flat = codebook[np.arange(codebook.shape[1]) < used[:, None]]
    narrow = flat.astype(np.float32)
    exact = np.array_equal(narrow.astype(np.float64).view(np.int64), flat.view(np.int64))
    tensors: dict[str, NDArray[Any]] = {"codebook": narrow if exact else flat}
    if used.min() < codebook.shape[1]:
        tensors["used"] = (used - 1).astype(np.uint16)
    return tensors


def _restore(
    n: int, layer: dict[str, Any], tensors: Mapping[str, NDArray[Any]], coder: Coder
) -> CodedLayer:
    """One layer of a checked file."""
    shape, k = tuple(layer["shape"]), layer["k"]
    table = tensors[f"{n}.table"]
    require(bool(table.any(axis=1).all()), f"tensor {n}.table: a table is empty")
    stream = np.ascontiguousarray(tensors[f"{n}.stream"])
    size = shape[0], int(np.prod(shape[1:]))
    try:
        indices = decode(stream, size, k, table, layer["tables"], coder)
    except (ValueError, AssertionError) as error:
        raise CodedError(f"layer {n}: its stream cannot be decoded: {error}") from error
    require(_crc(indices) == layer["indices_crc32"], f"layer {n}: its indices are wrong")
    codebook = _restore_codebook(n, (shape[0], k), tensors)
    try:
        return CodedLayer(codebook, indices, shape)
    except ValueError as error:
        raise CodedError(f"layer {n}: {error}") from error


def _restore_codebook(
    n: int, shape: tuple[int, int], tensors: Mapping[str, NDArray[Any]]
) -> NDArray[np.float64]:
    """The inverse of `_codebook_tensors`."""
    rows, k = shape
    used = tensors.get(f"{n}.used", np.full(rows, k - 1)).astype(np.int64) + 1
    flat = tensors[f"{n}.codebook"].astype(np.float64)
    require(
        int(used.max()) <= k and int(used.sum()) == len(flat),
        f"tensor {n}.codebook: {len(flat)} entries are not what its rows use",
    )
    columns = np.minimum(np.arange(k), used[:, None] - 1)
    found: NDArray[np.float64] = flat[columns + (np.cumsum(used) - used)[:, None]]
    return found


def _crc(array: NDArray[Any]) -> int:
    """CRC-32 of the values, lowest byte first."""
    return zlib.crc32(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())


def _entropy(counts: NDArray[np.int64]) -> float:
    """Bytes that symbols of these counts, (tables, k), take at least."""
    total = counts.sum(axis=1, keepdims=True)
    return float((counts * np.log2(total / np.maximum(counts, 1))).sum()) / 8


def _sizes(
    tensors: Mapping[str, NDArray[Any]], total: int, entropies: NDArray[np.float64]
) -> CodedBytes:
    taken = {"stream": 0, "table": 0, "codebook": 0, "used": 0}
    for name, array in tensors.items():
        taken[name.partition(".")[2]] += array.nbytes
    return CodedBytes(
        indices=taken["stream"],
        tables=taken["table"],
        codebooks=taken["codebook"] + taken["used"],
        header=total - sum(taken.values()),
        entropy=float(entropies[0]),
        entropy_by_layer=float(entropies[1]),
    )
