"""Fixtures of the command line's tests, and how simulators are compiled for tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import (
    Board,
    Call,
    Result,
)

from dpnet.host.cli import main
from dpnet.model.build_root import build_root
from dpnet.sim.simulator import OPTIMIZE

# Most simulators of tests run for less time than it takes to compile them well.
os.environ.setdefault(OPTIMIZE, "-O1" if os.environ.get("DPNET_THOROUGH") else "-O0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of benches, which `make test-long` runs at their full length."""
    for item in items:
        if hasattr(getattr(item, "module", None), "run_bench"):
            item.add_marker("bench")


@pytest.fixture
def boards() -> Iterator[Callable[..., Board]]:
    made: list[Board] = []

    def make(*arguments: Any, **options: Any) -> Board:
        made.append(Board(*arguments, **options))
        return made[-1]

    yield make
    for board in made:
        board.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and the simulated boards that are built already."""
    monkeypatch.setenv("DPNET_BUILD", str(build_root()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def dpnet(capfd: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: object) -> Result:
        code = main([str(argument) for argument in arguments])
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tests run beside each other; more threads than cores make small nets crawl."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
