"""Figures 2 and 4 on a small data set made for them: documents, pictures, interruptions."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_kit import Call, last
from experiments_kit import DIGITS, write_data

from dpnet.model.evidence import ROOT, digest, experiment_entries
from dpnet.model.experiments import methods
from dpnet.model.experiments.fit import fit
from dpnet.model.experiments.plans import find_plan
from dpnet.model.experiments.results import page
from dpnet.model.experiments.studies import points as points_module
from dpnet.model.experiments.studies import sweep
from dpnet.model.experiments.studies.catalog import STUDIES
from dpnet.model.experiments.studies.points import Point, points, stable
from dpnet.model.experiments.studies.study import Epochs, Kept
from dpnet.model.experiments.studies.sweep import FIGURE4
from dpnet.model.experiments.studies.weights import FIGURE2

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = replace(DIGITS, name="table5", engine=False, epochs=2, full=4, period=1)
HEAD = ["command", "data", "machine", "sources"]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_data(tmp_path / "data", monkeypatch)
    one = replace(SMALL, rho=10.0, methods=("dp-net",))
    monkeypatch.setitem(STUDIES, "figure2", replace(FIGURE2, plan=one))
    two = replace(SMALL, methods=FIGURE4.methods)
    monkeypatch.setitem(STUDIES, "figure4", replace(FIGURE4, plan=two))
    monkeypatch.setattr(points_module, "LAMBDAS", (10.0, 100.0, 1e7))
    monkeypatch.setattr(points_module, "LAMBDA", 100.0)
    monkeypatch.setattr(points_module, "PERIOD", 2)
    monkeypatch.setattr(points_module, "PERIODS", (1, 2, 4))
    return tmp_path


# Figure 2


def test_figure_2_counts_every_weight_of_both_nets(small: Path, dpnet: Call) -> None:
    out = small / "figure2.json"
    result = dpnet("experiment", "figure2", "--json", "--out", out)
    assert result.code == 0, result.err
    found = json.loads(out.read_text())
    assert found == json.loads(result.out)
    assert list(found) == [*HEAD, "layer", "k", "edges", "rows"]
    assert found["command"] == (
        "dpnet experiment figure2 --bits 2 --epochs 2 --seed 0 --device cpu"
    )
    assert found["sources"] == digest(experiment_entries("figure2"))
    assert (found["layer"], found["k"]) == ("conv1.weight", 4)
    plain, friendly = found["rows"]
    assert (plain["method"], plain["epochs"]) == ("float", 0)
    assert (friendly["method"], friendly["epochs"]) == ("dp-net", 2)
    assert friendly["apart"] < plain["apart"]
    # The counts are those of the kept nets.
    place = small / "figure2.json.runs" / "table5-2-0"
    for row, path in ((plain, "stages/start.pt"), (friendly, "dp-net-4.pt")):
        weights = torch.load(place / path, weights_only=True)["net"]["conv1.weight"]
        values = weights.double().numpy().ravel()
        edges = np.asarray(found["edges"])
        within = [int(((values >= low) & (values < high)).sum()) for low, high in pairwise(edges)]
        within[-1] += int((values == edges[-1]).sum())
        assert row["counts"] == within and sum(within) == values.size == 150
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_figure_2_is_of_the_nets_that_another_run_left(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dpnet("experiment", "figure2", "--json", "--out", small / "a.json")
    monkeypatch.delattr(methods, "fit")
    runs = ("--runs", small / "a.json.runs")
    again = dpnet("experiment", "figure2", "--json", "--out", small / "b.json", *runs)
    assert again.out == first.out
    (small / "a.json.runs" / "table5-2-0" / "dp-net-4.pt").unlink()
    gone = dpnet("experiment", "figure2", "--out", small / "c.json", *runs)
    assert gone.code == 2 and "dp-net-4.pt is missing, the net before it was" in last(gone.err)


# Figure 4


def test_figure_4_judges_every_method_at_every_point(small: Path, dpnet: Call) -> None:
    out = small / "figure4.json"
    arguments = ("experiment", "figure4", "--json", "--seed", "0,1", "--out", out)
    result = dpnet(*arguments, "--methods", "dp-net,kmeans-net-linear")
    assert result.code == 0, result.err
    found = json.loads(out.read_text())
    assert found == json.loads(result.out)
    assert list(found) == [*HEAD, "lambdas_left_out", "rows"]
    assert "--methods dp-net,kmeans-net-linear --seed 0,1" in found["command"]
    assert found["lambdas_left_out"] == [1e7]  # of 90 pictures
    rows = found["rows"]
    # With half of the epochs lambda is taken twice, and t by halves: 1 and 2 are both one epoch.
    expected = {
        (10.0, 2.0): (20.0, 1, ["lambda"]),
        (100.0, 2.0): (200.0, 1, ["lambda", "period"]),
        (100.0, 4.0): (200.0, 2, ["period"]),
    }
    assert len(rows) == 2 * 2 * len(expected)
    for row in rows:
        at = row["lam"], row["period"], row["varies"]
        assert at == expected[row["lam_full"], row["period_full"]]
        assert row["epochs"] == 2 and row["table"] == "figure4"
        assert row["delta"] == pytest.approx(row["accuracy"] - row["accuracy_pretrained"])
        assert 0 < row["bytes_indices"] < row["bytes_total"] < row["bytes_float"]
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_figure_4_goes_on_and_ends_as_the_whole_one(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("experiment", "figure4", "--json", "--methods", "dp-net")
    whole = dpnet(*arguments, "--out", small / "whole.json")
    trained: list[int] = []
    true_row = sweep._Judge.row

    def stopped(self: Any, *others: Any) -> Any:
        if len(trained) == 1:
            trained.append(0)
            raise KeyboardInterrupt
        trained.append(1)
        return true_row(self, *others)

    monkeypatch.setattr(sweep._Judge, "row", stopped)
    first = dpnet(*arguments, "--out", small / "parts.json")
    assert first.code == 130 and "run the same command again to go on" in first.err
    assert len(json.loads((small / "parts.json").read_text())["rows"]) == 1
    second = dpnet(*arguments, "--out", small / "parts.json")
    assert second.code == 0, second.err
    assert second.out == whole.out
    assert sum(trained) == 3  # a look at each
    monkeypatch.delattr(sweep._Judge, "row")
    monkeypatch.delattr(methods, "fit")
    assert dpnet(*arguments, "--out", small / "parts.json").out == whole.out


PLAIN = """
import sys
for name in ("safetensors", "constriction", "click", "rich", "sklearn", "torchvision", "packaging"):
    sys.modules[name] = None
