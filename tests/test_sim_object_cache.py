"""Verilator's runtime is compiled once; everything else as it would be without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpnet.sim import object_cache
from dpnet.sim.simulator import build_environment, find_simulator

COMPILER = """#!{python}
import sys
from pathlib import Path
calls = Path({calls!r})
calls.write_text(calls.read_text() + "x")
source, output = Path(sys.argv[-1]), Path(sys.argv[-2])
if "bad" in source.read_text():
    sys.exit(3)
output.write_text(" ".join(sys.argv[1:-4]) + source.read_text())
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "calls").write_text("")
    compiler = tmp_path / "c++"
    compiler.write_text(COMPILER.format(python=sys.executable, calls=str(tmp_path / "calls")))
    compiler.chmod(0o755)
    for name in ("verilated.cpp", "Vtop.cpp"):
        (tmp_path / name).write_text("int x;")
    return tmp_path


def compile_(place: Path, source: str, *flags: str, folder: str = "kept") -> int:
    """The exit code of a compilation as make starts it, with its object's text in out.o."""
    command = [str(place / "c++"), *flags, "-c", "-o", str(place / "out.o"), str(place / source)]
    start = [sys.executable, "-I", "-S", object_cache.__file__, str(place / folder)]
    return subprocess.run([*start, *command], check=False).returncode


def calls(place: Path) -> int:
    return len((place / "calls").read_text())


def test_the_runtime_is_compiled_once(place: Path) -> None:
    for _ in range(3):
        (place / "out.o").unlink(missing_ok=True)
        assert compile_(place, "verilated.cpp", "-Os") == 0
        assert (place / "out.o").read_text() == "-Osint x;"
    assert calls(place) == 1
    assert len(list((place / "kept").iterdir())) == 1


def test_other_flags_another_source_and_another_compiler_are_others(place: Path) -> None:
    assert compile_(place, "verilated.cpp", "-Os") == 0
    assert compile_(place, "verilated.cpp", "-O3") == 0
    assert (place / "out.o").read_text() == "-O3int x;"
    (place / "verilated.cpp").write_text("int y;")
    assert compile_(place, "verilated.cpp", "-O3") == 0
    assert (place / "out.o").read_text() == "-O3int y;"
    with (place / "c++").open("a") as more:
        more.write("# another version\n")
    assert compile_(place, "verilated.cpp", "-O3") == 0
    assert calls(place) == 4


def test_a_design_is_always_compiled(place: Path) -> None:
    """Even where its text is the same: its headers need not be."""
    for _ in range(2):
        assert compile_(place, "Vtop.cpp") == 0
    assert calls(place) == 2
    assert not (place / "kept").exists()


def test_a_failure_is_not_kept(place: Path) -> None:
    (place / "verilated.cpp").write_text("bad")
    for _ in range(2):
        assert compile_(place, "verilated.cpp") == 3
    assert calls(place) == 2
    assert not (place / "kept").exists()


def test_a_folder_that_takes_nothing_costs_time_only(place: Path) -> None:
    (place / "taken").write_text("a file")
    for _ in range(2):
        assert compile_(place, "verilated.cpp", folder="taken") == 0
    assert calls(place) == 2


@pytest.fixture
def verilator(place: Path) -> Path:
    """A folder that has the runtime's headers."""
    for name in object_cache.HEADERS:
        (place / name).write_text("int version1;")
    (place / "calls").write_text("")
    return place


def with_headers(place: Path, source: str = "Vtop.cpp", *flags: str) -> str:
    """What the compiler was told for `source`, and the source."""
    assert compile_(place, source, *flags, f"-I{place}") == 0
    return (place / "out.o").read_text()


def test_headers_of_the_runtime_are_precompiled_once(verilator: Path) -> None:
    told = [with_headers(verilator, "Vtop.cpp", "-MMD", *options) for options in (("-Os",), ())]
    again = [with_headers(verilator, "Vtop.cpp", "-MMD", *options) for options in (("-Os",), ())]
    assert told == again
    assert calls(verilator) == 6
    kept = list((verilator / "kept").iterdir())
    assert len(kept) == 2
    for text, options in zip(told, ("-Os ", ""), strict=True):
        words = text.split()
        header = Path(words[1])
        assert words[0] == "-include" and header.parent in kept
        assert text.endswith(f"-MMD {options}-I{verilator}int x;")
        assert all(f'"{verilator / name}"' in header.read_text() for name in object_cache.HEADERS)
        assert header.with_suffix(".h.gch").exists()


def test_headers_of_another_version_are_others(verilator: Path) -> None:
    first = with_headers(verilator)
    (verilator / "verilated.h").write_text("int version2;")
    assert with_headers(verilator) != first


def test_a_second_precompiled_header_is_not_added(verilator: Path) -> None:
    text = with_headers(verilator, "Vtop.cpp", "-include", "own.h")
    assert text == f"-include own.h -I{verilator}int x;"


def test_headers_that_cannot_be_made_are_read_as_ever(verilator: Path) -> None:
    (verilator / "taken").write_text("a file")
    assert compile_(verilator, "Vtop.cpp", f"-I{verilator}", folder="taken") == 0
    assert (verilator / "out.o").read_text() == f"-I{verilator}int x;"


def test_make_is_told_unless_there_is_another_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = find_simulator()
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    monkeypatch.delenv("OBJCACHE", raising=False)
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    words = build_environment(simulator)["OBJCACHE"].split()
    assert words[-2:] == [object_cache.__file__, str(tmp_path / "objects")]
    (tmp_path / "ccache").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build_environment(simulator)["OBJCACHE"] == "ccache"
    monkeypatch.setenv("OBJCACHE", "mine")
    assert build_environment(simulator)["OBJCACHE"] == "mine"
