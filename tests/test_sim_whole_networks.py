"""`make networks`, on a small engine and networks of its own: report, page, what is missing, and
what an interruption leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from browser_kit import browser, opened_browser
from torch import nn

from dpnet.model.build_root import build_root
from dpnet.model.data.places import MissingDataError
from dpnet.sim.measure.networks import __main__ as command
from dpnet.sim.measure.networks import computing, measuring
from dpnet.sim.measure.networks.kept import Kept
from dpnet.sim.measure.networks.sources import NETWORKS, Material, Source, missing

MAPS = (
    "maps?clusters=2&stages=2&index_depth=24576&row_groups=64&taps=256&map_depth=32768"
    "&picture_depth=16384&result_depth=16384"
)
"""An engine that the benches of the core build too."""

KEPT = ("boards", "cores", "numba", "objects", "verilog")
"""What is kept by its content alone, and takes long to make: it may be there already."""

FIELDS = [
    *("name", "engine", "lanes", "bits", "pictures", "outputs", "mismatches"),
    *("cycles_per_picture", "predicted_cycles", "utilization"),
    *("accuracy_float", "accuracy_codebooks", "accuracy_engine", "samples_of_accuracy"),
    *("bytes_image", "bytes_float"),
]
SAMPLES = 30

pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def classifier() -> nn.Module:
    torch.manual_seed(2)
    layers = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 6, 3))
    return nn.Sequential(*layers).eval()


def labeled(seed: int) -> Material:
    """The network is right on two of three samples."""
    net, x = classifier(), pictures(SAMPLES, 1, 5, 6)
    with torch.inference_mode():
        labels = net(torch.from_numpy(x)).argmax(1).numpy()
    labels[::3] = (labels[::3] + 1) % 3
    return Material(net, "published", "the samples", x, x, labels)


def vectors(seed: int) -> Material:
    torch.manual_seed(3)
    net, x = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 7)).eval(), pictures(9, 7)
    return Material(net, "trained here, 2 epochs", "the samples", x, x, None)


def lacking() -> None:
    raise MissingDataError("/data/x.bin is missing: x has it")


FAKES = {
    "labeled": Source("labeled", 3, (), labeled),
    "vectors": Source("vectors", 2, (), vectors, bound=0.5),
    "lacking": Source("lacking", 2, (lacking, lacking), labeled),
}


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The build folder of a run, with simulators that are there already."""
    for name in KEPT:
        (build_root() / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(build_root() / name)
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    monkeypatch.setattr(command, "NETWORKS", FAKES)
    return tmp_path


def run(*arguments: str) -> int:
    return command.main([*arguments, "--maps", MAPS])


def rows(build: Path) -> dict[str, dict[str, Any]]:
    document = json.loads((build / "networks.json").read_text())
    return {row["name"]: row for row in document["networks"]}


def test_the_report_has_its_form_and_figures(
    build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("labeled", "vectors") == 0
    document = json.loads((build / "networks.json").read_text())
    assert document["seed"] == 0 and document["left_out"] == {}
    assert document["command"].startswith("make networks NAMES='labeled vectors' BITS=4 SEED=0")
    assert document["command"].endswith(f"MAPS='{document['networks'][0]['engine'][6:]}'")
    assert "provenance" not in document  # evidence is only what all networks give
    found = rows(build)
    for row in found.values():
        assert list(row)[: len(FIELDS)] == FIELDS
        assert row["engine"].startswith("sim://maps?stages=2&") and row["lanes"] == 64
        assert row["mismatches"] == 0 and row["bits"] == 4
        assert row["cycles_per_picture"] == row["predicted_cycles"] > 0
        assert 0 < row["utilization"] < 1 and row["bytes_image"] > 0
    one, other = found["labeled"], found["vectors"]
    assert one["accuracy_float"] == pytest.approx(100 * 2 / 3, abs=1e-4)
    assert one["accuracy_codebooks"] > 50 and one["accuracy_engine"] > 50
    assert one["samples_of_accuracy"] == SAMPLES
    assert one["bytes_float"] == 4 * (4 * 9 + 4 + 360 + 3)
    # The maps between and the result as a map, and the results of whole runs.
    assert one["pictures"] == 3 and one["outputs"] == 3 * (4 * 5 * 6 + 3)
    assert other["pictures"] == 2 and other["outputs"] == 2 * (5 + 7)
    for name in ("accuracy_float", "accuracy_codebooks", "accuracy_engine", "samples_of_accuracy"):
        assert other[name] is None
    assert 0 < other["result_error"] < other["error_bound"] == 0.5
    said = capsys.readouterr().out
    assert "labeled" in said and "trained here, 2 epochs" in said and "networks.html" in said
