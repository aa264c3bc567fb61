"""`dpnet report`: a page beside the image, and what is wrong with what it is given, in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from cli_kit import Call, fp32_image, refused
from map_image_kit import image_of as plain_image
from map_image_kit import small_network
from maps_kit import torch_layers
from profile_kit import CLASSES, image_of, small_case

from dpnet.host.page.subject import subject
from dpnet.model.engine.maps.plan import cycles
from dpnet.model.image import ImageError
from dpnet.model.image.maps import read_map_image

TOGETHER = "--input and --labels belong together: give both, or neither"

pytestmark = pytest.mark.usefixtures("folder", "one_thread")


@pytest.fixture
def image(folder: Path) -> Path:
    """The small network's image, pictures and labels, in the working directory."""
    case = small_case()
    replace(image_of(case), profile=case.profile).save(folder / "net.dpnet")
    np.save("x.npy", case.pictures)
    np.save("y.npy", case.labels)
    return folder / "net.dpnet"


def said(path: str) -> str:
    root = ElementTree.fromstring(Path(path).read_text(encoding="utf-8"))
    return " ".join("".join(root.itertext()).split())


def test_a_page_beside_the_image(dpnet: Call, image: Path) -> None:
    result = dpnet("report", "net.dpnet")
    assert result.code == 0 and result.out.startswith("page in net.html, ")
    count = cycles(image_of(small_case()).engine, small_case().compiled.network)
    assert f"{count:,} cycles a picture" in result.out
    text = said("net.html")
    assert "net.dpnet" in text and f"{count:,}" in text and "Where accuracy is lost" in text
    assert "30 pictures, when the network was compiled" in text


def test_accuracy_of_pictures_with_labels(dpnet: Call, image: Path) -> None:
    case, network = small_case(), small_case().compiled.network
    result = dpnet(
        *(
            "report",
            "net.dpnet",
            "--input",
            "x.npy",
            "--labels",
            "y.npy",
            "--out",
            "a.html",
            "--json",
        )
    )
    first = network.input
    x = np.clip(np.rint(case.pictures.astype(float) / first.scale), first.low, first.high)
    answers = torch_layers(network, x.astype(np.int64))[network.output][:, :, 0, 0].argmax(1)
    right = int((answers == case.labels).sum())
    document = result.json
    assert document["accuracy"]["right"] == right and document["accuracy"]["pictures"] == 30
    assert document["profile"] == case.profile.to_json()
    layers = document["layers"]
    assert sum(sum(one["cycles"].values()) for one in layers) == document["cycles_per_picture"]
    assert "30 pictures given to this report" in said("a.html")


def test_an_image_without_a_profile(dpnet: Call) -> None:
    plain_image(small_network()).save("plain.dpnet")
    assert dpnet("report", "plain.dpnet").code == 0
    assert "carries no profile" in said("plain.html")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["net.dpnet", "--input", "x.npy"], TOGETHER),
        (["net.dpnet", "--labels", "y.npy"], TOGETHER),
        (
            ["net.dpnet", "--out", "net.dpnet"],
            "net.dpnet is the input net.dpnet itself, which would be lost; name another file "
            "with --out",
        ),
        (
            ["net.dpnet", "--out", "no/a.html"],
            "no/a.html cannot be written: there is no folder no; make it first, or name another "
            "file with --out",
        ),
        (["none.dpnet"], "none.dpnet: cannot be read: No such file or directory"),
        (["x.npy"], "x.npy: no dpnet image but a NumPy array (.npy)"),
        (
            ["m.dpnet"],
            "m.dpnet is an image of the array of lanes, a report is of whole networks on a map "
            "engine; dpnet info m.dpnet shows this one",
        ),
        (
            ["net.dpnet", "--input", "y.npy", "--labels", "y.npy"],
            "y.npy must have the shape (n, 3, 8, 8), not (30,)",
        ),
        (
            ["net.dpnet", "--input", "x.npy", "--labels", "few.npy"],
            "few.npy has the shape (3,), there are 30 inputs: save an array of shape (30,), a "
            "label for each",
        ),
        (
            ["net.dpnet", "--input", "x.npy", "--labels", "high.npy"],
            f"high.npy holds the label 9; the network tells {CLASSES} classes, 0 to 3",
        ),
    ],
)
def test_what_cannot_be_reported(
    dpnet: Call, image: Path, arguments: list[str], message: str
) -> None:
    fp32_image()
    np.save("few.npy", small_case().labels[:3])
    np.save("high.npy", np.full(30, 9))
    before = sorted(path.name for path in Path().iterdir())
    refused(dpnet("report", *arguments), 2, message)
    assert sorted(path.name for path in Path().iterdir()) == before


