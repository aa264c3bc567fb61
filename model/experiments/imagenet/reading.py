"""Pictures from files as a net sees them, and a net that reads them itself.

The trainer of the experiments holds its training part as one tensor. A data set that no memory
holds is that of the pictures' numbers, and the net around GoogLeNet reads each batch from disk.
"""

from __future__ import annotations

import importlib
import math
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpnet.model.data.augmentation import prepare
from dpnet.model.data.places import DataError
from dpnet.model.data.preparation import HALVES
from dpnet.model.experiments.imagenet.folder import PictureFolder

__all__ = ["SIDE", "FromFiles", "Store", "read_center", "read_random"]

SHORTER, SIDE = 256, 224
AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
TRIES = 10
"""A random part of a picture has such a share of its area and such a ratio of its sides; after so
many that do not fit it is the middle, as torchvision has it."""
JUDGED = 125
"""Pictures that are in memory at once where nothing is trained."""


def read_center(path: Path) -> NDArray[np.uint8]:
    """(3, SIDE, SIDE): the middle of the picture whose shorter side was made SHORTER.

    `DataError` for a file that is no picture.
    """
    with _opened(path) as picture:
        width, height = picture.size
        shorter = min(width, height)
        # What is left over of the longer side is cut off, as torchvision does.
        size = (SHORTER * width // shorter, SHORTER * height // shorter)
        left, top = (round((length - SIDE) / 2) for length in size)
        resized = picture.resize(size, _bilinear())
        return _array(resized.crop((left, top, left + SIDE, top + SIDE)))


def read_random(path: Path, seed: int) -> NDArray[np.uint8]:
    """(3, SIDE, SIDE): a part of the picture that `seed` says, resized, every second one mirrored.

    `DataError` for a file that is no picture.
    """
    chance = random.Random(seed)
    with _opened(path) as picture:
        box = random_box(picture.width, picture.height, chance)
        found = _array(picture.resize((SIDE, SIDE), _bilinear(), box))
    return np.ascontiguousarray(found[:, :, ::-1]) if chance.random() < 0.5 else found


def random_box(width: int, height: int, chance: random.Random) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a random part of a picture of that size."""
    for _ in range(TRIES):
        area = width * height * chance.uniform(*AREA)
        ratio = math.exp(chance.uniform(*map(math.log, RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = chance.randint(0, width - w), chance.randint(0, height - h)
            return left, top, left + w, top + h
    w = min(width, max(1, round(height * RATIO[1])))
    h = min(height, max(1, round(width / RATIO[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _opened(path: Path) -> Any:
    """An RGB picture of Pillow's."""
    pillow = importlib.import_module("PIL.Image")
    try:
        with pillow.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path} cannot be read as a picture ({reason}): replace it or take it away"
        ) from error


def _bilinear() -> Any:
    return importlib.import_module("PIL.Image").Resampling.BILINEAR


def _array(picture: Any) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(picture, np.uint8).transpose(2, 0, 1))


class Store:
    """Batches of pictures by number, read by as many threads as PyTorch has."""

    def __init__(self, folder: PictureFolder) -> None:
        self.folder = folder
        self._threads: ThreadPoolExecutor | None = None

    def __deepcopy__(self, memo: object) -> Store:
        """Copies of a net read the same files."""
        return self

    def read(self, numbers: Tensor, *, training: bool) -> Tensor:
        """(n, 3, SIDE, SIDE), float32 as GoogLeNet wants them, on the numbers' device.

        `training`: random parts, from torch's random numbers; otherwise the middles.
        """
        whole = numbers.detach().cpu().long()
        paths = [self.folder.path(number) for number in whole.tolist()]
        if training:
            seeds = torch.randint(2**62, (len(paths),)).tolist()
            found = self._map(read_random, paths, seeds)
        else:
            found = self._map(read_center, paths)
        pixels = torch.from_numpy(np.stack(found)).to(numbers.device)
        return prepare(pixels, HALVES)

    def _map(self, read: Any, *arguments: Sequence[Any]) -> list[NDArray[np.uint8]]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(torch.get_num_threads())
        return list(self._threads.map(read, *arguments))


class FromFiles(nn.Module):
    """`net` on pictures that it is given as their numbers, (n,), in any type; its logits.

    They are random parts as long as any of its layers is in training, the middles otherwise.
    """

    def __init__(self, net: nn.Module, store: Store) -> None:
        super().__init__()
        self.net, self.store = net, store

    def forward(self, numbers: Tensor) -> Tensor:
        """Logits (n, classes)."""
        device = next(self.net.parameters()).device
        training = any(module.training for module in self.modules())
        if training:
            return self._logits(numbers.to(device), training=True)
        parts = torch.split(numbers.to(device), JUDGED)
        return torch.cat([self._logits(part, training=False) for part in parts])

    def _logits(self, numbers: Tensor, *, training: bool) -> Tensor:
        x = self.store.read(numbers, training=training)
        logits: Tensor = self.net(x.contiguous(memory_format=torch.channels_last))
        return logits
