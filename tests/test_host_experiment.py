"""`dpnet experiment` on a small data set made for it: rows, files, interruptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Call
from experiments_kit import DIGITS, write_data

from dpnet.host.commands import experiment
from dpnet.model.evidence import ROOT
from dpnet.model.experiments import fit, methods, runner, search
from dpnet.model.experiments.plans import PLANS, WITHOUT_LLOYD
from dpnet.model.experiments.results import engine_accuracy, histogram
from dpnet.model.experiments.results.rows import Row
from dpnet.model.experiments.results.sizes import read_network
from dpnet.model.experiments.robust.attacks import Attack
from dpnet.model.experiments.robust.trades import Trades

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = ("--bits", "2", "--epochs", "1", "--no-engine", "--json")
RESNET20 = {
    "control": 1,
    "ptq": 0,
    "ptq-bn": 0,
    "ptq-bn-tuned": 1,
    "dp-net": 1,
    "dp-net-bn": 1,
    "dp-net-bn-tuned": 2,
    "kmeans-net-linear": 1,
    "kmeans-net-linear-bn": 1,
    "kmeans-net-kmeans++": 1,
    "kmeans-net-kmeans++-bn": 1,
}
"""Methods and the epochs behind each."""
TABLE5 = replace(DIGITS, name="table5", methods=WITHOUT_LLOYD)
BYTES = ("bytes_indices", "bytes_with_codebooks", "bytes_total", "bytes_float")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_data(tmp_path / "data", monkeypatch)
    monkeypatch.setitem(PLANS, "table5", replace(DIGITS, name="table5"))
    return tmp_path


def rows(text: str) -> dict[str, Any]:
    return {row["method"]: row for row in json.loads(text)["rows"]}


@pytest.mark.whole
def test_every_method_gives_a_row_and_its_files(small: Path, dpnet: Call) -> None:
    out = small / "r.json"
    result = dpnet("experiment", "resnet20", *SHORT, "--out", out)
    assert result.code == 0, result.err
    document = json.loads(result.out)
    assert document == json.loads(out.read_text())
    assert list(document) == ["command", "data", "machine", "sources", "rows"]
    assert document["command"] == (
        "dpnet experiment resnet20 --bits 2 --epochs 1 --seed 0 --device cpu"
    )
    assert document["sources"] == runner.sources()
    found = rows(result.out)
    assert {name: row["epochs"] for name, row in found.items()} == RESNET20
    assert all(list(row) == list(Row.__dataclass_fields__) for row in found.values())
    for name, row in found.items():
        assert row["delta"] == pytest.approx(row["accuracy"] - row["accuracy_pretrained"])
        assert row["delta_control"] == pytest.approx(row["accuracy"] - found["control"]["accuracy"])
        if name != "control":
            sizes = [row[field] for field in BYTES]
            assert sizes == sorted(sizes) and row["bits"] == 2
            parts = (out.with_name("r.json.runs") / "resnet20-1-0" / "nets" / f"{name}-2").iterdir()
            assert row["bytes_total"] == sum(part.stat().st_size for part in parts)
    weights = 432 + 2 * 2_304 + 4_608 + 9_216 + 18_432 + 36_864 + 640
    rows_in_all = 3 * 16 + 2 * 32 + 2 * 64 + 10
    assert found["ptq"]["ratio_eq1"] == pytest.approx(
        32 * weights / (2 * weights + 4 * 32 * rows_in_all)
    )


def test_pruned_weights_are_zeros_in_the_files_that_are_counted(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = (0.0, 0.5, 0.9, 0.9, 0.2)
    monkeypatch.setitem(
        PLANS, "table3", replace(DIGITS, name="table3", sparsity=shares, methods=WITHOUT_LLOYD)
    )
    result = dpnet("experiment", "table3", *SHORT, "--out", small / "r.json")
    assert result.code == 0, result.err
    nets = small / "r.json.runs" / "table3-1-0" / "nets"
    counts = [150, 2_400, 48_000, 10_080, 840]
    for method in ("ptq", "ptq-bn-tuned", "dp-net", "dp-net-bn-tuned"):
        net = read_network(nets / f"{method}-2")
        zeros = {tensor.numel(): int((tensor == 0).sum()) for tensor in net.values()}
        for share, count in zip(shares, counts, strict=True):
            assert zeros[count] >= round(share * count)  # and what is nearest to 0
    # 0.9 zeros of the largest layer: well below the 2 bits that an index has without a code.
    assert rows(result.out)["dp-net"]["bytes_indices"] < sum(counts) * 1.5 / 8


def test_a_net_is_attacked_where_its_plan_says_so(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = Attack(epsilon=0.3, size=0.1, steps=2)
    robust = replace(
        DIGITS, trades=Trades(attack, 1.0), attack=attack, attacked=20, methods=WITHOUT_LLOYD
    )
    monkeypatch.setitem(PLANS, "table5-robust", replace(robust, name="table5-robust"))
    result = dpnet("experiment", "table5-robust", *SHORT, "--out", small / "r.json")
    assert result.code == 0, result.err
    assert all(row["delta_adversarial"] is not None for row in rows(result.out).values())


def test_the_engine_is_asked_for_every_net_on_centroids(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLANS, "table5", TABLE5)
    monkeypatch.setattr(engine_accuracy, "CALIBRATION", 16)
    asked = [argument for argument in SHORT if argument != "--no-engine"]
    result = dpnet("experiment", "table5", *asked, "--out", small / "r.json")
    assert result.code == 0, result.err
    found = rows(result.out)
    assert found.pop("control")["accuracy_engine"] is None
    # 40 pictures of noise: one picture is 2.5 points.
    assert all(abs(row["accuracy_engine"] - row["accuracy"]) <= 5 for row in found.values())


@pytest.mark.whole
def test_an_interrupted_run_goes_on_and_ends_as_the_whole_one(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("experiment", "table5", *SHORT)
    whole = dpnet(*arguments, "--out", small / "whole.json")
    assert whole.code == 0, whole.err
    looks: list[str] = []
    true_row = runner._Run._row

    def stopped(self: Any, stage: Any, *others: Any) -> Row:
        if stage.method == "dp-net" and "dp-net" not in looks:
            looks.append(stage.method)
            raise KeyboardInterrupt
        looks.append(stage.method)
        return true_row(self, stage, *others)

    monkeypatch.setattr(runner._Run, "_row", stopped)
    first = dpnet(*arguments, "--out", small / "parts.json")
    assert first.code == 130 and "run the same command again to go on" in first.err
    second = dpnet(*arguments, "--out", small / "parts.json")
    assert second.code == 0
    assert rows(second.out) == rows(whole.out)
    assert looks.count("control") == looks.count("ptq") == 1


@pytest.mark.whole
def test_a_third_call_computes_nothing(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("experiment", "table5", *SHORT, "--out", small / "r.json")
    first = dpnet(*arguments)
    monkeypatch.delattr(runner._Run, "_row")
    monkeypatch.delattr(methods, "fit")
    assert dpnet(*arguments).out == first.out


PLAIN = """
import sys
for name in ("safetensors", "constriction", "click", "rich", "sklearn", "torchvision", "packaging"):
    sys.modules[name] = None
