"""Networks on map engines that fill a chip, in RTL: every value of every map against golden, every
cycle against the plan.

Their weights are published ones, and so are the inputs; both lie where `dpnet.model.data.places`
says.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpnet.gateware.emit import emit
from dpnet.gateware.maps.core import MapCore
from dpnet.model.data.cifar import cifar10
from dpnet.model.data.tiny_samples import spoken_words, wake_words
from dpnet.model.engine.maps.layout.steps import Key
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import Placement, place
from dpnet.model.engine.maps.sizing.configurations import MAP_ENGINES
from dpnet.model.graph.reading import from_module
from dpnet.model.graph.simplify import simplify
from dpnet.model.maps.calibration.pictures import to_integers
from dpnet.model.maps.compile import compile_maps
from dpnet.model.maps.golden import compute
from dpnet.model.networks.catalog import find
from dpnet.model.networks.published import trained
from dpnet.sim.board.bare_core import BareCore, Run, build_core
from dpnet.sim.kit.map_runs import Difference, MapRuns

__all__ = ["ON_CHIPS", "OnChip", "published", "run_network"]

CALIBRATION = 200
"""Pictures that the tensors' scales are chosen with."""

BITS = 4
"""Of an index."""

_KINDS = ("end", "errors", "cycles")
_RUN = re.compile(rf"({'|'.join(_KINDS)}) of (all passes|pass \d+)$")
"""What is said of a run; all else is about values."""

Pictures = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class OnChip:
    """A network on an engine of `MAP_ENGINES`, one picture at a time, or one in each stage."""

    engine: str
    network: str
    in_flight: bool = False

    @property
    def params(self) -> MapEngineParameters:
        return MAP_ENGINES[self.engine]

    @property
    def pictures(self) -> int:
        """How many are computed: one in each stage, or one in each half."""
        return self.params.stages if self.in_flight else 2


ON_CHIPS = {
    "resnet-8-7z045": OnChip("maps-24x8x4", "resnet-8"),
    "resnet-8-7z045-in-flight": OnChip("maps-24x8x4", "resnet-8", True),
    "resnet-20-7z045": OnChip("maps-24x8x4", "resnet-20"),
    "resnet-20-7z045-in-flight": OnChip("maps-24x8x4", "resnet-20", True),
    "mobilenet-vww-7z045": OnChip("maps-28x6x4", "mobilenet-vww"),
    "resnet-8-7z020": OnChip("maps-8x4x2", "resnet-8"),
    "ds-cnn-7z020": OnChip("maps-6x6x2", "ds-cnn"),
}
"""By name: what runs on which chip."""


def _cifar(name: str, count: int) -> tuple[Pictures, Pictures]:
    """Pictures to calibrate with, and the first ones to test."""
    preparation, data = find(name).preparation, cifar10()
    assert preparation is not None
    return preparation.compute(data.train_x[:CALIBRATION]), preparation.compute(data.test_x[:count])


def _words(name: str, count: int) -> tuple[Pictures, Pictures]:
    """The spoken words have no other part to calibrate with."""
    x = spoken_words().x
    return x[:CALIBRATION], x[:count]


def _wakes(name: str, count: int) -> tuple[Pictures, Pictures]:
    x = wake_words().x
    return x, x[:count]


SOURCES: dict[str, Callable[[str, int], tuple[Pictures, Pictures]]] = {
    "resnet-8": _cifar,
    "resnet-20": _cifar,
    "ds-cnn": _words,
    "mobilenet-vww": _wakes,
}


class _Counting(MapRuns):
    """Runs that keep the cycles of whole ones, and count the values that are read."""

    cycles = 0
    values = 0

    def run(self, first: int, last: int, half: int, pictures: int = 1) -> Run:
        found = super().run(first, last, half, pictures)
        if (first, last) == (0, len(self.placed.plan.passes) - 1):
            self.cycles = max(self.cycles, found.cycles)
        return found

    def result(self, half: int, picture: int = 0) -> Integers:
        found = super().result(half, picture)
        self.values += found.size
        return found

    def map(self, key: Key, stage: int = 0) -> Integers:
        found = super().map(key, stage)
        self.values += found.size
        return found


def published(made: OnChip) -> tuple[Placement, Integers]:
    """The network with its published weights, placed on its engine, and pictures in integers
    (n, C, H, W).  Raises `DataError` where weights or data are missing."""
    calibration, pictures = SOURCES[made.network](made.network, made.pictures)
    net = trained(made.network)
    graph = simplify(from_module(net, torch.from_numpy(calibration[:2])))
    network = compile_maps(graph, calibration, bits=BITS).network
    return place(made.params, network, made.in_flight), to_integers(pictures, network)[0]


def run_network(
    name: str,
    made: OnChip,
    prepare: Callable[[OnChip], tuple[Placement, Integers]] = published,
) -> dict[str, Any]:
    """Build the engine if need be, compute the pictures, each in whole runs and once more pass by
    pass, and compare every value of every map, and the cycles of every run.

    Of a map at most four mismatches are counted.  Raises what `prepare` raises, `SimulatorError`
    and `HarnessError`.
    """
    placed, pictures = prepare(made)
    program, built = build_core(emit(MapCore(params=made.params)))
    began = time.monotonic()
    with BareCore(program) as core:
        runs = _Counting(core, placed)
        differences = _differences(runs, made, pictures)
    at_once = made.pictures if made.in_flight else 1
    about = [_RUN.match(one.where) for one in differences]
    wrong = {kind: sum(m is not None and m[1] == kind for m in about) for kind in _KINDS}
    return {
        "name": name,
        "network": made.network,
        "pictures_in_flight": at_once,
        "bits": BITS,
        "engine": made.engine,
        "lanes": made.params.lanes,
        "latency_cycles": runs.cycles,
        "interval_cycles": runs.cycles / at_once,
        "pictures": len(pictures),
        "values": runs.values,
        "mismatches": about.count(None),
        "errors": wrong["errors"],
        "predicted": not wrong["end"] and not wrong["cycles"],
        "build_seconds": round(built, 1),
        "run_seconds": round(time.monotonic() - began, 1),
    }


def _differences(runs: MapRuns, made: OnChip, pictures: Integers) -> list[Difference]:
    tensors = compute(runs.placed.plan.network, pictures)
    wanted = [{name: values[n] for name, values in tensors.items()} for n in range(len(pictures))]
    if made.in_flight:
        return list(runs.in_flight(list(pictures), wanted, 0))
    return [
        one
        for n, picture in enumerate(pictures)
        for one in runs.differences(picture, wanted[n], n % 2)
    ]
