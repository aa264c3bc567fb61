"""`dpnet compile`: networks in the user's own files, and what is wrong with them, in one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_kit import TINY, Call, refused
from torch import nn

from dpnet.host.commands import InputError
from dpnet.host.commands.user_module import network
from dpnet.model.golden.network import integer_network
from dpnet.model.image import read_image

pytestmark = pytest.mark.usefixtures("folder")

# A folder as people have them: its own `model.py`, and a `host.py` beside.
MODEL = """
import torch
from torch import nn
from host import SIZE

print("imported")

class Net(nn.Module):
    def __init__(self, hidden=SIZE):
        super().__init__()
        self.fc1 = nn.Linear(12, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, 4)

    def forward(self, x):
        return self.fc2(torch.relu(self.bn(self.fc1(x))))

def build():
    torch.manual_seed(1)
    return Net(8)

net = build()
number = 3

def fails():
    return [].pop()

def text():
    return "a network"

class Odd(Net):
    def forward(self, x):
        return torch.erf(super().forward(x))
"""
X = np.random.default_rng(0).uniform(-1, 1, (30, 12)).astype(np.float32)


@pytest.fixture(autouse=True)
def project(folder: Path) -> None:
    Path("model.py").write_text(MODEL)
    Path("host.py").write_text("SIZE = 9\n")
    np.save("x.npy", X)


@pytest.mark.whole
def test_from_a_file_to_the_engines_outputs(dpnet: Call) -> None:
    result = dpnet(
        "compile", "model.py:build", "--calibration", "x.npy", "--bits", 3, "--bits-of", "fc2=2",
        "--out", "net.dpnet", "--json",
    )  # fmt: skip
    assert result.code == 0 and result.err == "imported\n"
    assert [(x["name"], x["k"]) for x in result.json["layers"]] == [("fc1", 8), ("fc2", 4)]
    assert result.json["largest_input"] == pytest.approx(np.abs(X).max())
    assert "host" not in sys.modules
    image = read_image("net.dpnet")
    np.save("y.npy", np.arange(30) % 4)
    run = dpnet(
        "run", "net.dpnet", "--port", TINY, "--input", "x.npy", "--labels", "y.npy",
        "--out", "out.npy", "--json",
    )  # fmt: skip
    assert (run.code, run.json["mismatches"]) == (0, 0)
    golden = [integer_network(image, x)[-1] for x in image.quantize_input(X)]
    wanted = np.array(golden) * image.output_scale
    np.testing.assert_array_equal(np.load("out.npy"), wanted)
    np.testing.assert_array_equal(run.json["outputs"], wanted)
    right = (wanted.argmax(1) == np.arange(30) % 4).mean()
    assert run.json["accuracy"] == pytest.approx(100 * right)
    assert run.json["saturated_inputs"] == 0 and run.json["out"] == "out.npy"
    np.save("far.npy", 50 * X)
    text = dpnet("run", "net.dpnet", "--port", TINY, "--input", "far.npy").out
    (line,) = [line for line in text.splitlines() if line.startswith("saturated: ")]
    share = (np.abs(50 * X) > image.largest_input + image.input_scale).mean()
    assert share > 0.9 and f"{image.saturated_inputs(50 * X):.2%} of the input values" in line
    assert image.saturated_inputs(50 * X) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("name", ["net", "Net", "build"])
def test_a_network_or_what_makes_it(dpnet: Call, name: str) -> None:
    result = dpnet("compile", f"model.py:{name}", "--calibration", "x.npy", "--bits", 2)
    assert result.code == 0
    assert "fc1    9 × 12" in result.out or "fc1    8 × 12" in result.out
    assert read_image(f"{name}-2bit.dpnet").layers[1].k == 4


def test_weights_of_a_file(dpnet: Call) -> None:
    with network("model.py:build") as net:
        with torch.no_grad():
            net.get_parameter("fc2.bias").fill_(100.0)
        torch.save({"model": net.state_dict(), "epoch": 3}, "net.pt")
        wrong = {**net.state_dict(), "fc2.bias": torch.ones(5)}
        torch.save(wrong, "wrong.pt")
        torch.save({k: v for k, v in net.state_dict().items() if "fc2" not in k}, "few.pt")
        torch.save({**net.state_dict(), "fc3.bias": torch.ones(5)}, "more.pt")
    arguments = ["compile", "model.py:build", "--calibration", "x.npy", "--weights"]
    assert dpnet(*arguments, "net.pt", "--out", "net.dpnet").code == 0
    image = read_image("net.dpnet")
    golden = integer_network(image, image.quantize_input(X[0]))[-1] * image.output_scale
    assert golden.min() > 90
    for file, message in (
        ("wrong.pt", "wrong.pt: fc2.bias has the shape (5,), the network (4,)"),
        ("few.pt", "few.pt misses fc2.bias, fc2.weight"),
        ("more.pt", "more.pt has more than the network: fc3.bias"),
    ):
        result = dpnet(*arguments, file)
        assert (result.code, result.out) == (2, "")
        line = f"dpnet: {message}; give the weights of this network"
        assert result.err.splitlines()[-1] == line
    assert not list(Path().glob("build*.dpnet"))


FILES = {
    "syntax.py": ("x = (\n", "syntax.py line 1: SyntaxError: '(' was never closed"),
    "name.py": (
        "import torch\nnet = nn.Linear(1, 1)\n",
        "name.py line 2: NameError: name 'nn' is not defined",
    ),
    "missing.py": (
        "import no_such_module\n",
        "missing.py line 1: ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "lines.py": ("raise ValueError('two\\nlines')\n", "lines.py line 1: ValueError: two lines"),
    "exits.py": ("raise SystemExit(3)\n", "exits.py: it ends Python (3) when it is imported"),
    "empty.py": ("", "empty.py has no net; it has no networks, classes or functions"),
    "bytes.py": ("x = '\x00'\n", "bytes.py: .*"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_the_user_that_fail(dpnet: Call, name: str) -> None:
    text, message = FILES[name]
    Path(name).write_text(text)
    result = dpnet("compile", f"{name}:net", "--calibration", "x.npy")
    assert (result.code, result.out) == (2, "") and result.err.count("\n") == 1
    if not message.endswith(".*"):
        assert result.err == f"dpnet: {message}\n"


WRONG = [
    ("model.py:Nett", "model.py has no Nett; did you mean Net?"),
    ("model.py:number", "model.py:number must be a network or make one, not int"),
    ("model.py:text", "model.py:text() must return a torch.nn.Module, not str"),
    (
        "model.py:Odd",
        "model.py:33, `return torch.erf(super().forward(x))`: the engine has no erf; convolution, "
        "linear, batch norm, pooling, addition, concatenation and clamps run on it",
    ),
]


@pytest.mark.parametrize("place, message", WRONG)
def test_names_that_are_no_network(dpnet: Call, place: str, message: str) -> None:
    result = dpnet("compile", place, "--calibration", "x.npy")
    assert (result.code, result.out) == (2, "")
    assert result.err == f"imported\ndpnet: {message}\n"


def test_a_function_that_fails(dpnet: Call) -> None:
    result = dpnet("compile", "model.py:fails", "--calibration", "x.npy")
    assert result.code == 2 and result.err.startswith("imported\ndpnet: model.py line ")
    assert result.err.endswith(": fails() fails: IndexError: pop from empty list\n")


def test_what_is_no_place(dpnet: Call) -> None:
    for place in ("model.py", "model:net", "model.py:a b", "model.py:", ":net"):
        message = (
            f"the network must be FILE.py:NAME, FILE.pt2 or FILE.onnx, not {place!r}; see dpnet "
            "compile --help"
        )
        refused(dpnet("compile", place, "--calibration", "x.npy", "--out", "a"), 2, message)
    refused(
        dpnet("compile", "none.py:net", "--calibration", "x.npy"),
        2,
        "none.py cannot be read: there is no such file; check the name",
    )
    refused(
        dpnet("compile", "model.py:net", "--calibration", "x.npy", "--bits-of", "fc1=5"),
        2,
        "--bits-of must be LAYER=N, N from 1 to 4, not 'fc1=5'; see dpnet compile --help",
    )


def test_the_output_is_none_of_the_inputs(dpnet: Call) -> None:
    os.link("x.npy", "hard.npy")
    Path("soft.npy").symlink_to("x.npy")
    content = Path("x.npy").read_bytes()
    for out in ("x.npy", "./x.npy", "hard.npy", "soft.npy"):
        refused(
            dpnet("compile", "model.py:net", "--calibration", "x.npy", "--out", out),
            2,
            f"{Path(out)} is the input x.npy itself, which would be lost; name another file with "
            "--out",
        )
    assert Path("x.npy").read_bytes() == content
    torch.save({"fc.weight": torch.randn(4, 99)}, "net.pt")
    for out in ("net.pt", Path("net.pt").resolve()):
        result = dpnet("compress", "net.pt", "--out", out)
        assert result.code == 2 and "is the input net.pt itself" in result.err
    assert dpnet("compress", "net.pt").code == 0
    refused(
        dpnet("run", "net-4bit.dpnet", "--port", TINY, "--input", "x.npy", "--out", "hard.npy"),
        2,
        "hard.npy is the input x.npy itself, which would be lost; name another file with --out",
    )


def test_the_search_for_modules_is_as_it_was() -> None:
    before = list(sys.path)
    with pytest.raises(InputError), network("model.py:fails"):
        pass
    with network("model.py:Net") as net:
        assert isinstance(net, nn.Module) and sys.path[0] == str(Path.cwd())
    assert sys.path == before


LABELS = [
    (np.zeros(29), "y.npy has the shape (29,), there are 30 inputs: save an array of shape "
     "(30,), a label for each"),
    (np.full(30, 0.5), "y.npy holds the label 0.5; labels are whole numbers from 0 on"),
    (np.full(30, np.nan), "y.npy holds the label nan; labels are whole numbers from 0 on"),
    (np.full(30, -1), "y.npy holds the label -1; labels are whole numbers from 0 on"),
]  # fmt: skip


@pytest.mark.parametrize("labels, message", LABELS)
def test_labels_that_are_none(dpnet: Call, labels: np.ndarray, message: str) -> None:
    assert dpnet("compile", "model.py:net", "--calibration", "x.npy", "--out", "a").code == 0
    np.save("y.npy", labels)
    arguments = ["run", "a", "--port", "nowhere", "--input", "x.npy", "--labels", "y.npy"]
    refused(dpnet(*arguments), 2, message)
    os.mkfifo("pipe.npy")
    refused(
        dpnet(*arguments[:-1], "pipe.npy"),
        2,
        "pipe.npy cannot be read: it is no file but a pipe, a socket or a device",
    )
    refused(
        dpnet("run", "a", "--port", "nowhere", "--labels", "y.npy"),
        2,
        "--labels are those of an --input; give both",
    )
