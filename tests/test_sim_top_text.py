"""The kept Verilog of a board is the text that `emit` gives, made once, anew for other sources."""

import shutil

import pytest

import dpnet
from dpnet.gateware.emit import emit
from dpnet.gateware.top import Top
from dpnet.model.engine.baseline import BaselineParameters
from dpnet.sim.board import top_text as module
from dpnet.sim.board.top_text import top_text

SMALL = BaselineParameters()


@pytest.fixture
def made(tmp_path, monkeypatch):
    """How often a text was made, in an empty build root."""
    calls = []
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(module, "emit", lambda top: calls.append(top) or f"module {len(calls)}")
    return calls


def test_it_is_what_emit_gives_kept_or_not(tmp_path, monkeypatch):
    expected = emit(Top(params=SMALL, clock_hz=1000, status=True))
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path / "build"))
    for _ in range(2):
        assert top_text(params=SMALL, clock_hz=1000, status=True) == expected


def test_the_same_options_are_made_once_and_others_anew(made):
    first = top_text(params=SMALL, clock_hz=1000)
    assert top_text(clock_hz=1000, params=SMALL) == first
    others = {
        top_text(params=SMALL, clock_hz=1001),
        top_text(params=SMALL, clock_hz=1000, door="axi"),
        top_text(params=SMALL, clock_hz=1000, status=True),
    }
    assert len(others | {first}) == len(made) == 4


@pytest.mark.parametrize("edited", ["gateware/top.py", "model/engine/parameters.py"])
def test_an_edited_source_is_another_text(made, tmp_path, monkeypatch, edited):
    package = tmp_path / "dpnet"
    for name in module.MADE_BY:
        source = (dpnet.__path__[0]) + f"/{name}"
        shutil.copytree(source, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(dpnet, "__file__", str(package / "__init__.py"))
    before = top_text(params=SMALL)
    path = package / edited
    path.write_text(path.read_text() + "\n# edited\n")
    assert top_text(params=SMALL) != before
    assert len(made) == 2


def test_a_build_root_that_is_a_file_costs_only_time(made, tmp_path):
    (tmp_path / "build").write_text("")
    assert [top_text(params=SMALL), top_text(params=SMALL)] == ["module 1", "module 2"]
