"""Image files that are none: cut off, altered, of other contents; every one is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tempfile
import zipfile
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
    assert str(caught.value) == f"{tmp_path / 'short'}: no dpnet image: it has 3 bytes"


@pytest.mark.parametrize("write", [False, True])
def test_a_pipe_is_refused_at_once(tmp_path: Path, write: bool) -> None:
    """With somebody who writes to it, and with nobody, where a plain open waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR) if write else None
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ImageError) as caught:
            read_image(path)
        reason = "it is no file but a pipe, a socket or a device"
        assert str(caught.value) == f"{path}: cannot be read: {reason}"
    if writer is not None:
        os.close(writer)


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"x")
    return file.getvalue()


FOREIGN = {
    "a PyTorch file": zipped("net/data.pkl"),
    r"a NumPy archive \(.npz\)": zipped("x.npy"),
    "a zip archive": zipped("word/document.xml"),
    r"a NumPy array \(.npy\)": b"\x93NUMPY\x01\x00" + bytes(100),
    "a pickle, as PyTorch before 1.6 wrote them": pickle.dumps([1, 2, 3]),
    "an ONNX file": b"\x08\x08\x12\x07pytorch\x1a\x032.9" + bytes(20),
    "an HDF5 file, as Keras writes them": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "a GGUF file": b"GGUF\x03" + bytes(100),
    "a TensorFlow Lite file": b"\x1c\0\0\0TFL3" + bytes(100),
    "a gzip archive: unpack it first": gzip.compress(b"x" * 100),
    "a tar archive: unpack it first": b"net.pt" + bytes(251) + b"ustar\x0000" + bytes(100),
    "a Git LFS pointer: fetch the file itself with git lfs pull": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    ),
    "a web page: the download went wrong": b"<!DOCTYPE html><html><body>404</body></html>",
    "a text file": b"import torch\n" * 9,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "an FPGA bitstream": b"\x00\x09\x0f\xf0\x0f\xf0" + bytes(50),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_told_apart(kind: str) -> None:
    refused(FOREIGN[kind], f"no dpnet image but {kind}")


def test_headers_that_are_none(tmp_path: Path) -> None:
    refused(b"", "no dpnet image: it has 0 bytes")
    misfit = "no dpnet image, or a damaged one: the header's size, {}, does not fit the file"
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
    refused(raw(b'{"a": "\\ud800"}'), r"the header holds text that is no Unicode \(a lone surro.*")


def test_a_plain_safetensors_file_is_no_image(tmp_path: Path) -> None:
    save_file({"fc.weight": np.ones((2, 3), np.float32)}, tmp_path / "plain")
    message = "no dpnet image but a safetensors file: compress it first, with dpnet compress FILE"
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
    (lambda d: d.update(input_scale=0), "input_scale must be a positive, finite number, not 0"),
    (lambda d: d.update(input_scale=-1.0), "input_scale must be a positive, .*, not -1"),
    (lambda d: d.update(input_scale=10**400), "input_scale .* number, not one beyond floats"),
    (lambda d: d.update(output_scale=0), "output_scale must be a positive, .*, not 0"),
    (lambda d: d.update(output_scale=-1), "output_scale must be a positive, .*, not -1"),
    (lambda d: d.update(output_scale=True), "output_scale has the wrong type"),
    (lambda d: d.update(format=True), "its format is True, this program reads 1: compress again"),
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
        ('{"a": {"\\ud800": 1}}', r"the description holds text that is no Unicode \(a lone .*"),
        ('{"a": ["\\udc00"]}', r"the description holds text that is no Unicode \(a lone .*"),
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


def test_a_scale_beyond_floats_is_no_infinity(file: File) -> None:
    """JSON has 1e999, and Python reads it as an infinity, which no other check sees."""
    for name in ("input_scale", "output_scale"):
        file.description[name] = "SCALE"
        text = json.dumps(file.description).replace('"SCALE"', "1e999")
        file.description[name] = 1.0
        data = save(file.tensors, {"dpnet": text})
        refused(data, f"{name} must be a positive, finite number, not inf")


