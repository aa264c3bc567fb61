"""Float networks to start from, where no weights are published: trained once, then read again.

    python -m dpnet.model.experiments.pretrain lenet-5
    python -m dpnet.model.experiments.pretrain tt-conv --epochs 30 --device cuda --bf16

Data from the folder of `DPNET_DATA`; the net, resumable after every epoch, in `networks/` of the
build folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from dpnet.model.build_root import build_root
from dpnet.model.data.augmentation import Augmentation
from dpnet.model.data.cifar import cifar10
from dpnet.model.data.labeled import Labeled, holdout
from dpnet.model.data.mnist import mnist
from dpnet.model.data.places import DataError
from dpnet.model.experiments.evaluation import accuracy
from dpnet.model.experiments.fit import TaskLoss, fit, print_progress
from dpnet.model.experiments.schedules import OneCycle
from dpnet.model.experiments.settings import FitSettings
from dpnet.model.networks.catalog import Architecture, find
from dpnet.model.pictures import Pictures
from dpnet.model.training.checkpoint import CheckpointError
from dpnet.model.training.recipe import build_net
from dpnet.model.training.run import Progress

HELD = 5_000
SPLIT_SEED = 1  # a constant: the part that is held out is the same for every training's seed

DATA: dict[str, Callable[[], Labeled]] = {"mnist": mnist, "cifar-10": cifar10}

DIGITS = FitSettings(
    epochs=10, schedule=OneCycle(0.1), augmentation=Augmentation(crop=2), average=0.995
)
COLORS = FitSettings(
    epochs=30,
    schedule=OneCycle(0.2),
    augmentation=Augmentation(crop=4, flip=True, cutout=8),
    average=0.999,
    channels_last=True,
)
RECIPES = {
    "lenet-5": DIGITS,
    "small-cnn": DIGITS,
    "tt-conv": COLORS,
    # Without batch norm it does not stand the rate of the others.
    "fresh-net": replace(COLORS, schedule=OneCycle(0.02)),
    "wrn-16-4": COLORS,
    "resnet-18": COLORS,
    "resnet-20": COLORS,
    "resnet-32": COLORS,
    "resnet-56": COLORS,
}
"""How each network is trained; the epochs are few, for two cores."""


def as_pictures(data: Labeled, held: int = HELD) -> Pictures:
    """The data set as tensors of bytes, `held` of its pictures to train with held out."""
    kept, out = holdout(len(data.train_x), held, SPLIT_SEED)
    parts = (
        *(data.train_x[kept], data.train_y[kept]),
        *(data.train_x[out], data.train_y[out]),
        *(data.test_x, data.test_y),
    )
    return Pictures(*(torch.tensor(part) for part in parts))


def pretrain(
    entry: Architecture,
    data: Pictures,
    settings: FitSettings,
    *,
    device: str = "cpu",
    folder: Path | None = None,
    on_progress: Progress | None = None,
    task_loss: TaskLoss | None = None,
) -> nn.Module:
    """The network trained with `settings`, in evaluation mode on `device`.

    Its checkpoint is `NAME-EPOCHS-SEED.pt` in `folder`, `networks/` of the build folder unless it
    is given; where that is of a finished run of the same settings and data, nothing is trained.
    `task_loss` and errors as those of `fit`.
    """
    folder = build_root() / "networks" if folder is None else folder
    net = build_net(entry.make, settings.seed)
    fit(
        net,
        data,
        settings,
        preparation=entry.preparation,
        device=device,
        checkpoint=folder / f"{entry.name}-{settings.epochs}-{settings.seed}.pt",
        on_progress=on_progress,
        task_loss=task_loss,
    )
    return net


def main(arguments: Sequence[str] | None = None) -> int:
    """The command above; its exit status."""
    given = _parser().parse_args(arguments)
    entry, settings = find(given.name), RECIPES[given.name]
    epochs = settings.epochs if given.epochs is None else given.epochs
    settings = replace(settings, epochs=epochs, seed=given.seed, bf16=given.bf16)
    try:
        data = as_pictures(DATA[entry.dataset]())
        net = pretrain(entry, data, settings, device=given.device, on_progress=print_progress)
    except (CheckpointError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on after the last epoch", file=sys.stderr)
        return 130
    right = accuracy(net, data.test_x, data.test_y, entry.preparation)
    print(f"{given.name}: {right:.2f} % of the {len(data.test_y):,} pictures to test")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train a float network of the experiments.")
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--epochs", type=_positive, help="other than the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 …")
    parser.add_argument("--bf16", action="store_true", help="forward passes in bfloat16")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
