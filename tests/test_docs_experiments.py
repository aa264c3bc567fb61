"""The tables of docs/experiments.md are those of the committed rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from dpnet.model.evidence import EXPERIMENTS, RESULTS, ROOT
from dpnet.model.experiments.plans import PLANS
from dpnet.model.experiments.results.page import PAGE, PLACE, rewritten
from dpnet.model.experiments.results.rows import Row, document, row_of
from dpnet.model.experiments.studies.catalog import STUDIES

FILES = sorted((ROOT / RESULTS / EXPERIMENTS).glob("*.json"))


def test_the_page_has_the_tables_of_the_rows() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    assert rewritten(text, ROOT / RESULTS / EXPERIMENTS) == text


def test_the_page_has_a_place_for_every_experiment() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    assert {match[2] for match in PLACE.finditer(text)} == {*PLANS, *STUDIES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_committed_rows_have_the_committed_form(path: Path) -> None:
    said = json.loads(path.read_text())
    assert list(said) == ["command", "data", "machine", "sources", "rows"]
    rows = [row_of(row) for row in said["rows"]]
    assert rows and [asdict(row) for row in rows] == said["rows"]
    for row in rows:
        assert row.delta == pytest.approx(row.accuracy - row.accuracy_pretrained, abs=1e-3)
        assert row.bytes_indices is None or row.bytes_indices < row.bytes_total < row.bytes_float
        assert row.accuracy_engine is None or abs(row.accuracy_engine - row.accuracy) < 5


def test_a_table_has_a_line_for_every_row_and_for_the_papers(tmp_path: Path) -> None:
    row = Row(
        table="table1",
        network="tt-conv",
        dataset="cifar-10",
        method="dp-net",
        bits=3,
        epochs=15,
        seed=0,
        ratio_eq1=9.7,
        bytes_indices=1_000,
        bytes_with_codebooks=20_000,
        bytes_total=22_000,
        bytes_float=2_200_000,
        accuracy_pretrained=90.0,
        accuracy=89.5,
    )
    said = document("dpnet experiment table1", "CIFAR-10", "a CPU", "0" * 16, [row])
    (tmp_path / "table1.json").write_text(json.dumps(said))
    lines = rewritten("<!-- rows table1 -->\n<!-- end -->", tmp_path).splitlines()
    assert lines[2].startswith("`dpnet experiment table1`") and "full schedule are 300" in lines[2]
    assert lines[6] == (
        "| dp-net | 3 | 15 | 0 | 89.50 % | -0.50 | – | – | – | 1,000 | 20,000 | 22,000 | 100.0 × "
        "| 9.7 × |"
    )
    assert lines[7] == "| *the paper's dp-net* | 3 | 300 |  |  | +0.31 |  |  |  |  |  |  |  |  |"
