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

from dpnet.model.engine.maps.plan import cycles

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
        (["net.dpnet", "--input", "x.npy"], "--input and --labels belong together: give both, or"),
        (["net.dpnet", "--labels", "y.npy"], "--input and --labels belong together: give both, or"),
        (["net.dpnet", "--out", "net.dpnet"], "net.dpnet is the input net.dpnet itself, which wo"),
        (["net.dpnet", "--out", "no/a.html"], "no/a.html cannot be written: there is no folder no"),
        (["none.dpnet"], "none.dpnet: cannot be read: No such file or directory"),
        (["x.npy"], "x.npy: no dpnet image but a NumPy file"),
        (["m.dpnet"], "m.dpnet is an image of the array of lanes, a report is of whole networks"),
        (
            ["net.dpnet", "--input", "y.npy", "--labels", "y.npy"],
            r"y.npy must have the shape \(n, 3, 8, 8\), not \(30,\)",
        ),
        (["net.dpnet", "--input", "x.npy", "--labels", "few.npy"], r"few.npy has the shape \(3,\)"),
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
