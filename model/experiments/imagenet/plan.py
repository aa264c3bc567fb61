"""Table IV's plan: GoogLeNet from published weights, its pictures in a folder of the caller's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from dpnet.model.data.augmentation import Augmentation
from dpnet.model.data.labeled import Labeled
from dpnet.model.data.places import DataError, MissingDataError
from dpnet.model.experiments.imagenet.folder import PictureFolder, list_pictures
from dpnet.model.experiments.imagenet.reading import FromFiles, Store
from dpnet.model.experiments.imagenet.weights import load_weights
from dpnet.model.experiments.plans import WITHOUT_LLOYD, Paper, Plan
from dpnet.model.experiments.schedules import Stepped
from dpnet.model.experiments.settings import FitSettings
from dpnet.model.networks.catalog import Architecture, find
from dpnet.model.networks.googlenet import GoogLeNet

__all__ = ["IMAGENET_PLAN", "ImageNetPlan", "Top5"]

PERIOD = 3
"""Of the paper's schedule, in epochs."""
ORDER_SEED = 2
"""Numbers to train with are in an order by chance, always the same: norms are estimated anew on
the first ones, which are to be of all classes."""
FEWEST = 10
"""Pictures to train with, of which one is held out."""
MOST_NUMBERS = 1 << 24
"""Whole numbers that float32 has, as which the trainer hands them to the net."""


@dataclass(frozen=True, kw_only=True)
class Top5:
    """What the paper's Table IV says besides of a method at `bits`: points of the top-5 accuracy,
    against the pretrained net."""

    method: str
    bits: int
    delta: float


@dataclass(frozen=True, kw_only=True)
class ImageNetPlan(Plan):
    """A plan whose inputs are the numbers of pictures in the folder `pictures`, read by the net
    itself, and whose pretrained net is of the file `weights`.

    `of` says of which names and weights it is, not where they lie: a folder may move between two
    calls.  The rate falls to a tenth after each third of the epochs, as the paper has it.
    `data`, `entry` and `start` raise `MissingDataError`, `DataError` and `WeightsError`.
    """

    pictures: Path | None = field(default=None, repr=False, compare=False)
    weights: Path | None = field(default=None, repr=False, compare=False)
    of: str = ""

    @cached_property
    def folder(self) -> PictureFolder:
        """The pictures, listed."""
        if self.pictures is None:
            raise MissingDataError(
                f"{self.name} needs pictures, train/CLASS/*.jpg and val/CLASS/*.jpg: name their "
                "folder with --data"
            )
        found = list_pictures(self.pictures)
        if found.n_train < FEWEST:
            raise DataError(
                f"{self.pictures} must have at least {FEWEST} pictures to train with, "
                f"not {found.n_train}"
            )
        if len(found.files) > MOST_NUMBERS:
            raise DataError(f"{self.pictures} must have at most {MOST_NUMBERS:,} pictures")
        return found

    @cached_property
    def store(self) -> Store:
        """What reads them."""
        return Store(self.folder)

    @property
    def entry(self) -> Architecture:
        """GoogLeNet on numbers of pictures, with as many classes as there are."""
        classes = len(self.folder.classes)
        return replace(
            find(self.network),
            make=lambda: FromFiles(GoogLeNet(classes), self.store),
            preparation=None,
        )

    def data(self) -> Labeled:
        """Numbers in place of pixels."""
        folder = self.folder
        numbers = np.arange(len(folder.files))
        order = np.random.default_rng(ORDER_SEED).permutation(folder.n_train)
        train, test = numbers[order], numbers[folder.n_train :]
        return Labeled(train, folder.labels[train], test, folder.labels[test])  # type: ignore[arg-type]

    def start(self) -> FromFiles:
        """The pretrained net."""
        classes = len(self.folder.classes)
        if self.weights is None:
            raise MissingDataError(
                f"{self.name} needs GoogLeNet's published state dict, .pth or .safetensors: name "
                "its file with --weights"
            )
        net = load_weights(self.weights)
        if net.fc.out_features != classes:
            raise DataError(
                f"{self.pictures} must have {net.fc.out_features:,} classes, as {self.weights} "
                f"has, not {classes:,}"
            )
        return FromFiles(net, self.store)

    def identified(self) -> ImageNetPlan:
        """The same, which says of which names and weights it is."""
        net = self.start()
        digest = hashlib.sha256(self.folder.digest.encode())
        for name, tensor in net.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        return replace(self, of=digest.hexdigest()[:16])

    def whole(self) -> ImageNetPlan:
        """At full length, codebooks solved as often as in the paper."""
        full = super().whole()
        assert isinstance(full, ImageNetPlan)
        return replace(full, period=PERIOD)

    def phase(self, seed: int) -> FitSettings:
        """As every plan's, with the paper's steps."""
        return replace(super().phase(seed), schedule=Stepped(self.rate, (1 / 3, 2 / 3)))


IMAGENET_PLAN = ImageNetPlan(
    name="table4",
    network="googlenet",
    bits=(3, 4),
    epochs=1,
    full=30,
    rate=0.01,
    rho=5.0,
    period=1,
    augmentation=Augmentation(),
    published=False,
    methods=WITHOUT_LLOYD,
    engine=False,
    paper=(
        Paper(method="dp-net", bits=3, delta=-1.56, epochs=30),
        Paper(method="dp-net", bits=4, delta=0.3, epochs=30),
    ),
)
"""The rates are ours: the paper has no first one."""
PAPER_TOP5 = (
    Top5(method="dp-net", bits=3, delta=-0.88),
    Top5(method="dp-net", bits=4, delta=0.2),
)
"""Beside the plan's `paper`."""
