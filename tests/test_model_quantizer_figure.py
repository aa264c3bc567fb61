"""The figure of docs/quantizer.md: its limits from elsewhere, its curves in the right order."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from dpnet.model.quantizer.judges import figure
from dpnet.model.quantizer.judges.figure import at_bits, curves, entropy, main, measure
from dpnet.model.quantizer.judges.limits import GAUSSIAN, LAPLACE, Density

SEED = int(os.environ.get("SEED", "3"))
SIZES = (2, 4, 8)


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Few rows, few sizes."""
    print(f"seed {SEED}")
    return measure(SEED, rows=6, n=512, sizes=SIZES, prices=np.linspace(0.0, 3.6, 13))


# Limits


@pytest.mark.parametrize(
    ("source", "k", "mse"),
    [
        (GAUSSIAN, 4, "0.1175"),
        (GAUSSIAN, 8, "0.03455"),
        (GAUSSIAN, 16, "0.009501"),
        (LAPLACE, 4, "0.1762"),
        (LAPLACE, 8, "0.0545"),
        (LAPLACE, 16, "0.0154"),
    ],
)
def test_lloyd_max_is_that_of_the_tables(source: Density, k: int, mse: str) -> None:
    assert f"{source.lloyd_max(k):.{len(mse) - 2}f}" == mse


@pytest.mark.parametrize(("source", "two"), [(GAUSSIAN, 1 - 2 / np.pi), (LAPLACE, 0.5)])
def test_lloyd_max_of_one_and_two_values_is_in_closed_form(source: Density, two: float) -> None:
    assert source.lloyd_max(1) == pytest.approx(1, abs=1e-12)
    assert source.lloyd_max(2) == pytest.approx(two, abs=1e-12)


@pytest.mark.parametrize("bad", [0, -1, 2.0, True])
def test_lloyd_max_refuses_what_is_no_number_of_values(bad: Any) -> None:
    message = f"^{re.escape(f'k must be a positive integer, not {bad!r}')}$"
    with pytest.raises(ValueError, match=message):
        GAUSSIAN.lloyd_max(bad)


def density(source: Density, x: float) -> float:
    if source is GAUSSIAN:
        return float(np.exp(-x * x / 2) / np.sqrt(2 * np.pi))
    return float(np.exp(-np.sqrt(2) * abs(x)) / np.sqrt(2))


@pytest.mark.parametrize("source", [GAUSSIAN, LAPLACE])
def test_integrals_quantiles_and_entropy_power(source: Density) -> None:
    for t in (-2.3, -0.4, 0.0, 0.7, 3.1):
        found = source.partial(np.array([t]))[:, 0]
        for power in range(3):
            right = quad(lambda x, p=power: x**p * density(source, x), -40, t, points=[0])[0]
            assert found[power] == pytest.approx(right, abs=1e-7)
        assert source.quantile(source.partial(np.array([t]))[0])[0] == pytest.approx(t)
    h = 2 * quad(lambda x: -density(source, x) * np.log2(density(source, x)), 0, 20)[0]
    power = 2 ** (2 * h) / (2 * np.pi * np.e)
    assert source.shannon(0.0) == pytest.approx(power, rel=1e-6)
    assert source.shannon(2.0) == pytest.approx(power / 16, rel=1e-6)
    drawn = source.draw(np.random.default_rng(SEED), (100, 1000))
    assert (drawn.mean(), drawn.var()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.05))


# Curves


@pytest.mark.parametrize("name", ["Gaussian", "Laplace"])
def test_nothing_is_below_the_optimum(measured: dict[str, Any], name: str) -> None:
    found = measured["sources"][name]
    assert [point["k"] for point in found["optimal"]] == list(SIZES)
    for start in ("linear", "k-means++"):
        for best, other in zip(found["optimal"], found[f"lloyd {start}"], strict=True):
            assert other["bits"] == best["bits"] == np.log2(best["k"])
            assert best["mse"] <= other["mse"] * (1 + 1e-12)
            assert other["excess"] == pytest.approx(other["mse"] / best["mse"] - 1)
        assert max(point["excess"] for point in found[f"lloyd {start}"]) > 1e-4


@pytest.mark.parametrize("name", ["Gaussian", "Laplace"])
def test_a_price_for_bits_is_the_better_use_of_them(measured: dict[str, Any], name: str) -> None:
    found = measured["sources"][name]
    for best in found["optimal"]:
        assert best["entropy"] <= best["bits"] + 1e-12
        assert at_bits(found["entropy-constrained"], best["entropy"]) < best["mse"]
        assert 0 < best["saved"] < 0.6
        for priced in found["entropy-constrained"]:  # what each price promises, exactly
            per_bit = priced["mu"] / unit(name)
            mine = priced["mse"] + per_bit * priced["bits"]
            assert mine <= (best["mse"] + per_bit * best["entropy"]) * (1 + 1e-9)


