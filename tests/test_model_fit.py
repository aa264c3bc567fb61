"""The trainer of the experiments: what it learns, the same after every interruption, each option
against its definition, bad input."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_pre_hook

from dpnet.model.data.augmentation import Augmentation
from dpnet.model.data.preparation import Preparation
from dpnet.model.experiments.evaluation import accuracy, reestimate_norms
from dpnet.model.experiments.fit import Fitted, fit, print_progress
from dpnet.model.experiments.schedules import Cosine, OneCycle
from dpnet.model.experiments.settings import Clustering, FitSettings
from dpnet.model.networks.handwritten import handwritten
from dpnet.model.pictures import Pictures
from dpnet.model.training.recipe import CheckpointError, DivergedError, build_net

pytestmark = pytest.mark.usefixtures("one_thread")


SIXTEENTHS = Preparation((0.0,), (16.0,))
PULLED = Clustering(k=4, period=2, pull=True)
ALL = FitSettings(
    epochs=4,
    schedule=OneCycle(0.1),
    batch=64,
    augmentation=Augmentation(crop=1, flip=True, cutout=3),
    smoothing=0.1,
    average=0.9,
    channels_last=True,
    clustering=Clustering(k=4, period=2),
    seed=3,
)


class Small(nn.Module):
    """Convolutions, batch norm and dropout: all the state that a checkpoint could forget."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.norm(self.conv1(x))), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        return self.fc(functional.dropout(x.flatten(1), 0.1, self.training))


@pytest.fixture(scope="module")
def data() -> Pictures:
    """Digits as bytes 0 to 16, 1 x 8 x 8."""
    train_x, train_y, held_x, held_y, test_x, test_y = handwritten()
    parts = [
        part
        for x, y in ((train_x, train_y), (held_x, held_y), (test_x, test_y))
        for part in ((x * 16).astype(np.uint8).reshape(-1, 1, 8, 8), y)
    ]
    return Pictures(*map(torch.from_numpy, parts))


@pytest.fixture(scope="module")
def few(data: Pictures) -> Pictures:
    return Pictures(**{name: part[:150] for name, part in vars(data).items()})


def small() -> Small:
    return build_net(Small, 5)


def run(net: nn.Module, data: Pictures, settings: FitSettings, **more: object) -> Fitted:
    return fit(net, data, settings, preparation=SIXTEENTHS, **more)


def assert_same(one: tuple[nn.Module, Fitted], other: tuple[nn.Module, Fitted]) -> None:
    states = zip(one[0].state_dict().items(), other[0].state_dict().items(), strict=True)
    for (name, a), (_, b) in states:
        assert torch.equal(a, b), name
    for a, b in zip(one[1].history, other[1].history, strict=True):
        assert repr(replace(a, seconds=0.0)) == repr(replace(b, seconds=0.0))
    for name, layer in one[1].quantized.items():
        assert np.array_equal(layer.codebook, other[1].quantized[name].codebook)
        assert np.array_equal(layer.indices, other[1].quantized[name].indices)


# Learning


def test_float_then_clustering_learns_the_digits(data: Pictures) -> None:
    net = small()
    plain = FitSettings(epochs=12, schedule=OneCycle(0.2), batch=64, decay=0.0)
    result = run(net, data, plain)
    assert accuracy(net, data.test_x, data.test_y, SIXTEENTHS) > 95
    assert not net.training and not result.quantized
    assert all(math.isnan(epoch.spread) for epoch in result.history)
    assert result.history[-1].loss < result.history[0].loss / 4
    clustered = replace(plain, schedule=Cosine(0.05), clustering=PULLED)
    result = run(net, data, clustered)
    assert accuracy(net, data.test_x, data.test_y, SIXTEENTHS) > 94
    assert list(result.quantized) == ["conv1.weight", "conv2.weight", "fc.weight"]
    for name, layer in result.quantized.items():
        rows = net.get_parameter(name).detach().flatten(1)
        assert max(len(row.unique()) for row in rows) <= 4
        assert np.array_equal(rows.numpy(), layer.dequantized.astype(np.float32))
    assert result.history[-1].spread < result.history[0].spread


# The same after every interruption


@pytest.fixture(scope="module")
def whole(few: Pictures) -> tuple[nn.Module, Fitted]:
    net = small()
    return net, run(net, few, ALL)


class Stop:
    """Ctrl-C when an epoch is reported."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, done: int, total: int, text: str) -> None:
        if done == self.epoch and not text.startswith("seed"):
            raise KeyboardInterrupt


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_run_in_two_parts_is_the_whole_one(
    epoch: int, few: Pictures, whole: tuple[nn.Module, Fitted], tmp_path: Path
) -> None:
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        run(small(), few, ALL, checkpoint=path, on_progress=Stop(epoch))
    told: list[str] = []
    net = small()
    result = run(net, few, ALL, checkpoint=path, on_progress=lambda *t: told.append(t[2]))
    assert told[0].endswith(f", going on after epoch {epoch}") and len(told) == 5 - epoch
    assert_same((net, result), whole)
    assert_same((again := small(), run(again, few, ALL, checkpoint=path)), whole)


class Breaks:
    """The loss of the settings; Ctrl-C at its call number `at`."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __repr__(self) -> str:
        return "Breaks"

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return functional.cross_entropy(net(x), y)


