"""Images: to a file and back, and what the file is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_kit import (
    ARRAYS,
    assert_equal,
    fp32_layer,
    integer_image,
)
from safetensors import safe_open

from dpnet.model.image import Image, ImageError, read_image, write_image
from dpnet.model.image.packing import Packed, pack


def test_integer_image_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "net.dpnet"
    assert write_image(integer_image(), path) == path.stat().st_size
    assert_equal(read_image(path), integer_image())
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.dpnet"]


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8, 9, 15, 16])
def test_fp32_image_there_and_back(tmp_path: Path, k: int) -> None:
    rng = np.random.default_rng(k)
    layers = (
        fp32_layer(rng, "fc", (5, 13), k),
        fp32_layer(rng, "conv", (4, 3, 3, 2), k),
        fp32_layer(rng, "one", (1, 1), k),
        fp32_layer(rng, "five", (2, 3, 1, 2, 3), k),
    )
    image = Image(layers=layers)
    write_image(image, tmp_path / "net")
    assert image.is_fp32
    assert_equal(read_image(tmp_path / "net"), image)


def test_files_of_equal_images_are_equal(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(integer_image(3), tmp_path / name)
    write_image(integer_image(4), tmp_path / "c")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "net.dpnet"
    image = integer_image()
    write_image(image, path)
    with safe_open(path, "np") as found:
        assert set(found.keys()) == {
            f"{n}.{kind}" for n in range(2) for kind in ARRAYS if kind != "codebook"
        }
        assert found.get_tensor("0.entries").dtype == np.int16
        assert found.get_tensor("1.entries").dtype == np.int32
        np.testing.assert_array_equal(found.get_tensor("1.bias"), image.layers[1].bias)


@given(st.integers(1, 16), st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_indices_are_packed_lowest_bit_first(k: int, rows: int, columns: int, seed: int) -> None:
    indices = np.random.default_rng(seed).integers(0, k, (rows, columns), dtype=np.uint8)
    width = max(1, (k - 1).bit_length())
    number = sum(int(index) << width * n for n, index in enumerate(indices.reshape(-1)))
    data = number.to_bytes(-(-rows * columns * width // 8), "little")
    assert pack(indices, k).data.tobytes() == data
    packed = Packed(np.frombuffer(data, np.uint8), rows, columns, k)
    assert packed.largest() == indices.max()
    np.testing.assert_array_equal(packed.unpacked(), indices)


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.dpnet"
    write_image(integer_image(1), path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_image(integer_image(2), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.dpnet"]
    assert_equal(read_image(path), integer_image(1))


def test_inputs_are_rounded_to_even_and_saturated() -> None:
    image = integer_image()  # 9 bits, steps of 0.125
    x = np.array([0.0, 0.0625, 0.1875, -0.0625, 31.9, 40.0, -40.0])
    assert image.quantize_input(x).tolist() == [0, 0, 2, 0, 255, 255, -256]
    for bad in (np.nan, np.inf):
        with pytest.raises(ImageError, match=r"^the input must be finite, it holds a NaN or "):
            image.quantize_input(np.array([0.0, bad]))


# Files that are none
