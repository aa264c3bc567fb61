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

from dpnet.gateware.emit import emit
from dpnet.gateware.maps.core import MapCore
from dpnet.model.data.places import MissingDataError
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge
from dpnet.sim.board.bare_core import build_core
from dpnet.sim.measure.networks import __main__ as command
from dpnet.sim.measure.networks import computing, measuring
from dpnet.sim.measure.networks.kept import Computed
from dpnet.sim.measure.networks.sources import NETWORKS, Material, Source, missing

MAPS = (
    "maps?clusters=2&stages=2&index_depth=24576&row_groups=64&taps=256&map_depth=32768"
    "&picture_depth=16384&result_depth=16384"
)
"""An engine that the benches of the core build too."""

FIELDS = [
    *("name", "engine", "lanes", "bits", "pictures", "outputs", "mismatches"),
    *("cycles_per_picture", "predicted_cycles", "utilization"),
    *("accuracy_float", "accuracy_codebooks", "accuracy_engine", "samples_of_accuracy"),
    *("bytes_image", "bytes_float"),
]
SAMPLES = 30

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.whole]


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


@pytest.fixture(scope="module")
def program() -> Path:
    return build_core(emit(MapCore(params=command._engine(MAPS))))[0]


@pytest.fixture
def build(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The build folder of runs with the core that is there, of sources that stay the same."""
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    monkeypatch.setattr(command, "NETWORKS", FAKES)
    monkeypatch.setattr(command, "emit", lambda core: "")
    monkeypatch.setattr(command, "build_core", lambda verilog: (program, 0.0))
    monkeypatch.setattr(command, "digest", lambda sources: "these")
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


@pytest.fixture
def pictures_in_rtl(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the pictures that RTL computes, from now on."""
    found: list[int] = []
    compute = computing._compute

    def noted(runs: Any, picture: Any, half: int, state: Computed) -> None:
        found.append(state.pictures)
        compute(runs, picture, half, state)

    monkeypatch.setattr(computing, "_compute", noted)
    return found


def stop_before(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while RTL computes this picture."""
    compute = computing._compute

    def stopped(runs: Any, picture: Any, half: int, state: Computed) -> None:
        if state.pictures == number:
            raise KeyboardInterrupt
        compute(runs, picture, half, state)

    monkeypatch.setattr(computing, "_compute", stopped)


def test_an_interrupted_run_goes_on_where_it_was(
    build: Path,
    pictures_in_rtl: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        stop_before(2, patch)
        assert run("vectors", "labeled") == 130
    # The first network is finished and told, the second one is not in the report.
    said = capsys.readouterr()
    assert list(rows(build)) == ["vectors"] and "vectors" in said.out
    assert said.err.splitlines()[-1].endswith("interrupted; the same command goes on where it was")
    assert pictures_in_rtl == [0, 1, 0, 1]
    assert run("vectors", "labeled") == 0
    assert pictures_in_rtl == [0, 1, 0, 1, 2]
    interrupted = rows(build)
    assert list(interrupted) == ["vectors", "labeled"]
    # What is finished is not measured again; what is not the same is.
    assert run("labeled") == 0 and len(pictures_in_rtl) == 5
    assert rows(build)["labeled"] == interrupted["labeled"]
    for folder in build.glob("networks"):
        for file in folder.iterdir():
            file.unlink()
    assert run("labeled") == 0 and pictures_in_rtl[5:] == [0, 1, 2]
    assert rows(build)["labeled"] == interrupted["labeled"]


def test_other_bits_sources_and_engines_are_measured_by_themselves(
    build: Path, pictures_in_rtl: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("vectors", "--pictures", "1") == 0
    assert run("vectors", "--pictures", "1", "--bits", "1") == 0
    assert rows(build)["vectors"]["bits"] == 1
    assert rows(build)["vectors"]["error_bound"] is None
    monkeypatch.setattr(command, "digest", lambda sources: "others")
    assert run("vectors", "--pictures", "1") == 0
    assert pictures_in_rtl == [0, 0, 0]
    # More pictures are added to those that were computed.
    assert run("vectors", "--pictures", "2") == 0
    assert pictures_in_rtl == [0, 0, 0, 1] and rows(build)["vectors"]["pictures"] == 2


def test_judging_goes_on_too(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[slice] = []
    monkeypatch.setattr(
        "dpnet.sim.measure.networks.judging.batches",
        lambda network, count: (slice(n, min(n + 7, count)) for n in range(0, count, 7)),
    )
    add = measuring.judge.__globals__["_add"]

    def stopped(made: Any, material: Any, part: slice, found: Any) -> None:
        if len(parts) == 2:
            parts.append(slice(0, 0))
            raise KeyboardInterrupt
        parts.append(part)
        add(made, material, part, found)

    monkeypatch.setitem(measuring.judge.__globals__, "_add", stopped)
    assert run("labeled", "--pictures", "1") == 130
    assert run("labeled", "--pictures", "1") == 0
    assert [part.start for part in parts] == [0, 7, 0, 14, 21, 28]
    row = rows(build)["labeled"]
    assert row["samples_of_accuracy"] == SAMPLES
    assert row["accuracy_float"] == pytest.approx(100 * 2 / 3, abs=1e-4)


def test_a_value_that_differs_is_counted_and_told(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = computing.compute

    def wrong(network: Any, picture: Any) -> Any:
        found = golden(network, picture)
        found[network.output][0, 1] += 1
        return found

    monkeypatch.setattr(computing, "compute", wrong)
    assert run("vectors", "--pictures", "2") == 1
    row = rows(build)["vectors"]
    assert row["mismatches"] == 2
    said = capsys.readouterr().err
    assert "vectors: 2 differ from the golden model, picture 0:" in said


def test_results_too_far_from_float_are_told(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = {"vectors": Source("vectors", 1, (), vectors, bound=1e-6)}
    monkeypatch.setattr(command, "NETWORKS", strict)
    assert run("vectors") == 1
    assert "vectors: results differ from the float network's by" in capsys.readouterr().err


def test_missing_data_are_told_first_and_the_others_run(
    build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("lacking", "vectors", "--pictures", "1") == 2
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "networks: lacking: /data/x.bin is missing: x has it"
    assert last == "networks: lacking left out, see above"
    document = json.loads((build / "networks.json").read_text())
    assert document["left_out"] == {"lacking": ["/data/x.bin is missing: x has it"]}
    assert [row["name"] for row in document["networks"]] == ["vectors"]
    told = "Left out: lacking: /data/x.bin is missing: x has it"
    assert told in (build / "networks.html").read_text()


def test_all_that_is_missing_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "weights").mkdir()
    monkeypatch.setenv("DPNET_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DPNET_WEIGHTS", str(tmp_path / "weights"))
    found = {name: missing(source) for name, source in NETWORKS.items()}
    assert {name: len(lines) for name, lines in found.items()} == {
        **{"resnet-8": 2, "lenet-5": 1, "mobilenet-vww": 2, "autoencoder": 2},
        **{"resnet-20": 2, "tt-conv": 1, "ds-cnn": 2},
    }
    places = ("data/cifar-10-batches-bin", "weights/mlperf-tiny/resnet8.json")
    for line, place in zip(found["resnet-8"], places, strict=True):
        assert f"{tmp_path / place}" in line
    assert str(tmp_path / "data" / "MNIST" / "raw") in found["lenet-5"][0]
    monkeypatch.delenv("DPNET_DATA")
    monkeypatch.delenv("DPNET_WEIGHTS")
    for source in NETWORKS.values():
        assert all("DPNET_DATA must name the folder" in line for line in missing(source))


def test_an_engine_that_is_too_small_for_a_network_gets_larger_stores(
    build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted: list[MapEngineParameters] = []
    monkeypatch.setattr(command, "emit", lambda core: emitted.append(core.params))
    small = MAPS.replace("map_depth=32768", "map_depth=32")
    assert command.main(["labeled", "vectors", "--pictures", "1", "--maps", small]) == 0
    # The map between has 60 bytes on each of two clusters; larger stores have round sizes.
    assert [one.map_depth for one in emitted] == [32, 128]
    found = rows(build)
    assert "map_depth=128" in found["labeled"]["engine"] and found["labeled"]["mismatches"] == 0
    assert "map_depth=32" in found["vectors"]["engine"]


def test_a_network_that_no_engine_holds_is_left_out(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def place(engine: MapEngineParameters, network: Any) -> Any:
        raise NetworkTooLarge("the network is larger than the largest engine", None)

    monkeypatch.setattr(measuring, "place", place)
    assert run("labeled", "--pictures", "1") == 2
    told, *_, last = capsys.readouterr().err.splitlines()[-2:]
    assert told == "networks: labeled: the network is larger than the largest engine"
    assert last == "networks: labeled left out, see above"
    assert rows(build) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet-9"], "no network is called 'resnet-9'; there are labeled, vectors, lacking"),
        (["--bits", "5"], "--bits must be a whole number from 1 to 4, not '5'"),
        (["--pictures", "0"], "--pictures must be a whole number from 1 to 10000, not '0'"),
        (["--maps", "array"], "--maps must be maps or maps?NAME=N&NAME=N, not 'array'"),
        (["--maps", "maps?cluster=2"], "--maps must be maps with sizes of clusters, "),
        (["--maps", "maps?clusters=16&stages=64"], "is too large to simulate here"),
    ],
)
def test_wrong_use_is_one_line(
    build: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("sim.measure.networks: ") and message in line
    assert not list(build.glob("networks*"))


@pytest.fixture(scope="module")
def document(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The page of two networks."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPNET_BUILD", str(folder))
        patch.setattr(command, "NETWORKS", FAKES)
        patch.setattr(command, "emit", lambda core: "")
        patch.setattr(command, "build_core", lambda verilog: (program, 0.0))
        patch.setattr(command, "digest", lambda sources: "these")
        assert run("labeled", "vectors", "--pictures", "1") == 0
    yield folder / "networks.html"


def test_the_page_is_whole_and_asks_for_nothing(document: Path) -> None:
    text = document.read_text()
    assert text.startswith("<!DOCTYPE html>\n")
    root = ElementTree.fromstring(text)
    assert not re.search(r"https?:|//|url\(|@import|<script|\bon\w+=|\bsrc=", text)
    table = root.find(".//table[@id='networks']")
    assert table is not None
    [_, one, other] = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    assert one[0] == "labeled" and other[0] == "vectors"
    assert f"{100 * 2 / 3:.2f} %" in one and other.count("–") == 3
    links = {one.get("href", "") for one in root.iter("a")}
    assert links == {"#labeled", "#vectors"}
    assert {f"#{one.get('id')}" for one in root.iter("h2") if one.get("id")} == links
    # A box for the picture and for each layer.
    lists = [one for one in root.iter("ol")]
    assert [len(one) for one in lists] == [3, 3]


def test_the_page_in_a_browser(document: Path) -> None:
    program = browser()
    if program is None:
        pytest.skip("no chromium, chromium-browser or google-chrome")
    with opened_browser(program) as window:
        for width in (1000, 400):
            window.open(document, width=width)
            assert window.value("document.documentElement.scrollWidth <= window.innerWidth")
            assert window.value("document.querySelectorAll('.net li').length") == 6
            assert len(window.picture()) > 10_000
        assert window.complaints == []
        assert set(window.requests) == {document.as_uri()}
