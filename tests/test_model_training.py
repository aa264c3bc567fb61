"""Training: accuracy on digits, the same again from a seed, interrupts at any moment, bad input."""

from __future__ import annotations

import copy
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from dpnet.model.networks.digits import DigitsMlp, TableSixNet, digits, table_six_case
from dpnet.model.pictures import Pictures
from dpnet.model.quantizer.exact import quantize
from dpnet.model.training.recipe import (
    CheckpointError,
    DivergedError,
    TrainResult,
    TrainSettings,
    accuracy,
    build_net,
    pretrain,
    train,
)
from dpnet.model.training.tracked import TrainingWarning

pytestmark = pytest.mark.usefixtures("one_thread")


SHORT = TrainSettings(
    k=4, epochs_float=2, epochs_cluster=3, epochs_tune=2, period=2, batch=100, seed=5
)


class Small(nn.Module):
    """Dropout and batch norm: all the state that a checkpoint could forget."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 12)
        self.norm = nn.BatchNorm1d(12)
        self.last = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = functional.relu(self.norm(self.first(x)))
        return self.last(functional.dropout(hidden, 0.2, self.training))


@pytest.fixture(scope="module")
def data() -> Pictures:
    return digits()


@pytest.fixture(scope="module")
def few(data: Pictures) -> Pictures:
    parts = {name: value[:150] for name, value in vars(data).items()}
    return Pictures(**parts)


def small() -> Small:
    return build_net(Small, 5)


def assert_same(one: TrainResult, other: TrainResult) -> None:
    for (name, a), b in zip(
        one.net.state_dict().items(), other.net.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    for name, layer in one.quantized.items():
        for field in ("codebook", "indices", "cost", "k_eff"):  # not where its search began
            value = getattr(layer, field)
            np.testing.assert_array_equal(value, getattr(other.quantized[name], field))
    np.testing.assert_equal(
        [vars(record) for record in one.history], [vars(record) for record in other.history]
    )
    assert one.accuracy_float == other.accuracy_float
    assert one.accuracy_quantized == other.accuracy_quantized


def test_split_of_the_digits(data: Pictures) -> None:
    assert (len(data.train_y), len(data.validation_y), len(data.test_y)) == (1197, 240, 360)
    everything = torch.cat([data.train_x, data.validation_x, data.test_x])
    assert len(np.unique(everything.numpy(), axis=0)) == 1797  # no picture in two parts
    assert everything.min() == 0 and everything.max() == 1 and everything.dtype == torch.float32
    assert torch.equal(everything * 16, (everything * 16).round())
    for labels in (data.train_y, data.validation_y, data.test_y):
        share = labels.bincount(minlength=10) / len(labels)
        assert share.min() > 0.09 and share.max() < 0.11
    assert torch.equal(digits().test_x, data.test_x)


def test_quantized_digits_within_a_point_of_float(data: Pictures) -> None:
    seed = int(os.environ.get("SEED", "0"))
    settings = TrainSettings(epochs_float=25, epochs_cluster=25, seed=seed)
    print("seed", settings.seed)
    net = build_net(DigitsMlp, settings.seed)
    in_float = pretrain(net, data, settings)
    assert in_float > 95.0
    for k in (16, 8, 4):
        start = copy.deepcopy(net)
        result = train(start, data, replace(settings, k=k, epochs_float=0))
        assert result.accuracy_float == in_float
        assert result.accuracy_quantized > in_float - (1.0 if k > 4 else 2.0)
        assert result.net is start
        right = (start(data.test_x).argmax(1) == data.test_y).double().mean().item()
        assert result.accuracy_quantized == pytest.approx(100 * right)
        for name, layer in result.quantized.items():
            weight = start.get_parameter(name).detach().numpy()
            np.testing.assert_array_equal(weight, layer.dequantized.astype("f"))
            assert max(len(np.unique(row)) for row in weight) <= k


def test_clustering_pulls_the_weights_to_their_centroids(few: Pictures) -> None:
    settings = replace(SHORT, epochs_tune=0, epochs_cluster=30, period=10, batch=25)
    friendly = train(small(), few, settings).quantized["first.weight"].cost.sum()
    settings = replace(settings, lam=0.0)
    control = train(small(), few, settings).quantized["first.weight"].cost.sum()
    assert friendly < 0.25 * control


def test_history_and_progress(few: Pictures) -> None:
    told: list[tuple[int, int, str]] = []
    result = train(small(), few, SHORT, on_progress=lambda *args: told.append(args))
    assert [(done, total) for done, total, _ in told] == [(i, 7) for i in range(8)]
    assert told[0][2] == (
        "seed 5, k 4, lambda 100 read per-train-set, rho 1.33, 1.07 e-folds per 2 epochs"
    )
    assert [record.phase for record in result.history] == ["float"] * 2 + ["cluster"] * 3 + [
        "tune"
    ] * 2
    assert re.fullmatch(r"cluster: loss .*, validation .* %, rms W - C \d.*", told[3][2])
    assert result.seed == 5
    assert result.rho == pytest.approx({name: 200 / 150 for name in result.quantized})
    # 2 epochs of 2 batches at lr .02, momentum .9
    expected = {name: 200 / 150 * 0.02 * 4 / 0.1 for name in result.quantized}
    assert result.efolds == pytest.approx(expected)


def test_tuning_changes_all_but_the_quantized_weights(few: Pictures) -> None:
    plain = train(small(), few, replace(SHORT, epochs_tune=0))
    tuned = train(small(), few, SHORT)
    for name in ("first.weight", "last.weight"):
        assert torch.equal(plain.net.get_parameter(name), tuned.net.get_parameter(name))
    for name in ("norm.weight", "norm.bias", "last.bias"):
        assert not torch.equal(plain.net.get_parameter(name), tuned.net.get_parameter(name))


def test_nets_without_biases_skip_the_tuning(few: Pictures) -> None:
    net = build_net(lambda: nn.Sequential(nn.Linear(64, 10, bias=False)), 0)
    assert [r.phase for r in train(net, few, SHORT).history] == ["float"] * 2 + ["cluster"] * 3


def test_seed_decides_everything_and_leaves_other_random_numbers_alone(few: Pictures) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = train(small(), few, SHORT)
    assert torch.equal(torch.rand(3), expected)
    assert_same(first, train(small(), few, SHORT))
    other = train(small(), few, replace(SHORT, seed=6))
    assert not torch.equal(first.net.first.weight, other.net.first.weight)
    assert not torch.equal(build_net(Small, 1).first.weight, build_net(Small, 2).first.weight)


def test_every_epoch_sees_every_picture_once_in_an_order_of_its_own(few: Pictures) -> None:
    batches: list[torch.Tensor] = []
    net = small()
    net.first.register_forward_pre_hook(
        lambda layer, inputs: batches.append(inputs[0]) if layer.training else None
    )
    train(net, few, SHORT)
    epochs = [torch.cat(batches[2 * i : 2 * i + 2]).numpy() for i in range(7)]
    assert len(batches) == 14
    for epoch in epochs:
        pictures = few.train_x.numpy()
        np.testing.assert_array_equal(np.sort(epoch, axis=0), np.sort(pictures, axis=0))
    assert len({epoch.tobytes() for epoch in epochs}) == 7


def interrupt_after(epoch: int) -> Callable[[int, int, str], None]:
    def on_progress(done: int, total: int, text: str) -> None:
        if done == epoch:
            raise KeyboardInterrupt

    return on_progress


@pytest.mark.parametrize("epoch", range(1, 8))
def test_goes_on_bit_for_bit_after_any_epoch(few: Pictures, tmp_path: Path, epoch: int) -> None:
    expected = train(small(), few, SHORT)
    path = tmp_path / "deep" / "run"
    with pytest.raises(KeyboardInterrupt):
        train(small(), few, SHORT, checkpoint=path, on_progress=interrupt_after(epoch))
    told: list[tuple[int, int, str]] = []
    resumed = train(
        small(), few, SHORT, checkpoint=path, on_progress=lambda *args: told.append(args)
    )
    assert told[0][0] == epoch and told[0][2].endswith(f"going on after epoch {epoch}")
    assert len(told) == 1 + 7 - epoch
    assert_same(resumed, expected)


@pytest.mark.parametrize("call", [1, 4, 8, 13])
def test_goes_on_after_an_interrupt_inside_an_epoch(
    few: Pictures, tmp_path: Path, call: int
) -> None:
    expected = train(small(), few, SHORT)
    net, calls = small(), 0

    def interrupt(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt

    net.first.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(net, few, SHORT, checkpoint=tmp_path / "run")
    assert_same(train(small(), few, SHORT, checkpoint=tmp_path / "run"), expected)


def test_an_interrupted_save_keeps_the_last_checkpoint(
    few: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, path = train(small(), few, SHORT), tmp_path / "run"
    save, saved = torch.save, 0

    def interrupted_save(state: object, file: IO[bytes]) -> None:
        nonlocal saved
        saved += 1
        if saved == 4:
            file.write(b"half a checkpoint")
            raise KeyboardInterrupt
        save(state, file)

    monkeypatch.setattr(torch, "save", interrupted_save)
    with pytest.raises(KeyboardInterrupt):
        train(small(), few, SHORT, checkpoint=path)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
    assert_same(train(small(), few, SHORT, checkpoint=path), expected)


def test_pretraining_goes_on_too(few: Pictures, tmp_path: Path) -> None:
    expected = small()
    right = pretrain(expected, few, SHORT)
    with pytest.raises(KeyboardInterrupt):
        pretrain(small(), few, SHORT, checkpoint=tmp_path / "run", on_progress=interrupt_after(1))
    net = small()
    assert pretrain(net, few, SHORT, checkpoint=tmp_path / "run") == right
    assert torch.equal(net.first.weight, expected.first.weight)
    assert right == accuracy(net, few.test_x, few.test_y)


def test_a_checkpoint_of_another_run_is_refused(few: Pictures, tmp_path: Path) -> None:
    path = tmp_path / "run"
    train(small(), few, SHORT, checkpoint=path)
    message = (
        f"checkpoint {path} is of another run (settings, data or initial weights differ); "
        "delete it or name another file"
    )
    other_data = replace(few, train_x=few.train_x * 0.5)
    other_net = build_net(Small, 99)
    for net, pictures, settings in (
        (small(), few, replace(SHORT, k=8)),
        (small(), other_data, SHORT),
        (other_net, few, SHORT),
    ):
        with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
            train(net, pictures, settings, checkpoint=path)


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("echo executed > bomb",)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "pickle", "not a dict"])
def test_a_damaged_checkpoint_is_refused_and_runs_nothing(
    few: Pictures, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run"
    train(small(), few, SHORT, checkpoint=path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    if damage == "flipped":
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
        path.write_bytes(content)
    if damage == "text":
        path.write_text("not a checkpoint")
    if damage == "pickle":
        torch.save({"version": 1, "fingerprint": Bomb()}, path)
    if damage == "not a dict":
        torch.save([1, 2], path)
    message = re.escape(f"checkpoint {path} cannot be read (")
    with pytest.raises(CheckpointError, match=rf"^{message}.*\); delete it to start again$"):
        train(small(), few, SHORT, checkpoint=path)
    assert not (tmp_path / "bomb").exists()


def test_unstable_settings_are_refused_before_any_training(few: Pictures) -> None:
    net = small()
    with pytest.raises(ValueError, match=r"^lr \* rho must be below 3.8 for first.weight, not 4:"):
        train(net, few, replace(SHORT, reading="sum"))
    assert torch.equal(net.first.weight, small().first.weight)


def test_not_a_number_is_refused(few: Pictures) -> None:
    bad = few.train_x.clone()
    bad[7, 3] = float("nan")
    with pytest.raises(DivergedError, match=r"^loss must stay finite, not nan in epoch 1$"):
        train(small(), replace(few, train_x=bad), SHORT)


def test_bad_settings_and_data_are_refused(few: Pictures) -> None:
    with pytest.raises(ValueError, match=r"^epochs_tune must not be negative, not -1$"):
        TrainSettings(epochs_tune=-1)
    with pytest.raises(ValueError, match=r"^batch must be at least 1, not 0$"):
        TrainSettings(batch=0)
    with pytest.raises(ValueError, match=r"^test must have a label per input, not 149 for 150$"):
        replace(few, test_y=few.test_y[1:])


def test_table_six_net_has_the_papers_matrices_and_their_real_products(data: Pictures) -> None:
    net, seen = build_net(TableSixNet, 0), {}
    for name in ("fc", "conv"):
        net.get_submodule(name).register_forward_hook(
            lambda layer, i, o, name=name: seen.update({name: o})
        )
    picture = data.test_x[3]
    fc, conv = table_six_case(net, picture)
    assert (fc.weight.shape, conv.weight.shape) == ((1000, 1024), (384, 1728))
    assert (fc.name, conv.name) == ("fc", "conv")
    assert {value.dtype for case in (fc, conv) for value in (case.weight, case.activation)} == {
        np.dtype("f4")
    }
    assert net(picture[None, :]).shape == (1, 10)
    for case, output in ((fc, seen["fc"][0]), (conv, seen["conv"][0, :, 1, 1])):
        bias = net.get_submodule(case.name).bias.detach().numpy()
        product = case.weight.astype(float) @ case.activation + bias
        np.testing.assert_allclose(product, output.detach().numpy(), rtol=1e-4, atol=1e-5)
        assert np.count_nonzero(case.activation) > 0.2 * len(case.activation)


def test_another_quantizer_is_another_run(few: Pictures, tmp_path: Path) -> None:
    def coarse(rows: np.ndarray, k: int) -> object:
        return quantize(rows, 1)

    train(small(), few, SHORT, checkpoint=tmp_path / "run")
    with pytest.raises(CheckpointError, match="is of another run"):
        train(small(), few, SHORT, checkpoint=tmp_path / "run", solver=coarse)
    result = train(small(), few, replace(SHORT, epochs_tune=0), solver=coarse)
    assert all(len(np.unique(row)) == 1 for row in result.net.first.weight.detach().numpy())


class Prunable(nn.Module):
    """Two layers and no batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 12)
        self.last = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(functional.relu(self.first(x)))


