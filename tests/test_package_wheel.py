"""The wheel: what is in it, and a project with names of its own that uses it."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from dpnet.model.build_root import build_root

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[1]
ROOMS = ("boards", "gateware", "host", "model", "sim")
BUILD = (
    "import sys; from setuptools import build_meta as b;print(getattr(b, sys.argv[1])(sys.argv[2]))"
)
PACKAGES = ("amaranth", "click", "numba", "numpy", "rich", "safetensors", "scipy", "torch")
OTHER = 'raise ImportError("the project\'s own module of this name was imported by dpnet")\n'

TRAIN = """
import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import dpnet
from model import Net

pictures, labels = load_digits(return_X_y=True)
x, y = torch.tensor(pictures / 16, dtype=torch.float32), torch.tensor(labels)
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
train, test = order[:1437], order[1437:]

torch.manual_seed(0)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
regularizer = dpnet.ClusterRegularizer(net, k=16, n_train=len(train), optimizer=optimizer)

for epoch in range(8):
    clustering = epoch >= 4
    if clustering:
        regularizer.step(epoch - 4)
    for batch in train[torch.randperm(len(train))].split(64):
        loss = cross_entropy(net(x[batch]), y[batch])
        if clustering:
            loss = loss + regularizer()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
regularizer.finalize()

kept = max(len(row.unique()) for row in net[0].weight)
right = (net(x[test]).argmax(1) == y[test]).double().mean().item()
print(kept, right, dpnet.__version__, dpnet.__file__)
torch.save(net.state_dict(), "net.pt")
"""
MODEL = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
"""


def build(tree: Path, kind: str, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(folder)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def left_out(folder: str, names: list[str]) -> set[str]:
    """What is made, and the committed results: large, and no part of a package."""
    made = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")(folder, names)
    return made | ({"results"} if Path(folder) == ROOT / "docs" else set())


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=left_out)
    sdist = build(folder / "tree", "build_sdist", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (tree,) = (folder / "unpacked").iterdir()
    return sdist, build(tree, "build_wheel", folder)


def sources() -> set[str]:
    """Every file of the rooms that a program may need, as it is named in a wheel."""
    return {
        f"dpnet/{path.relative_to(ROOT).as_posix()}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "README.md"
    } | {f"dpnet/{path.name}" for path in (ROOT / "dpnet").iterdir() if path.is_file()}


def test_the_wheel_holds_the_package_alone_and_all_of_it(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as archive:
        names = {info.filename for info in archive.infolist() if not info.is_dir()}
        links = [info.filename for info in archive.infolist() if info.external_attr >> 28 == 0xA]
    about = {name for name in names if re.match(r"dpnet-[\d.]+\.dist-info/", name)}
    assert names - about == sources() and not links
    data = {name for name in names if name.endswith((".cpp", ".h", ".sv", "py.typed"))}
    assert len(data) == 9


def test_the_sdist_holds_real_files(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[0]) as archive:
        members = archive.getmembers()
    names = {member.name.partition("/")[2] for member in members if not member.isdir()}
    assert sources() <= names and "pyproject.toml" in names and "LICENSE" in names
    assert not [member.name for member in members if member.issym() or member.islnk()]


@pytest.fixture(scope="module")
def python(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has this wheel, and the packages of this one, but nothing of the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(archives[1]) as archive:
        archive.extractall(site)
    # Paths of a .pth file come last, and no .pth file in them is read: nothing editable.
    found = [importlib.import_module(name).__file__ for name in PACKAGES]
    places = dict.fromkeys(str(Path(file).parents[1]) for file in found if file)
    (site / "packages.pth").write_text("\n".join(places) + "\n")
    return folder / "bin" / "python"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with modules and packages of the names that dpnet's rooms have."""
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "train.py").write_text(TRAIN)
    for name in ("host.py", "boards.py", "gateware.py", "launch.py", "extras.py"):
        (tmp_path / name).write_text(OTHER)
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "__init__.py").write_text(OTHER)
    return tmp_path


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "DPNET_BUILD": str(build_root()), "OMP_NUM_THREADS": "1"}


def run(python: Path, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *arguments],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("package", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_project_with_a_model_of_its_own(python: Path, project: Path, package: bool) -> None:
    if package:
        (project / "model").mkdir()
        (project / "model.py").rename(project / "model" / "__init__.py")
    done = run(python, project, "train.py")
    assert (done.returncode, done.stderr) == (0, "")
    kept, right, version, file = done.stdout.split()
    assert int(kept) <= 16 and float(right) > 0.6
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert file == str(python.parents[1] / file[len(str(python.parents[1])) + 1 :])
    # `-m` puts the project's folder first, before the installed packages.
    dpnet = ("-m", "dpnet.host.start")
    done = run(python, project, *dpnet, "compress", "net.pt", "--bits", "4")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(python, project, *dpnet, "info", "net-4bit.dpnet")
    assert (done.returncode, done.stderr) == (0, "") and "0.weight" in done.stdout


def test_the_doctor_of_an_installed_package(python: Path, project: Path) -> None:
    done = run(python, project, "-m", "dpnet.host.start", "doctor")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(r"^ok +packages +all of them can be imported$", done.stdout, re.MULTILINE)
    assert "make setup" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("ready: ")


def test_a_served_board_of_an_installed_package(python: Path, project: Path) -> None:
    done = run(python, project, "-m", "dpnet.sim.serve", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: python -m dpnet.sim.serve ")
    url = "sim://array?stages=2&columns=4&segments=2&index_depth=512"
    process = subprocess.Popen(
        [str(python), "-m", "dpnet.sim.serve", url, "--port", "0"],
        cwd=project,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        found = re.search(r"socket://127\.0\.0\.1:(\d+)", line)
        assert found, process.communicate()[1]
        with socket.create_connection(("127.0.0.1", int(found[1])), 60):
            pass
        done = run(python, project, "-m", "dpnet.host.start", "info", "--port", found[0])
        assert (done.returncode, done.stderr) == (0, "") and "16 lanes" in done.stdout
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_command_of_the_wheel(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
        entries = archive.read(name).decode()
    assert "[console_scripts]\ndpnet = dpnet.host.start:main\n" in entries
