"""What training does to a batch of pictures, by chance, on the device where the batch is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dpnet.model.data.preparation import Preparation


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Crop, flip and cutout, each picture of a batch by itself.

    `crop`: so many zeros are put around the picture and a part of its old size is cut out anywhere
    (0: none).  `flip`: left and right are exchanged in every second picture.  `cutout`: a square of
    this side, its middle anywhere in the picture, becomes 0 (0: none; DeVries and Taylor 2017).
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        for name in ("crop", "cutout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)!r}")

    def place(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Crop and flip: for pixels as they are, since black is 0 there."""
        if self.crop:
            pixels = random_crop(pixels, self.crop, generator)
        return random_flip(pixels, generator) if self.flip else pixels

    def hide(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Cutout: for prepared pictures, since 0 is their mean there."""
        return random_cutout(x, self.cutout, generator) if self.cutout else x


def prepare(pixels: Tensor, preparation: Preparation | None) -> Tensor:
    """As `Preparation.compute`, bit for bit on a CPU; without one, only in float32."""
    x = pixels.float()
    if preparation is None:
        return x
    mean, deviation = (
        torch.tensor(numbers, dtype=torch.float32, device=x.device)[:, None, None]
        for numbers in (preparation.mean, preparation.deviation)
    )
    return (x - mean) / deviation


def random_crop(pixels: Tensor, around: int, generator: torch.Generator) -> Tensor:
    """(n, c, h, w) cut anywhere out of the pictures with `around` zeros on each side."""
    n, _, height, width = pixels.shape
    padded = torch.nn.functional.pad(pixels, (around,) * 4)
    down, right = _integers((2, n, 1), 2 * around + 1, generator)
    rows = torch.arange(height, device=pixels.device) + down
    columns = torch.arange(width, device=pixels.device) + right
    pictures = torch.arange(n, device=pixels.device)
    # Indices on both sides of a slice put the channels last: (n, h, w, c).
    cut = padded[pictures[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2).contiguous()


def random_flip(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """(n, c, h, w) with left and right exchanged in every second picture, by chance."""
    flipped = _integers((len(pixels), 1, 1, 1), 2, generator).bool()
    return torch.where(flipped, pixels.flip(3), pixels)


def random_cutout(x: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """(n, c, h, w) with a square of 0 in each picture; its middle is in it, its border may not be.
    Of an even side the middle is the value right below the true one."""
    n, _, height, width = x.shape
    inside = []
    for size, shape in ((height, (n, 1, height, 1)), (width, (n, 1, 1, width))):
        first = _integers((n, 1), size, generator) - side // 2
        place = torch.arange(size, device=x.device)
        inside.append(((place >= first) & (place < first + side)).reshape(shape))
    return x.masked_fill(inside[0] & inside[1], 0.0)


def _integers(shape: tuple[int, ...], below: int, generator: torch.Generator) -> Tensor:
    return torch.randint(below, shape, generator=generator, device=generator.device)
