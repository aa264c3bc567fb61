"""`make fmax`: seeds, the file, the table, results kept by content."""

import json
import statistics

import pytest

from dpnet.boards import fmax
from dpnet.boards.command import Candidate
from dpnet.boards.ecp5 import nextpnr as ecp5
from dpnet.gateware.array.adder_tree import AdderTree


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The command with an adder instead of engines; its folder."""
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    monkeypatch.setattr(
        fmax,
        "candidates",
        lambda names: [(Candidate("adder", 4, AdderTree(inputs=4, bits=10)), "int8")],
    )
    return tmp_path


@pytest.mark.long
def test_all_seeds_are_in_the_file_and_the_best_one_counts(small, capsys, monkeypatch):
    assert fmax.main(["--seed", "5", "--seeds", "2", "--target", "2000"]) == 0
    out, err = capsys.readouterr()
    document = json.loads((small / "fmax.json").read_text())
    [row] = document["rows"]
    assert (row["name"], row["activation"], row["lanes"]) == ("adder", "int8", 4)
    reached = {entry["seed"]: entry["mhz"] for entry in row["seeds"]}
    assert list(reached) == [5, 6]
    assert row["mhz"] == max(reached.values()) == reached[row["seed"]]
    assert row["median"] == statistics.median(reached.values())
    assert 100 < row["mhz"] < 1000
    assert (row["target"], row["met"]) == (2000, False)
    # 40 inputs, held twice over, in 2 groups; 12 outputs in 4 links; sums of 11, 11 and 12 bits.
    assert row["ff"] == 40 * 2 + 2 + 12 + 4 + 11 + 11 + 12
    assert row["critical"]["ns"] == pytest.approx(1000 / row["mhz"], abs=0.02)
    assert row["critical"]["source"].startswith(("i__", "sum_"))
    assert document["device"] == "LFE5U-85F, CABGA381, speed 6"
    assert [text.split()[0] for text in document["tools"]] == ["Yosys", "nextpnr"]
    assert "seed 6: " in out and row["critical"]["target"] in out
    assert "placing and routing adder, 4 lanes, seed 5, 6 … done, " in err

    def refuse(*_, **__):
        raise AssertionError("placed again")

    monkeypatch.setattr(ecp5, "place_and_route", refuse)
    assert fmax.main(["--seed", "6", "--target", "2000", "--json"]) == 0
    out, err = capsys.readouterr()
    [kept] = json.loads(out)["rows"]
    assert kept["mhz"] == reached[6]
    assert "seed 6 … kept from an earlier run" in err
    with pytest.raises(AssertionError, match="placed again"):
        fmax.main(["--seed", "8", "--target", "2000"])


@pytest.mark.parametrize("option", ["--seeds", "--target"])
def test_wrong_numbers_are_one_line(small, capsys, option):
    assert fmax.main([option, "0"]) == 2
    assert capsys.readouterr().err == "fmax: --seeds and --target must be positive\n"


def test_the_named_engines_are_whole_and_told_by_their_input():
    kinds = {candidate.name: kind for candidate, kind in fmax.candidates()}
    assert kinds == {"fp32-16": "fp32", "int8-64": "int8"}
    assert [candidate.lanes for candidate, _ in fmax.candidates()] == [16, 64]
    with pytest.raises(ValueError, match=r"^NAME must be one of fp32-16, int8-64, not 'fp64'$"):
        fmax.candidates(["fp64"])
