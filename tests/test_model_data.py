"""Data sets: files laid out as their sites do it, made here small; what can be wrong with them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dpnet.model.data import cifar, mnist, tiny_samples
from dpnet.model.data.labeled import holdout
from dpnet.model.data.places import DataError, data_folder, weights_folder
from dpnet.model.data.preparation import IMAGENET, RAW, UNIT, Preparation

Bytes = NDArray[np.uint8]


def says(error: type[ValueError], message: str) -> Any:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


@pytest.fixture(autouse=True)
def no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DPNET_DATA", raising=False)
    monkeypatch.delenv("DPNET_WEIGHTS", raising=False)


# Folders


def test_what_is_not_set_or_no_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets, weights = "MNIST/raw/ and cifar-10-batches-bin/", "mlperf-tiny/ and resnet-cifar10/"
    with says(DataError, f"DPNET_DATA must name the folder that has {sets}; it is not set"):
        data_folder()
    with says(DataError, f"DPNET_DATA must name the folder that has {weights}; it is not set"):
        weights_folder()
    monkeypatch.setenv("DPNET_WEIGHTS", "nowhere")
    with says(DataError, f"DPNET_WEIGHTS must name a folder that has {weights}, not 'nowhere'"):
        weights_folder()
    monkeypatch.setenv("DPNET_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.setenv("DPNET_WEIGHTS", "")
    assert weights_folder() == tmp_path


# MNIST

DIGITS = {
    "train": (np.arange(3 * 784, dtype=np.uint16).astype(np.uint8).reshape(3, 28, 28), [5, 0, 9]),
    "t10k": (np.full((2, 28, 28), 7, np.uint8), [1, 2]),
}


def idx(data: Bytes) -> bytes:
    """As the site describes the format: two zeros, the type, dimensions; big-endian sizes."""
    sizes = b"".join(int(size).to_bytes(4, "big") for size in data.shape)
    return bytes([0, 0, 8, data.ndim]) + sizes + data.tobytes()


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small MNIST files, those to train with packed."""
    monkeypatch.setattr(mnist, "COUNTS", {"train": 3, "t10k": 2})
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, (pictures, labels) in DIGITS.items():
        files = {
            f"{part}-images-idx3-ubyte": idx(pictures),
            f"{part}-labels-idx1-ubyte": idx(np.array(labels, np.uint8)),
        }
        for name, data in files.items():
            if part == "train":
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
    return folder


def test_mnist_is_read_packed_or_not(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPNET_DATA", str(raw.parents[1]))
    found = mnist.mnist()
    for part, (pictures, labels) in DIGITS.items():
        x, y = (getattr(found, f"{part.replace('t10k', 'test')}_{of}") for of in "xy")
        assert x.dtype == np.uint8 and np.array_equal(x, pictures[:, None])
        assert y.dtype == np.int64 and y.tolist() == labels


@pytest.mark.parametrize(
    "name, edit, message",
    [
        ("t10k-labels-idx1-ubyte", lambda d: d[:-1], "must have 10 bytes, not 9"),
        ("t10k-labels-idx1-ubyte", lambda d: d + b"\0", "must have 10 bytes, not more"),
        ("t10k-labels-idx1-ubyte", lambda d: d[:-1] + b"\x0a", "labels must be 0 to 9, not 10"),
        (
            "t10k-images-idx3-ubyte",
            lambda d: d.replace(b"\x1c", b"\x1d", 1),
            "must be an idx file of (2, 28, 28) bytes, its header is another one",
        ),
    ],
)
def test_other_files_are_no_mnist(
    raw: Path, name: str, edit: Callable[[bytes], bytes], message: str
) -> None:
    path = raw / name
    path.write_bytes(edit(path.read_bytes()))
    with says(DataError, f"{path}: {message}"):
        mnist.mnist(raw.parents[1])


def test_missing_and_damaged_files_of_mnist_are_named(raw: Path) -> None:
    path = raw / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: cannot be read: "):
        mnist.mnist(raw.parents[1])
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: cannot be read: Not a gzipped"):
        mnist.mnist(raw.parents[1])
    path.unlink()
    with says(
        DataError,
        f"{path.with_suffix('')} is missing, also with .gz: MNIST has its four files there",
    ):
        mnist.mnist(raw.parents[1])


# CIFAR-10


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cifar, "PICTURES", 2)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for n, name in enumerate([f"data_batch_{n}.bin" for n in range(1, 6)] + ["test_batch.bin"]):
        # A label, 1,024 bytes of red, of green and of blue, each row after row.
        first = bytes([n]) + b"".join(bytes([10 * n + c]) * 1024 for c in range(3))
        second = bytes([9 - n]) + bytes(range(256)) * 12
        (folder / name).write_bytes(first + second)
    return folder


def test_cifar_is_read_in_its_order(batches: Path) -> None:
    found = cifar.cifar10(batches.parent)
    assert found.train_x.shape == (10, 3, 32, 32) and found.train_x.dtype == np.uint8
    assert found.train_y.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert found.train_x[4].mean(axis=(1, 2)).tolist() == [20, 21, 22]
    assert found.train_x[1, 1, 2, 5] == 2 * 32 + 5 and found.test_x[1, 2, 31, 31] == 255
    x, y = cifar.cifar10_test(batches.parent)
    assert y.tolist() == found.test_y.tolist() == [5, 4] and np.array_equal(x, found.test_x)


