"""The convolutional network of `make sim`: trained, on its centroids, kept by the image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dpnet
from dpnet.model.image.maps import MapImage
from dpnet.model.networks.digits import digits
from dpnet.model.networks.digits_cnn import CNN_SETTINGS, DigitsCnn, digit_maps, train_cnn

SHORT = replace(CNN_SETTINGS, epochs_float=2, epochs_cluster=2, epochs_tune=1, period=1, seed=3)

WEIGHTS = {"conv1": (16, 9), "conv2": (16, 144), "conv3": (32, 144), "fc": (10, 32)}

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_image_has_the_trainings_values(tmp_path: Path) -> None:
    result = train_cnn(tmp_path / "net.dpnet", settings=SHORT)
    image = dpnet.read_image(tmp_path / "net.dpnet")
    assert isinstance(image, MapImage)
    assert result.file_bytes == (tmp_path / "net.dpnet").stat().st_size
    assert set(image.about["kept"]) >= WEIGHTS.keys()
    weights = sum(rows * columns for rows, columns in WEIGHTS.values())
    books = sum(4 * rows for rows, _ in WEIGHTS.values())
    assert result.ratio_eq1 == pytest.approx(32 * weights / (2 * weights + 32 * books))
    again = train_cnn(tmp_path / "again.dpnet", settings=SHORT)
    assert (tmp_path / "again.dpnet").read_bytes() == (tmp_path / "net.dpnet").read_bytes()
    assert again.accuracy_golden == result.accuracy_golden


def test_shapes() -> None:
    net, data = DigitsCnn(), digit_maps()
    assert net(data.test_x[:3]).shape == (3, 10)
    found = {
        name: tuple(m.weight.flatten(1).shape)
        for name, m in net.named_children()
        if "bn" not in name
    }
    assert found == WEIGHTS
    assert data.train_x.shape == (1197, 1, 8, 8)
    assert torch.equal(data.test_x.flatten(1), digits().test_x)