def test_ctrl_c_within_an_epoch_loses_that_epoch_alone(few: Pictures, tmp_path: Path) -> None:
    net, path = small(), tmp_path / "run.pt"
    expected = net, run(net, few, ALL, task_loss=Breaks(0))
    # Three steps an epoch: once in the first epoch, once in the third.
    for at in (2, 8):
        with pytest.raises(KeyboardInterrupt):
            run(small(), few, ALL, checkpoint=path, task_loss=Breaks(at))
    net = small()
    assert_same((net, run(net, few, ALL, checkpoint=path, task_loss=Breaks(0))), expected)


def test_random_numbers_outside_are_as_they_were(few: Pictures) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    run(small(), few, replace(ALL, epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_another_seed_is_another_training(few: Pictures) -> None:
    losses = {
        run(small(), few, replace(ALL, epochs=1, seed=seed)).history[0].loss for seed in (1, 1, 2)
    }
    assert len(losses) == 2


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"clustering": None}, {"augmentation": Augmentation()}, {"epochs": 5}],
)
def test_a_checkpoint_of_another_run_is_refused(
    change: dict[str, object], few: Pictures, tmp_path: Path
) -> None:
    path = tmp_path / "run.pt"
    run(small(), few, replace(ALL, epochs=1), checkpoint=path)
    message = f"checkpoint {path} is of another run (settings, data or initial weights differ); "
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}"):
        run(small(), few, replace(ALL, **({"epochs": 1} | change)), checkpoint=path)


# Each option


def test_the_average_is_that_of_the_weights_behind_all_steps(few: Pictures, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    seen: list[Tensor] = []

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        seen.append(net.get_parameter("fc.weight").detach().clone())
        return functional.cross_entropy(net(x), y)

    net = small()
    settings = FitSettings(epochs=2, schedule=Cosine(0.1), batch=64, average=0.75)
    run(net, few, settings, checkpoint=path, task_loss=loss)
    last = torch.load(path, weights_only=True)["net"]["fc.weight"]
    mean, *others = *seen[1:], last
    for weight in others:
        mean = 0.75 * mean + 0.25 * weight
    assert len(seen) == 6
    assert torch.allclose(net.fc.weight, mean, atol=1e-6)
    assert not torch.allclose(net.fc.weight, last, atol=1e-6)


def test_every_step_has_the_rate_of_the_schedule(few: Pictures) -> None:
    rates: list[float] = []
    handle = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.extend(group["lr"] for group in optimizer.param_groups)
    )
    schedule = OneCycle(0.1, rise=0.3)
    run(small(), few, FitSettings(epochs=2, schedule=schedule, batch=64))
    handle.remove()
    assert rates == [schedule.rate(step, 6) for step in range(6) for _group in range(2)]


def test_decay_is_on_matrices_alone(few: Pictures) -> None:
    net = small()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}

    def nothing(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return 0.0 * net(x).sum()

    settings = FitSettings(epochs=1, schedule=Cosine(0.1, 0.1), batch=200, decay=0.5)
    run(net, few, replace(settings, momentum=0.0), task_loss=nothing)
    for name, parameter in net.named_parameters():
        shrunk = 1 - 0.1 * 0.5 if parameter.ndim > 1 else 1.0
        assert torch.allclose(parameter, shrunk * before[name]), name


def test_smoothing_is_that_of_the_labels(few: Pictures) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    logits = net(few.train_x.float() / 16).log_softmax(1).detach()
    right = -logits.gather(1, few.train_y[:, None]).mean()
    expected = 0.8 * right - 0.2 * logits.mean()
    settings = FitSettings(epochs=1, schedule=Cosine(1e-12), batch=64, smoothing=0.2)
    assert run(net, few, settings).history[0].loss == pytest.approx(float(expected), rel=1e-5)


def test_bfloat16_is_near_float32_and_leaves_the_weights_alone(few: Pictures) -> None:
    settings = FitSettings(epochs=1, schedule=Cosine(0.05), batch=64)
    losses = []
    for bf16 in (False, True):
        net = small()
        losses.append(run(net, few, replace(settings, bf16=bf16)).history[0].loss)
        assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.02)


def test_channels_last_is_where_the_weights_lie(few: Pictures) -> None:
    net = small()
    seen = []
    net.conv2.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    run(net, few, FitSettings(epochs=1, schedule=Cosine(0.05), channels_last=True))
    for tensor in (net.conv2.weight, seen[0]):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
        assert not tensor.is_contiguous()


