"""Coded layers: there and back, bytes against the entropy, a reader in integers, damaged files."""

from __future__ import annotations

import heapq
import json
import os
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save
from waiting_kit import PATIENCE_S

from dpnet.model.coding import checks as coding_checks
from dpnet.model.coding.entropy import quantize_entropy
from dpnet.model.coding.files import (
    CodedError,
    CodedLayer,
    parse_coded,
    read_coded,
    write_coded,
)
from dpnet.model.coding.streams import decode, frequencies

SEED = int(os.environ.get("SEED", "20"))
CODERS, TABLES = ("ans", "range", "huffman"), ("layer", "row", "adaptive")


def random_layer(random: np.random.Generator, rows: int, n: int, k: int) -> CodedLayer:
    """Skewed indices; codebooks of which some rows repeat their last entry."""
    codebook = np.sort(random.normal(size=(rows, k)), axis=1)
    used = random.integers(1, k + 1, rows)
    columns = np.minimum(np.arange(k), used[:, None] - 1)
    indices = np.minimum(random.geometric(0.4, (rows, n)) - 1, used[:, None] - 1)
    wide = np.uint8 if k <= 256 else np.uint16
    return CodedLayer(np.take_along_axis(codebook, columns, 1), indices.astype(wide), (rows, n))


def assert_equal(one: CodedLayer, other: CodedLayer) -> None:
    assert one.shape == other.shape and one.indices.dtype == other.indices.dtype
    np.testing.assert_array_equal(one.indices, other.indices)
    assert one.codebook.dtype == np.float64
    assert one.codebook.tobytes() == np.ascontiguousarray(other.codebook).tobytes()


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 40), st.sampled_from([1, 2, 3, 16, 300])),
        max_size=3,
    ),
    st.sampled_from(CODERS),
    st.sampled_from([*TABLES, "auto"]),
    st.integers(0, 2**32),
)
@settings(max_examples=150, deadline=None)
def test_there_and_back(
    shapes: list[tuple[int, int, int]], coder: Any, tables: Any, seed: int
) -> None:
    random = np.random.default_rng(seed)
    layers = {f"layer {i}": random_layer(random, *shape) for i, shape in enumerate(shapes)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.coded"
        sizes = write_coded(path, layers, coder=coder, tables=tables)
        assert sizes.total == path.stat().st_size
        found = read_coded(path)
        assert list(path.parent.iterdir()) == [path]
    assert list(found) == list(layers)
    for name, layer in layers.items():
        assert_equal(found[name], layer)


def test_quantized_weights_keep_their_shape_and_float32_entries_half_the_codebook(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(SEED)
    weight = random.normal(size=(8, 3, 5, 5))
    rows = quantize_entropy(weight, 4, 0.05, axis=(1, 2, 3))
    whole = quantize_entropy(weight, 4, 0.05, axis=(0, 1, 2, 3))
    exact = write_coded(tmp_path / "a", {"rows": rows, "whole": whole})
    found = read_coded(tmp_path / "a")
    np.testing.assert_array_equal(found["rows"].weight, rows.dequantized)
    np.testing.assert_array_equal(found["whole"].weight[0], whole.dequantized)
    short = write_coded(tmp_path / "b", {"rows": rows, "whole": whole}, entries="float32")
    rounded = rows.codebook.astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(read_coded(tmp_path / "b")["rows"].codebook, rounded)
    assert exact.codebooks - short.codebooks == 4 * (int(rows.k_eff.sum()) + int(whole.k_eff))
    again = write_coded(tmp_path / "c", read_coded(tmp_path / "b"))
    assert again == short
    first = quantize_entropy(weight, 4, 0.05, axis=0)
    with pytest.raises(ValueError, match=r"^rows must be along all axes but the first, or all, "):
        write_coded(tmp_path / "d", {"first": first})


def huffman_bits(counts: list[int]) -> int:
    """What an optimal prefix code takes: the sum of all merged counts."""
    heap, bits = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        heapq.heappush(heap, merged)
        bits += merged
    return bits


def test_indices_take_their_entropy(tmp_path: Path) -> None:
    random = np.random.default_rng(SEED)
    q = quantize_entropy(random.laplace(size=(40, 1500)), 16, 0.05)
    counts = np.array([np.bincount(row, minlength=16) for row in q.indices])
    by_row = q.bits.sum() / 8
    share = counts.sum(0)[counts.sum(0) > 0] / counts.sum()
    by_layer = -60_000 * (share @ np.log2(share)) / 8
    for coder in CODERS:
        sizes = {
            t: write_coded(tmp_path / "x", {"a": q}, coder=coder, tables=t)
            for t in (*TABLES, "auto")
        }
        assert all(s.entropy == pytest.approx(by_row) for s in sizes.values())
        assert all(s.entropy_by_layer == pytest.approx(by_layer) for s in sizes.values())
        assert [sizes[t].tables for t in TABLES] == [32, 640, 0]
        if coder == "huffman":
            bits = huffman_bits([int(c) for c in counts.sum(0)])
            assert sizes["layer"].indices == 4 * -(-bits // 32)
            continue
        assert by_layer <= sizes["layer"].indices + 8 and by_row <= sizes["row"].indices + 8
        assert sizes["layer"].indices <= by_layer * 1.0002 + 8
        assert sizes["row"].indices <= by_row * 1.002 + 8  # tables of 8 bits
        assert sizes["adaptive"].indices <= by_layer * 1.02  # it learns
        assert sizes["auto"].total == min(s.total for s in sizes.values())


def decode_ans_in_integers(stream: list[int], parts: list[int], n: int) -> list[int]:
    """rANS as published, 64-bit state, 32-bit words, symbols of parts[i] of 2^24."""
    starts = np.concatenate([[0], np.cumsum(parts)]).tolist()
    assert starts[-1] == 1 << 24
    words, state, found = list(stream), 0, []
    while words and state < 1 << 32:
        state = state << 32 | words.pop()
    for _ in range(n):
        slot = state & (1 << 24) - 1
        symbol = int(np.searchsorted(starts, slot, side="right")) - 1
        found.append(symbol)
        state = (state >> 24) * parts[symbol] + slot - starts[symbol]
        if state < 1 << 32 and words:
            state = state << 32 | words.pop()
    assert state == 0 and not words
    return found


@pytest.mark.parametrize("k", [2, 16, 256])
def test_a_reader_in_integers_alone_reads_the_stream(tmp_path: Path, k: int) -> None:
    layer = random_layer(np.random.default_rng(SEED), 3, 700, k)
    write_coded(tmp_path / "x", {"a": layer}, tables="layer")
    tensors = load((tmp_path / "x").read_bytes())
    weights = [int(w) for w in tensors["0.table"][0]]
    free = (1 << 24) - k
    parts = [w * free // sum(weights) for w in weights]
    parts[weights.index(max(weights))] += free - sum(parts)
    assert parts == frequencies(np.array(weights)).astype(int).tolist()
    found = decode_ans_in_integers(tensors["0.stream"].tolist(), [p + 1 for p in parts], 2100)
    np.testing.assert_array_equal(np.reshape(found, (3, 700)), layer.indices)


@given(st.lists(st.integers(0, 2**38), min_size=2, max_size=40).filter(any))
@settings(max_examples=100, deadline=None)
def test_frequencies_are_integers_that_sum_to_the_free_parts(weights: list[int]) -> None:
    found = frequencies(np.array(weights))
    assert found.dtype == np.float32 and sum(map(int, found)) == (1 << 24) - len(weights)
    assert all(part == int(part) >= 0 for part in found.tolist())
    exact = [w * ((1 << 24) - len(weights)) / sum(weights) for w in weights]
    pairs = zip(found.tolist(), exact, strict=True)
    assert all(abs(a - b) < 1 for a, b in pairs if b < max(exact))


MESSAGE = [0, 1, 0, 2, 0, 0, 3, 1, 0, 2, 0, 0, 1, 0, 0, 1]
FROZEN = {"ans": [309329920, 20569], "range": [1648160430], "huffman": [49177037]}


@pytest.mark.parametrize("coder", CODERS)
def test_streams_of_this_format_stay_readable(coder: Any) -> None:
    stream = np.array(FROZEN[coder], np.uint32)
    table = np.array([[9, 4, 2, 1]], np.uint16)
    assert decode(stream, (2, 8), 4, table, "layer", coder).ravel().tolist() == MESSAGE


def test_the_library_is_loaded_on_use_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lazy = "import sys, dpnet.model.coding.files as c; sys.exit('constriction' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", lazy], check=False, timeout=PATIENCE_S).returncode
        == 0
    )
    monkeypatch.setitem(sys.modules, "constriction", None)
    layer = random_layer(np.random.default_rng(SEED), 2, 9, 4)
    message = r"^entropy coding needs constriction: pip install 'dpnet\[coding\]'$"
    with pytest.raises(ImportError, match=message):
        write_coded(tmp_path / "x", {"a": layer})
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_the_old_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    layer = random_layer(np.random.default_rng(SEED), 2, 9, 4)
    write_coded(tmp_path / "x", {"a": layer})
    before = (tmp_path / "x").read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_coded(tmp_path / "x", {"other": layer})
    assert (tmp_path / "x").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


# Damage


class File:
    """A file taken apart: description and tensors."""

    def __init__(self, folder: Path, coder: Any = "ans", tables: Any = "row") -> None:
        random = np.random.default_rng(SEED)
        self.layers = {"a": random_layer(random, 3, 20, 4), "b": random_layer(random, 2, 9, 3)}
        write_coded(folder / "x", self.layers, coder=coder, tables=tables)
        self.data = (folder / "x").read_bytes()
        size = int.from_bytes(self.data[:8], "little")
        header = json.loads(self.data[8 : 8 + size])
        self.description = json.loads(header["__metadata__"]["dpnet-coded"])
        self.tensors = load(self.data)

    def bytes(self) -> bytes:
        """Put together again, with all checksums right but those of the decoded indices."""
        for layer in self.description["layers"]:
            layer["crc32"] = {n: zlib.crc32(self.tensors[n].tobytes()) for n in layer["crc32"]}
        self.description.pop("crc32", None)
        text = json.dumps(self.description, sort_keys=True)
        self.description["crc32"] = zlib.crc32(text.encode())
        return save(self.tensors, {"dpnet-coded": json.dumps(self.description)})


def refused(data: bytes, message: str) -> None:
    with pytest.raises(CodedError) as caught:
        parse_coded(data)
    assert re.search(message, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("coder", CODERS)
def test_every_altered_byte_is_noticed(tmp_path: Path, coder: Any) -> None:
    file = File(tmp_path, coder)
    random, passed = np.random.default_rng(SEED), 0
    for place in range(len(file.data)):
        data = bytearray(file.data)
        data[place] ^= 1 << int(random.integers(8))
        try:
            found = parse_coded(bytes(data))
        except CodedError:
            continue
        passed += 1  # a blank of the header's JSON became another blank
        for name, layer in file.layers.items():
            assert_equal(found[name], layer)
    assert passed < 8
    for length in range(0, len(file.data), 7):
        with pytest.raises(CodedError):
            parse_coded(file.data[:length])
    refused(file.data + b"x", "the file has")


def describe(name: str, value: object) -> Callable[[File], None]:
    return lambda file: file.description["layers"][0].update({name: value})


def replace(name: str, value: Any) -> Callable[[File], None]:
    return lambda file: file.tensors.update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.description.update(format=2), "its format is 2, this program reads 1$"),
        (lambda f: f.description.update(coder="zip"), "its coder is 'zip'$"),
        (lambda f: f.description.update(more=1), "it has other keys$"),
        (lambda f: f.description.update(layers={}), "its layers are no list$"),
        (describe("name", "b"), "two layers have the same name$"),
        (describe("name", 5), "layer 0: name has the wrong type$"),
        (describe("shape", [3, 0]), "layer 0: its shape must be two to eight positive numbers"),
        (describe("shape", [3, 1 << 62]), "layer 0: its shape must be two to eight"),
        (describe("shape", [3, 21]), "layer 0: its (stream cannot be decoded|indices are wrong)"),
        (describe("k", True), "layer 0: k has the wrong type$"),
        (describe("k", 5), r"tensor 0\.table: no table of this layer$"),
        (describe("tables", "adaptive"), r"tensor 0\.table: no table of this layer$"),
        (describe("tables", "none"), "layer 0: its tables are 'none'$"),
        (describe("indices_crc32", 1), "layer 0: its indices are wrong$"),
        (replace("0.table", np.zeros((3, 4), np.uint8)), r"tensor 0\.table: a table is empty$"),
        (replace("0.stream", np.arange(1, 12, dtype=np.uint32)), "layer 0: its"),
        (replace("0.stream", np.zeros(3, np.uint32)), "layer 0: its stream cannot be decoded"),
        (replace("0.stream", np.zeros(0, np.uint32)), "layer 0: its"),
        (replace("0.stream", np.zeros(3, np.int32)), r"tensor 0\.stream: its type 'I32' is not"),
        (replace("0.codebook", np.zeros(2)), "2 entries are not what its rows use$"),
        (replace("0.used", np.full(3, 9, np.uint16)), "entries are not what its rows use$"),
        (replace("0.used", np.zeros(2, np.uint16)), r"tensor 0\.used: its shape must be \[3\]"),
        (replace("9.stream", np.zeros(1, np.uint32)), r"tensors \['9.stream'\] are missing or"),
        (lambda f: f.tensors["0.codebook"].fill(np.nan), "layer 0: codebook must hold"),
    ],
)
def test_wrong_contents_with_right_checksums_are_refused(
    tmp_path: Path, change: Callable[[File], None], message: str
) -> None:
    file = File(tmp_path)
    parse_coded(file.bytes())  # unchanged, it is read
    file.tensors = {name: tensor.copy() for name, tensor in file.tensors.items()}
    change(file)
    refused(file.bytes(), message)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CodedError, match=r"x: cannot be read: No such file or directory$"):
        read_coded(tmp_path / "x")
    with open(tmp_path / "huge", "wb") as sparse:
        sparse.truncate(coding_checks.LARGEST_FILE + 1)
    with pytest.raises(CodedError, match=r"huge: \d+ bytes are more than coded layers have$"):
        read_coded(tmp_path / "huge")
    refused(b"abc", "^no file of coded layers: it has 3 bytes$")
    refused(bytes(100), "the header's size, 0, does not fit the file")
    refused(save({"a": np.ones(1)}), "^a safetensors file, but not one of coded layers$")
    for text, message in (
        (b"[" * 100_000, "the header is no JSON"),
        (b"[1]", "the header must be a JSON object"),
        (b'{"a": 1, "a": 2}', "the header names something twice"),
    ):
        refused(len(text).to_bytes(8, "little") + text, message)


