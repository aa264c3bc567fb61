"""Compression figures against the paper's and against a file really written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from dpnet.model.compression.ratios import (
    StoredBytes,
    fp32_bytes,
    index_bits,
    ratio_eq1,
    ratio_on_disk,
    stored_bytes,
)
from dpnet.model.networks.digits import DigitsMlp
from dpnet.model.quantizer.exact import quantize
from dpnet.model.training.regularizer import ClusterRegularizer


def test_eq1_of_the_matrices_of_table_6() -> None:
    assert ratio_eq1([(1000, 1024)], 16) == pytest.approx(float(Fraction(64, 9)), rel=1e-15)
    assert ratio_eq1([(384, 1728)], 16) == pytest.approx(7.448, abs=5e-4)


def test_eq1_of_short_rows_is_an_expansion() -> None:
    assert ratio_eq1([(64, 9)], 16) == pytest.approx(0.53, abs=5e-3)


def test_eq1_of_tt_conv() -> None:
    convs = [(64, 27), (64, 576), (128, 576), (128, 1152), (128, 1152), (128, 1152), (10, 128)]
    assert sum(rows * n for rows, n in convs) == 555_968
    assert ratio_eq1(convs, 8) == pytest.approx(9.70, abs=5e-3)


def test_eq1_takes_k_by_layer() -> None:
    bits = 4 * 100 * 50 + 32 * 100 * 16 + 2 * 20 * 30 + 32 * 20 * 4
    assert ratio_eq1([(100, 50), (20, 30)], [16, 4]) == pytest.approx(32 * 5600 / bits)
    with pytest.raises(ValueError, match=r"^groups and k must match and not be empty"):
        ratio_eq1([(100, 50)], [16, 4])
    with pytest.raises(ValueError, match=r"^groups and k must be positive"):
        ratio_eq1([(100, 50)], 0)


def test_bits_of_an_index() -> None:
    assert [index_bits(k) for k in (1, 2, 3, 4, 5, 8, 9, 16)] == [0, 1, 2, 2, 3, 3, 4, 4]


def test_bytes_count_everything_that_is_needed() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(7, 3))
    quantized = {
        "0.weight": quantize(np.random.default_rng(0).normal(size=(5, 27)), 8),
        "3.weight": quantize(np.random.default_rng(0).normal(size=(3, 7)), 8),
    }
    others = 5 + 4 * 5 + 3  # biases, batch norm's weight, bias, mean, variance
    assert stored_bytes(net, quantized) == StoredBytes(
        indices=51 + 8,
        codebooks=(5 + 3) * 8 * 4,
        scales=0,
        other=4 * others,
        fp32=4 * (135 + 21 + others),
    )
    integers = stored_bytes(net, quantized, entry_bytes=1, scale_bytes_per_row=2)
    assert (integers.codebooks, integers.scales) == (64, 16)
    assert integers.total == 59 + 64 + 16 + 4 * others
    assert integers.ratio == pytest.approx(4 * (156 + others) / (139 + 4 * others))


def test_layers_left_as_float_count_in_full() -> None:
    net = DigitsMlp()
    one = {"fc1.weight": quantize(np.ones((256, 64)), 4)}
    assert stored_bytes(net, one).other == 4 * (128 * 256 + 10 * 128 + 256 + 128 + 10)
    assert stored_bytes(net, one).indices == 256 * 64 // 4


def test_quantized_layers_of_another_net_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^quantized must fit the net, not have 4 weights in 'fc1.weight'$"
    ):
        stored_bytes(DigitsMlp(), {"fc1.weight": quantize(np.ones((2, 2)), 2)})


def test_the_count_is_what_a_packed_file_takes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = DigitsMlp()
    quantized = ClusterRegularizer(net, 16, n_train=100).finalize()
    tensors = {name: value.numpy() for name, value in net.state_dict().items() if "bias" in name}
    for name, layer in quantized.items():
        pairs = layer.indices.reshape(-1, 2)
        tensors[name + ".codebook"] = layer.codebook.astype("f")
        tensors[name + ".indices"] = pairs[:, 0] | pairs[:, 1] << 4
    save_file({name: value.copy() for name, value in tensors.items()}, tmp_path / "net")
    counted = stored_bytes(net, quantized)
    size = (tmp_path / "net").stat().st_size
    assert sum(value.nbytes for value in tensors.values()) == counted.total
    assert counted.total < size < counted.total + 2000
    assert counted.fp32 == fp32_bytes(net) == 4 * (64 * 256 + 256 * 128 + 128 * 10 + 394)
    assert ratio_on_disk(net, tmp_path / "net") == counted.fp32 / size
