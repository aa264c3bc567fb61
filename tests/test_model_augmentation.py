"""Crop, flip and cutout: every result is one that the definition allows, and all of them occur."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from dpnet.model.data.augmentation import (
    Augmentation,
    prepare,
    random_crop,
    random_cutout,
    random_flip,
)
from dpnet.model.data.preparation import IMAGENET, RAW


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, *shape: int) -> Tensor:
    """Values 1 to 255, so that zeros are those that were put in."""
    return torch.randint(1, 256, (n, *shape), generator=seeded(9), dtype=torch.uint8)


def test_a_crop_is_a_window_of_the_picture_with_zeros_around() -> None:
    x = pictures(400, 3, 6, 5)
    y = random_crop(x, 2, seeded())
    assert y.shape == x.shape and y.dtype == x.dtype and y.is_contiguous()
    seen = set()
    for before, after in zip(x.numpy(), y.numpy(), strict=True):
        padded = np.pad(before, ((0, 0), (2, 2), (2, 2)))
        windows = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if np.array_equal(padded[:, down : down + 6, right : right + 5], after)
        ]
        assert len(windows) == 1
        seen.update(windows)
    assert len(seen) == 25


def test_a_flip_is_one_in_every_second_picture() -> None:
    x = pictures(400, 1, 2, 5)
    y = random_flip(x, seeded())
    same = [torch.equal(a, b) for a, b in zip(x, y, strict=True)]
    mirrored = [torch.equal(a, b[:, :, [4, 3, 2, 1, 0]]) for a, b in zip(x, y, strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 160 < sum(mirrored) < 240


@pytest.mark.parametrize("side, before, behind", [(3, 1, 1), (4, 2, 1), (1, 0, 0)])
def test_a_cutout_is_a_square_around_any_place(side: int, before: int, behind: int) -> None:
    x = pictures(500, 2, 7, 6).float()
    y = random_cutout(x, side, seeded())
    places = set()
    for picture, cut in zip(x.numpy(), y.numpy(), strict=True):
        zeros = cut == 0
        assert np.array_equal(cut[~zeros], picture[~zeros]) and (zeros[0] == zeros[1]).all()
        fits = [
            (row, column)
            for row in range(7)
            for column in range(6)
            if np.array_equal(zeros[0], square(row, column, before, behind))
        ]
        assert fits
        places.add(fits[0])
    assert len(places) >= 20


def square(row: int, column: int, before: int, behind: int) -> np.ndarray:
    inside = np.zeros((7, 6), bool)
    rows = slice(max(row - before, 0), row + behind + 1)
    inside[rows, max(column - before, 0) : column + behind + 1] = True
    return inside


def test_a_seed_decides_all_of_it() -> None:
    how = Augmentation(crop=2, flip=True, cutout=3)
    x = pictures(20, 3, 8, 8)

    def done(seed: int) -> Tensor:
        generator = seeded(seed)
        return how.hide(prepare(how.place(x, generator), IMAGENET), generator)

    assert torch.equal(done(4), done(4)) and not torch.equal(done(4), done(5))


def test_nothing_is_done_unless_it_is_wanted() -> None:
    x, generator = pictures(5, 1, 4, 4), seeded()
    before = generator.get_state()
    assert Augmentation().place(x, generator) is x and Augmentation().hide(x, generator) is x
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("name", ["crop", "cutout"])
def test_negative_sizes_are_refused(name: str) -> None:
    message = re.escape(f"{name} must not be negative, not -1")
    with pytest.raises(ValueError, match=f"^{message}$"):
        Augmentation(**{name: -1})


@pytest.mark.parametrize("preparation", [IMAGENET, RAW])
def test_torch_prepares_as_numpy_does(preparation: type) -> None:
    x = pictures(3, 3, 4, 4)
    assert np.array_equal(prepare(x, preparation).numpy(), preparation.compute(x.numpy()))
    assert torch.equal(prepare(x, None), x.float())
