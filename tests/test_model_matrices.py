"""State dicts as matrices of an image: what compression decided stays, and zeros stay."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from dpnet.model.compile import compile_fp32
from dpnet.model.compression.matrices import Matrix, matrix_of
from dpnet.model.compression.network import compress_
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.compression.weights import weights_in, weights_of
from dpnet.model.image import read_image, write_image
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import NonFiniteError

SEED = int(os.environ.get("SEED", "5"))


def matrices(tensors: dict[str, Tensor], k: int = 16) -> dict[str, Matrix]:
    return {m.name: m for m in (matrix_of(w, k) for w in weights_in(tensors)[0])}


def read_back(found: dict[str, Matrix], path: Path) -> dict[str, np.ndarray]:
    """The rows of each layer after a way through a file."""
    write_image(compile_fp32({m.name: (m.quantized, m.shape) for m in found.values()}), path)
    rows = {}
    for layer in read_image(path).layers:
        assert layer.codebook is not None and layer.shape == found[layer.name].shape
        indices = np.asarray(layer.indices).astype(int)
        rows[layer.name] = np.take_along_axis(layer.codebook, indices, 1)
    return rows


def net() -> nn.Sequential:
    torch.manual_seed(SEED)
    made = nn.Sequential(
        nn.Linear(90, 12),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.ConvTranspose2d(20, 20, 5, bias=False),
        nn.LSTM(40, 10),
        nn.Embedding(30, 40),
        nn.Linear(60, 9),
        nn.Linear(200, 3),
    )
    prune.random_unstructured(made[5], "weight", 0.5)
    with torch.no_grad():
        made[0].weight[:, ::3] = 0
    return made


def test_all_that_compression_decided_is_in_the_image(tmp_path: Path) -> None:
    made = net()
    config = CompressConfig(k={"*": 16, "0": 4, "3": 5, "5": 3, "6": 2}, rows_per_codebook=1)
    plan = compress_(made, config)
    assert plan["1"].codebooks == 4  # four rows of 9 weights share one
    expected = {w.name: w.to_rows(w.values).numpy() for w in weights_of(made)[0]}
    torch.save(made.state_dict(), tmp_path / "net.pt")
    found = matrices(torch.load(tmp_path / "net.pt"))
    assert {name: m.quantized.k for name, m in found.items()} == {
        name: plan[name].k for name in expected
    }
    assert {name: m.every for name, m in found.items()} == {
        name: plan[name].rows // plan[name].codebooks for name in expected
    }
    for name, rows in read_back(found, tmp_path / "net.dpnet").items():
        np.testing.assert_array_equal(rows, expected[name])
        assert found[name].kept and found[name].relative_error == 0.0
        assert not found[name].quantized.cost.any()
    assert found["1.weight"].note == "kept as it is, 16 values 4 rows to a codebook"
    # Eq. (1) of 4 codebooks of 36 weights
    assert found["1.weight"].ratio == pytest.approx(32 * 144 / (4 * 144 + 32 * 64))
    assert "outputs along axis 1, as its few values tell" in found["2.weight"].note


def test_weights_with_more_values_are_solved_and_keep_their_zeros(tmp_path: Path) -> None:
    made = net()
    expected = {w.name: w.to_rows(w.values).numpy() for w in weights_of(made)[0]}
    found = matrices(made.state_dict(), 4)
    zeros = 0
    for name, rows in read_back(found, tmp_path / "net.dpnet").items():
        if name == "2.weight":  # a square transposed convolution that nothing tells of
            continue
        assert not found[name].kept
        held = expected[name] == 0
        zeros += int(held.sum())
        assert not rows[held].any() and max(len(np.unique(row)) for row in rows) <= 4
        for row, kept in zip(held, expected[name], strict=True):
            cost = quantize(kept, 4, zero=bool(row.any())).cost
            assert cost >= 0
        cost = [quantize(r, 4, zero=bool((r == 0).any())).cost for r in expected[name]]
        np.testing.assert_allclose(found[name].quantized.cost, cost, rtol=1e-9)
        lost = np.linalg.norm(expected[name] - rows) / np.linalg.norm(expected[name])
        assert found[name].relative_error == pytest.approx(lost, rel=1e-4)
    assert zeros == 12 * 30 + 270
    # Asked for fewer than were decided before: solved again.
    compress_(made, CompressConfig(k=8))
    again = matrices(made.state_dict(), 4)
    assert not again["6.weight"].kept and again["6.weight"].quantized.k == 4


def test_float64_weights_are_solved_in_float64() -> None:
    torch.manual_seed(SEED)
    steps = torch.randint(5, (2, 60)) + 1e-3 * torch.randn(2, 60)
    values = 1000 + 1e-5 * steps.double()
    found = matrices({"weight": values}, 5)["weight"]
    assert found.quantized.cost.sum() == pytest.approx(quantize(values.numpy(), 5).cost.sum())
    assert found.quantized.cost.sum() < 1e-12
    large = {"a.weight": 1e300 * torch.randn(2, 60, dtype=torch.float64)}
    assert 0.1 < matrices(large, 4)["a.weight"].relative_error < 0.35
    large["a.weight"][1, 7] = torch.inf
    with pytest.raises(NonFiniteError, match=r"^a.weight: values must be finite, not inf at row 1"):
        matrices(large, 4)