def test_other_files_are_no_cifar(batches: Path) -> None:
    path = batches / "data_batch_3.bin"
    data = path.read_bytes()
    for wrong in (data[:-1], data + b"\0"):
        path.write_bytes(wrong)
        with says(DataError, f"{path}: must have 6,146 bytes, not {len(wrong):,}"):
            cifar.cifar10(batches.parent)
    path.write_bytes(b"\x0a" + data[1:])
    with says(DataError, f"{path}: labels must be 0 to 9, not 10"):
        cifar.cifar10(batches.parent)
    path.unlink()
    with says(DataError, f"{path} is missing: CIFAR-10's binary version has its six files there"):
        cifar.cifar10(batches.parent)


# Samples of MLPerf Tiny


def words() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "features": rng.integers(-128, 128, (1000, 49, 10), np.int8),
        "labels": rng.integers(0, 12, 1000, np.uint8),
        "scale": np.float64(0.5),
        "zero_point": np.int64(83),
    }


def samples() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "vww": rng.integers(-128, 128, (4, 96, 96, 3), np.int8),
        "vww_person": np.array([False, False, True, True]),
        "ad": rng.integers(-128, 128, (6, 40, 640), np.int8),
        "ad_anomaly": np.array([True] * 3 + [False] * 3),
    }


def test_samples_are_what_the_nets_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mlperf-tiny"
    folder.mkdir()
    np.savez(folder / "kws_test.npz", **words())
    np.savez(folder / "samples.npz", **samples())
    monkeypatch.setenv("DPNET_DATA", str(tmp_path))
    found = tiny_samples.spoken_words()
    assert found.x.shape == (1000, 1, 49, 10) and found.x.dtype == np.float32
    q = int(words()["features"][7, 40, 3])
    assert found.x[7, 0, 40, 3] == (q - 83) * 0.5 and found.y[7] == words()["labels"][7]
    pictures = tiny_samples.wake_words()
    assert pictures.x.shape == (4, 3, 96, 96) and pictures.y.tolist() == [0, 0, 1, 1]
    pixel = int(samples()["vww"][2, 5, 9, 1]) + 128
    assert pictures.x[2, 1, 5, 9] == np.float32(pixel) / np.float32(255)
    sounds = tiny_samples.machine_sounds()
    assert sounds.x.shape == (6, 40, 640) and sounds.y.tolist() == [1, 1, 1, 0, 0, 0]
    assert sounds.x[1, 2, 3] == np.float32((int(samples()["ad"][1, 2, 3]) - 89) * 0.39101523)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": np.full(1000, 12, np.uint8)}, "labels must be 0 to 11, not 12"),
        ({"labels": np.zeros(999, np.uint8)}, "labels must be (1000,), not (999,)"),
        ({"features": np.zeros((1000, 490), np.int8)}, "features must be (1000, 49, 10), not (1"),
        ({"features": np.zeros((1000, 49, 10))}, "features must be int8, not float64"),
        ({"scale": np.float64(np.nan)}, "scale must be finite and positive, not nan"),
        ({"labels": np.array([None] * 1000)}, "cannot be read: Object arrays cannot be loaded"),
    ],
)
def test_other_samples_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "kws_test.npz"
    np.savez(path, **words() | change)
    with pytest.raises(DataError, match=f"^{re.escape(f'{path}: {message}')}"):
        tiny_samples.spoken_words(tmp_path)


def test_missing_samples_are_named(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    with says(DataError, f"{path} is missing: samples of MLPerf Tiny's networks"):
        tiny_samples.wake_words(tmp_path)
    np.savez(path, vww=np.zeros(3, np.int8))
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: cannot be read: .*vww_person"):
        tiny_samples.wake_words(tmp_path)


# What becomes of pixels


def test_pixels_are_prepared_channel_by_channel() -> None:
    x = np.array([0, 51, 255], np.uint8).reshape(1, 3, 1, 1)
    red, green, blue = IMAGENET.compute(x).ravel()
    assert red == pytest.approx((0 - 0.485) / 0.229, rel=1e-6)
    assert green == pytest.approx((0.2 - 0.456) / 0.224, rel=1e-6)
    assert blue == pytest.approx((1 - 0.406) / 0.225, rel=1e-6)
    assert RAW.compute(x).ravel().tolist() == [0, 51, 255]
    assert UNIT.compute(x).dtype == np.float32 and UNIT.compute(x)[0, 2, 0, 0] == 1


@pytest.mark.parametrize(
    "mean, deviation, message",
    [
        ((), (), "mean and deviation must have a number for each channel, not () and ()"),
        (
            (1.0,),
            (1.0, 2.0),
            "mean and deviation must have a number for each channel, not (1.0,) and (1.0, 2.0)",
        ),
        ((np.inf,), (1.0,), "mean must be finite, not (inf,)"),
        ((0.0,), (0.0,), "deviation must be finite and positive, not (0.0,)"),
    ],
)
def test_preparations_that_are_none_are_refused(
    mean: tuple[float, ...], deviation: tuple[float, ...], message: str
) -> None:
    with says(ValueError, message):
        Preparation(mean, deviation)


def test_other_pixels_are_refused() -> None:
    with says(ValueError, "pixels must be (n, 3, height, width), not (1, 1, 2, 2)"):
        IMAGENET.compute(np.zeros((1, 1, 2, 2)))


def test_a_part_is_held_out_by_chance_and_always_the_same() -> None:
    kept, held = holdout(100, 30, 7)
    assert len(held) == 30 and sorted([*kept, *held]) == list(range(100))
    assert np.array_equal(holdout(100, 30, 7)[1], held)
    assert not np.array_equal(holdout(100, 30, 8)[1], held)
    for wrong in (0, 100):
        with says(ValueError, f"held must be 1 to 99, not {wrong}"):
            holdout(100, wrong, 7)
