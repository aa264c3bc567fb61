"""What a compressed net takes, counted in files that are written, and read back bit for bit.

A network is two files: the coded layers (`dpnet.model.coding.files`: indices after entropy coding,
their tables, codebooks) and everything else (biases, batch norms, layers that are not compressed)
as float32.  Three accountings are in use, and they differ by a factor of two or more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dpnet.model.coding.files import CodedLayer, read_coded, write_coded
from dpnet.model.compression.ratios import fp32_bytes, ratio_eq1
from dpnet.model.compression.weights import Weight, weights_of

__all__ = ["Sizes", "coded_layers", "read_network", "sizes", "write_network"]

CODED, OTHERS = "weights.coded", "others.safetensors"
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Sizes:
    """`ratio_eq1` by the paper's Eq. (1); bytes in files: `indices` their coded streams alone, what
    the paper's 77 times means; `with_codebooks` with the values that rows use; `total` both files
    whole, with tables of frequencies, biases, norms and headers; `as_float` of the net in float32.
    """

    ratio_eq1: float
    indices: int
    with_codebooks: int
    total: int
    as_float: int


def sizes(net: nn.Module, k: int, folder: Path | None = None) -> Sizes:
    """Write the net, whose compressed weights have at most `k` values a row, to two files, read
    them again, and count.

    The files stay in `folder` if there is one.  Raises ValueError for rows of more values, and
    AssertionError if the files do not restore the net bit for bit.
    """
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) if folder is None else folder
        indices, codebooks, total = write_network(net, k, place)
        restored, state = read_network(place), _state(net)
        assert set(restored) == set(state), "the files must hold all tensors of the net"
        for name, tensor in state.items():
            assert torch.equal(restored[name], tensor), f"{name} must be restored bit for bit"
    shapes = [(weight.rows, weight.n) for weight in weights_of(net)[0]]
    return Sizes(ratio_eq1(shapes, k), indices, indices + codebooks, total, fp32_bytes(net))


def write_network(net: nn.Module, k: int, folder: Path) -> tuple[int, int, int]:
    """Write both files; the bytes of the indices' streams, of the codebooks, and of all."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = coded_layers(net, k)
    coded = write_coded(folder / CODED, layers, entries="float32")
    others = {name: t for name, t in _state(net).items() if name not in layers}
    save_file(others, folder / OTHERS)
    total = coded.total + (folder / OTHERS).stat().st_size
    return coded.indices, coded.codebooks, total


def read_network(folder: Path) -> dict[str, Tensor]:
    """All tensors of a net that `write_network` wrote, by name."""
    layers = {
        name: torch.from_numpy(layer.weight.astype(np.float32))
        for name, layer in read_coded(folder / CODED).items()
    }
    return layers | load_file(folder / OTHERS)


def coded_layers(net: nn.Module, k: int) -> dict[str, CodedLayer]:
    """The compressed weights as codebooks and indices, by name, from the values that rows have.

    Raises ValueError for a row of more than `k` values.
    """
    return {weight.name: _coded(weight, k) for weight in weights_of(net)[0]}


def _coded(weight: Weight, k: int) -> CodedLayer:
    rows = weight.to_rows(weight.values.detach()).cpu().numpy()
    codebook = np.empty((len(rows), k))
    indices = np.empty(rows.shape, np.uint8)
    for number, row in enumerate(rows):
        distinct, found = np.unique(row, return_inverse=True)
        if len(distinct) > k:
            raise ValueError(f"{weight.name} must have {k} values a row, not {len(distinct)}")
        codebook[number] = np.pad(distinct, (0, k - len(distinct)), "edge")
        indices[number] = found
    return CodedLayer(codebook, indices, tuple(weight.form.shape))


def _state(net: nn.Module) -> Mapping[str, Tensor]:
    """All parameters and buffers in float32, without the norms' counters of batches."""
    return {
        name: tensor.detach().cpu().float().contiguous()
        for name, tensor in net.state_dict().items()
        if not name.endswith(COUNTER)
    }
