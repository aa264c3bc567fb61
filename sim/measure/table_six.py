"""Part 3 of `make sim`: the paper's Table VI at full size, on baseline, lane and array."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpnet.host.bench import BenchRow, bench_layer
from dpnet.host.commands import InputError
from dpnet.host.commands.weights import finite_fp32, read_weights
from dpnet.host.driver import Driver
from dpnet.host.report import Progress
from dpnet.model.compression.weights import weights_in
from dpnet.model.image import ImageLayer
from dpnet.model.networks.digits import TABLE_SIX_SETTINGS, TableSixNet, digits, table_six_case
from dpnet.model.quantizer.exact import quantize
from dpnet.model.training.recipe import build_net, train

K = 16
CHECKPOINT = "table-six.checkpoint"

Case = tuple[ImageLayer, NDArray[np.float32]]


def trained_cases(folder: Path, seed: int) -> tuple[list[Case], str]:
    """Both matrices of Table VI, as layers of a network that is trained here on digits, with the
    activations that its first test picture causes; and a sentence that says so."""
    settings = replace(TABLE_SIX_SETTINGS, k=K, seed=seed)
    with Progress("training a network with both layers") as progress:
        result = train(
            build_net(TableSixNet, settings.seed),
            digits(),
            settings,
            checkpoint=folder / CHECKPOINT,
            on_progress=progress,
        )
    assert isinstance(result.net, TableSixNet)
    cases = []
    for case in table_six_case(result.net, digits().test_x[0]):
        rows = result.quantized[f"{case.name}.weight"]
        layer = ImageLayer(
            name=case.name,
            shape=case.weight.shape,
            indices=rows.indices,
            k=rows.k,
            codebook=rows.codebook.astype(np.float32),
        )
        cases.append((layer, case.activation))
    text = (
        "both matrices are layers of one network trained here on scikit-learn's digits (4 bits, "
        f"seed {seed}; test accuracy {result.accuracy_float:.2f} % float, "
        f"{result.accuracy_quantized:.2f} % quantized); vectors: its activations for the "
        "first test picture"
    )
    return cases, text


BARE = r"^(?!.*weight)[^.]*$"
"""Names of tensors that are no layer's: matrices as they are."""


def file_cases(path: Path, seed: int) -> tuple[list[Case], str]:
    """The two largest matrices of a file of weights that the engines hold, quantized exactly to 4
    bits per row, with Gaussian vectors; `InputError` if there is none."""
    tensors = read_weights(path).tensors
    weights, _ = weights_in(tensors, rows=BARE)
    matrices = {
        weight.name: weight.to_rows(finite_fp32(weight.name, weight.values)).numpy()
        for weight in weights
    }
    fitting = {
        name: matrix
        for name, matrix in matrices.items()
        if matrix.shape[0] <= 1000 and matrix.shape[1] <= 2048 and matrix.size <= 1 << 20
    }
    if not fitting:
        raise InputError(
            f"{path}: no matrix of at most 1000 rows, 2048 columns and 2^20 weights among its "
            f"{len(tensors)} tensors"
        )
    chosen = sorted(fitting, key=lambda name: -fitting[name].size)[:2]
    rng = np.random.default_rng(seed)
    cases = []
    for name in chosen:
        matrix = fitting[name]
        rows = quantize(matrix, K)
        layer = ImageLayer(
            name=name,
            shape=matrix.shape,
            indices=rows.indices,
            k=K,
            codebook=rows.codebook.astype(np.float32),
        )
        cases.append((layer, rng.standard_normal((layer.columns,)).astype(np.float32)))
    return cases, f"matrices of {path}, quantized exactly to 4 bits; Gaussian vectors, seed {seed}"


def run_table(name: str, driver: Driver, cases: list[Case]) -> list[BenchRow]:
    """Every case on the engine of this name."""
    rows = []
    for layer, x in cases:
        with Progress(f"{layer.name} on the {name}") as progress:
            row = bench_layer(driver, layer, x, progress=progress)
        if row.engine != name:
            raise AssertionError(f"engine {name} says that it is {row.engine}")
        rows.append(row)
    return rows
