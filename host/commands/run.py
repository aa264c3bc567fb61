"""`dpnet run`: an image on an engine, compared with the golden model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from dpnet.host.arguments import whole
from dpnet.host.commands import (
    FILE,
    FINE,
    DifferenceError,
    InputError,
    check_output,
    command,
    engine,
    going_on,
    read_labels,
    read_vectors,
)
from dpnet.host.driver import Driver, RunReport
from dpnet.host.engine import at_limits
from dpnet.host.maps.running import Files, Found, golden_report, run_maps
from dpnet.host.report import Progress, emit, on_a_line
from dpnet.host.session import Session
from dpnet.model.files import replacing
from dpnet.model.golden.network import fp32_layer, integer_network
from dpnet.model.image import Image, ImageLayer
from dpnet.model.image.either import read_image
from dpnet.model.image.maps import MapImage
from dpnet.model.networks.handwritten import TEST_PICTURES, handwritten

EXAMPLE = (
    "dpnet run digits-4bit.dpnet --port sim://array --pictures 200\n"
    "dpnet run net.dpnet --port sim://array --input x.npy --labels y.npy --out y_out.npy\n"
    "dpnet run net.dpnet --golden --input pictures.npy --labels labels.npy\n"
    "dpnet run resnet18.dpnet --port /dev/ttyUSB0 --layer fc.weight --input x.npy"
)
RESUME = "run the same command again: a board that stays on goes on with the load where it stopped"

Floats = NDArray[np.float32]
Labels = NDArray[np.int64] | None


@dataclass
class Outcome:
    """What the engine did: cycles of every input, those of them that waited for tiles, bytes of
    tiles sent, outputs compared with the golden model's."""

    cycles: list[int] = field(default_factory=list)
    stalled: list[int] = field(default_factory=list)
    sent_bytes: int = 0
    compared: int = 0
    mismatches: int = 0
    outputs: list[NDArray[Any]] = field(default_factory=list)
    """real numbers: logits, or an fp32 layer's results"""
    ends: list[float] = field(default_factory=list)
    """of each input the share of the layers' results at an end of their range"""

    @property
    def classes(self) -> list[int]:
        """The largest output of each input."""
        return [int(np.argmax(one)) for one in self.outputs]

    def count(self, report: RunReport, output: NDArray[Any]) -> None:
        """Add an input's runs, and its real outputs."""
        self.outputs.append(output)
        self.cycles.append(report.cycles)
        self.stalled.append(report.stalled)
        self.sent_bytes += report.sent_bytes

    def compare(self, found: Iterable[NDArray[Any]], golden: Iterable[NDArray[Any]]) -> None:
        """Count the outputs that differ in any bit."""
        for one, other in zip(found, golden, strict=True):
            self.compared += one.size
            self.mismatches += int((one != other).sum())