@pytest.mark.parametrize("masked", [True, False])
def test_training_does_not_undo_a_pruning(few: Pictures, masked: bool) -> None:
    net = build_net(Prunable, 5)
    prune.l1_unstructured(net.first, "weight", 0.6)
    zeros = net.first.weight_mask == 0
    if not masked:
        prune.remove(net.first, "weight")
    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = train(net, few, SHORT, on_progress=lambda *args: told.append(args[2]))
    texts = [str(w.message) for w in caught if issubclass(w.category, TrainingWarning)]
    if masked:
        assert not texts
    else:
        assert texts == [
            "weights that are exactly 0 are taken for pruned and held at 0: "
            f"{int(zeros.sum()):,} of first.weight; keep_zeros=True says that this is meant, "
            "keep_zeros=False lets them train"
        ]
        assert told[0].endswith(f", {int(zeros.sum()):,} pruned weights held at 0")
    assert not net.first.weight[zeros].any() and net.first.weight[~zeros].any()
    rows = result.quantized["first.weight"].dequantized
    assert not rows[zeros.numpy()].any()
    np.testing.assert_array_equal(net.first.weight.detach().numpy(), rows.astype("f"))
    assert max(len(np.unique(row)) for row in rows) <= SHORT.k
    if not masked:
        lets = train(build_net(Prunable, 5), few, replace(SHORT, keep_zeros=False))
        assert lets.net.first.weight[zeros].any()


def test_frozen_layers_are_quantized_and_that_is_told(few: Pictures) -> None:
    net, told = small(), []
    net.first.weight.requires_grad_(False)
    before = net.first.weight.clone()
    result = train(net, few, SHORT, on_progress=lambda *args: told.append(args[2]))
    assert told[0].endswith(", frozen but quantized in the end: first.weight")
    expected = quantize(before.numpy(), SHORT.k).dequantized.astype("f")
    np.testing.assert_array_equal(result.net.first.weight.numpy(), expected)
    net = small()
    net.first.weight.requires_grad_(False)
    train(net, few, replace(SHORT, skip=("first",)))
    assert torch.equal(net.first.weight, before)
