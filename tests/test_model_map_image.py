"""Map images: there and back with every fact, and files that are none, each refused in one line.

DPNET_IMAGE_CHANGES sets how many random changes of a file are tried.
"""

from __future__ import annotations

import os
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from image_kit import integer_image
from map_image_kit import MapFile, assert_same, every_fact, image_of, small_network
from map_kit import Builder
from maps_kit import map_networks, slow

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.image import ImageError, read_image, write_image
from dpnet.model.image.either import read_image as read_either
from dpnet.model.image.maps import MapImage, parse_map_image, read_map_image
from dpnet.model.image.maps.layer_tensors import books, stored_bytes
from dpnet.model.image.maps.writing import file_of
from dpnet.model.maps.layers import MapNetwork, Skip

CHANGES = int(os.environ.get("DPNET_IMAGE_CHANGES", "600"))


def refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_map_image(data)
    assert re.fullmatch(message, str(caught.value)), str(caught.value)


# There and back


def test_every_fact_survives(tmp_path: Path) -> None:
    image = every_fact()
    size = image.save(tmp_path / "net.dpnet")
    assert size == (tmp_path / "net.dpnet").stat().st_size
    found = read_map_image(tmp_path / "net.dpnet")
    assert_same(found, image)
    assert found.network.input.zero == 17 and found.network.padding == (1, 2, 0, 1)
    assert found.network.picture == (2, 5, 6) and found.classes is None
    assert found.input_range == (-17 * 0.25, (255 - 17) * 0.25)
    assert found.network.host == ("softmax", "argmax")
    assert found.calibration["picture"].high == 2.25
    assert str(found.sources["one"]) == "mynets.py:41, `self.one(x)` (body.one)"
    assert image_of(small_network()).classes == 4
    # The same bytes again: nothing was lost or added.
    assert file_of(found) == file_of(image)


@slow
@given(map_networks())
def test_random_networks_there_and_back(drawn: tuple[MapNetwork, np.ndarray]) -> None:
    image = image_of(drawn[0])
    assert_same(parse_map_image(file_of(image)), image)


def test_codebooks_are_stored_once() -> None:
    (one, rest, _) = every_fact().network.layers
    assert (books(one), books(rest)) == (2, 5)
    # 2 books of 4 entries of 16 bits; 6 × 18 indices of 2 bits; 6 rows of 4 + 4 + 1 bytes.
    assert stored_bytes(one) == {"indices": 27, "codebooks": 16, "rows": 54}
    assert one.entries is not None
    whole = replace(one, entries=one.entries[[0] * 6])
    assert books(whole) == 1
    halves = replace(one, entries=one.entries[[0, 0, 3, 3, 3, 3]])
    assert books(halves) == 3


def test_an_engine_of_another_size_is_kept() -> None:
    engine = MapEngineParameters(clusters=3, stages=5, map_depth=4096, multiplier="18x18")
    image = image_of(small_network(), engine=engine)
    assert parse_map_image(file_of(image)).engine == engine


# One kind is not the other


def test_both_readers_tell_the_kinds_apart(tmp_path: Path) -> None:
    image_of(small_network()).save(tmp_path / "maps")
    write_image(integer_image(), tmp_path / "array")
    with pytest.raises(ImageError, match=r"whole network's image for a map engine: read it with"):
        read_image(tmp_path / "maps")
    with pytest.raises(ImageError) as caught:
        read_map_image(tmp_path / "array")
    assert str(caught.value) == (
        f"{tmp_path / 'array'}: an image of the array engine, not of a map engine: read it with "
        "dpnet.read_image"
    )
    assert isinstance(read_either(tmp_path / "maps"), MapImage)
    assert not isinstance(read_either(tmp_path / "array"), MapImage)
    with pytest.raises(ImageError, match=r"none: cannot be read: No such file or directory$"):
        read_either(tmp_path / "none")


def test_another_format_says_what_to_do() -> None:
    file = MapFile(image_of(small_network()))
    file.description["format"] = "2 of a map engine"
    message = "its format is '2 of a map engine', this program reads '1 of a map engine': compile "
    refused(file.bytes(), f"{message}again")
    refused(b"\x93NUMPY\x01\x00" + bytes(100), r"no dpnet image but a NumPy array \(.npy\)")
    file.description["format"] = None
    refused(file.bytes(), "its format is None, this program reads .*")


# Damage