@pytest.mark.parametrize(
    ("codebook", "indices", "shape", "message"),
    [
        (
            np.ones((2, 3)),
            np.zeros((3, 4), np.uint8),
            (3, 4),
            "codebook and indices must have the same rows, not (2, 3) and (3, 4)",
        ),
        (
            np.full((2, 3), np.inf),
            np.zeros((2, 4), np.uint8),
            (2, 4),
            "codebook must hold 1 to 65536 finite entries a row",
        ),
        (
            np.ones((2, 3)),
            np.zeros((2, 4)),
            (2, 4),
            "indices must be filled and not negative, not float64",
        ),
        (np.ones((2, 3)), np.full((2, 4), 3, np.uint8), (2, 4), "indices must be below 3, not 3"),
        (
            np.ones((2, 3)),
            np.zeros((2, 4), np.uint8),
            (2, 2, 3),
            "shape must be that of (2, 4), not (2, 2, 3)",
        ),
    ],
)
def test_bad_layers_are_refused(
    codebook: np.ndarray, indices: np.ndarray, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        CodedLayer(codebook, indices, shape)


def test_bad_options_are_refused(tmp_path: Path) -> None:
    layers = {"a": random_layer(np.random.default_rng(SEED), 2, 9, 4)}
    message = r"^coder and tables must be known, not 'zip' and 'auto'$"
    with pytest.raises(ValueError, match=message):
        write_coded(tmp_path / "x", layers, coder="zip")
    with pytest.raises(ValueError, match=r"^entries must be 'float64' or 'float32', not 'int8'$"):
        write_coded(tmp_path / "x", layers, entries="int8")
