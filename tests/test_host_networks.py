"""`dpnet compile`, `info` and `run` on whole networks: what they print, and what they refuse."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_kit import Board, Call, digits_image, last
from map_image_kit import every_fact
from maps_kit import torch_layers
from test_host_terminal import lines_of, on_terminal

from dpnet.host.commands.user_module import network
from dpnet.model.compile import whole
from dpnet.model.golden.network import integer_network
from dpnet.model.image.maps import MapImage, read_map_image
from dpnet.model.networks.handwritten import handwritten

pytestmark = pytest.mark.usefixtures("folder", "one_thread")

NETS = """
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self, size=8):
        super().__init__()
        self.conv1 = nn.Conv2d(1, size, 3, padding=1)
        self.conv2 = nn.Conv2d(size, size, 3, padding=1, groups=2)
        self.fc = nn.Linear(size * 16, 4)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.softmax(self.fc(x.flatten(1)), 1)


def make():
    torch.manual_seed(2)
    return Net()


net = make()


class Odd(Net):
    def forward(self, x):
        x = F.silu(self.conv1(x))
        return self.conv2(x).tanh()


def empty():
    net = make()
    nn.init.zeros_(net.conv1.weight)
    return net
"""
SHAPE = ["--input-shape", "1x8x8"]
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (40, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of the user's, pictures, and the image of both."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "nets.py").write_text(NETS)
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", np.arange(40) % 4)
    return folder


@pytest.fixture(autouse=True)
def project(made: Path, folder: Path) -> None:
    for path in made.iterdir():
        shutil.copy(path, folder)


@pytest.fixture
def image(dpnet: Call, made: Path) -> MapImage:
    """net.dpnet, compiled once."""
    kept = made / "net.dpnet"
    if not kept.exists():
        compiled(dpnet, "--bits-of", "conv1=2:fc=3", "--out", "net.dpnet")
        shutil.copy("net.dpnet", kept)
    shutil.copy(kept, "net.dpnet")
    return read_map_image("net.dpnet")


def compiled(dpnet: Call, *arguments: object) -> Any:
    result = dpnet("compile", "nets.py:make", "--calibration", "x.npy", *arguments)
    assert result.code == 0, result.err
    return result


def fails(dpnet: Call, message: str, *arguments: object, code: int = 2) -> None:
    """One line on stderr, nothing on stdout."""
    result = dpnet(*arguments)
    assert (result.code, result.out) == (code, "")
    assert re.fullmatch(f"dpnet: {message}\n", last(result.err)), result.err


# Compiling


def test_a_profile_without_room_is_told(dpnet: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "LARGEST_PROFILE", 100)
    assert "\nno profile: it would be larger than an image has room for" in compiled(dpnet).out
    assert "no profile" not in compiled(dpnet, "--no-profile", "--out", "other.dpnet").out


def test_a_network_to_an_image(dpnet: Call) -> None:
    result = compiled(dpnet, "--bits-of", "conv1=2:fc=3", "--out", "a.dpnet", "--json")
    document, read = result.json, read_map_image("a.dpnet")
    rows = {row["name"]: row for row in document["layers"]}
    assert [(name, rows[name]["k"]) for name in rows] == [
        ("conv1", 4),
        ("conv2", 15),
        ("max_pool2d", None),
        ("fc", 8),
    ]
    assert rows["conv1"]["source"] == {
        "node": "conv2d", "path": "conv1", "file": "nets.py", "line": 15,
        "text": "x = F.relu(self.conv1(x))",
    }  # fmt: skip
    assert rows["conv2"]["operator"] == "conv in 2 groups 3×3"
    assert rows["fc"]["operator"] == "linear" and rows["fc"]["output"] == [4, 1, 1]
    assert document["weights"] == 8 * 9 + 8 * 4 * 9 + 4 * 128 == read.weights
    assert document["file_bytes"] == Path("a.dpnet").stat().st_size
    assert document["host"] == ["softmax"] and document["classes"] == 4
    assert sum(row["cycles"] for row in rows.values()) == document["cycles"]
    tensors = {one["tensor"]: one for one in document["tensors"]}
    assert set(tensors) == {one.name for one in read.network.tensors}
    assert tensors["x"]["high"] == pytest.approx(X.max())


@pytest.mark.parametrize("name", ["net", "Net", "make"])
def test_a_module_a_class_or_a_function(dpnet: Call, name: str) -> None:
    result = dpnet("compile", f"nets.py:{name}", "--calibration", "x.npy", "--bits", "1")
    assert result.code == 0 and f"image in {name}-1bit.dpnet, " in result.out
    assert read_map_image(f"{name}-1bit.dpnet").network.layers[0].entries.shape[1] == 2


def test_weights_and_files_of_a_network(dpnet: Call) -> None:
    with network("nets.py:make") as net:
        torch.save({"state_dict": net.state_dict(), "epoch": 1}, "net.pt")
        torch.export.save(
            torch.export.export(net.eval(), (torch.zeros(1, 1, 8, 8),)), "program.pt2"
        )
    assert dpnet("compile", "nets.py:Net", "--weights", "net.pt", "--calibration", "x.npy",
                 "--out", "a.dpnet").code == 0  # fmt: skip
    result = dpnet("compile", "program.pt2", "--calibration", "x.npy")
    assert result.code == 0 and "image in program-4bit.dpnet, " in result.out
    one, other = read_map_image("a.dpnet"), read_map_image("program-4bit.dpnet")
    for a, b in zip(one.network.layers, other.network.layers, strict=True):
        np.testing.assert_array_equal(a.bias, b.bias)
        assert (a.indices is None) or np.array_equal(a.indices, b.indices)
    fails(dpnet, "program.pt2 has its weights in it: leave out --weights",
          "compile", "program.pt2", "--weights", "net.pt", "--calibration", "x.npy")  # fmt: skip
    fails(dpnet, "none.onnx cannot be read: there is no such file; check the name",
          "compile", "none.onnx", "--calibration", "x.npy")  # fmt: skip
    Path("text.pt2").write_text("x")
    fails(dpnet, "text.pt2: it is no file of torch.export.save, or damaged .*",
          "compile", "text.pt2", "--calibration", "x.npy")  # fmt: skip


def test_verbose_has_a_line_for_every_tensor(dpnet: Call) -> None:
    brief = compiled(dpnet, "--out", "a.dpnet").out
    told = compiled(dpnet, "--out", "a.dpnet", "--verbose").out
    head = re.compile(r"tensor +least +largest +integers +step +reaches to +saturated +error")
    assert head.search(told) and not head.search(brief)
    assert re.search(r"\nmax_pool2d +0 .* unsigned .* that of relu_1, whose maxima it has", told)
    assert re.search(
        r"\ncalibration from -0.9996 to 0.9991; (nothing saturates|saturated: )", brief
    )


# Dry runs


def test_a_dry_run_shows_the_layers_and_writes_nothing(dpnet: Call) -> None:
    before = sorted(Path().iterdir())
    result = dpnet("compile", "nets.py:Net", *SHAPE, "--dry-run")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].split() == [
        "layer", "operator", "input", "output", "K", "bytes", "cycles", "lanes", "source",
    ]  # fmt: skip
    assert re.match(r"conv1 +conv 3×3 +1×8×8 +8×8×8 +9 +[\d,]+ +[\d,]+ +\d+% +nets.py:15", lines[2])
    assert "no calibration was given: cycles and bytes are right, scales are not" in lines
    assert lines[-1] == "nothing is refused; nothing was written"
    assert sorted(Path().iterdir()) == before


def test_a_dry_run_names_everything_that_is_refused(dpnet: Call) -> None:
    result = dpnet("compile", "nets.py:Odd", *SHAPE, "--dry-run")
    assert result.code == 2
    assert re.findall(r"^refused: (nets.py:\d+), .* has no (\w+);", result.out, re.M) == [
        ("nets.py:30", "SiLU"),
        ("nets.py:31", "Tanh"),
    ]
    assert re.match(r"dpnet: this network would be refused: .*; and 1 more, see above\n$",
                    last(result.err))  # fmt: skip
    document = dpnet("compile", "nets.py:Odd", *SHAPE, "--dry-run", "--json").json
    assert document["dry_run"] is True and len(document["refused"]) == 2


def test_a_dry_run_on_an_engine_that_is_too_small(dpnet: Call) -> None:
    result = dpnet("compile", "nets.py:Net", *SHAPE, "--dry-run", "--engine", "maps?map_depth=64")
    assert result.code == 2 and "conv1" in result.out
    assert "refused: the network is larger than the engine: map_depth 64 (it needs " in result.out
    (fitting,) = re.findall(r"one that holds it: --engine '(.*)'\n", result.out)
    assert dpnet("compile", "nets.py:Net", *SHAPE, "--dry-run", "--engine", fitting).code == 0


def test_a_dry_run_for_the_array(dpnet: Call) -> None:
    Path("chain.py").write_text("from torch import nn\nnet = nn.Linear(6, 3)\n")
    result = dpnet("compile", "chain.py:net", "--input-shape", "6", "--dry-run")
    assert result.code == 0 and "3 × 6" in result.out and not list(Path().glob("*.dpnet"))


# What is refused


def saved(name: str, array: np.ndarray) -> str:
    np.save(name, array)
    return name


CALIBRATIONS: list[tuple[np.ndarray, str]] = [
    (0 * X + 3, "the calibration holds 3 and nothing else; give pictures such as .*"),
    (X * np.float32(np.nan), r"the calibration must be finite, not nan at \(0, 0, 0, 0\)"),
    (X[:0], "the calibration must have at least one picture, there is none"),
    (X[0, 0, 0], r"the calibration must have the shape \(n, …\), a batch in front, not \(8,\)"),
    (X[:, :, :4], "nets.py:17, .*: .*"),
]


@pytest.mark.parametrize("number", range(len(CALIBRATIONS)))
def test_calibrations_that_are_none(dpnet: Call, number: int) -> None:
    array, message = CALIBRATIONS[number]
    saved("bad.npy", array)
    fails(dpnet, message, "compile", "nets.py:Net", "--calibration", "bad.npy", "--out", "a.dpnet")
    assert not Path("a.dpnet").exists()


WRONG: list[tuple[list[str], str]] = [
    (["--input-shape", "3x8x8"], r"x.npy has the shape \(40, 1, 8, 8\), --input-shape says .*"),
    (["--input-shape", "8xa"], "--input-shape must be the sizes of one input .* not '8xa'; .*"),
    (["--bits-of", "conv9=2"], "the network has no layer 'conv9'; there are conv1, conv2, fc"),
    (["--bits-of", "conv1=2:fc"], "--bits-of must be LAYER=N, N from 1 to 4, not 'fc'; see .*"),
    (["--engine", "mesh"], "--engine must be auto, array, maps or maps.NAME=N&NAME=N, not .*"),
    (["--engine", "maps?stages=0"], "--engine must be an engine that can be built: stages .*"),
    (["--engine", "maps?lanes=2"], "--engine must be maps with sizes of clusters, .* 'lanes'.*"),
    (["--activation-bits", "7"], "activation_bits is for the array; a map engine has no choice"),
    (["--engine", "array"], r"the calibration must have the shape \(n, features\), not .*"),
    (["--engine", "maps?map_depth=64"], "the network is larger .*; one that holds it: --engine .*"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_arguments(dpnet: Call, number: int) -> None:
    arguments, message = WRONG[number]
    fails(dpnet, message, "compile", "nets.py:Net", "--calibration", "x.npy", "--out", "a.dpnet",
          *arguments)  # fmt: skip
    assert not Path("a.dpnet").exists()


def test_networks_that_are_none(dpnet: Call) -> None:
    arguments = ["--calibration", "x.npy", "--out", "a.dpnet"]
    message = "nets.py:15, .* all weights of layer conv1 are 0, so it gives the same for every .*"
    fails(dpnet, message, "compile", "nets.py:empty", *arguments)
    message = r"nets.py:30, `x = F.silu\(self.conv1\(x\)\)`: the engine has no SiLU; ReLU, .*"
    fails(dpnet, message, "compile", "nets.py:Odd", *arguments)
    message = "--calibration must be given: .*; only --dry-run does without"
    fails(dpnet, message, "compile", "nets.py:Net")
    message = "--input-shape or --calibration must be given: the shape of an input"
    fails(dpnet, message, "compile", "nets.py:Net", "--dry-run")


# Running by the golden model


def test_the_golden_model_in_place_of_an_engine(dpnet: Call, image: MapImage) -> None:
    labels = saved("labels.npy", np.arange(40) % 4)
    arguments = ["run", "net.dpnet", "--golden", "--input", "x.npy", "--labels", labels]
    result = dpnet(*arguments, "--out", "y_out.npy", "--json")
    assert result.code == 0
    document = result.json
    first = image.network.input
    steps = np.rint(X.astype(float) / first.scale) + first.zero
    given = np.clip(steps, first.low, first.high).astype(int)
    top, bottom, left, right = image.network.padding
    padded = np.pad(given, ((0, 0), (0, 0), (top, bottom), (left, right)),
                    constant_values=first.zero)  # fmt: skip
    output = image.network.tensor(image.network.output)
    logits = torch_layers(image.network, padded)[output.name][:, :, 0, 0] * output.scale
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    wanted = exponents / exponents.sum(1, keepdims=True)
    np.testing.assert_allclose(np.load("y_out.npy"), wanted, rtol=1e-12)
    np.testing.assert_array_equal(document["outputs"], np.load("y_out.npy"))
    right = int((logits.argmax(1) == np.arange(40) % 4).sum())
    assert (document["right"], document["accuracy"]) == (right, pytest.approx(100 * right / 40))
    assert document["golden"] is True and document["port"] is None and document["inputs"] == 40
    text = dpnet(*arguments).out
    assert text.startswith("net.dpnet by the golden model: 4 layers, 40 pictures\n")
    assert f"accuracy {100 * right / 40:.2f} % ({right} of 40)" in text
    assert "by the formula: nothing ran on an engine" in text


def test_pictures_of_integers_and_a_single_one(dpnet: Call, image: MapImage) -> None:
    saved("one.npy", X[0])
    saved("signs.npy", np.sign(X).astype(np.int8))
    for name, count in (("one.npy", 1), ("signs.npy", 40)):
        result = dpnet("run", "net.dpnet", "--golden", "--input", name, "--json")
        assert result.code == 0 and result.json["inputs"] == count


def test_pictures_and_labels_that_do_not_fit(dpnet: Call, image: MapImage) -> None:
    bytes_ = ((X + 1) * 127.5).astype(np.uint8)
    for array, message in (
        (X[:, :, :4], r"bad.npy must have the shape \(n, 1, 8, 8\), not \(40, 1, 4, 8\)"),
        (X[:0], "bad.npy must have at least one picture, there is none"),
        (X * np.float32(np.inf), "bad.npy must be finite, not .*"),
        (
            bytes_,
            "bad.npy: these pictures are 0 to 254, the calibration was -0.9.* to 0.9.*: 100% .*",
        ),
        (X / 1000, "bad.npy: these pictures are .*: hardly a value would differ from 0; .*"),
    ):
        saved("bad.npy", array)
        fails(dpnet, message, "run", "net.dpnet", "--golden", "--input", "bad.npy")
    arguments = ["run", "net.dpnet", "--golden", "--input", "x.npy", "--labels"]
    labels = np.arange(40) % 4
    for array, message in (
        (labels[:7], r"bad.npy has the shape \(7,\), there are 40 inputs: .*"),
        (labels + 1, "bad.npy holds the label 4; the network tells 4 classes, 0 to 3"),
        (labels - 1, "bad.npy holds the label -1; labels are whole numbers from 0 on"),
        (labels + 0.5, "bad.npy holds the label 0.5; labels are whole numbers from 0 on"),
    ):
        saved("bad.npy", array)
        fails(dpnet, message, *arguments, "bad.npy")


def test_saturation_is_counted_and_told(dpnet: Call, image: MapImage) -> None:
    saved("far.npy", X * 1.5)
    document = dpnet("run", "net.dpnet", "--golden", "--input", "far.npy", "--json").json
    first = image.network.input
    steps = np.rint(X.astype(float) * 1.5 / first.scale) + first.zero
    share = ((steps < first.low) | (steps > first.high)).mean()
    pixels = np.prod(image.input_shape) / np.prod(first.shape)
    assert share > 0.2 and document["saturated_inputs"] == pytest.approx(share * pixels, rel=1e-3)
    text = dpnet("run", "net.dpnet", "--golden", "--input", "far.npy").out
    assert re.search(r"^saturated: \d+\.\d{3}% of x", text, re.M)


def test_wrong_ways_to_run(dpnet: Call, image: MapImage, boards: Callable[..., Board]) -> None:
    both = "--port or --golden must be given, and not both; see dpnet run --help"
    fails(dpnet, both, "run", "net.dpnet", "--input", "x.npy")
    fails(dpnet, both, "run", "net.dpnet", "--input", "x.npy", "--golden", "--port", "sim://array")
    message = "net.dpnet is a whole network: give its pictures with --input FILE.npy"
    fails(dpnet, message, "run", "net.dpnet", "--golden")
    message = "--layer is for fp32 images; a whole network runs as one"
    fails(dpnet, message, "run", "net.dpnet", "--golden", "--input", "x.npy", "--layer", "fc")
    message = "the engine at the port is no map engine, and runs no whole networks; .*"
    fails(dpnet, message, "run", "net.dpnet", "--port", boards().url, "--input", "x.npy")


def test_the_golden_model_of_the_array(dpnet: Call) -> None:
    image = digits_image()
    result = dpnet("run", "digits.dpnet", "--golden", "--pictures", "9", "--json")
    assert result.code == 0 and result.json["inputs"] == 9
    data = handwritten()
    pictures = image.quantize_input(data.test_x[:9])
    logits = np.array([integer_network(image, x)[-1] for x in pictures]) * image.output_scale
    np.testing.assert_array_equal(result.json["outputs"], logits)
    right = (logits.argmax(1) == data.test_y[:9]).sum()
    assert result.json["accuracy"] == pytest.approx(100 * right / 9)


# What an image is


def test_info_shows_all_of_it(dpnet: Call, image: MapImage) -> None:
    document = dpnet("info", "net.dpnet", "--json").json
    assert document["kind"] == "maps" and document["engine"] == "sim://maps"
    assert document["ratio_bytes"] == document["fp32_bytes"] / document["file_bytes"]
    text = dpnet("info", "net.dpnet").out
    for name in ("conv1", "conv2", "max_pool2d", "fc"):
        assert re.search(rf"^{name} ", text, re.M)
    assert "nets.py:15" in text and "the host does softmax" in text


def test_names_do_not_command_the_terminal(dpnet: Call) -> None:
    every_fact().save("odd.dpnet")
    out = dpnet("info", "odd.dpnet").out
    assert "\x1b" not in out and r"rest\x1b[31m" in out
    assert "\x1b" not in dpnet("info", "odd.dpnet", "--json").out


def test_a_damaged_image_is_one_line(dpnet: Call, image: MapImage) -> None:
    data = Path("net.dpnet").read_bytes()
    Path("cut.dpnet").write_bytes(data[:-5])
    Path("flipped.dpnet").write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
    fails(dpnet, "cut.dpnet: the file has .* cut off or damaged", "info", "cut.dpnet")
    message = r"flipped.dpnet: tensor \d\.\w+: its CRC-32 is wrong"
    fails(dpnet, message, "run", "flipped.dpnet", "--golden", "--input", "x.npy")


@pytest.mark.parametrize("columns", [60, 80])
def test_a_narrow_terminal(image: MapImage, columns: int) -> None:
    code, output = on_terminal(columns, "-m", "dpnet.host.start", "info", "net.dpnet")
    assert code == 0
    assert max(map(len, lines_of(output))) <= columns
    if columns == 80:
        assert re.search(r"conv1 +conv 3×3 +8×8×8 +4 ", output)
