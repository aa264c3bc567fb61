"""`python -m dpnet.gateware`: the Verilog that people take away is whole, for every front door."""

import re
import subprocess

import pytest

from dpnet.gateware.__main__ import main
from dpnet.sim.simulator import build_environment, find_simulator

SMALL = ["--stages", "2", "--columns", "3", "--segments", "1", "--index-depth", "64"]


@pytest.mark.whole
@pytest.mark.parametrize(
    "door, options, ports",
    [
        ("uart", ["--clock-hz", "25000000"], {"rx", "tx"}),
        ("axi", ["--edges", "integer", "--dsp-columns", "2"], {"s_axi_awaddr", "s_axi_rdata"}),
        (
            "bytes",
            [
                "--edges",
                "fp32",
                "--bank",
                "2",
                "--row-beats",
                "4",
                "--no-residues",
                "--result-slots",
                "9",
                "--storage",
                "distributed",
            ],
            {"i__payload"},
        ),
    ],
)
def test_the_file_stands_alone(tmp_path, capsys, door, options, ports):
    path = tmp_path / "deep" / "engine.sv"
    assert main([*SMALL, *options, "--door", door, "--out", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: module dpnet, ")
    text = path.read_text()
    header = text[text.index("module dpnet(") :].split(";", 1)[0]
    assert ports | {"clk", "rst"} <= set(re.findall(r"\w+", header))
    assert (f"{25_000_000:08x}" in text) == (door == "uart"), (
        "the clock that the engine says it has"
    )
    assert_accepted(path)


@pytest.mark.whole
def test_a_map_engine_stands_alone(tmp_path, capsys):
    path = tmp_path / "engine.sv"
    sizes = {
        "clusters": 1, "stages": 1, "streams": 1, "index-depth": 64, "row-groups": 2, "taps": 9,
        "passes": 2, "map-depth": 64, "picture-depth": 64, "result-depth": 64,
    }  # fmt: skip
    options = [part for name, size in sizes.items() for part in (f"--{name}", str(size))]
    assert main(["maps", *options, "--door", "axi", "--out", str(path)]) == 0
    assert capsys.readouterr().out.startswith(f"{path}: module dpnet, ")
    assert_accepted(path)
    assert main(["maps", "--clusters", "65", "--out", str(path)]) == 2
    assert capsys.readouterr().err == (
        "gateware: clusters must be an integer from 1 to 64, not 65\n"
    )


def assert_accepted(path):
    """A simulator takes it as it is."""
    simulator = find_simulator()
    commands = {
        "verilator": ["--lint-only", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--top", "dpnet"],
        "icarus": ["-g2012", "-t", "null", "-s", "dpnet"],
    }
    done = subprocess.run(
        [str(simulator.path), *commands[simulator.kind], str(path)],
        env=build_environment(simulator),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_wrong_size_and_an_unwritable_file_are_one_line(tmp_path, capsys):
    assert main([*SMALL, "--slots", "0", "--out", str(tmp_path / "x.sv")]) == 2
    assert capsys.readouterr().err == "gateware: slots must be an integer from 1 to 65536, not 0\n"
    assert main([*SMALL, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
