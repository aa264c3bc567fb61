"""`dpnet run` for whole networks: by the golden model, or on an engine beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.host.commands import DifferenceError, engine, going_on
from dpnet.host.maps.engines import engine_url
from dpnet.host.maps.pictures import labels_of, pictures_of
from dpnet.host.maps.runs import flight_text
from dpnet.host.maps.session import MapSession, map_parameters
from dpnet.host.maps.tables import saturation_text
from dpnet.host.report import Progress
from dpnet.model.engine.maps.plan import cycles as formula
from dpnet.model.files import replacing
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.accuracy import results
from dpnet.model.maps.calibration.pictures import to_integers
from dpnet.model.maps.outputs import predicted, real

__all__ = ["Files", "Found", "golden_report", "run_maps"]

RESUME = "run the same command again: a board that stays on goes on with the load where it stopped"
SHOWN = 20
"""Classes on a line."""

Labels = NDArray[np.int64] | None


@dataclass(frozen=True)
class Files:
    """Of an image, its pictures and labels, and where the outputs are to be written."""

    image: Path
    pictures: Path
    labels: Path | None
    out: Path | None


@dataclass(frozen=True)
class Found:
    """What a run is reported with."""

    document: dict[str, Any]
    text: str
    mismatches: int = 0
    compared: int = 0

    def check(self) -> None:
        """Raise `DifferenceError` if an engine gave other results than the golden model."""
        if self.mismatches:
            raise DifferenceError(
                f"{self.mismatches:,} of {self.compared:,} outputs differ from the golden model; "
                "the engine or its bitstream is faulty: run again"
            )


@dataclass(frozen=True)
class _Given:
    """The pictures (n, C, H, W) and their labels."""

    pictures: NDArray[Any]
    labels: Labels

    @classmethod
    def of(cls, image: MapImage, files: Files) -> _Given:
        pictures = pictures_of(files.pictures, image)
        labels = None
        if files.labels is not None:
            labels = labels_of(files.labels, len(pictures), image)
        return cls(pictures, labels)


@dataclass
class _Lines:
    """A report as JSON and as text, growing."""

    document: dict[str, Any]
    lines: list[str] = field(default_factory=list)

    def add(self, line: str, **entries: Any) -> None:
        self.lines.append(line)
        self.document |= entries

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def run_maps(
    url: str | None, image: MapImage, files: Files, verify: bool, in_flight: bool = False
) -> Found:
    """Pictures on the engine at `url`, one at a time or `in_flight` one in each stage, compared
    with the golden model if `verify`; without a URL by the golden model alone, which gives the
    engine's integers."""
    given = _Given.of(image, files)
    if url is None:
        return _by_golden(image, files, given, in_flight)
    return _on_engine(url, image, files, given, verify, in_flight)


def _by_golden(image: MapImage, files: Files, given: _Given, in_flight: bool) -> Found:
    with Progress("computing") as progress:
        found = results(image.network, given.pictures, progress)
    report = _begun(image, files, given, None)
    _add_outputs(report, image, given, found.values, files.out)
    cut_off = found.saturated[image.network.input.name]
    report.add(
        saturation_text(found.saturated), saturated=found.saturated, saturated_inputs=cut_off
    )
    cycles: float = formula(image.engine, image.network, in_flight)
    each = f"{cycles:,} cycles each"
    if in_flight:
        cycles /= image.engine.stages
        each = f"{cycles:,.1f} cycles each, {image.engine.stages} in flight"
    report.add(
        f"by the golden model; on {engine_url(image.engine)} {each}, by the formula: nothing ran "
        "on an engine",
        predicted_cycles=cycles,
    )
    return Found(report.document, report.text)


def _on_engine(
    url: str, image: MapImage, files: Files, given: _Given, verify: bool, in_flight: bool
) -> Found:
    network = image.network
    with engine(url) as driver, going_on(RESUME):
        size = map_parameters(driver, image)
        session = MapSession(driver, image, size, in_flight=in_flight)
        with Progress("loading") as progress:
            session.load(progress)
        integers, beyond = to_integers(given.pictures, network)
        with Progress("running") as progress:
            values, _ = session.run_batch(integers, progress)
    report = _begun(image, files, given, url)
    _add_outputs(report, image, given, values, files.out)
    share = beyond / given.pictures.size
    _add_cycles(report, session)
    speed = session.throughput
    assert speed is not None
    report.add(
        speed.text,
        pictures_per_s=speed.per_s,
        computing_per_s=speed.computing_per_s,
        picture_bytes=speed.written_bytes,
        result_bytes=speed.read_bytes,
    )
    report.document |= {"saturated_inputs": share}
    if not verify:
        report.add(
            f"saturated: {share:.3%} of the input values; of the layers' the golden model knows, "
            "which --no-verify leaves out",
            saturated=None,
        )
        return Found(report.document, report.text)
    mismatches = _compare(report, image, given, values)
    return Found(report.document, report.text, mismatches, values.size)


