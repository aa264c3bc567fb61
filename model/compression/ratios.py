"""Compression ratios: the paper's Eq. (1), and the honest one that counts every byte."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dpnet.model.indices import index_bits
from dpnet.model.quantizer.quantized import Quantized

if TYPE_CHECKING:
    from torch import nn


def ratio_eq1(groups: Iterable[tuple[int, int]], k: int | Iterable[int]) -> float:
    """Eq. (1): 32-bit weights against indices of log2 K bits and 32-bit codebooks.

    `groups` are the (rows, n) of the compressed matrices, a codebook per row; `k` is one number
    or one per matrix. Biases, batch norms and padding are not in it: see `stored_bytes`. A ratio
    below 1 is an expansion (short rows with many centroids).
    """
    shapes = list(groups)
    sizes = [k] * len(shapes) if isinstance(k, int) else list(k)
    if not shapes or len(sizes) != len(shapes):
        raise ValueError(f"groups and k must match and not be empty, not {shapes!r} and {sizes!r}")
    if min(sizes) < 1 or min(min(shape) for shape in shapes) < 1:
        raise ValueError(f"groups and k must be positive, not {shapes!r} and {sizes!r}")
    weights = 32 * sum(rows * n for rows, n in shapes)
    shared = sum(
        math.log2(size) * rows * n + 32 * rows * size
        for (rows, n), size in zip(shapes, sizes, strict=True)
    )
    return weights / shared


@dataclass(frozen=True)
class StoredBytes:
    """Bytes of everything that a reader needs to restore a net.

    `indices` packed to whole bytes per matrix, `codebooks`, `scales` (what integer entries need
    to become numbers), `other` (biases, batch norms, layers not compressed); `fp32` is the
    whole net as 32-bit floats. Names, shapes and checksums of a file come on top: `ratio_on_disk`.
    """

    indices: int
    codebooks: int
    scales: int
    other: int
    fp32: int

    @property
    def total(self) -> int:
        """All of the compressed net."""
        return self.indices + self.codebooks + self.scales + self.other

    @property
    def ratio(self) -> float:
        """fp32 bytes per stored byte."""
        return self.fp32 / self.total


def stored_bytes(
    net: nn.Module,
    quantized: Mapping[str, Quantized],
    *,
    entry_bytes: int = 4,
    scale_bytes_per_row: int = 0,
) -> StoredBytes:
    """Count the bytes of `net` with its weights `quantized` (by any of their names).

    An entry takes `entry_bytes` (4 for float32; integer entries, 1 to 4, usually need
    `scale_bytes_per_row` too). Everything else in the net, parameters and buffers, counts 4
    bytes a value. Pruning masks count nothing: the weights have their zeros.
    """
    sizes = _tensor_sizes(net)
    weights = importlib.import_module("dpnet.model.compression.weights")  # PyTorch only for nets
    canonical = {name: w.name for w in weights.weights_of(net)[0] for name in w.names}
    known = {canonical.get(name, name) for name in quantized}
    for name, rows in quantized.items():
        if sizes.get(canonical.get(name, name)) != rows.indices.size:
            raise ValueError(
                f"quantized must fit the net, not have {rows.indices.size} weights in {name!r}"
            )
    layers = list(quantized.values())
    return StoredBytes(
        indices=sum(-(-q.indices.size * index_bits(q.k) // 8) for q in layers),
        codebooks=sum(q.codebook.size for q in layers) * entry_bytes,
        scales=sum(len(q.codebook) for q in layers) * scale_bytes_per_row,
        other=4 * sum(size for name, size in sizes.items() if name not in known),
        fp32=4 * sum(sizes.values()),
    )


def fp32_bytes(net: nn.Module) -> int:
    """All parameters and floating-point buffers of the net at 4 bytes a value."""
    return 4 * sum(_tensor_sizes(net).values())


def ratio_on_disk(net: nn.Module, path: Path) -> float:
    """`fp32_bytes` of the net per byte of the file that stores it compressed."""
    return fp32_bytes(net) / path.stat().st_size


def _tensor_sizes(net: nn.Module) -> dict[str, int]:
    """Values per tensor of the net, shared ones once; a pruned weight without its mask; batch
    norms' step counters left out."""
    parts_of = importlib.import_module("dpnet.model.compression.parts").parts_of
    tensors = dict([*net.named_parameters(), *net.named_buffers()])
    sizes = {name: t.numel() for name, t in tensors.items() if t.is_floating_point()}
    for parts in parts_of(tensors):
        if parts.convention == "pruning mask":
            sizes.pop(parts.names["mask"], None)
            sizes[parts.base] = sizes.pop(parts.names["orig"])
    return sizes