from dataclasses import replace
from dpnet.model.data import mnist
from dpnet.model.experiments import alone, plans
from experiments_kit import DIGITS, MNIST_PARTS
mnist.COUNTS = MNIST_PARTS
alone.PLANS["table5"] = replace(DIGITS, name="table5", methods=plans.WITHOUT_LLOYD)
raise SystemExit(alone.main(["table5", "--epochs", "1", "--folder", sys.argv[1]]))
"""


@pytest.mark.whole
def test_what_a_machine_without_our_packages_trained_is_judged_elsewhere(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLANS, "table5", TABLE5)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(small / "runs")],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "validation" in done.stdout
    monkeypatch.delattr(methods, "fit")
    result = dpnet("experiment", "table5", *SHORT, "--runs", small / "runs", "--out", small / "r")
    assert result.code == 0, result.err
    assert len(rows(result.out)) == 5


def test_what_is_missing_is_said_in_a_line(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small / "data" / "resnet-cifar10" / "resnet20-0.th").unlink()
    result = dpnet("experiment", "resnet20", *SHORT, "--out", small / "r.json")
    assert result.code == 2 and result.err.splitlines()[-1].endswith(
        "resnet-cifar10 must have one file resnet20-*.th, not 0: akamaster/pytorch_resnet_cifar10 "
        "has it"
    )
    monkeypatch.delenv("DPNET_DATA")
    result = dpnet("experiment", "resnet20", *SHORT, "--out", small / "r.json")
    assert result.code == 2 and result.err.splitlines()[-1] == (
        "dpnet: DPNET_DATA must name the folder that has MNIST/raw/ and cifar-10-batches-bin/; it "
        "is not set"
    )


def test_a_budget_chooses_epochs_and_refuses_what_is_too_short(small: Path, dpnet: Call) -> None:
    result = dpnet(
        *("experiment", "table5", "--budget", "0.001s", "--bits", "2", "--out", small / "r.json")
    )
    assert result.code == 2 and "budget must be at least" in result.err
    assert "for table5 on this machine, not 0.0 min; fewer --bits take less" in result.err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--budget", "2"], "--budget must be a time, as 90min or 2h, not '2'"),
        (["--bits", "2,2"], "--bits must be different numbers from 1 to 4, as 2,3, not '2,2'"),
        (
            ["--methods", "ptq,strait"],
            "straight-distilled or straight-distilled-averaged, not 'strait'",
        ),
        (["--methods", "ptq,ptq"], "--methods must be different methods, not 'ptq,ptq'"),
        (["--rho", "0"], "--rho must be a positive number, not '0'"),
        (["--full", "--epochs", "3"], "--budget, --epochs and --full exclude each other"),
    ],
)
def test_wrong_arguments_are_refused(dpnet: Call, arguments: list[str], message: str) -> None:
    result = dpnet("experiment", "resnet8", *arguments)
    assert result.code == 2 and message in result.err


def test_distillation_beside_trades_is_refused_before_any_training(dpnet: Call) -> None:
    result = dpnet("experiment", "table5-robust", "--methods", "ptq,straight-distilled")
    assert result.code == 2 and result.err == (
        "dpnet: methods of table5-robust must not be distilled, as straight-distilled: its loss is "
        "TRADES\n"
    )


def test_the_notes_name_every_data_set_of_a_plan() -> None:
    assert {plan.entry.dataset for plan in experiment.PLANS.values()} <= set(experiment.NOTES)


def test_settings_are_tried_on_the_held_out_part_alone(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judged: list[int] = []
    true_accuracy = search.accuracy

    def counted(net: Any, x: Any, *others: Any) -> float:
        judged.append(x.data_ptr())
        return true_accuracy(net, x, *others)

    monkeypatch.setattr(search, "accuracy", counted)
    arguments = ["table5", "--folder", str(small / "runs"), "--epochs", "1", "--pictures", "64"]
    tried = ["--rate", "0.01", "0.02", "--rho", "3", "--out", str(small / "trials.json")]
    assert search.main([*arguments, *tried]) == 0
    found = json.loads((small / "trials.json").read_text())
    assert [(one["rate"], one["rho"], one["pictures"]) for one in found] == [
        (0.01, 3.0, 64),
        (0.02, 3.0, 64),
    ]
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert len(set(judged)) == 1 and len(judged) == 4


def test_time_left_is_told_with_whole_epochs_alone(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "QUIET_S", 0.0)
    told: list[str] = []
    plan = replace(TABLE5, epochs=2, epochs_float=1, methods=("dp-net",), engine=False)
    runner.run_plan(
        plan, seed=0, folder=small / "r", code="", on_progress=lambda *one: told.append(one[2])
    )
    within = [line for line in told if " steps, " in line and "seed" not in line]
    assert len(within) == 4  # a step each
    # The pretrained net's epoch, two of the method, one of its tuning.
    assert [line for line in told if "left in all" in line and line in within] == []
    assert sum("left in all" in line for line in told) == 4


def test_methods_are_chosen_by_name_and_named_in_the_command(small: Path, dpnet: Call) -> None:
    chosen = ("--methods", "straight-distilled,control")
    result = dpnet("experiment", "table5", *SHORT, *chosen, "--out", small / "r.json")
    assert result.code == 0, result.err
    assert list(rows(result.out)) == ["straight-distilled", "control"]
    assert "--methods straight-distilled,control" in json.loads(result.out)["command"]
    on = read_network(small / "r.json.runs" / "table5-1-0" / "nets" / "straight-distilled-2")
    assert all(len(row.unique()) <= 4 for name, w in on.items() if w.ndim > 1 for row in w)


def test_settings_of_ones_own_are_in_the_command(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLANS, "table5", TABLE5)
    own = ("--rate", "0.005", "--rho", "2", "--bf16")
    result = dpnet("experiment", "table5", *SHORT, *own, "--out", small / "r.json")
    assert json.loads(result.out)["command"] == (
        "dpnet experiment table5 --bits 2 --epochs 1 --rate 0.005 --rho 2 --bf16 "
        "--seed 0 --device cpu"
    )


def test_several_seeds_are_one_result(
    small: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLANS, "table5", replace(TABLE5, methods=("ptq", "control")))
    out = small / "r.json"
    result = dpnet("experiment", "table5", *SHORT, "--seed", "3,1", "--out", out)
    assert result.code == 0, result.err
    document = json.loads(out.read_text())
    assert document == json.loads(result.out) and "--seed 3,1" in document["command"]
    assert document["machine"].count("cores") == 1
    named = [(row["seed"], row["method"]) for row in document["rows"]]
    half = len(named) // 2
    assert [name for name, _ in named] == [3] * half + [1] * half
    assert named[:half] == [(3, method) for _, method in named[half:]]
    for row in document["rows"]:
        control = next(r for r in document["rows"] if (r["seed"], r["bits"]) == (row["seed"], 32))
        assert row["delta_control"] == pytest.approx(row["accuracy"] - control["accuracy"])
    alone = dpnet("experiment", "table5", *SHORT, "--seed", "1", "--out", small / "one.json")
    assert json.loads(alone.out)["rows"] == document["rows"][half:]
    result = dpnet("experiment", "table5", "--seed", "1,1")
    assert result.code == 2 and "--seed must be different numbers" in result.err


def test_figure_2_shows_weights_nearer_to_their_centroids(
    small: Path, dpnet: Call, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        PLANS, "table5", replace(DIGITS, name="table5", rho=10.0, methods=WITHOUT_LLOYD)
    )
    assert dpnet("experiment", "table5", *SHORT, "--out", small / "r.json").code == 0
    arguments = ["table5", "--runs", str(small / "r.json.runs"), "--epochs", "1"]
    assert histogram.main([*arguments, "--out", str(small)]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2
    found = json.loads((small / "table5-weights.json").read_text())
    assert found["layer"] == "conv1.weight" and found["k"] == 4
    assert found["apart"]["with the term"] < found["apart"]["float"]
    assert all(sum(counts) == 150 for counts in found["counts"].values())
    assert (small / "table5-weights.png").stat().st_size > 1_000
    assert histogram.main([*arguments, "--layer", "conv9"]) == 1
    assert "layer must be one of" in capfd.readouterr().err
