"""The figures of `make sim` in the README and in docs/results.md, and those of `make networks` in
docs/networks.md, are those of their committed runs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from docs_kit import ROOT

from dpnet.host.bench import BenchRow, bench_table

RUN: dict[str, Any] = json.loads((ROOT / "docs/results/make-sim.json").read_text("utf-8"))
README = (ROOT / "README.md").read_text("utf-8")
NETWORKS: dict[str, Any] = json.loads((ROOT / "docs/results/networks.json").read_text("utf-8"))
ARRAYS: dict[str, Any] = json.loads((ROOT / "docs/results/arrays.json").read_text("utf-8"))
ON_CHIPS = [row for row in ARRAYS["rows"] if row["network"] is not None]
NETWORKS_PAGE = (ROOT / "docs/networks.md").read_text("utf-8")
RESULTS = (ROOT / "docs/results.md").read_text("utf-8")

TABLE6 = [BenchRow(**row) for row in RUN["table6"]]
WIDE = 128
"""A terminal line of the README is cut off after so many characters, with an ellipsis behind."""


def shown(line: str) -> str:
    return f"    {line}" if len(line) <= WIDE else f"    {line[:WIDE].rstrip()} …"


def test_the_readme_shows_table_six_as_it_is_printed() -> None:
    head, _, *rows = bench_table(TABLE6).splitlines()
    for line in (head, *rows[:3]):
        assert shown(line) in README


def test_the_readme_shows_the_networks() -> None:
    first, cnn = RUN["networks"][0], RUN["cnn"]
    for line in (
        f"4 bits: float {first['accuracy_float']:.2f} %, quantized "
        f"{first['accuracy_quantized']:.2f} %, integer golden model "
        f"{first['accuracy_golden']:.2f} %; {first['ratio_eq1']:.2f} × smaller by Eq. (1)",
        f"convolutions, {cnn['bits']} bits: float {cnn['accuracy_float']:.2f} %, quantized "
        f"{cnn['accuracy_quantized']:.2f} %, integer golden model {cnn['accuracy_golden']:.2f} %; "
        f"{cnn['ratio_eq1']:.2f} × smaller by Eq. (1)",
        f"{cnn['bits']} bits: {cnn['outputs']:,} outputs, the results of {cnn['pictures']} "
        f"pictures and every map of {cnn['layered']}, {cnn['mismatches']} differ from the golden "
        f"model; {cnn['cycles_per_picture']:,} cycles a picture",
    ):
        assert f"    {line}" in README


@pytest.mark.parametrize("row", RUN["networks"], ids=lambda row: f"{row['bits']} bits")
def test_the_digits(row: dict[str, Any]) -> None:
    cells = (
        row["bits"],
        f"{row['accuracy_float']:.2f} %",
        f"{row['accuracy_quantized']:.2f} %",
        f"{row['accuracy_engine']:.2f} %",
        f"{row['ratio_eq1']:.2f} ×",
        f"{row['ratio_bytes']:.2f} × ({row['file_bytes']:,} bytes)",
        f"{row['cycles_per_picture']:,}",
        f"{row['mismatches']} of {row['outputs']:,}",
    )
    assert f"| {' | '.join(map(str, cells))} |" in RESULTS


def test_the_digits_convolutions() -> None:
    row = RUN["cnn"]
    cells = (
        row["bits"],
        f"{row['accuracy_float']:.2f} %",
        f"{row['accuracy_quantized']:.2f} %",
        f"{row['accuracy_engine']:.2f} %",
        f"{row['ratio_eq1']:.2f} ×",
        f"{row['file_bytes']:,} bytes",
        f"{row['cycles_per_picture']:,}",
        f"{row['mismatches']} of {row['outputs']:,}",
    )
    assert f"| {' | '.join(map(str, cells))} |" in RESULTS


@pytest.mark.parametrize("row", TABLE6, ids=lambda row: f"{row.name} {row.engine}")
def test_table_six(row: BenchRow) -> None:
    ms = row.cycles / 1e5
    time = f"{ms:.2f}" if ms > 1 else f"{ms:.4f}"
    slow = next(r for r in TABLE6 if (r.name, r.engine) == (row.name, "paper-baseline"))
    faster, against = slow.cycles / row.cycles, row.rows * row.columns / row.cycles
    cells = (
        f"{row.cycles:,}",
        time,
        "–" if row.paper_ms is None or row.engine == "array" else f"{row.paper_ms:g}",
        f"{faster:,.1f} ×" if faster < 100 else f"{int(faster):,} ×",
        f"{against:.2f} ×" if against < 1 else f"{round(against):,} ×",
        f"{row.mismatches} of {row.rows}",
    )
    lines = [line for line in RESULTS.splitlines() if f"| {cells[0]} | {cells[1]} |" in line]
    assert len(lines) == 1
    assert re.split(r" *\| *", lines[0])[3:-1] == list(cells)


@pytest.mark.parametrize("name", ["fc", "conv"])
def test_errors(name: str) -> None:
    row = next(r for r in TABLE6 if (r.name, r.engine) == (name, "array"))
    errors = (row.max_error, row.rms_error, row.max_error_fp32, row.rms_error_fp32)
    cells = [f"{error:.1e}".replace("e-0", "e-") for error in errors]
    assert f"| {row.rows} × {row.columns} | {' | '.join(cells)} |" in RESULTS


@pytest.mark.parametrize("row", NETWORKS["networks"], ids=lambda row: row["name"])
def test_whole_networks(row: dict[str, Any]) -> None:
    judged = ("accuracy_float", "accuracy_codebooks", "accuracy_engine")
    accuracies = [f"{row[kind]:.2f} %" if row[kind] is not None else "–" for kind in judged]
    assert row["cycles_per_picture"] == row["predicted_cycles"]
    cells = (
        f"{row['pictures']:,}",
        f"{row['outputs']:,}",
        row["mismatches"],
        f"{row['cycles_per_picture']:,}",
        f"{row['utilization']:.0%}".replace("%", " %"),
        *accuracies,
        f"{row['samples_of_accuracy']:,}" if row["samples_of_accuracy"] else "–",
        f"{row['result_error']:.1%}".replace("%", " %"),
        f"{row['bytes_image']:,} / {row['bytes_float']:,}",
    )
    assert f" | {' | '.join(map(str, cells))} |\n" in NETWORKS_PAGE


@pytest.mark.parametrize("row", ON_CHIPS, ids=lambda row: row["name"])
def test_networks_at_the_size_of_the_chip(row: dict[str, Any]) -> None:
    assert (row["mismatches"], row["errors"], row["predicted"]) == (0, 0, True)
    at_once = row["pictures_in_flight"]
    cells = (
        f"{row['lanes']:,}",
        "–" if at_once == 1 else at_once,
        f"{row['latency_cycles']:,}",
        f"{row['interval_cycles']:,.0f}",
        f"{row['interval_cycles'] / 100:.1f} µs",
        f"0 of {row['values']:,}",
    )
    assert f" | {' | '.join(map(str, cells))} |\n" in RESULTS


def test_goals_at_the_size_of_the_chip() -> None:
    """Cycles of a picture that the engines were to reach; ResNet-8's on the XC7Z020 is missed."""
    goals = {
        "resnet-8-7z045": 8_200,
        "resnet-20-7z045": 22_000,
        "resnet-20-7z045-in-flight": 16_400,
        "mobilenet-vww-7z045": 20_000,
        "ds-cnn-7z020": 19_000,
    }
    found = {row["name"]: row["interval_cycles"] for row in ON_CHIPS}
    assert not {name: found[name] for name, goal in goals.items() if found[name] > goal}
