"""`dpnet info`: what an image or an engine is."""

from __future__ import annotations

from pathlib import Path

import click

from dpnet.gateware.registers import BY_NAME, IDENTITY, RUN_ERRORS, Kind, Register, State
from dpnet.host.commands import FILE, FINE, InputError, command, engine
from dpnet.host.maps.tables import calibration_table, document_of, layer_table, summary
from dpnet.host.report import emit, on_a_line, table
from dpnet.model.compression.ratios import ratio_eq1
from dpnet.model.image import Image
from dpnet.model.image.either import read_image
from dpnet.model.image.maps import MapImage

EXAMPLE = "dpnet info digits-4bit.dpnet\ndpnet info --port /dev/ttyUSB0"

KINDS: dict[int, str] = {
    Kind.ARRAY: "array of lanes",
    Kind.BASELINE: "the paper's fp32 baseline",
    Kind.INTERLEAVED: "fp32 baseline at a weight a cycle",
}
COUNTERS = ("FRAME_ERRORS", "REJECTED", "IMAGE_ERRORS", *(name.upper() for name in RUN_ERRORS))


@command("info", EXAMPLE)
@click.argument("image", type=FILE, required=False, help="an image file")
@click.option("--port", metavar="URL", help="an engine instead: sim://array, /dev/ttyUSB0, …")
def run(image: Path | None, port: str | None, as_json: bool) -> int:
    """Show the image or the engine."""
    if (image is None) == (port is None):
        raise InputError("an IMAGE or a --port must be given, and not both; see dpnet info --help")
    document, text = _image(image) if image is not None else _port(str(port))
    emit(document, text, as_json)
    return FINE


def _image(path: Path) -> tuple[dict[str, object], str]:
    image = read_image(path)
    size = path.stat().st_size
    if isinstance(image, MapImage):
        return _maps(path, size, image)
    return _array(path, size, image)


def _maps(path: Path, size: int, image: MapImage) -> tuple[dict[str, object], str]:
    floats = 4 * (image.weights + sum(layer.rows for layer in image.network.layers))
    document: dict[str, object] = {
        "file": str(path),
        "file_bytes": size,
        "fp32_bytes": floats,
        "ratio_bytes": floats / size,
        **document_of(image),
    }
    lines = [
        f"{path}: image of a map engine, {len(image.network.layers)} layers",
        "",
        layer_table(image),
        "",
        calibration_table(image),
        "",
        *summary(image),
        f"{size:,} bytes; as fp32 {floats:,}: ratio {floats / size:.2f} by bytes",
        *(f"{on_a_line(name)}: {on_a_line(value)}" for name, value in image.about.items()),
    ]
    return document, "\n".join(lines)


def _array(path: Path, size: int, image: Image) -> tuple[dict[str, object], str]:
    kind = "fp32" if image.is_fp32 else "integer"
    layers = image.layers
    weights = sum(layer.weights for layer in layers)
    biases = 0 if image.is_fp32 else sum(layer.rows for layer in layers)
    eq1 = ratio_eq1([(x.rows, x.columns) for x in layers], [x.k for x in layers])
    document: dict[str, object] = {
        "file": str(path),
        "file_bytes": size,
        "kind": kind,
        "weights": weights,
        "fp32_bytes": 4 * (weights + biases),
        "ratio_eq1": eq1,
        "ratio_bytes": 4 * (weights + biases) / size,
        "layers": [
            {
                "name": x.name,
                "shape": list(x.shape),
                "rows": x.rows,
                "columns": x.columns,
                "k": x.k,
                "relu": x.relu,
                "out_bits": None if x.is_fp32 else x.out_bits,
            }
            for x in layers
        ],
        "input_bits": None if image.is_fp32 else image.input_bits,
        "about": dict(image.about),
    }
    lines = [
        f"{path}: {kind} image, {len(layers)} layers, {weights:,} weights",
        "",
        _layers(image),
        "",
        f"{size:,} bytes; as fp32 {4 * (weights + biases):,}: ratio {document['ratio_bytes']:.2f} "
        f"by bytes, {eq1:.2f} by Eq. (1)",
        *(f"{on_a_line(name)}: {on_a_line(value)}" for name, value in image.about.items()),
    ]
    return document, "\n".join(lines)


def _layers(image: Image) -> str:
    rows = []
    for layer in image.layers:
        shape = " × ".join(map(str, layer.shape))
        then = "fp32" if layer.is_fp32 else f"{layer.out_bits} bits{', ReLU' * layer.relu}"
        rows.append((on_a_line(layer.name), shape, layer.k, then))
    return table(("layer", "shape", "K", "results"), rows)


def _shown(register: Register, value: int) -> str:
    """A register's value, field by field where it has fields."""
    fields = (f"{field.name} {field.of(value)}" for field in register.fields)
    return ", ".join(fields) or str(value)


def _port(url: str) -> tuple[dict[str, object], str]:
    with engine(url) as driver:
        identity = driver.identify()
        values = driver.registers()
    status = BY_NAME["STATUS"]
    state = State(status.field("state").of(values["STATUS"])).name.lower()
    errors = [name for name in RUN_ERRORS if status.field(name).of(values["STATUS"])]
    cycles = values["CYCLES_HI"] << 32 | values["CYCLES_LO"]
    document: dict[str, object] = {
        "port": url,
        "kind": KINDS.get(identity.kind, f"unknown ({identity.kind})"),
        "lanes": identity.lanes if identity.kind == Kind.ARRAY else 1,
        "state": state,
        "busy": bool(status.field("busy").of(values["STATUS"])),
        "errors": errors,
        "aborted": bool(status.field("aborted").of(values["STATUS"])),
        "last_run_cycles": cycles if values["RUN"] else None,
        "registers": {
            name: value for name, value in values.items() if BY_NAME[name].access != "command"
        },
    }
    rows = [
        (name.lower(), _shown(BY_NAME[name], values[name]), BY_NAME[name].doc)
        for name in ("PROTOCOL", "GATEWARE", *IDENTITY)
    ]
    counters = ", ".join(f"{name.lower()} {values[name]}" for name in COUNTERS)
    lines = [
        f"{url}: {document['kind']}, {document['lanes']} lanes",
        "",
        table(("register", "value", "meaning"), rows),
        "",
        f"image: {state}"
        + (
            f", {values['IMAGE_WORDS']:,} words, CRC-32 {values['IMAGE_CRC']:08x}"
            if state == "valid"
            else ", changed since it was valid: load it again"
            if status.field("image").of(values["STATUS"])
            else ""
        ),
        f"last run: number {values['RUN']}, {cycles:,} cycles, "
        f"errors: {', '.join(errors) or 'none'}{', told to end' if document['aborted'] else ''}"
        if values["RUN"]
        else "no run yet",
        f"since reset: {counters}",
    ]
    return document, "\n".join(lines)
