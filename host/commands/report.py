"""`dpnet report`: a whole network's image as one HTML page that needs nothing else."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from dpnet.host.commands import (
    FILE,
    FINE,
    DifferenceError,
    InputError,
    check_output,
    command,
    engine,
    going_on,
)
from dpnet.host.maps.comparing import Compared, compare
from dpnet.host.maps.pictures import labels_of, pictures_of
from dpnet.host.maps.session import MapSession, map_parameters
from dpnet.host.page.document import page
from dpnet.host.page.subject import Subject, subject
from dpnet.host.report import Progress, emit
from dpnet.model.files import replacing
from dpnet.model.image import Image
from dpnet.model.image.either import read_image
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.accuracy import Accuracy, accuracy
from dpnet.model.maps.calibration.pictures import to_integers

EXAMPLE = (
    "dpnet report net.dpnet\n"
    "dpnet report net.dpnet --input pictures.npy --labels labels.npy --out net.html\n"
    "dpnet report net.dpnet --port sim://maps"
)

COMPARED = 3
"""Pictures of the input that run on an engine, every map compared."""
SEED = 0
"""Of the picture that runs there without an input."""


@command("report", EXAMPLE)
@click.argument("file", type=FILE, metavar="IMAGE", help="the image file of a whole network")
@click.option("--out", type=FILE, metavar="FILE.html", help="the page (default IMAGE.html)")
@click.option("--input", type=FILE, metavar="FILE.npy", help="pictures (n, …) for an accuracy")
@click.option("--labels", type=FILE, metavar="FILE.npy", help="their classes (n,)")
@click.option(
    "--port",
    metavar="URL",
    help="an engine on which the first pictures run, every map compared with the golden model",
)
def run(
    file: Path,
    out: Path | None,
    input: Path | None,
    labels: Path | None,
    port: str | None,
    as_json: bool,
) -> int:
    """Read, place, measure and write."""
    if (input is None) != (labels is None) and (input is None or port is None):
        raise InputError("--input and --labels belong together: give both, or neither")
    out = out or file.with_suffix(".html")
    check_output(out, file, input, labels)
    image = _image(file)
    measured = None if input is None or labels is None else _measured(image, input, labels, out)
    ran = None if port is None else _compared(image, port, input, out)
    about = _subject(image, file, measured, ran)
    data = page(about).encode()
    with replacing(out) as written:
        written.write(data)
    document = _document(about, file, out, len(data))
    text = (
        f"page in {out}, {len(data):,} bytes: {about.cycles:,} cycles a picture, "
        f"{100 * about.utilization:.1f} % of {about.lanes:,} lanes"
    )
    text += f", {measured} right" if measured is not None else ""
    text += f"; {_said(ran)}" if ran is not None else ""
    emit(document, text, as_json)
    if ran is not None and (ran.mismatches or ran.late):
        raise DifferenceError(f"{_said(ran)}: the engine or its bitstream is faulty")
    return FINE


def _said(ran: Compared) -> str:
    return (
        f"{ran.mismatches:,} of {ran.values:,} values on the engine differ from the golden model, "
        f"{ran.late:,} runs took other cycles than the formula's"
    )


def _compared(image: MapImage, port: str, input: Path | None, out: Path) -> Compared:
    """The first pictures of the input, or one of random integers, on the engine at `port`."""
    network = image.network
    if input is None:
        first, rng = network.input, np.random.default_rng(SEED)
        pictures = rng.integers(first.low, first.high + 1, (1, *first.shape))
    else:
        pictures, _ = to_integers(pictures_of(input, image)[:COMPARED], network)
    remedy = f"{out} was not written; run it again"
    with engine(port) as driver, going_on(remedy):
        session = MapSession(driver, image, map_parameters(driver, image))
        with Progress("loading") as progress:
            session.load(progress)
        with Progress("running") as progress:
            return compare(session, pictures, progress)


def _image(file: Path) -> MapImage:
    image = read_image(file)
    if isinstance(image, Image):
        raise InputError(
            f"{file} is an image of the array of lanes, a report is of whole networks on a map "
            f"engine; dpnet info {file} shows this one"
        )
    return image


def _measured(image: MapImage, input: Path, labels: Path, out: Path) -> Accuracy:
    """How many pictures the golden model has right."""
    pictures = pictures_of(input, image)
    wanted = labels_of(labels, len(pictures), image)
    with going_on(f"{out} was not written; run it again"), Progress("pictures") as progress:
        return accuracy(image.network, pictures, wanted, progress)


def _subject(
    image: MapImage, file: Path, measured: Accuracy | None, ran: Compared | None
) -> Subject:
    try:
        return subject(image, file.name, file.stat().st_size, image.profile, measured, ran)
    except ValueError as error:
        raise InputError(f"{file}: its network cannot be placed: {error}") from error


def _document(about: Subject, file: Path, out: Path, size: int) -> dict[str, Any]:
    return {
        "image": str(file),
        "page": str(out),
        "page_bytes": size,
        "lanes": about.lanes,
        "cycles_per_picture": about.cycles,
        "utilization": about.utilization,
        "bytes_image": about.file_bytes,
        "bytes_float": about.float_bytes,
        "layers": [
            {
                "name": layer.name,
                "operator": layer.operator,
                "cycles": asdict(layer.cycles),
                "bytes": asdict(layer.bytes),
                "bytes_float": layer.float_bytes,
                "utilization": layer.utilization(about.lanes),
            }
            for layer in about.layers
        ],
        "profile": None if about.profile is None else about.profile.to_json(),
        "accuracy": None if about.measured is None else asdict(about.measured),
        "ran": None if about.ran is None else asdict(about.ran),
    }
