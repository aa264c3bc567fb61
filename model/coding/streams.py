"""Entropy coders for the indices of one layer: tables of integers, and streams of 32-bit words.

The coders are those of `constriction` (MIT, Apache-2.0 or BSL-1.0; the extra `coding`), which is
loaded on first use. It makes its own integers, parts of 2^24, from floats; here these floats are
integers that sum to 2^24 - K, its scale is 1, every step is exact, and symbol i takes
``frequencies[i] + 1`` parts on every machine. No logarithm decides anything when reading.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Coder = Literal["ans", "range", "huffman"]
Tables = Literal["layer", "row", "adaptive"]
Integers = NDArray[np.int64]
Indices = NDArray[np.integer[Any]]

CODERS: tuple[Coder, ...] = get_args(Coder)
TABLES: tuple[Tables, ...] = get_args(Tables)
PARTS = 1 << 24  # of constriction's default models
TABLE_TYPES: dict[str, Any] = {"layer": np.uint16, "row": np.uint8}


def library() -> Any:
    """The module `constriction`; ImportError says how to get it."""
    try:
        return importlib.import_module("constriction")
    except ImportError as error:
        message = "entropy coding needs constriction: pip install 'dpnet[coding]'"
        raise ImportError(message) from error


def frequencies(weights: Integers) -> NDArray[np.float32]:
    """Integers in proportion to `weights` that sum to 2^24 - K, each exact as a float32.

    `weights` are K integers from 0 to 2^38, not all 0; the largest takes what rounding leaves.
    """
    free = PARTS - len(weights)
    parts = weights.astype(np.int64) * free // int(weights.sum())
    parts[np.argmax(weights)] += free - int(parts.sum())
    return parts.astype(np.float32)


def counts_of(indices: Indices, k: int) -> Integers:
    """How often each of the k indices occurs in each row, (rows, k)."""
    flat = indices.astype(np.int64) + k * np.arange(len(indices))[:, None]
    return np.bincount(flat.ravel(), minlength=k * len(indices)).reshape(len(indices), k)


def stored_table(counts: Integers, tables: Tables) -> NDArray[np.unsignedinteger]:
    """What the file holds of `counts` (rows, k): (1, k) uint16, (rows, k) uint8, or (0, k)."""
    if tables == "adaptive":
        return np.empty((0, counts.shape[1]), np.uint8)
    table = counts.sum(0, keepdims=True) if tables == "layer" else counts
    most = np.iinfo(TABLE_TYPES[tables]).max
    largest = table.max(axis=1, keepdims=True)
    scaled = np.maximum((2 * table * most + largest) // (2 * largest), table > 0)
    return np.where(largest > most, scaled, table).astype(TABLE_TYPES[tables])


def best_tables(counts: Integers) -> Tables:
    """The kind of table with which `counts` (rows, k) take the fewest bytes, its own included."""

    def total_bytes(tables: Tables) -> float:
        table = stored_table(counts, tables)
        weights = _weights(table, tables, counts)
        share = weights / weights.sum(axis=1, keepdims=True)
        return float(-(counts * np.log2(share + 1 / PARTS)).sum()) / 8 + table.nbytes

    return min(TABLES, key=total_bytes)


def _weights(table: NDArray[np.unsignedinteger], tables: Tables, counts: Integers) -> Integers:
    """(rows, k): what each row is coded with. Adaptive weights count the rows before it."""
    if tables == "adaptive":
        return np.cumsum(counts, axis=0) - counts + 1
    return np.broadcast_to(table.astype(np.int64), counts.shape)


def encode(
    indices: Indices, k: int, table: NDArray[np.unsignedinteger], tables: Tables, coder: Coder
) -> NDArray[np.uint32]:
    """The stream of a layer's indices, row after row; empty where k is 1."""
    if k == 1:
        return np.empty(0, np.uint32)
    blocks = indices.reshape(1, -1) if tables == "layer" else indices
    weights = _weights(table, tables, counts_of(indices, k))
    pairs = [(block.astype(np.int32), row) for block, row in zip(blocks, weights, strict=False)]
    return _ENCODERS[coder](library(), pairs)


