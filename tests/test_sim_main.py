"""`make sim`: wrong use is one line; an interruption keeps what was done; the report is whole."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from map_board_kit import SIMULATED
from safetensors.numpy import save_file
from waiting_kit import PATIENCE_S, wait_until

from dpnet.host.commands import InputError
from dpnet.host.maps.engines import engine_url
from dpnet.model.build_root import build_root
from dpnet.sim.__main__ import main
from dpnet.sim.measure.table_six import file_cases
from dpnet.sim.simulator import OPTIMIZE

KEPT = ("boards", "numba", "objects", "verilog")
"""What is kept by its content alone, and takes long to make: it may be there already."""

FEW = 60
"""Pictures of the test part, of 360."""


def start(*options, build):
    for name in KEPT:
        if not (build / name).exists():
            (build_root() / name).mkdir(parents=True, exist_ok=True)
            (build / name).symlink_to(build_root() / name)
    environment = dict(os.environ) | {"DPNET_BUILD": str(build), "OMP_WAIT_POLICY": "PASSIVE"}
    environment.pop(OPTIMIZE)  # millions of cycles are worth compiling well
    return subprocess.Popen(
        [sys.executable, "-m", "dpnet.sim", *options],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    "options, message",
    [
        (["--stages", "0"], "--stages must be a whole number from 1 to 1024, not '0'"),
        (["--stages", "512"], "an array of 16,384 lanes is too large to simulate here"),
        (["--maps", "maps?clusters=x"], "--maps must be maps with whole numbers, not clusters='x'"),
        (["--maps", "array"], "--maps must be maps or maps?NAME=N&NAME=N, not 'array'"),
        (["--pictures", "23"], "--pictures must be a whole number from 24 to 360, not '23'"),
        (["--columns", "x"], "--columns must be a whole number from 1 to 1024, not 'x'"),
        (["--colums", "4"], "there is no option --colums; did you mean --columns?"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    with pytest.raises(SystemExit, match=r"^2$"):
        raise SystemExit(main(options))
    assert_one_line(capsys.readouterr().err, message, tmp_path)


@pytest.mark.whole
@pytest.mark.parametrize(
    "options, message",
    [
        (["--weights", "missing.safetensors"], "missing.safetensors cannot be read"),
        (
            ["--weights", "README.md"],
            "README.md is a text file, and holds no weights that dpnet reads",
        ),
    ],
)
def test_weights_that_cannot_be_read_are_one_line_and_exit_code_2(tmp_path, options, message):
    process = start(*options, build=tmp_path)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert_one_line(errors, message, tmp_path)


def assert_one_line(errors, message, build):
    assert errors.strip().count("\n") == 0
    assert message in errors
    assert not (build / "sim" / "report.json").exists()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run that was told to end when it had trained something; its folder, options, errors."""
    build = tmp_path_factory.mktemp("interrupted")
    rng = np.random.default_rng(6)
    save_file({"a": rng.standard_normal((20, 30)).astype(np.float32)}, build / "net.safetensors")
    sizes = ["--stages", "2", "--columns", "4", "--segments", "2", "--maps", engine_url(SIMULATED)]
    sizes += ["--pictures", str(FEW)]
    options = [*sizes, "--weights", str(build / "net.safetensors")]
    process = start(*options, build=build)
    wait_until(lambda: list(build.glob("sim/*.checkpoint")), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    return build, options, errors


@pytest.mark.whole
def test_an_interrupted_run_says_so_keeps_its_checkpoint_and_writes_no_report(interrupted):
    build, _, errors = interrupted
    assert errors.splitlines()[-1] == "sim: interrupted; the same command goes on where it was"
    assert list(build.glob("sim/*.checkpoint"))
    assert not (build / "sim" / "report.json").exists()
    assert not (build / "sim" / "report.png").exists()


def test_a_file_gives_its_two_largest_matrices_that_fit(tmp_path):
    rng = np.random.default_rng(5)
    shapes = {
        "small": (4, 5),
        "conv": (6, 3, 3, 3),
        "large": (30, 40),
        "huge": (3000, 4),
        "b": (9,),
    }
    save_file(
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()},
        tmp_path / "net.safetensors",
    )
    cases, text = file_cases(tmp_path / "net.safetensors", 0)
    assert [(layer.name, layer.rows, layer.columns) for layer, _ in cases] == [
        ("large", 30, 40),
        ("conv", 6, 27),
    ]
    assert [x.shape for _, x in cases] == [(40,), (27,)]
    assert "net.safetensors" in text


@pytest.mark.parametrize("value, message", [(np.nan, "finite"), (None, "no matrix of at most")])
def test_a_file_without_usable_matrices_is_refused(tmp_path, value, message):
    weights = np.zeros((3, 4) if value is not None else (3,), np.float32)
    weights.flat[1] = np.nan if value is not None else 0
    save_file({"w": weights}, tmp_path / "net.safetensors")
    with pytest.raises(InputError, match=message):
        file_cases(tmp_path / "net.safetensors", 0)


@pytest.mark.whole
def test_a_report_is_what_the_readme_says(interrupted):
    """The whole command at a small size of the array, again: every figure is there and nothing
    differs."""
    build, options, _ = interrupted
    process = start(*options, build=build)
    output, errors = process.communicate(timeout=4 * PATIENCE_S)
    assert process.returncode == 0, errors
    report = json.loads((build / "sim" / "report.json").read_text())
    assert [row["bits"] for row in report["networks"]] == [4, 3, 2]
    for row in report["networks"]:
        assert row["pictures"] == FEW
        assert row["outputs"] == FEW * (256 + 128 + 10)
        assert row["mismatches"] == 0
        assert row["accuracy_engine"] == row["accuracy_golden"]
        assert row["cycles_per_picture"] == row["predicted_cycles"]
        assert {"accuracy_float", "accuracy_quantized", "ratio_eq1", "ratio_bytes"} <= row.keys()
    cnn = report["cnn"]
    assert cnn["pictures"] == FEW and cnn["layered"] == 24 and cnn["mismatches"] == 0
    # Ten results of each; of 24 the maps of conv1, conv2, max, conv3, average, fc.
    maps = 16 * 8 * 8 * 2 + 16 * 4 * 4 + 32 * 4 * 4 + 32 + 10
    assert cnn["outputs"] == FEW * 10 + 24 * (10 + maps)
    assert cnn["accuracy_engine"] == cnn["accuracy_golden"] > 90
    assert cnn["cycles_per_picture"] == cnn["predicted_cycles"]
    assert report["map_engine"]["clusters"] == SIMULATED.clusters
    assert [row["engine"] for row in report["table6"]] == ["paper-baseline", "lane", "array"]
    for row in report["table6"]:
        assert (row["rows"], row["columns"], row["mismatches"]) == (20, 30, 0)
        assert row["cycles"] == row["predicted_cycles"]
        assert row["interval_cycles"] == row["predicted_interval"]
        assert (row["interval_cycles"] is None) == (row["engine"] == "paper-baseline")
        assert row["ms_at_100_mhz"] == pytest.approx(row["cycles"] / 1e5)
        assert {"lanes", "rms_error", "rms_error_fp32"} <= row.keys()
    assert (build / "sim" / "report.png").read_bytes().startswith(b"\x89PNG")
    assert not list(build.glob("sim/*.checkpoint"))
    assert "0 differ from the golden model" in output
