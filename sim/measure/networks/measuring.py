"""A network measured: compiled, judged, computed in RTL, going on where it was interrupted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from dpnet.host.maps.engines import engine_url
from dpnet.host.page.subject import Subject, subject
from dpnet.host.report import Progress
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge, Placement, place
from dpnet.model.graph.reading import from_module
from dpnet.model.graph.simplify import simplify
from dpnet.model.image.maps import MapImage, read_map_image
from dpnet.model.maps.calibration.pictures import to_integers
from dpnet.model.maps.codebooks import LARGEST_BITS
from dpnet.model.maps.compile import Compiled, compile_maps
from dpnet.model.maps.layers import MapNetwork
from dpnet.model.training.checkpoint import fingerprint
from dpnet.sim.measure.networks.computing import compute_in_rtl
from dpnet.sim.measure.networks.judging import judge
from dpnet.sim.measure.networks.kept import Kept
from dpnet.sim.measure.networks.row import Row
from dpnet.sim.measure.networks.sources import Material, Source

__all__ = ["SOURCES", "Bench", "Measured", "measure"]

SOURCES = ("dpnet.sim.measure.networks.measuring",)
"""The modules behind all figures of a network; the core itself is known by its program."""


@dataclass(frozen=True)
class Measured:
    """A network's row, what its page shows, and its first mismatch in words, "" without any."""

    row: Row
    about: Subject
    first: str


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What networks are measured on: an `engine`, and `build`, which gives the program of the core
    of any; so many `bits`, from `seed`; `pictures` in RTL, None for as many as each network is to
    have; what is measured is kept in `folder`, and believed again if it is `made_of` the same
    `SOURCES`."""

    engine: MapEngineParameters
    build: Callable[[MapEngineParameters], Path]
    bits: int
    seed: int
    pictures: int | None
    folder: Path
    made_of: str


def measure(bench: Bench, source: Source) -> Measured:
    """Measure a network, or what is left of it; where the engine's stores are too small for it, on
    one of as many lanes whose stores are not.

    Raises `NetworkTooLarge` where there is none, `GraphError` and `ImageError` for what no engine
    computes, `HarnessError` where the simulated core cannot be built or ends by itself.
    """
    material = source.make(bench.seed)
    kept = Kept(bench.folder, source.name, _key(bench, source, material))
    pictures = min(bench.pictures or source.pictures, len(material.x))
    samples = min(source.samples or len(material.x), len(material.x))
    done = kept.computed.pictures >= pictures and kept.accuracies.samples >= samples
    if not (done and kept.image.exists()):
        made, engine = _compiled(bench, source, material, kept)
        _compute(bench.build(engine), place(engine, made.network), material, kept, pictures)
        _judge(made, material, kept, samples)
    image = read_map_image(kept.image)
    about = subject(image, source.name, kept.image.stat().st_size)
    return Measured(_row(bench, source, material, kept, about), about, kept.computed.first)


def _key(bench: Bench, source: Source, material: Material) -> str:
    """Changes with everything that a network's figures depend on: code, core, weights, inputs."""
    core = bench.build(bench.engine).parent.name
    said = repr((bench.made_of, core, bench.engine, bench.bits, source.name))
    arrays: list[NDArray[Any]] = [material.calibration, material.x]
    arrays += [] if material.labels is None else [material.labels]
    tensors = [*material.net.state_dict().values(), *map(torch.from_numpy, arrays)]
    return fingerprint(said, tensors)[:16]


def _compiled(
    bench: Bench, source: Source, material: Material, kept: Kept
) -> tuple[Compiled, MapEngineParameters]:
    """The network in integers, and the engine that holds it; its image is written."""
    graph = from_module(material.net, torch.from_numpy(material.x[:1]))
    simple = simplify(graph)
    pictures = material.calibration.reshape(-1, *simple.input.shape)
    with Progress(f"{source.name}: calibrating") as progress:
        made = compile_maps(simple, pictures, bits=bench.bits, progress=progress)
    engine = _holding(bench.engine, made.network)
    image = MapImage(
        network=made.network,
        input_shape=graph.input.shape,
        output_shape=graph.output.shape,
        engine=engine,
        calibration=made.scales,
        sources={layer.name: layer.source for layer in made.floats.layers},
        about={"network": source.name, "weights": material.weights, "bits": made.bits},
    )
    bench.folder.mkdir(parents=True, exist_ok=True)
    image.save(kept.image)
    return made, engine


def _holding(engine: MapEngineParameters, network: MapNetwork) -> MapEngineParameters:
    """`engine`, or one with larger stores."""
    try:
        place(engine, network)
    except NetworkTooLarge as error:
        if error.fitting is None:
            raise
        return error.fitting
    return engine


def _compute(
    program: Path, placed: Placement, material: Material, kept: Kept, pictures: int
) -> None:
    network = placed.plan.network
    maps = material.x[:pictures].reshape(-1, *network.picture)
    integers, _ = to_integers(maps, network)
    with Progress(f"{kept.name}: computing in RTL") as progress:
        step = _Step(kept, progress, kept.computed.pictures)
        compute_in_rtl(program, placed, integers, kept.computed, step)


def _judge(made: Compiled, material: Material, kept: Kept, samples: int) -> None:
    with Progress(f"{kept.name}: measuring accuracies") as progress:
        step = _Step(kept, progress, kept.accuracies.samples)
        judge(made, material, samples, kept.accuracies, step)


@dataclass
class _Step:
    """Keeps what is done, and tells the time that is left."""

    kept: Kept
    progress: Progress
    start: int
    began: float = field(default_factory=time.monotonic)

    def __call__(self, done: int, total: int) -> None:
        self.kept.save()
        each = (time.monotonic() - self.began) / max(1, done - self.start)
        left = each * (total - done) / 60
        self.progress(done, total, f"{done:,} of {total:,}, {left:.1f} min left")


def _row(bench: Bench, source: Source, material: Material, kept: Kept, about: Subject) -> Row:
    computed, judged = kept.computed, kept.accuracies
    is_labeled = material.labels is not None

    def percent(right: int) -> float | None:
        return round(100 * right / judged.samples, 4) if is_labeled else None

    return Row(
        name=source.name,
        engine=engine_url(about.image.engine),
        lanes=about.lanes,
        bits=bench.bits,
        pictures=computed.pictures,
        outputs=computed.outputs,
        mismatches=computed.mismatches,
        cycles_per_picture=max(computed.cycles),
        predicted_cycles=about.cycles,
        utilization=round(about.utilization, 6),
        accuracy_float=percent(judged.floats),
        accuracy_codebooks=percent(judged.codebooks),
        accuracy_engine=percent(judged.integers),
        samples_of_accuracy=judged.samples if is_labeled else None,
        bytes_image=about.file_bytes,
        bytes_float=about.float_bytes,
        weights=material.weights,
        calibrated=material.calibrated,
        result_error=round(math.sqrt(judged.noise / judged.signal), 6),
        error_bound=source.bound if bench.bits == LARGEST_BITS else None,
    )