NET = """
import torch
from torch import nn

torch.manual_seed(3)
net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
rows = nn.Linear(4, 3)
"""


def test_compiled_with_labels_then_reported(dpnet: Call) -> None:
    Path("nets.py").write_text(NET)
    x = np.random.default_rng(1).normal(size=(12, 2, 4, 4))
    np.save("x.npy", x)
    np.save("y.npy", np.arange(12) % 3)
    command = ["compile", "nets.py:net", "--calibration", "x.npy", "--out", "net.dpnet"]
    assert dpnet(*command, "--labels", "y.npy").code == 0
    assert dpnet("report", "net.dpnet").code == 0
    profile = read_map_image("net.dpnet").profile
    assert profile is not None and profile.accuracy is not None
    assert profile.accuracy.pictures == 12
    right = 100 * profile.accuracy.integers / 12
    assert f"{right:.2f} %" in said("net.html")
    assert dpnet(*command).code == 0
    unlabeled = read_map_image("net.dpnet").profile
    assert unlabeled == replace(profile, accuracy=None)
    assert dpnet(*command, "--no-profile").code == 0
    assert read_map_image("net.dpnet").profile is None
    message = "--labels are for the profile; leave out --no-profile"
    refused(dpnet(*command, "--no-profile", "--labels", "y.npy"), 2, message)


def test_labels_that_do_not_fit_the_calibration(dpnet: Call) -> None:
    Path("nets.py").write_text(NET)
    np.save("x.npy", np.random.default_rng(1).normal(size=(12, 2, 4, 4)))
    np.save("rows.npy", np.random.default_rng(1).normal(size=(12, 4)))
    np.save("y.npy", np.arange(12))
    command = ["compile", "nets.py:net", "--calibration", "x.npy", "--labels", "y.npy"]
    refused(dpnet(*command), 2, "labels must be integers from 0 to 2")
    command = ["compile", "nets.py:rows", "--calibration", "rows.npy", "--labels", "y.npy"]
    message = "labels are for a map engine's image; leave them out"
    refused(dpnet(*command), 2, message)
    command = ["compile", "nets.py:net", "--input-shape", "2x4x4", "--labels", "y.npy", "--dry-run"]
    refused(dpnet(*command), 2, "--labels are those of a --calibration; give both")


def test_what_of_the_file_is_for_the_page(folder: Path) -> None:
    case = small_case()
    image = replace(image_of(case), profile=case.profile)
    size, without = image.save("with.dpnet"), replace(image, profile=None).save("without.dpnet")
    about = subject(image, "with.dpnet", size, case.profile)
    # "null" is in its place without; headers are whole words of 8 bytes.
    assert abs(size - without - (about.profile_bytes - len("null"))) < 8


def test_an_image_with_the_profile_of_another_network() -> None:
    other = small_case().profile
    with pytest.raises(ImageError, match=r"^the profile has other layers than the network$"):
        replace(plain_image(small_network()), profile=other)
    with pytest.raises(ImageError, match=r"^profile must be a Profile, not {}$"):
        replace(plain_image(small_network()), profile={})