def unit(name: str) -> float:
    """The variance of the rows that `measured` draws."""
    random = np.random.default_rng(SEED)
    drawn = {source.name: source.draw(random, (6, 512)) for source in (GAUSSIAN, LAPLACE)}
    return float(drawn[name].var(axis=1).mean())


@pytest.mark.parametrize("source", [GAUSSIAN, LAPLACE])
def test_nothing_is_below_shannons_bound(measured: dict[str, Any], source: Density) -> None:
    found = measured["sources"][source.name]
    for method in ("optimal", "entropy-constrained, shared", "lloyd linear", "lloyd-max"):
        for point in found[method]:
            if point["bits"] > 0.5:
                assert point["mse"] > source.shannon(point.get("entropy", point["bits"]))
    for point in found["optimal"][:2]:  # 512 draws for 4 values
        assert point["mse"] == pytest.approx(source.lloyd_max(int(point["k"])), rel=0.15)


def test_entropy_of_indices() -> None:
    even, one = np.arange(8)[None] % 4, np.zeros((1, 8), int)
    assert entropy(even, 4) == 2 and entropy(one, 4) == 0
    assert entropy(np.concatenate([even, one]), 4) == 1
    assert entropy(np.array([[0, 0, 0, 1]]), 2) == pytest.approx(2 - 0.75 * np.log2(3))


def test_between_the_points_of_a_curve() -> None:
    points = [{"bits": 3.0, "mse": 0.01}, {"bits": 1.0, "mse": 1.0}]
    assert at_bits(points, 2.0) == pytest.approx(0.1)
    assert at_bits(points, 3.0) == pytest.approx(0.01)
    with pytest.raises(ValueError, match=r"^bits must be within 1\.000\.\.3\.000, not 3\.5$"):
        at_bits(points, 3.5)


def test_the_seed_draws_the_rows(measured: dict[str, Any]) -> None:
    rows = GAUSSIAN.draw(np.random.default_rng(SEED), (6, 512))
    again = curves(GAUSSIAN, rows, SEED, SIZES[:1], np.array([0.0, 1.0, 2.0]))
    assert again["optimal"][0]["mse"] == measured["sources"]["Gaussian"]["optimal"][0]["mse"]
    assert again["lloyd k-means++"][0] == measured["sources"]["Gaussian"]["lloyd k-means++"][0]


# The command


def test_the_command_writes_picture_and_figures(
    measured: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    seeds: list[int] = []
    monkeypatch.setattr(figure, "measure", lambda seed: seeds.append(seed) or measured)
    assert main(["--seed", "7", "--json"]) == 0 and seeds == [7]
    out = capsys.readouterr()
    written = json.loads((tmp_path / "quantizer-figure.json").read_text())
    assert json.loads(out.out) == written and out.err.endswith("quantizer.png, seed 7\n")
    assert re.fullmatch("[0-9a-f]{16}", written.pop("provenance")) and written == measured
    picture = (tmp_path / "quantizer.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and len(picture) > 20_000
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert width >= 1200 and 0.8 < width / height < 1.3
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "quantizer-figure.json",
        "quantizer.png",
    ]
    assert main([]) == 0
    text = capsys.readouterr().out
    assert f"seed {SEED}" in text and len(re.findall(r"with \d+ centroids", text)) == 6


# The page

PAGE = Path(__file__).parent.parent / "docs" / "quantizer.md"


def test_the_example_of_the_page_runs_and_makes_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(example[1], str(PAGE), "exec"), names)
    total = (tmp_path / "fc.coded").stat().st_size
    assert names["size"].total == total and f"has {total:,} bytes" in text
    assert names["coded"].rate <= 2 and names["plan"].size <= 24_000
    assert f"of {names['coded'].cost.sum() / names['w'].var() / names['w'].size:.3f} of" in text


def test_the_table_of_the_page_is_the_stored_measurement() -> None:
    text = PAGE.read_text(encoding="utf-8").replace("−", "-")
    stored = json.loads((PAGE.parent / "results" / "quantizer-figure.json").read_text())
    lines = {"lloyd linear": "evenly spaced values", "lloyd k-means++": "k-means++, once"}
    for curve, ending in lines.items():
        assert row(text, ending) == [f"{p['excess']:+.1%}" for p in picked(stored, curve)]
    saved = [f"{-p['saved']:+.1%}" for p in picked(stored, "optimal")]
    assert row(text, "at the optimum's entropy") == saved
    assert f"{stored['rows']} rows of {stored['n']:,} draws, seed {stored['seed']}" in text


def picked(stored: dict[str, Any], curve: str) -> list[dict[str, float]]:
    """K = 4, 8, 16 of both sources."""
    sources = (stored["sources"][name] for name in ("Gaussian", "Laplace"))
    return [point for found in sources for point in found[curve] if point["k"] in (4, 8, 16)]


def row(text: str, ending: str) -> list[str]:
    """The figures of the table's line whose first cell ends so."""
    (line,) = re.findall(rf"^\|[^|\n]*{re.escape(ending)} \|(.*)\|$", text, re.MULTILINE)
    return [cell.strip().replace(" %", "%") for cell in line.split("|")]