@pytest.mark.parametrize("seed", range(3))
def test_random_changes_are_refused_or_change_nothing(seed: int) -> None:
    image = every_fact()
    data, rng = file_of(image), np.random.default_rng(seed)
    for _ in range(CHANGES // 3):
        changed = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            changed[rng.integers(len(data))] = rng.integers(256)
        if rng.random() < 0.2:
            del changed[rng.integers(len(data)) :]
        try:
            found = parse_map_image(bytes(changed))
        except ImageError as error:
            assert "\n" not in str(error)
            continue
        assert_same(found, image)


VALUES: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 3, 7, 255, 256, 1 << 12, 1 << 16, 1 << 31, 1 << 62, 10**400, -(1 << 62)),
    *(True, None, 0.5, -2.5, 1e308, "x", "picture", "one", "\x1b[2J", [], [1], [1, 1], {}),
    *([0, 0, 0, 0], [4096, 4096], [1, 1, 1], [65536, 4096, 4096]),
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a description."""
    if isinstance(value, dict):
        pairs = [(value, key) for key in value]
    elif isinstance(value, list):
        pairs = [(value, key) for key in range(len(value))]
    else:
        return []
    return pairs + [found for container, key in pairs for found in places(container[key])]


@pytest.mark.parametrize("seed", range(3))
def test_descriptions_that_are_signed_and_wrong(seed: int) -> None:
    """Whatever a hostile file says of itself: one line, or an image that is written as it was."""
    rng = np.random.default_rng(seed)
    file = MapFile(every_fact())
    everywhere = places(file.description)
    taken = 0
    for _ in range(CHANGES // 3):
        container, key = everywhere[rng.integers(len(everywhere))]
        before = container[key]
        container[key] = VALUES[rng.integers(len(VALUES))]
        try:
            data = file.bytes()
            found = parse_map_image(data)
            taken += 1
            assert_same(parse_map_image(file_of(found)), found)
        except ImageError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
        finally:
            container[key] = before
    assert 0 < taken < CHANGES // 10


Edit = Callable[[Any], object]


def layer(number: int = 0, **values: object) -> Edit:
    return lambda d: d["layers"][number].update(values)


def tensor(number: int = 0, **values: object) -> Edit:
    return lambda d: d["tensors"][number].update(values)


HOSTILE: list[tuple[Edit, str]] = [
    (lambda d: d.update(extra=1), "the description has other keys than a map image's"),
    (lambda d: d.update(layers={}), "the description: layers has the wrong type"),
    (lambda d: d.update(bit_order="big"), "bit_order must be 'little'"),
    (lambda d: d.update(layers=[]), "it must have 1 to 1024 layers, not 0"),
    (lambda d: d.update(tensors=400 * d["tensors"]), "it must have 1 to 1025 tensors, not 1200"),
    (lambda d: d.update(padding=[1, 2]), r"padding must be 4 whole numbers, not \[1, 2\]"),
    (lambda d: d.update(padding=[9, 9, 0, 0]), r"padding \(9, 9, 0, 0\) leaves no picture of .*"),
    (lambda d: d.update(host=["exp"]), "host must be of softmax, .*, argmax, not 'exp'"),
    (lambda d: d.update(input_shape=[61]), r"input_shape \(61,\) has other values than .*"),
    (lambda d: d.update(output_shape=[5, 6, 5]), r"output_shape .* than the network's \(1, 6, 5\)"),
    (lambda d: d.update(output_shape=[1] * 9), "output_shape must be 5 whole numbers, not .*"),
    (lambda d: d.update(output="none"), "tensor 'none' is not computed"),
    (lambda d: d["engine"].update(clusters=65), "engine: clusters must be an integer .*"),
    (lambda d: d["engine"].pop("taps"), "engine has other keys than a map image's"),
    (tensor(shape=[1 << 16, 4096, 4096]), "its tensors have .* values, the largest engine has .*"),
    (tensor(shape=[2, 8, 8]), r"layer one: it makes maps of \(6, 6\), one has \(6, 5\)"),
    (tensor(scale=0), "tensor 0: scale must be a positive, finite number, not 0"),
    (tensor(scale=1e308 * 10), "the description holds Infinity"),
    (tensor(zero=-1), "tensor 0: zero must be from 0 to 255, not -1"),
    (tensor(1, zero=3), "tensor one: zero must be 0, but for the picture"),
    (tensor(1, name="picture"), "a network must have tensors, each name once"),
    (tensor(saturated=-1), "tensor 0: saturated must be 0 or more, not -1"),
    (layer(padding=[1, 1, 0, 0]), r"layer one: it makes maps of \(8, 5\), one has \(6, 5\)"),
    (layer(k=3), r"tensor 0.entries: its shape must be \[2, 3\], not \[2, 4\]"),
    (layer(k=0), "layer 0: columns 18, k 0 and 2 codebooks for 6 rows are neither a sum nor .*"),
    (layer(books=4), "layer 0: columns 18, k 4 and 4 codebooks for 6 rows are neither a sum .*"),
    (layer(rows=1 << 17), "layer 0: rows must be from 1 to 65536, not 131072"),
    (layer(columns=1 << 62), "layer 0: columns must be from 0 to .*, not .*"),
    (layer(groups=4), "layer one: 4 groups divide no 2 and 6"),
    (layer(low=200, high=100), r"layer one: its clamp 200..100 must be within 0..255"),
    (layer(input="both"), "layer one: it reads both before all of it is written"),
    (layer(1, name="one"), "layers must have different names"),
    (layer(1, window=None), "layer rest\x1b.31m: values of both are written twice"),
    (layer(1, kernel=[4096, 4096]), "layer rest: it makes maps of .*"),
    (layer(source={"node": "x"}), "layer 0: source has other keys than a map image's"),
    (layer(skip={"tensor": "one", "stride": [1, 1], "channel": 0}), "layer 0 must have the .*"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_descriptions(number: int) -> None:
    edit, message = HOSTILE[number]
    file = MapFile(every_fact())
    edit(file.description)
    refused(file.bytes(), message)


def test_numbers_beyond_their_widths() -> None:
    file = MapFile(every_fact())
    before = dict(file.tensors)
    for name, value, message in (
        ("0.entries", 1 << 17, "layer one: entries must be in -131072..131071"),
        ("0.shift", 64, "layer one: shift must be in 0..63"),
        ("0.multiplier", 1 << 16, "layer one: multiplier must be in 0..65535"),
        ("0.bias", 1 << 40, "layer one: bias must be in .*"),
        ("0.bias", (1 << 39) - 1, "layer one: the sums of row 0 may need more than the 40 bits .*"),
        ("0.indices", 255, None),
    ):  # fmt: skip
        wide = {"0.entries": np.int32, "0.bias": np.int64}.get(name, before[name].dtype)
        changed = before[name].astype(wide)
        changed.flat[0] = value
        file.tensors = {**before, name: changed}
        if message is None:  # 4 entries have indices of 2 bits: any bits are one
            parse_map_image(file.bytes())
        else:
            refused(file.bytes(), message)


def test_an_index_beyond_the_codebook() -> None:
    net = Builder((2, 4, 4), seed=1)
    net.conv("one", "picture", 3, (1, 1), k=2)
    net.layers = [replace(net.layers[0], entries=np.arange(15).reshape(3, 5))]
    file = MapFile(image_of(net.made("one")))
    file.tensors["0.indices"] = np.full_like(file.tensors["0.indices"], 255)
    refused(file.bytes(), "layer one: an index names none of 5 entries")


def test_a_hostile_file_takes_little_memory() -> None:
    """4,096 × 4,096 windows over a map of 2,000 × 2,000, and tensors of gigabytes."""
    file = MapFile(every_fact())
    file.description["tensors"][0]["shape"] = [2, 2000, 2000]
    file.description["layers"][0]["kernel"] = [1000, 1000]
    data = file.bytes()
    tracemalloc.start()
    with pytest.raises(ImageError):
        parse_map_image(data)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_large_files_are_read_in_a_few_times_their_size(tmp_path: Path) -> None:
    net = Builder((64, 16, 16), seed=2)
    x = "picture"
    for n in range(4):
        x = net.conv(f"conv{n}", x, 256, (3, 3))
    size = image_of(net.made(x)).save(tmp_path / "large")
    assert size > 500_000
    tracemalloc.start()
    read_map_image(tmp_path / "large")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * size + (16 << 20)


def test_images_that_cannot_be() -> None:
    network = small_network()
    good = image_of(network)
    with pytest.raises(ImageError, match=r"^calibration must say how picture was scaled$"):
        replace(good, calibration={})
    other = {**good.calibration, "conv1": replace(good.calibration["conv1"], scale=3.0)}
    with pytest.raises(ImageError, match=r"^calibration says another scale than tensor conv1 has$"):
        replace(good, calibration=other)
    with pytest.raises(ImageError, match=r"^about must hold JSON's types only: "):
        replace(good, about={"x": object()})
    with pytest.raises(ImageError, match=r"^sources must be those of layers$"):
        replace(good, sources={"none": every_fact().sources["one"]})
    with pytest.raises(ImageError, match=r"^engine must be MapEngineParameters, not None$"):
        replace(good, engine=None)
    first, *rest = network.layers
    wrong = replace(first, skip=Skip("none", 0 * first.bias))
    with pytest.raises(ImageError, match=r"^layer conv1: there is no tensor 'none'$"):
        image_of(replace(network, layers=(wrong, *rest)))