def decode(
    stream: NDArray[np.uint32],
    shape: tuple[int, int],
    k: int,
    table: NDArray[np.unsignedinteger],
    tables: Tables,
    coder: Coder,
) -> Indices:
    """The inverse of `encode`, (rows, n).

    Raises ValueError or AssertionError where the coder notices that the stream is none of its own.
    """
    indices = np.zeros(shape, np.uint8 if k <= 256 else np.uint16)
    if k == 1:
        return indices
    take, finished = _DECODERS[coder](library(), stream)
    if tables == "layer":
        indices.reshape(-1)[:] = take(table[0].astype(np.int64), indices.size)
    counts = np.ones(k, np.int64)
    for row in range(len(indices) if tables != "layer" else 0):
        weights = counts if tables == "adaptive" else table[row].astype(np.int64)
        indices[row] = take(weights, shape[1])
        counts += np.bincount(indices[row], minlength=k)
    if not finished():
        raise ValueError("more is in the stream than its indices")
    return indices


Pairs = list[tuple[NDArray[np.int32], Integers]]
Take = Callable[[Integers, int], Any]


def _categorical(constriction: Any, weights: Integers) -> Any:
    return constriction.stream.model.Categorical(frequencies(weights), perfect=False)


def _encode_ans(constriction: Any, pairs: Pairs) -> NDArray[np.uint32]:
    coder = constriction.stream.stack.AnsCoder()
    for symbols, weights in reversed(pairs):  # a stack: what is coded last is read first
        coder.encode_reverse(symbols, _categorical(constriction, weights))
    found: NDArray[np.unsignedinteger] = coder.get_compressed()
    return found


def _encode_range(constriction: Any, pairs: Pairs) -> NDArray[np.uint32]:
    coder = constriction.stream.queue.RangeEncoder()
    for symbols, weights in pairs:
        coder.encode(symbols, _categorical(constriction, weights))
    found: NDArray[np.unsignedinteger] = coder.get_compressed()
    return found


def _encode_huffman(constriction: Any, pairs: Pairs) -> NDArray[np.uint32]:
    coder = constriction.symbol.QueueEncoder()
    for symbols, weights in pairs:
        tree = constriction.symbol.huffman.EncoderHuffmanTree(weights.astype(np.float64))
        for symbol in symbols.tolist():
            coder.encode_symbol(symbol, tree)
    found: NDArray[np.unsignedinteger] = coder.get_compressed_and_bitrate()[0]
    return found


def _decode_ans(constriction: Any, stream: NDArray[np.uint32]) -> tuple[Take, Callable[[], bool]]:
    coder = constriction.stream.stack.AnsCoder(stream)
    return lambda weights, n: coder.decode(_categorical(constriction, weights), n), coder.is_empty


def _decode_range(constriction: Any, stream: NDArray[np.uint32]) -> tuple[Take, Callable[[], bool]]:
    coder = constriction.stream.queue.RangeDecoder(stream)
    finished = coder.maybe_exhausted
    return lambda weights, n: coder.decode(_categorical(constriction, weights), n), finished


def _decode_huffman(
    constriction: Any, stream: NDArray[np.uint32]
) -> tuple[Take, Callable[[], bool]]:
    coder = constriction.symbol.QueueDecoder(stream)

    def take(weights: Integers, n: int) -> list[int]:
        tree = constriction.symbol.huffman.DecoderHuffmanTree(weights.astype(np.float64))
        return [coder.decode_symbol(tree) for _ in range(n)]

    return take, lambda: True


_ENCODERS: dict[Coder, Callable[[Any, Pairs], NDArray[np.uint32]]] = {
    "ans": _encode_ans,
    "range": _encode_range,
    "huffman": _encode_huffman,
}
_DECODERS: dict[Coder, Callable[..., tuple[Take, Callable[[], bool]]]] = {
    "ans": _decode_ans,
    "range": _decode_range,
    "huffman": _decode_huffman,
}