def test_the_test_part_is_not_looked_at(few: Pictures) -> None:
    other = replace(few, test_x=torch.zeros(1, 2), test_y=torch.zeros(1, dtype=torch.int64))
    settings = FitSettings(epochs=1, schedule=Cosine(0.05))
    one, two = small(), small()
    assert_same((one, run(one, few, settings)), (two, run(two, other, settings)))


def test_the_seed_the_term_and_the_time_left_are_told(
    few: Pictures, capsys: pytest.CaptureFixture[str]
) -> None:
    run(small(), few, ALL, on_progress=print_progress)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("[0/4] seed 3, 4 epochs of 3 steps, OneCycle(peak=0.1, ")
    # rho = 2 · 100 / 150, times 0.1, times 6 steps, over 1 - 0.9.
    assert lines[0].endswith(
        "k 4, lambda 100 read per-train-set, in the loss, 8 to 8 e-folds in 2 epochs at the peak"
    )
    number = r"\d+\.\d+"
    for line in lines[1:]:
        assert re.fullmatch(
            rf"\[\d/4\] loss {number}, validation {number} %, rms W - C {number}e-\d\d, "
            rf"{number} s, 0:00:\d\d left",
            line,
        )


def test_a_long_epoch_is_not_silent(few: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are told within an epoch where it is long, and the result is the same."""
    settings = replace(ALL, epochs=2)
    one, two, told = small(), small(), []
    quiet = run(one, few, settings)
    monkeypatch.setattr("dpnet.model.experiments.fit.QUIET_S", 0.0)
    assert_same((one, quiet), (two, run(two, few, settings, on_progress=lambda *t: told.append(t))))
    assert [done for done, total, text in told] == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    within = [text for done, total, text in told if " of it" in text]
    assert [text.rpartition(",")[0] for text in within] == [
        f"epoch {epoch}: {step} of 3 steps" for epoch in (1, 2) for step in (1, 2, 3)
    ]
    assert all(re.search(r"steps, 0:00:\d\d left of it$", text) for text in within)


# Bad input


def test_an_unstable_term_is_refused_before_any_training(few: Pictures) -> None:
    net = small()
    before = net.fc.weight.detach().clone()
    unstable = replace(ALL, clustering=replace(ALL.clustering, reading="sum"))
    with pytest.raises(ValueError, match=r"^lr \* rho must be below "):
        run(net, few, unstable)
    assert torch.equal(net.fc.weight, before)
    pulled = replace(unstable, clustering=replace(PULLED, reading="sum"))
    assert math.isfinite(run(net, few, pulled).history[-1].loss)


def test_a_loss_that_is_no_number_ends_the_run(few: Pictures) -> None:
    with pytest.raises(DivergedError, match=r"^loss must stay finite, not (inf|nan) in epoch \d$"):
        run(small(), few, FitSettings(epochs=3, schedule=Cosine(1e20, 1e20), batch=32))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"epochs": 0}, "epochs and batch must be at least 1, not 0 and 64"),
        ({"batch": 0}, "epochs and batch must be at least 1, not 4 and 0"),
        ({"momentum": 1.0}, "momentum must be 0 to below 1, not 1.0"),
        ({"smoothing": -0.1}, "smoothing must be 0 to below 1, not -0.1"),
        ({"average": 1.0}, "average must be 0 to below 1, not 1.0"),
        ({"decay": math.nan}, "decay must be finite and not negative, not nan"),
    ],
)
def test_settings_that_are_none_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(ALL, **change)


# What a net is worth


def test_accuracy_is_the_share_that_is_right_and_leaves_the_mode() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.Dropout(0.9))
    with torch.no_grad():
        net[1].weight.copy_(torch.eye(2))
    x = torch.tensor([[1, 0], [0, 1], [5, 2], [0, 3]], dtype=torch.uint8)
    net[0].eval()
    assert accuracy(net, x, torch.tensor([0, 1, 1, 1])) == 75.0
    assert [module.training for module in net.modules()] == [True, False, True, True]


def test_norms_are_estimated_from_the_pictures_that_are_given(data: Pictures) -> None:
    net = small()
    momentum = net.norm.momentum
    x = data.train_x[:1000]
    reestimate_norms(net, x, SIXTEENTHS)
    maps = net.conv1(x.float() / 16).detach()
    halves = maps.split(500)  # the statistics are means over batches of 500
    mean = torch.stack([half.mean((0, 2, 3)) for half in halves]).mean(0)
    variance = torch.stack([half.var((0, 2, 3)) for half in halves]).mean(0)
    assert torch.allclose(net.norm.running_mean, mean, atol=1e-5)
    assert torch.allclose(net.norm.running_var, variance, rtol=1e-4)
    assert net.norm.momentum == momentum and not net.training and not net.norm.training
