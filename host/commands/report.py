"""`dpnet report`: a whole network's image as one HTML page that needs nothing else."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dpnet.host.commands import FILE, FINE, InputError, check_output, command, going_on
from dpnet.host.maps.pictures import labels_of, pictures_of
from dpnet.host.page.document import page
from dpnet.host.page.subject import Subject, subject
from dpnet.host.report import Progress, emit
from dpnet.model.files import replacing
from dpnet.model.image import Image
from dpnet.model.image.either import read_image
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.accuracy import Accuracy, accuracy

EXAMPLE = (
    "dpnet report net.dpnet\n"
    "dpnet report net.dpnet --input pictures.npy --labels labels.npy --out net.html"
)


@command("report", EXAMPLE)
@click.argument("file", type=FILE, metavar="IMAGE", help="the image file of a whole network")
@click.option("--out", type=FILE, metavar="FILE.html", help="the page (default IMAGE.html)")
@click.option("--input", type=FILE, metavar="FILE.npy", help="pictures (n, …) for an accuracy")
@click.option("--labels", type=FILE, metavar="FILE.npy", help="their classes (n,)")
def run(
    file: Path, out: Path | None, input: Path | None, labels: Path | None, as_json: bool
) -> int:
    """Read, place, measure and write."""
    if (input is None) != (labels is None):
        raise InputError("--input and --labels belong together: give both, or neither")
    out = out or file.with_suffix(".html")
    check_output(out, file, input, labels)
    image = _image(file)
    measured = None if input is None or labels is None else _measured(image, input, labels, out)
    about = _subject(image, file, measured)
    data = page(about).encode()
    with replacing(out) as written:
        written.write(data)
    document = _document(about, file, out, len(data))
    text = (
        f"page in {out}, {len(data):,} bytes: {about.cycles:,} cycles a picture, "
        f"{100 * about.utilization:.1f} % of {about.lanes:,} lanes"
    )
    emit(document, text + (f", {measured} right" if measured is not None else ""), as_json)
    return FINE


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


def _subject(image: MapImage, file: Path, measured: Accuracy | None) -> Subject:
    try:
        return subject(image, file.name, file.stat().st_size, image.profile, measured)
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
    }
