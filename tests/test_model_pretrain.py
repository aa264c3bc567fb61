"""Float networks to start from: the command, its file, what it says where something is missing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dpnet.model.data.labeled import Labeled
from dpnet.model.experiments import pretrain as command
from dpnet.model.experiments.pretrain import DATA, RECIPES, as_pictures, main
from dpnet.model.networks.catalog import find

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Labeled:
    """Bright pictures are ones, dark ones are zeros: 300 to train with, besides those held out."""
    rng = np.random.default_rng(1)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 2, count)
        dark = rng.integers(0, 100, (count, 1, 28, 28))
        return (dark + 150 * labels[:, None, None, None]).astype(np.uint8), labels

    data = Labeled(*part(command.HELD + 300), *part(50))
    monkeypatch.setitem(DATA, "mnist", lambda: data)
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    return data


def test_the_command_trains_once_and_reads_it_the_next_time(
    digits: Labeled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lenet-5", "--epochs", "2", "--seed", "7"]) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[0].startswith("[0/2] seed 7, 2 epochs of 3 steps") and len(first) == 4
    assert re.fullmatch(r"lenet-5: \d+\.\d\d % of the 50 pictures to test", first[-1])
    assert [path.name for path in (tmp_path / "networks").iterdir()] == ["lenet-5-2-7.pt"]
    assert main(["lenet-5", "--epochs", "2", "--seed", "7"]) == 0
    second = capsys.readouterr().out.splitlines()
    assert second[0].endswith(", going on after epoch 2") and second[1:] == first[-1:]


def test_what_is_held_out_is_not_trained_with(digits: Labeled) -> None:
    one, two = as_pictures(digits), as_pictures(digits)
    assert len(one.train_x) == 300 and len(one.validation_x) == command.HELD
    assert torch.equal(one.validation_x, two.validation_x)
    together = torch.cat([one.train_x, one.validation_x]).flatten(1).double().mean(1)
    every = torch.from_numpy(digits.train_x).flatten(1).double().mean(1)
    assert torch.equal(together.sort().values, every.sort().values)


def test_missing_data_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DPNET_DATA", raising=False)
    assert main(["tt-conv"]) == 1
    assert capsys.readouterr().err == (
        "error: DPNET_DATA must name the folder that has MNIST/raw/ and cifar-10-batches-bin/; "
        "it is not set\n"
    )


def test_ctrl_c_says_how_to_go_on(
    digits: Labeled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "fit", interrupted)
    assert main(["lenet-5"]) == 130
    said = capsys.readouterr().err
    assert said == "interrupted: the same command goes on after the last epoch\n"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_its_data(name: str) -> None:
    assert find(name).dataset in DATA


def test_no_epochs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["lenet-5", "--epochs", "0"])
    assert error.value.code == 2
    assert "argument --epochs: must be at least 1, not 0" in capsys.readouterr().err
