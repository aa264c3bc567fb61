"""A data set of pictures in folders, listed and not read (standard library and NumPy).

    FOLDER/train/CLASS/*.jpg        also .jpeg and .png, in upper case too
    FOLDER/val/CLASS/*.jpg          the same classes

A class's number is its place among the sorted names, as torchvision's weights have it for
ImageNet's 1,000 folders n01440764 … n15075141.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpnet.model.data.places import DataError, MissingDataError

__all__ = ["PictureFolder", "list_pictures"]

ENDINGS = (".jpg", ".jpeg", ".png")
TRAIN, VAL = "train", "val"


@dataclass(frozen=True, eq=False)
class PictureFolder:
    """Files below `root`, those to train with first: a picture's number is its place in `files`.

    `labels` (n,), int64, are their classes; `n_train` of the files are to train with.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    n_train: int

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of all names, in order, and of how they are split."""
        said = "\n".join([str(self.n_train), *self.files])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def path(self, number: int) -> Path:
        """The file of a picture."""
        return self.root / self.files[number]


def list_pictures(root: Path) -> PictureFolder:
    """The pictures of both parts, by sorted class and name.

    `MissingDataError` where a part is not there, `DataError` for a part without classes, a class
    without pictures, and parts of different classes.
    """
    found: dict[str, dict[str, list[str]]] = {part: _part(root, part) for part in (TRAIN, VAL)}
    classes = list(found[TRAIN])
    if list(found[VAL]) != classes:
        odd = min(set(found[VAL]) ^ set(classes))
        raise DataError(
            f"{root} must have the same classes in {TRAIN}/ and {VAL}/; {odd} is in one alone: "
            "make a folder for each class in both"
        )
    files: list[str] = []
    labels: list[int] = []
    counts = []
    for part in (TRAIN, VAL):
        for label, (name, pictures) in enumerate(found[part].items()):
            files += [f"{part}/{name}/{picture}" for picture in pictures]
            labels += [label] * len(pictures)
        counts.append(len(files))
    return PictureFolder(
        root, tuple(classes), tuple(files), np.asarray(labels, np.int64), counts[0]
    )


def _part(root: Path, part: str) -> dict[str, list[str]]:
    folder = root / part
    if not folder.is_dir():
        raise MissingDataError(
            f"{folder} is missing: a folder of classes, each with its pictures "
            f"({part}/CLASS/*.jpg); name the folder above with --data"
        )
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if not classes:
        raise DataError(f"{folder} must have a folder for each class, not none")
    return {name: _pictures(folder / name) for name in classes}


def _pictures(folder: Path) -> list[str]:
    found = sorted(
        entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(ENDINGS)
    )
    if not found:
        raise DataError(f"{folder} must have pictures ({', '.join(ENDINGS)}), not none")
    return found
