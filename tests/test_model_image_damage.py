"""Image files that are none: cut off, altered, of other contents; every one is refused."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_kit import (
    File,
    assert_equal,
    fp32_layer,
    integer_image,
    integer_layer,
    raw,
    refused,
)
from safetensors.numpy import save, save_file

from dpnet.model.image import (
    Image,
    ImageError,
    ImageLayer,
    parse_image,
    read_image,
)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(integer_image(), tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    reasons = {tmp_path: "Is a directory", tmp_path / "x": "No such file or directory"}
    for path, reason in reasons.items():
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert str(caught.value) == f"{path}: cannot be read: {reason}"
    with open(tmp_path / "huge", "wb") as sparse:
        sparse.truncate((1 << 30) + 1)
    with pytest.raises(ImageError, match=r"huge: 1073741825 bytes are more than any image has$"):
        read_image(tmp_path / "huge")
    (tmp_path / "short").write_bytes(b"abc")
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "short")
    assert str(caught.value) == f"{tmp_path / 'short'}: 3 bytes are no image"


def test_headers_that_are_none(tmp_path: Path) -> None:
    refused(b"", "0 bytes are no image")
    misfit = "the header's size, {}, does not fit the file: damaged, or no safetensors file"
    refused(bytes(8), misfit.format(0))
    refused((1 << 63).to_bytes(8, "little") + bytes(100), misfit.format(1 << 63))
    refused((101).to_bytes(8, "little") + bytes(100), misfit.format(101))
    # 2 MB of header are there, but more than an image has.
    refused(raw(b" " * (2 << 20)), misfit.format(2 << 20))
    refused(raw(b"\xff\xfe!!"), "the header is no JSON: damaged, or no safetensors file")
    refused(raw(b"[" * 200_000), "the header is no JSON: damaged, or no safetensors file")
    refused(raw(b'{"a": NaN}'), "the header holds NaN")
    refused(raw([1]), "the header must be a JSON object")
    refused(raw(b'{"a": 1, "a": 2}'), "the header names something twice")
    refused(b"PK\x03\x04" + bytes(200), r"the header's size, \d+, does not fit .*")


def test_a_plain_safetensors_file_is_no_image(tmp_path: Path) -> None:
    save_file({"fc.weight": np.ones((2, 3), np.float32)}, tmp_path / "plain")
    message = r"a safetensors file, but no DP-Net image \(compress it first: dpnet compress FILE\)"
    refused((tmp_path / "plain").read_bytes(), message)
    refused(save({"a": np.ones(1)}, {"format": "pt"}), message)
    refused(save({"a": np.ones(1)}, {"dpnet": "{}", "other": ""}), message)


def test_a_file_that_is_cut_off(file: File) -> None:
    data = file.bytes()
    size = int.from_bytes(data[:8], "little") + 8
    tensors = len(data) - size
    refused(
        data[:-1],
        f"the file has {tensors - 1} bytes of tensors instead of {tensors}: cut off or damaged",
    )
    refused(data + b"\0", rf"the file has {tensors + 1} bytes of tensors instead of {tensors}: .*")
    for end in range(0, len(data), 7):
        with pytest.raises(ImageError):
            parse_image(data[:end])


def test_altered_data_is_found_by_its_crc(file: File) -> None:
    data = bytearray(file.bytes())
    header = json.loads(data[8 : (size := 8 + int.from_bytes(data[:8], "little"))])
    for name, entry in header.items():
        if name != "__metadata__":
            altered = bytearray(data)
            altered[size + entry["data_offsets"][0]] ^= 0x01
            refused(bytes(altered), f"tensor {name}: its CRC-32 is wrong")


def test_an_altered_description_is_found_by_the_sha(file: File) -> None:
    file.bytes()
    for name, value in (("input_scale", 0.25), ("about", {}), ("output_scale", 3.0)):
        before, file.description[name] = file.description[name], value
        refused(file.bytes(sign=False), "the SHA-256 over the file is wrong")
        file.description[name] = before
    file.description["layers"][0]["relu"] ^= True
    refused(file.bytes(sign=False), "the SHA-256 over the file is wrong")


Edit = Callable[[Any], object]


def layer(**values: object) -> Edit:
    return lambda d: d["layers"][1].update(values)


DESCRIPTIONS: list[tuple[Edit, str]] = [
    (lambda d: d.update(format=2), "its format is 2, this program reads 1: compress again"),
    (lambda d: d.pop("format"), "its format is None, this program reads 1: compress again"),
    (lambda d: d.update(extra=1), "the description has other keys than an image's"),
    (lambda d: d.pop("about"), "the description has other keys than an image's"),
    (lambda d: d.update(input_bits="8"), "input_bits has the wrong type"),
    (lambda d: d.update(layers={}), "layers has the wrong type"),
    (lambda d: d.update(bit_order="big"), "bit_order must be 'little'"),
    (lambda d: d.update(input_bits=1), "input_bits must be from 2 to 25"),
    (lambda d: d.update(input_bits=26), "input_bits must be from 2 to 25"),
    (lambda d: d.update(input_scale=0), "input_scale must be positive"),
    (lambda d: d.update(input_scale=-1.0), "input_scale must be positive"),
    (lambda d: d.update(layers=[]), "it has no layers, or too many"),
    (lambda d: d.update(layers=257 * d["layers"][:1]), "it has no layers, or too many"),
    (lambda d: d["layers"].append(7), "layer 2 has other keys"),
    (lambda d: d["layers"][0].pop("k"), "layer 0 has other keys"),
    (layer(k="3"), "layer 1: k has the wrong type"),
    (layer(k=True), "layer 1: k has the wrong type"),
    (layer(relu=1), "layer 1: relu has the wrong type"),
    (layer(rows=0), "layer 1: rows must be 1 to 65536, not 0"),
    (layer(columns=1 << 62), f"layer 1: columns must be 1 to 65536, not {1 << 62}"),
    (layer(k=17), "layer 1: k must be 1 to 16, not 17"),
    (layer(k=0), "layer 1: k must be 1 to 16, not 0"),
    (layer(out_bits=26), "layer 1: out_bits must be 1 to 25, not 26"),
    (layer(shape=[]), "layer 1: its shape must be up to five positive numbers"),
    (layer(shape=[0, 1 << 62]), "layer 1: its shape must be up to five positive numbers"),
    (layer(shape=[3, 7.0]), "layer 1: its shape must be up to five positive numbers"),
    (layer(shape=[1] * 100_000), "layer 1: its shape must be up to five positive numbers"),
    (layer(shape=[3, 1 << 62]), rf"layer 1: shape \[3, {1 << 62}\] is not 3 × 7"),
    (layer(shape=[7, 3]), r"layer 1: shape \[7, 3\] is not 3 × 7"),
    (layer(crc32={}), r"layer 1 must have the tensors of an fp32 or .* layer, not \[\]"),
    (lambda d: d["layers"][1]["crc32"].pop("1.bias"), "layer 1 must have the tensors of .*"),
    (lambda d: d["layers"].reverse(), "layer 0 must have the tensors of .*"),
    (lambda d: d["layers"].pop(), r"tensors \['1.bias', .*\] are missing or surplus"),
    (layer(rows=4, shape=[4, 7]), r"tensor 1\.\w+: its shape must be \[\d+(, 3)?\], not \[.*\]"),
]


@pytest.mark.parametrize("edit, message", DESCRIPTIONS)
def test_descriptions_that_are_none(file: File, edit: Edit, message: str) -> None:
    file.bytes()
    edit(file.description)
    refused(file.bytes(sign=False), message)


def test_descriptions_that_are_no_json(file: File) -> None:
    for text, message in (
        ("nonsense", "the description is no JSON: damaged, or no safetensors file"),
        ("[]", "the description must be a JSON object"),
        ('{"format": 1, "format": 1}', "the description names something twice"),
        ('{"format": 1, "about": Infinity}', "the description holds Infinity"),
    ):
        refused(save(file.tensors, {"dpnet": text}), message)


def header_of(file: File) -> tuple[dict[str, Any], bytes]:
    data = file.bytes()
    size = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:size]), data[size:]


HEADERS: list[tuple[dict[str, object], str]] = [
    ({"shape": [0, 1 << 62]}, rf"tensor 0.bias: its shape must be \[7\], not \[0, {1 << 62}\]"),
    ({"shape": [1] * 100_000}, r"tensor 0.bias: its shape must be \[7\], not \[1, 1, .*"),
    ({"shape": "7"}, r"tensor 0.bias: its shape must be \[7\], not '7'"),
    ({"dtype": "F64"}, "tensor 0.bias: its type 'F64' is not allowed"),
    ({"dtype": "I8"}, "tensor 0.bias: its type 'I8' is not allowed"),
    ({"dtype": "I32"}, "tensor 0.bias: its place in the file is wrong"),
    ({"data_offsets": [0]}, "tensor 0.bias: its place in the file is wrong"),
    ({"data_offsets": [-56, 0]}, "tensor 0.bias: its place in the file is wrong"),
    ({"data_offsets": [0.0, 56.0]}, "tensor 0.bias: its place in the file is wrong"),
    ({"data_offsets": [1 << 62, (1 << 62) + 56]}, "tensors overlap or leave gaps"),
    ({"data_offsets": [1, 57]}, "tensors overlap or leave gaps"),
    ({"extra": 0}, "tensor 0.bias: damaged entry"),
]


@pytest.mark.parametrize("edit, message", HEADERS)
def test_tensors_that_are_none(file: File, edit: dict[str, object], message: str) -> None:
    header, data = header_of(file)
    header["0.bias"].update(edit)
    refused(raw(header, data), message)


def test_tensors_that_are_missing_surplus_or_twice(file: File) -> None:
    header, data = header_of(file)
    refused(
        raw({**header, "0.bias2": header["0.bias"]}, data),
        r"tensors \['0.bias2'\] are missing or surplus",
    )
    refused(
        raw({n: e for n, e in header.items() if n != "0.bias"}, data),
        r"tensors \['0.bias'\] are missing or surplus",
    )
    entry = json.dumps(header["0.bias"])
    twice = json.dumps(header)[:-1] + f', "0.bias": {entry}}}'
    refused(raw(twice.encode(), data), "the header names something twice")
    refused(raw({**header, "0.bias": []}, data), "tensor 0.bias: damaged entry")


VALUES: list[tuple[str, int, int, str]] = [
    ("0.indices", 0, 0xFF, ""),
    ("1.indices", 0, 0xFF, "layer 1: an index is 3, but there are only 3 entries"),
    ("1.entries", 1, 1 << 24, "layer 1: entries must be from -16777216 to 16777215"),
    ("0.exponent", 2, 2048, "layer 0: exponent must be from -2048 to 2047"),
    ("0.bias", 3, 1 << 39, f"layer 0: bias must be from {-(1 << 39)} to {(1 << 39) - 1}"),
    ("0.multiplier", 3, -1, "layer 0: multiplier must be from 0 to 65535"),
    ("0.multiplier", 3, 65536, "layer 0: multiplier must be from 0 to 65535"),
    ("0.shift", 3, 64, "layer 0: shift must be from 0 to 63"),
]


@pytest.mark.parametrize("name, position, value, message", VALUES)
def test_values_out_of_range_behind_right_checksums(
    file: File, name: str, position: int, value: int, message: str
) -> None:
    file.tensors[name].reshape(-1)[position] = value
    if message:
        refused(file.bytes(), message)
    else:
        assert parse_image(file.bytes()).layers[0].indices.max() == 3


def test_results_of_one_bit_are_refused(file: File) -> None:
    file.description["layers"][1]["out_bits"] = 1
    refused(file.bytes(), "layer 1: out_bits must be 2 to 25, not 1")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_codebooks_that_are_not_finite(tmp_path: Path, value: float) -> None:
    image = Image(layers=(fp32_layer(np.random.default_rng(0), "fc", (5, 13), 4),))
    file = File(image, tmp_path)
    file.tensors["0.codebook"][3, 2] = value
    refused(file.bytes(), "layer 0: a codebook holds a NaN or an infinity")


INTEGERS = integer_layer(np.random.default_rng(0), "a", 7, 9, 4)
FLOATS = fp32_layer(np.random.default_rng(0), "b", (7, 9), 4)

LAYERS: list[tuple[ImageLayer, dict[str, Any], str]] = [
    (INTEGERS, {"k": 17}, "k must be 1 to 16, not 17"),
    (
        INTEGERS,
        {"indices": INTEGERS.indices.astype(np.int64)},
        r"indices must be a filled \(R, C\) uint8 array, not int64 \(7, 9\)",
    ),
    (
        INTEGERS,
        {"indices": INTEGERS.indices[:0]},
        r"indices must be a filled \(R, C\) uint8 array, not uint8 \(0, 9\)",
    ),
    (
        INTEGERS,
        {"indices": INTEGERS.indices + np.uint8(3)},
        "an index is 6, but there are only 4 entries",
    ),
    (INTEGERS, {"shift": None}, "shift is missing"),
    (INTEGERS, {"bias": np.zeros(6, np.int64)}, r"bias must have shape \(7,\), not \(6,\)"),
    (
        INTEGERS,
        {"entries": np.zeros((7, 3), np.int64)},
        r"entries must have shape \(7, 4\), not \(7, 3\)",
    ),
    (INTEGERS, {"out_bits": 26}, "out_bits must be 2 to 25, not 26"),
    (FLOATS, {"bias": INTEGERS.bias}, "an fp32 layer has no integer parameters"),
    (FLOATS, {"codebook": np.zeros((4, 7), np.float32)}, r"codebook must be \(7, 4\)"),
]


@pytest.mark.parametrize("base, edit, message", LAYERS)
def test_layers_that_are_none(base: ImageLayer, edit: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=f"^{message}$"):
        replace(base, **edit)


with tempfile.TemporaryDirectory() as folder:
    DATA = File(integer_image(), Path(folder)).bytes()


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_flipped_bytes_give_an_image_error_or_the_same_image(data: st.DataObject) -> None:
    altered = bytearray(DATA)
    # Half of them in the header, which is where a reader has to think.
    end = data.draw(st.sampled_from([8, 8 + int.from_bytes(DATA[:8], "little"), len(DATA)]))
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    try:
        found = parse_image(bytes(altered))
    except ImageError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert_equal(found, integer_image())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(DATA)), st.integers(0, len(DATA)))
def test_bytes_put_in_place_of_others(extra: bytes, start: int, stop: int) -> None:
    altered = DATA[:start] + extra + DATA[stop:]
    try:
        found = parse_image(altered)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert_equal(found, integer_image())