def test_layers_that_do_not_chain_behind_right_checksums(file: File) -> None:
    file.description["layers"][0].update(rows=6, shape=[6, 9])
    for name in ("entries", "exponent", "bias", "multiplier", "shift"):
        file.tensors[f"0.{name}"] = file.tensors[f"0.{name}"][:6]
    file.tensors["0.indices"] = file.tensors["0.indices"][: -(-6 * 9 * 2 // 8)]
    refused(file.bytes(), "layer last takes 7 values, but first before it gives 6")


def test_layers_of_both_kinds_behind_right_checksums(file: File) -> None:
    for name in ("entries", "exponent", "bias", "multiplier", "shift"):
        del file.tensors[f"1.{name}"], file.description["layers"][1]["crc32"][f"1.{name}"]
    file.tensors["1.codebook"] = np.zeros((3, 3), np.float32)
    file.description["layers"][1]["crc32"]["1.codebook"] = 0
    message = "layers must be all fp32 or all integer, not first the one and last the other"
    refused(file.bytes(), message)


def test_a_name_with_a_lone_surrogate(file: File) -> None:
    file.description["layers"][0]["name"] = "\ud800"
    refused(file.bytes(), r"the description holds text that is no Unicode \(a lone surrogate\)")


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
    (FLOATS, {"codebook": np.full((7, 4), 1e300)}, "codebook must be float32, not float64"),
    (INTEGERS, {"entries": np.full((7, 4), 0.5)}, "entries must be integers, not float64"),
    (INTEGERS, {"shift": [1] * 7}, r"shift must have shape \(7,\), not \[1, 1, .*\]"),
    (INTEGERS, {"shape": (7, 3)}, r"shape \(7, 3\) is not that of indices of 7 × 9"),
    (INTEGERS, {"shape": (7, 3, 3, 1, 1, 1)}, "shape must be one to five positive numbers, .*"),
    (INTEGERS, {"shape": [7, 9]}, r"shape must be one to five positive numbers, not \[7, 9\]"),
    (INTEGERS, {"name": "a\udfff"}, r"a layer's name must be Unicode, not 'a\\udfff' with a .*"),
    (INTEGERS, {"name": 3}, "a layer's name must be text, not 3"),
    (INTEGERS, {"k": True}, "k must be 1 to 16, not True"),
    (INTEGERS, {"relu": 1}, "relu must be a bool, not 1"),
    (
        ImageLayer(
            name="row",
            shape=(1, 9),
            k=1,
            indices=np.zeros((1, 9), np.uint8),
            codebook=np.zeros((1, 1), np.float32),
        ),
        {"indices": np.zeros((1, 65537), np.uint8), "shape": (1, 65537)},
        "a layer has at most 65536 rows and 65536 columns, not 1 × 65537",
    ),
]


@pytest.mark.parametrize("base, edit, message", LAYERS)
def test_layers_that_are_none(base: ImageLayer, edit: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=f"^{message}$"):
        replace(base, **edit)


IMAGES: list[tuple[dict[str, Any], str]] = [
    ({"layers": ()}, "layers must be 1 to 256, not 0"),
    ({"layers": (INTEGERS,) * 257}, "layers must be 1 to 256, not 257"),
    ({"layers": (INTEGERS, INTEGERS)}, "layer a takes 9 values, but a before it gives 7"),
    (
        {"layers": (FLOATS, INTEGERS)},
        "layers must be all fp32 or all integer, not b the one and a .*",
    ),
    ({"output_scale": 0.0}, "output_scale must be a positive, finite number, not 0"),
    ({"output_scale": -1.0}, "output_scale must be a positive, finite number, not -1"),
    ({"output_scale": np.inf}, "output_scale must be a positive, finite number, not inf"),
    ({"output_scale": np.nan}, "output_scale must be a positive, finite number, not nan"),
    ({"input_scale": 0}, "input_scale must be a positive, finite number, not 0"),
    ({"input_scale": "1"}, "input_scale must be a positive, finite number, not '1'"),
    ({"input_bits": 1}, "input_bits must be 2 to 25, not 1"),
    ({"input_bits": 8.0}, "input_bits must be 2 to 25, not 8.0"),
    ({"about": {"x": np.float32(1)}}, "about must hold JSON's types only: .*float32 is not .*"),
    ({"about": {"x": float("nan")}}, "about must hold JSON's types only: Out of range .*"),
    ({"about": {"x": "\ud800"}}, r"about holds text that is no Unicode \(a lone surrogate\)"),
]


@pytest.mark.parametrize("edit, message", IMAGES)
def test_images_that_are_none(edit: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageError, match=f"^{message}$"):
        Image(**{"layers": (INTEGERS,), **edit})


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    image = Image(layers=(INTEGERS,), about={"notes": "x" * (1 << 20)})
    with pytest.raises(
        ImageError, match=r"^its description takes 1,0\d\d,\d\d\d bytes, an image has "
    ):
        image.save(tmp_path / "x")
    assert not list(tmp_path.iterdir())


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