def _add_cycles(report: _Lines, session: MapSession) -> None:
    """Of a picture, and of the runs that had several."""
    runs, clock = session.runs, session.clock_hz
    cycles: float = runs[0].cycles
    predicted: float = runs[0].predicted
    line = f"{cycles:,} cycles each, {predicted:,} by the formula"
    if session.in_flight:
        pictures = sum(run.count for run in runs)
        cycles = sum(run.cycles for run in runs) / pictures
        predicted = sum(run.predicted for run in runs) / pictures
        line = f"{cycles:,.1f} cycles each, {predicted:,.1f} by the formula, {flight_text(runs)}"
    report.add(
        f"{line}: {1000 * cycles / clock:.4f} ms at {clock / 1e6:g} MHz",
        cycles_per_input=cycles,
        cycles_largest=max(run.cycles for run in runs),
        predicted_cycles=predicted,
        in_flight=session.most,
        clock_hz=clock,
    )
    if session.in_flight:
        report.document["runs"] = [
            {"pictures": run.count, "cycles": run.cycles, "predicted_cycles": run.predicted}
            for run in runs
        ]


def golden_report(
    file: Path, outputs: NDArray[Any], labels: Labels, saturated: float, out: Path | None
) -> Found:
    """Of a network for the array: logits (n, R) by the golden model."""
    report = _Lines({"image": str(file), "port": None, "golden": True, "inputs": len(outputs)})
    report.add(f"{file} by the golden model: {len(outputs):,} inputs")
    _add_classes(report, predicted(outputs), labels)
    report.add(f"saturated: {saturated:.2%} of the input values", saturated_inputs=saturated)
    _save(report, outputs, out)
    return Found(report.document, report.text)


def _begun(image: MapImage, files: Files, given: _Given, url: str | None) -> _Lines:
    count = len(given.pictures)
    report = _Lines(
        {"image": str(files.image), "port": url, "golden": url is None, "inputs": count}
    )
    on = "by the golden model" if url is None else f"on {url}"
    layers = len(image.network.layers)
    report.add(f"{files.image} {on}: {layers} layers, {count:,} picture{'s' * (count > 1)}")
    return report


def _add_outputs(
    report: _Lines, image: MapImage, given: _Given, values: NDArray[Any], out: Path | None
) -> None:
    """What the network gives, its classes, and how many of them are right."""
    if image.classes is None:
        report.document |= {"classes": None, "accuracy": None, "right": None}
    else:
        _add_classes(report, predicted(real(image.network, values)), given.labels)
    _save(report, image.outputs(values), out)


def _add_classes(report: _Lines, classes: NDArray[np.int64], labels: Labels) -> None:
    shown = " ".join(map(str, classes[:SHOWN])) + (" …" if len(classes) > SHOWN else "")
    line, right = f"largest outputs: {shown}", None
    if labels is not None:
        right = int((classes == labels).sum())
        line = f"accuracy {100 * right / len(labels):.2f} % ({right:,} of {len(labels):,})"
    accuracy = None if right is None or labels is None else 100 * right / len(labels)
    report.add(line, classes=classes.tolist(), accuracy=accuracy, right=right)


def _save(report: _Lines, outputs: NDArray[Any], out: Path | None) -> None:
    report.document |= {"outputs": outputs.tolist(), "out": None if out is None else str(out)}
    if out is not None:
        with replacing(out) as file:
            np.save(file, outputs)
        shape = " × ".join(map(str, outputs.shape))
        report.add(f"outputs in {out}, {shape}")


def _compare(report: _Lines, image: MapImage, given: _Given, values: NDArray[Any]) -> int:
    with Progress("comparing") as progress:
        wanted = results(image.network, given.pictures, progress)
    mismatches = int((wanted.values != values).sum())
    report.add(saturation_text(wanted.saturated), saturated=wanted.saturated)
    report.add(
        f"{mismatches:,} of {values.size:,} outputs differ from the golden model",
        outputs_compared=int(values.size),
        mismatches=mismatches,
    )
    return mismatches