@command("run", EXAMPLE)
@click.argument("file", type=FILE, metavar="IMAGE", help="an image file")
@click.option("--port", metavar="URL", help="the engine: sim://array, /dev/ttyUSB0, …")
@click.option(
    "--golden", is_flag=True, help="compute with the golden model instead of an engine, exactly"
)
@click.option(
    "--pictures",
    type=whole(1, TEST_PICTURES),
    default=200,
    metavar="N",
    help=f"test pictures of the digits to run, 1 to {TEST_PICTURES} (default 200)",
)
@click.option(
    "--input", type=FILE, metavar="FILE.npy", help="inputs (n, …) to run instead, real numbers"
)
@click.option(
    "--labels", type=FILE, metavar="FILE.npy", help="the right classes (n,) of --input: accuracy"
)
@click.option("--out", type=FILE, metavar="FILE.npy", help="write the outputs, real numbers")
@click.option(
    "--in-flight", is_flag=True, help="a whole network: a picture in each stage of the map engine"
)
@click.option("--layer", "name", metavar="NAME", help="the layer of an fp32 image")
@click.option(
    "--seed",
    type=whole(0, 2**31),
    default=0,
    metavar="N",
    help="of an fp32 image's random vector (default 0)",
)
@click.option(
    "--no-verify",
    "verify",
    is_flag=True,
    default=True,
    flag_value=False,
    help="do not compute the golden model",
)
def run(
    file: Path,
    port: str | None,
    golden: bool,
    pictures: int,
    input: Path | None,
    labels: Path | None,
    out: Path | None,
    in_flight: bool,
    name: str | None,
    seed: int,
    verify: bool,
    as_json: bool,
) -> int:
    """Load, run, compare and report."""
    if (port is None) != golden:
        raise InputError("--port or --golden must be given, and not both; see dpnet run --help")
    if labels is not None and input is None:
        raise InputError("--labels are those of an --input; give both")
    if out is not None:
        check_output(out, file, input, labels)
    image = read_image(file)
    if isinstance(image, MapImage):
        if name is not None:
            raise InputError("--layer is for fp32 images; a whole network runs as one")
        if input is None:
            raise InputError(f"{file} is a whole network: give its pictures with --input FILE.npy")
        files = Files(file, input, labels, out)
        return _said(run_maps(port, image, files, verify, in_flight), as_json)
    if in_flight:
        raise InputError("--in-flight is for whole networks on a map engine")
    number = _layer_number(image, name)
    layer = image.layers[number]
    if image.is_fp32:  # its matrices stand alone: only the one that runs has to fit
        image, number = replace(image, layers=(layer,)), 0
    x, wanted = _inputs(image, layer, input, pictures, seed)
    if labels is not None:
        wanted = read_labels(labels, len(x))
    if port is None:
        return _said(_golden(file, image, x, wanted, out), as_json)
    with engine(port) as driver, going_on(RESUME):
        loaded = _load(driver, image)
        with Progress("running") as progress:
            if image.is_fp32:
                outcome = _run_layer(loaded, number, x, verify, progress)
                predicted = loaded.predicted_cycles(number, number)
            else:
                outcome = _run_network(loaded, x, verify, progress)
                predicted = loaded.predicted_cycles(0, len(image.layers) - 1)
    document = {
        "image": str(file),
        "port": port,
        **_document(layer, outcome, predicted, wanted, verify),
        "streamed_layers": loaded.streamed,
        "clock_hz": loaded.clock_hz,
        "ms_per_input": 1000 * outcome.cycles[0] / loaded.clock_hz,
        "saturated_inputs": 0.0 if image.is_fp32 else image.saturated_inputs(x),
        "at_limits": float(np.mean(outcome.ends)) if outcome.ends else 0.0,
        "outputs": [one.tolist() for one in outcome.outputs],
        "out": None if out is None else str(out),
    }
    if out is not None:
        with replacing(out) as written:
            np.save(written, np.array(outcome.outputs))
    emit(document, _text(document, image), as_json)
    if outcome.mismatches:
        raise DifferenceError(
            f"{outcome.mismatches:,} of {outcome.compared:,} outputs differ from the golden model; "
            "the engine or its bitstream is faulty: run again, and compare with sim://array"
        )
    return FINE


def _said(found: Found, as_json: bool) -> int:
    emit(found.document, found.text, as_json)
    found.check()
    return FINE


def _golden(file: Path, image: Image, x: Floats, labels: Labels, out: Path | None) -> Found:
    """An integer network of the array, by its golden model."""
    if image.is_fp32:
        raise InputError(
            "--golden is for networks in integers; the results of a matrix for fp32 vectors depend "
            "on the engine: give its --port"
        )
    outputs = []
    with Progress("computing") as progress:
        for n, vector in enumerate(image.quantize_input(x)):
            outputs.append(integer_network(image, vector)[-1] * image.output_scale)
            progress(n + 1, len(x))
    return golden_report(file, np.array(outputs), labels, image.saturated_inputs(x), out)


def _layer_number(image: Image, name: str | None) -> int:
    names = [layer.name for layer in image.layers]
    listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    if name is not None and not image.is_fp32:
        raise InputError("--layer is for fp32 images; an integer network runs as a whole")
    if name is None and image.is_fp32 and len(names) > 1:
        raise InputError(
            f"the image holds {len(names)} matrices; choose one with --layer: {listed}"
        )
    if name is not None and name not in names:
        raise InputError(f"the image has no layer {name!r}; there are {listed}")
    return 0 if name is None else names.index(name)


def _inputs(
    image: Image, layer: ImageLayer, file: Path | None, count: int, seed: int
) -> tuple[NDArray[np.float32], Labels]:
    if file is not None:
        return read_vectors(file, layer.columns), None
    if image.is_fp32:
        source = np.random.default_rng(seed)
        return source.standard_normal((1, layer.columns), np.float32), None
    data = handwritten()
    pictures = data.test_x[:count]
    if layer.columns != pictures.shape[1]:
        raise InputError(
            f"the network takes {layer.columns} values, a picture of the digits has "
            f"{pictures.shape[1]}; give your own with --input FILE.npy"
        )
    return pictures, data.test_y[:count]


