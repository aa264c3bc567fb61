"""`make arrays` in small: every result and cycle of two arrays, the report, the picture."""

import json
from dataclasses import replace

import pytest

from dpnet.model.engine.configurations import ARRAYS, LEAN, SMALL, Configuration
from dpnet.model.engine.estimate import estimate
from dpnet.sim.measure import arrays
from dpnet.sim.measure.roofline import bucket_roof, index_roof


@pytest.mark.parametrize("made", (ARRAYS | LEAN).values(), ids=ARRAYS | LEAN)
def test_arrays_reach_their_rate_within_the_chip(made):
    """The formulas are exact (below, and in the core's bench), the estimate is within 10 %."""
    goals = {("fp32", 1000): 380, ("fp32", 384): 260, ("int8", 1000): 240, ("int8", 384): 180}
    assert made.interval_cycles <= goals[made.activation, made.rows]
    rate = made.rows * made.columns / made.interval_cycles
    assert rate >= min(bucket_roof(made.engine.sum_bits), index_roof(4)) / 2
    taken = estimate(made.engine)
    assert taken.lut <= 0.85 * 218_600
    assert taken.lutram <= 0.9 * 70_400
    assert taken.dsp <= 900
    assert taken.bram36 <= 545


@pytest.mark.long
def test_small_arrays_equal_golden_and_formula(tmp_path, capsys):
    out = tmp_path / "arrays.json"
    assert arrays.main([*SMALL, "--seed", "3", "--json", "--out", str(out)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["command"] == "make arrays (vectors 8, seed 3)"
    for row, (name, made) in zip(report["rows"], SMALL.items(), strict=True):
        assert (row["name"], row["lanes"], row["vectors"]) == (name, made.engine.lanes, 8)
        assert (row["mismatches"], row["errors"]) == (0, 0)
        assert row["latency_cycles"] == made.latency_cycles
        assert row["interval_cycles"] == made.interval_cycles
    assert json.loads(out.read_text()) == report
    assert (tmp_path / "roofline.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["big"], "no array is called 'big'; there are fp32-1000x1024"),
        (["--vectors", "9"], "--vectors must be from 2 to 8, not 9"),
    ],
)
def test_wrong_usage_is_one_line(given, message, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        arrays.main(given)
    assert message in capsys.readouterr().err


@pytest.mark.long
def test_wrong_results_are_an_error(tmp_path, monkeypatch, capsys):
    """A golden model that differs in one result of one vector."""
    real = arrays.Single.mismatches
    monkeypatch.setattr(arrays.Single, "mismatches", lambda *given: real(*given) + 1)
    assert arrays.main(["small-fp32", "--out", str(tmp_path / "arrays.json")]) == 1
    assert "results or cycles of small-fp32 are not as they must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (1001, 1024, "needs 6 slots, the engine has 4"),
        (1000, 2480, "needs 496 index words a lane"),
        (10, 1025, "needs 1025 words of a vector, the engine has 1024"),
    ],
)
def test_a_matrix_that_does_not_fit_is_no_configuration(rows, columns, message):
    engine = ARRAYS["int8-1000x1024"].engine
    if "index" in message:
        engine = replace(engine, max_columns=4096, index_depth=400)
    with pytest.raises(ValueError, match=f"{rows} × {columns} {message}"):
        Configuration(engine, rows, columns)
