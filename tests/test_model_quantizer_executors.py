"""The same bits whoever solves the rows: one core, threads, processes, a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster

from dpnet.model.quantizer.exact import PART, quantize
from dpnet.model.quantizer.quantized import NonFiniteError, Quantized
from dpnet.model.quantizer.task import Lattice

SEED = int(os.environ.get("SEED", "11"))
ROWS, N = 288, 512  # two parts of PART values
COUNTS = np.random.default_rng(SEED).uniform(0, 3, (ROWS, N))

TASKS: dict[str, dict[str, Any]] = {
    "means": {"k": 16},
    "weighted": {"k": 8, "weights": COUNTS},
    "medians": {"k": 4, "norm": 1, "curve": True},
    "zero": {"k": 4, "zero": True},
    "symmetric": {"k": 6, "symmetric": True},
    "lattice": {"k": 5, "lattice": Lattice(8)},
    "more": {"k": 40},
}


def rows() -> np.ndarray:
    """Bell-shaped, clustered, half-pruned, with ties, and a few clusters 1e-9 of the range."""
    random = np.random.default_rng(SEED)
    values = random.normal(size=(ROWS, N))
    values[1::5] = random.integers(0, 6, (len(values[1::5]), N)) + 0.01 * values[1::5]
    values[2::5, ::2] = 0
    values[3::5] = values[3::5].astype(np.float16)
    values[-2] = 1e8 + random.integers(0, 4, N) + 1e-2 * values[-2]
    return values


def assert_same_bits(found: Quantized, wanted: Quantized) -> None:
    for field in fields(Quantized):
        mine, other = getattr(found, field.name), getattr(wanted, field.name)
        if isinstance(other, np.ndarray):
            assert mine.dtype == other.dtype and mine.shape == other.shape, field.name
            assert mine.tobytes() == other.tobytes(), field.name
        else:
            assert mine == other, field.name


@pytest.fixture(scope="module")
def alone() -> dict[str, Quantized]:
    """Each task in one piece, on the core that asks."""
    return {name: in_one_piece(rows(), **task) for name, task in TASKS.items()}


def in_one_piece(values: np.ndarray, k: int, norm: int = 2, **options: Any) -> Quantized:
    """Row after row, each a call of its own, put together."""
    weights = options.pop("weights", None)
    single = [
        quantize(row, k, norm, weights=None if weights is None else weights[i], **options)
        for i, row in enumerate(values)
    ]

    def stack(name: str) -> Any:
        arrays = [getattr(one, name) for one in single]
        return arrays[0] if arrays[0] is None or name == "axis" else np.stack(arrays)

    return Quantized(**{field.name: stack(field.name) for field in fields(Quantized)})


class Recording(Executor):
    """Hands on to another executor, and counts."""

    def __init__(self, executor: Executor) -> None:
        self.executor, self.calls = executor, 0

    def submit(self, *args: Any, **named: Any) -> Future:
        self.calls += 1
        return self.executor.submit(*args, **named)


def check_all(executor: Executor | None, alone: dict[str, Quantized]) -> None:
    values = rows()
    assert values.size >= 2 * PART
    for name, task in TASKS.items():
        assert_same_bits(quantize(values, executor=executor, **task), alone[name])


def test_threads(alone: dict[str, Quantized]) -> None:
    check_all(None, alone)


def test_processes(alone: dict[str, Quantized]) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        executor = Recording(pool)
        check_all(executor, alone)
        assert executor.calls == 2 * len(TASKS)
        with pytest.raises(NonFiniteError):
            quantize([[1.0, np.nan]], 2, executor=executor)


@contextmanager
def two_workers() -> Iterator[Client]:
    """A Dask cluster on this machine: two processes of one thread, no dashboard."""
    cluster = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=40,
        host="127.0.0.1",
    )
    with cluster, Client(cluster) as client:
        yield client


@pytest.mark.whole
@pytest.mark.filterwarnings("error")
def test_a_dask_cluster(alone: dict[str, Quantized]) -> None:
    with two_workers() as client:
        pids = client.run(os.getpid)
        assert len({os.getpid(), *pids.values()}) == 3
        executor = Recording(client.get_executor())
        check_all(executor, alone)
        assert executor.calls == 2 * len(TASKS)
        done = client.run(lambda dask_worker: dask_worker.state.executed_count)
        assert len(done) == 2 and min(done.values()) > 0, done