def _load(driver: Driver, image: Image) -> Session:
    session = Session(driver, image)
    with Progress("loading") as progress:
        session.load(progress)
    return session


def _run_network(
    session: Session, x: NDArray[np.float32], verify: bool, progress: Progress
) -> Outcome:
    outcome = Outcome()
    for n, vector in enumerate(session.image.quantize_input(x)):
        found, _ = session.run_network(vector, _within(progress, n, len(x)))
        outcome.count(session.report, found[-1] * session.image.output_scale)
        outcome.ends.append(at_limits(session.image, found))
        if verify:
            outcome.compare(found, integer_network(session.image, vector))
        progress(n + 1, len(x), f"{outcome.mismatches} mismatches" if verify else "")
    return outcome


def _run_layer(
    session: Session, number: int, x: NDArray[np.float32], verify: bool, progress: Progress
) -> Outcome:
    outcome, size = Outcome(), session.engine
    for n, vector in enumerate(x):
        found, _ = session.run_layer(number, vector, _within(progress, n, len(x)))
        outcome.count(session.report, found)
        if verify:
            golden = fp32_layer(
                session.image.layers[number],
                vector,
                bits=size.activation_bits,
                entry_bits=size.entry_bits,
            )
            outcome.compare([found.view(np.uint32)], [golden.view(np.uint32)])
        progress(n + 1, len(x))
    return outcome


def _within(progress: Progress, number: int, count: int) -> Callable[[int, int], None]:
    """Progress of one of `count` inputs as progress of all."""
    return lambda done, total: progress(number * total + done, count * total, "tiles sent")


def _document(
    layer: ImageLayer,
    outcome: Outcome,
    predicted: int,
    labels: Labels,
    verified: bool,
) -> dict[str, object]:
    right = None if labels is None else int((np.array(outcome.classes) == labels).sum())
    return {
        "layer": layer.name if layer.is_fp32 else None,
        "inputs": len(outcome.cycles),
        "cycles_per_input": outcome.cycles[0],
        "cycles_largest": max(outcome.cycles),
        "predicted_cycles": predicted,
        "stalled_cycles": outcome.stalled[0],
        "sent_bytes_per_input": outcome.sent_bytes // len(outcome.cycles),
        "accuracy": None if right is None else 100.0 * right / len(outcome.classes),
        "classes": outcome.classes if not layer.is_fp32 else None,
        "outputs_compared": outcome.compared if verified else None,
        "mismatches": outcome.mismatches if verified else None,
    }


def _text(d: dict[str, Any], image: Image) -> str:
    what = f"layer {on_a_line(d['layer'])}" if image.is_fp32 else f"{len(image.layers)} layers"
    kind = ("picture" if d["accuracy"] is not None else "vector") + "s" * (d["inputs"] > 1)
    lines = [f"{d['image']} on {d['port']}: {what}, {d['inputs']} {kind}"]
    if d["accuracy"] is not None:
        lines.append(f"accuracy {d['accuracy']:.2f} %")
    elif d["classes"]:
        shown = " ".join(map(str, d["classes"][:20])) + (" …" if len(d["classes"]) > 20 else "")
        lines.append(f"largest outputs: {shown}")
    lines.append(
        f"{d['cycles_per_input']:,} cycles each, {d['predicted_cycles']:,} by the formula: "
        f"{d['ms_per_input']:.4f} ms at {d['clock_hz'] / 1e6:g} MHz"
    )
    if d["saturated_inputs"] or d["at_limits"]:
        lines.append(
            f"saturated: {d['saturated_inputs']:.2%} of the input values (calibrated up to "
            f"{image.largest_input:g}), {d['at_limits']:.2%} of the results are at their limits"
        )
    if d["streamed_layers"]:
        lines.append(
            f"streamed: {', '.join(map(on_a_line, d['streamed_layers']))}; "
            f"{d['sent_bytes_per_input']:,} bytes each, {d['stalled_cycles']:,} cycles stalled for "
            "them (not in the formula)"
        )
    if d["mismatches"] is None:
        lines.append("not compared with the golden model")
    else:
        lines.append(
            f"{d['mismatches']:,} of {d['outputs_compared']:,} outputs differ from the golden model"
        )
    if d["out"]:
        lines.append(f"outputs in {d['out']}")
    return "\n".join(lines)
