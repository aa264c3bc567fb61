"""Networks with their published weights on the map engine in RTL: every value of every layer
against golden, every cycle against the plan.

    python -m dpnet.sim.measure.maps [NAME …] [--pictures 3] [--bits 4]

Data and weights lie where `dpnet.model.data.places` says.  Each picture is computed in one run, and
once more pass by pass, each layer's map read and compared.  Prints a line for each network.
Exit codes: 0 all equal; 1 something differs; 2 wrong usage, or data are missing; 3 no simulator, or
it failed; 130 interrupted.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.measure.maps", "all"))

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dpnet.gateware.emit import emit
from dpnet.gateware.maps.core import MapCore
from dpnet.model.data.cifar import cifar10
from dpnet.model.data.places import DataError
from dpnet.model.data.tiny_samples import spoken_words, wake_words
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import Placement, place
from dpnet.model.graph.reading import from_module
from dpnet.model.graph.simplify import simplify
from dpnet.model.maps.calibration.pictures import to_integers
from dpnet.model.maps.compile import compile_maps
from dpnet.model.maps.golden import compute
from dpnet.model.networks.catalog import find
from dpnet.model.networks.published import trained
from dpnet.sim.board.bare_core import BareCore, build_core
from dpnet.sim.board.harness import HarnessError
from dpnet.sim.kit.map_runs import Difference, MapRuns
from dpnet.sim.simulator import SimulatorError

CALIBRATION = 200
"""Pictures that the tensors' scales are chosen with."""

Pictures = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A network's words, and pictures in integers (n, C, H, W)."""

    name: str
    placed: Placement
    pictures: NDArray[np.int64]


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


def prepared(params: MapEngineParameters, name: str, count: int, bits: int) -> Case:
    """A network compiled for the engine.  `DataError` where data or weights are missing."""
    calibration, pictures = SOURCES[name](name, count)
    net = trained(name)
    graph = simplify(from_module(net, torch.from_numpy(calibration[:2])))
    network = compile_maps(graph, calibration, bits=bits).network
    return Case(name, place(params, network), to_integers(pictures, network)[0])


def compared(core: BareCore, case: Case) -> Iterator[Difference]:
    """What the core does otherwise than it must, picture after picture, in one half and the
    other."""
    runs, network = MapRuns(core, case.placed), case.placed.plan.network
    for n, picture in enumerate(case.pictures):
        tensors = compute(network, picture[None])
        wanted = {name: values[0] for name, values in tensors.items()}
        yield from runs.differences(picture, wanted, n % 2)


def line(case: Case, differences: list[Difference]) -> str:
    values = sum(int(np.prod(one.shape)) for one in case.placed.plan.network.tensors[1:])
    found = "all equal" if not differences else f"{len(differences)} differ: {differences[0]}"
    return (
        f"{case.name}: {len(case.pictures)} pictures, {values:,} values each, "
        f"{case.placed.plan.cycles:,} cycles: {found}"
    )


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.sim.measure.maps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SOURCES)}")
    parser.add_argument("--pictures", type=int, default=3, help="of each network (3)")
    parser.add_argument("--bits", type=int, default=4, help="of an index, 1 to 4 (4)")
    options = parser.parse_args(arguments)
    names = options.names or list(SOURCES)
    if unknown := [name for name in names if name not in SOURCES]:
        parser.error(f"no network is called {unknown[0]!r}; there are {', '.join(SOURCES)}")
    if options.pictures < 1 or not 1 <= options.bits <= 4:
        parser.error("--pictures must be at least 1, --bits from 1 to 4")
    try:
        return _measure(names, options.pictures, options.bits)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (SimulatorError, HarnessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\ninterrupted; the core that was built stays built", file=sys.stderr)
        return 130


def _measure(names: list[str], pictures: int, bits: int) -> int:
    params = MapEngineParameters()
    print("building the engine (first time: minutes)", file=sys.stderr)
    program, _ = build_core(emit(MapCore(params=params)))
    bad = False
    for name in names:
        case = prepared(params, name, pictures, bits)
        with BareCore(program) as core:
            differences = list(compared(core, case))
        print(line(case, differences), flush=True)
        bad |= bool(differences)
    return int(bad)