from dataclasses import replace
from dpnet.model.data import mnist
from dpnet.model.experiments.studies import points
from experiments_kit import DIGITS, MNIST_PARTS
mnist.COUNTS = MNIST_PARTS
points.PLAN = replace(DIGITS, name="table5", engine=False, epochs=2, full=4, methods=("dp-net",))
points.LAMBDAS, points.PERIOD, points.PERIODS = (10.0, 100.0, 1e7), 2, (1, 2, 4)
raise SystemExit(points.main(["--folder", sys.argv[1], "--methods", "dp-net"]))
"""


@pytest.mark.whole
def test_what_a_machine_without_our_packages_trained_is_judged_elsewhere(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(small / "runs")],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "dp-net, lambda 100, t 2" in done.stdout
    monkeypatch.delattr(methods, "fit")
    arguments = ("experiment", "figure4", "--json", "--methods", "dp-net", "--runs", small / "runs")
    result = dpnet(*arguments, "--out", small / "r.json")
    assert result.code == 0, result.err
    assert len(json.loads(result.out)["rows"]) == 3


def test_a_point_trains_with_the_term_that_its_row_says(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, int]] = []

    def watched(net: Any, data: Any, settings: Any, **others: Any) -> Any:
        if settings.clustering is not None:
            seen.append((settings.clustering.lam, settings.clustering.period))
        return fit(net, data, settings, **others)

    monkeypatch.setattr(methods, "fit", watched)
    result = dpnet(
        *("experiment", "figure4", "--json", "--methods", "dp-net", "--out", small / "r.json")
    )
    rows = json.loads(result.out)["rows"]
    assert [lam for lam, _ in seen] == pytest.approx([row["lam"] for row in rows])
    assert [period for _, period in seen] == [row["period"] for row in rows]


def test_the_points_of_a_whole_schedule_are_the_papers_and_a_short_one_keeps_the_exponent() -> None:
    plan, n_train = FIGURE4.plan, 45_000
    for of in (plan.whole(), plan):
        found = points(of)
        assert len({(p.lam, p.period) for p in found}) == len(found)
        assert sum(set(p.varies) == {"lambda", "period"} for p in found) == 1
        for point in found:
            at = point.of(of, n_train)
            assert at.rho == pytest.approx(2 * point.lam / n_train)
            assert at.clustered(0, 3, n_train).clustering.lam == pytest.approx(point.lam)
            exponent = at.rho * point.period * of.rate / (1 - 0.9)
            whole = 2 * point.lam_full / n_train * point.period_full * of.rate / (1 - 0.9)
            assert exponent == pytest.approx(whole)
            assert stable(point, of, n_train)
    whole = points(plan.whole())
    assert {p.lam for p in whole if "lambda" in p.varies} == set(points_module.LAMBDAS)
    assert {p.period for p in whole if "period" in p.varies} == set(points_module.PERIODS)
    assert {p.period for p in whole if "lambda" in p.varies} == {20}
    assert {p.lam for p in whole if "period" in p.varies} == {100.0}
    # 15 of 300 epochs: t = 20 is one epoch.
    assert {p.period for p in points(plan) if "lambda" in p.varies} == {1}
    far = Point(1e7, 1, 1e7, 1.0, ("lambda",))
    assert not stable(far, plan, n_train)


def test_a_lambda_that_diverges_is_left_out_and_nothing_but_such_is_refused(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("experiment", "figure4", "--methods", "dp-net", "--out", small / "r.json")
    monkeypatch.setattr(points_module, "LAMBDA", 1e7)  # a panel without a line
    assert dpnet(*arguments).code == 0
    assert {row["lam_full"] for row in json.loads((small / "r.json").read_text())["rows"]} == {
        10.0,
        100.0,
    }
    monkeypatch.setattr(points_module, "LAMBDAS", (1e8,))
    result = dpnet(*arguments)
    assert result.code == 2 and last(result.err) == (
        "dpnet: training failed: every lambda would diverge at rate 0.02 in 2 epochs; give more "
        "--epochs or a smaller --rate\n"
    )


def test_a_budget_counts_all_points(small: Path, dpnet: Call) -> None:
    study = STUDIES["figure4"]
    assert study.count(study.plan) == 1 + 4 * 3 * 2
    result = dpnet("experiment", "figure4", "--budget", "0.001s", "--out", small / "r.json")
    assert result.code == 2 and "budget must be at least" in result.err


# Both


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("figure4", "--rho", "3"), "--rho must not be given for figure4: it is what is varied"),
        (("figure4", "--bits", "2,3"), "--bits must be one number for figure4, not '2,3'"),
        (
            ("figure4", "--methods", "ptq"),
            "--methods must be of dp-net, kmeans-net-linear, kmeans-net-kmeans++ for figure4, not "
            "'ptq'",
        ),
        (("figure2", "--methods", "control"), "--methods must be of dp-net for figure2, not"),
        (("figure2", "--seed", "0,1"), "--seed must be one number for figure2, not '0,1'"),
        (
            ("figure2", "--rate", "5"),
            "rate times rho must be below 1.357, not 5 times 5: the term would diverge; give a "
            "smaller --rate or --rho",
        ),
        (("table5", "--rho", "500"), "rate times rho must be below 1.357, not 0.02 times 500"),
        (("figure2", "--device", "gpu"), "--device must be cpu, cuda, cuda:1 …, not 'gpu'"),
    ],
)
def test_wrong_usage_is_a_line(
    tmp_path: Path, dpnet: Call, arguments: tuple[str, ...], message: str
) -> None:
    result = dpnet("experiment", *arguments, "--out", tmp_path / "r.json")
    assert result.code == 2 and message in result.err and len(result.err.splitlines()) == 1


def test_the_page_shows_the_picture_of_a_committed_figure(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = small / "docs" / "results" / "experiments"
    results.mkdir(parents=True)
    text = "<!-- rows figure2 -->\n<!-- end -->"
    assert "Not run yet: `dpnet experiment figure2`." in page.rewritten(text, results)
    assert dpnet("experiment", "figure2", "--out", results / "figure2.json").code == 0
    monkeypatch.setattr(page, "ROOT", small)
    (small / page.PAGE).write_text(text)
    assert page.main([]) == 0
    written = (small / page.PAGE).read_text()
    assert "`dpnet experiment figure2 --bits 2 --epochs 2 --seed 0 --device cpu`" in written
    assert "The epochs of a full schedule are 4." in written
    assert "![figure2](figure2.png)" in written
    assert (small / "docs" / "figure2.png").read_bytes().startswith(b"\x89PNG")
    assert page.main(["--check"]) == 0


def test_what_is_kept_of_another_origin_is_not_believed(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "rows", "one")
    assert kept.get("a") is None and kept.once("a", lambda: 3) == 3
    assert kept.once("a", lambda: 4) == 3
    assert Kept(tmp_path / "rows", "other").get("a") is None
    (tmp_path / "rows" / "a.json").write_text("{")
    assert kept.get("a") is None


def test_time_left_is_told_with_whole_epochs_of_all_phases() -> None:
    told: list[tuple[int, int, str]] = []
    epochs = Epochs(3, lambda *one: told.append(one))
    first = epochs.phase("float")
    first(0, 1, "seed 0, …")
    first(1, 1, "loss 1")
    epochs.passed(1)
    epochs.phase("dp-net")(1, 2, "loss 2")
    assert [(done, total) for done, total, _ in told] == [(0, 3), (1, 3), (2, 3)]
    assert ["left in all" in text for _, _, text in told] == [False, True, True]
    assert told[1][2].startswith("float: loss 1; about ")


def test_figures_are_of_the_tables_plans() -> None:
    assert FIGURE2.plan.network == "fresh-net" and FIGURE2.plan.bits == (2,)
    assert FIGURE4.plan.network == "tt-conv" and FIGURE4.plan.bits == (3,)
    for study, table in ((FIGURE2, "table2"), (FIGURE4, "table1")):
        one, other = study.plan, find_plan(table)
        assert methods.origin(one, 0) == methods.origin(other, 0)
        assert math.isclose(one.rho, other.rho)
