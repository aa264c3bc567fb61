"""`make networks`: whole networks on the map engine in RTL, and how good they are there."""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.measure.networks.__main__", "all"))

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import click

from dpnet.gateware.emit import emit
from dpnet.gateware.maps.core import MapCore
from dpnet.host.arguments import Command, run_module, whole
from dpnet.host.maps.engines import engine_url, parse_engine
from dpnet.model.build_root import build_root
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge
from dpnet.model.evidence import digest, provenance
from dpnet.model.files import write_json, write_whole
from dpnet.model.graph.nodes import GraphError
from dpnet.model.image import ImageError
from dpnet.model.training.checkpoint import CheckpointError
from dpnet.model.training.run import DivergedError
from dpnet.sim.board.bare_core import build_core
from dpnet.sim.board.harness import HarnessError
from dpnet.sim.board.limits import check_size
from dpnet.sim.measure.networks.measuring import SOURCES, Bench, Measured, measure
from dpnet.sim.measure.networks.page import page
from dpnet.sim.measure.networks.row import networks_table
from dpnet.sim.measure.networks.sources import NETWORKS, missing
from dpnet.sim.simulator import SimulatorError

REFUSED = (NetworkTooLarge, GraphError, ImageError, CheckpointError, DivergedError)
"""What ends a network, and not the others."""


@dataclass(frozen=True)
class Options:
    """What a run was asked for; no `pictures`: as many of each network as it is to have."""

    names: tuple[str, ...]
    engine: MapEngineParameters
    pictures: int | None
    bits: int
    seed: int

    @property
    def whole(self) -> bool:
        """Whether it is all that the report must have to be evidence."""
        usual = (self.pictures, self.bits, self.engine) == (None, 4, MapEngineParameters())
        return usual and set(self.names) == set(NETWORKS)


@dataclass
class Tally:
    """What is there until now: a measured network after the other, and by name what was left
    out."""

    options: Options
    command: str
    measured: list[Measured] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def failures(self) -> list[str]:
        return [text for one in self.measured for text in one.row.failures(one.first)]

    def report(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "seed": self.options.seed,
            "engine": asdict(self.options.engine),
            "networks": [asdict(one.row) for one in self.measured],
            "left_out": self.left_out,
        }

    def write(self, folder: Path, made_of: Mapping[str, str]) -> None:
        """The report and the page, each whole or not at all; with the sources if it is complete."""
        write_json(folder / "networks.json", {**self.report(), **made_of}, indent=1)
        if self.measured:
            shown = [(one.row, one.about) for one in self.measured]
            text = page(self.options.engine, self.command, shown, self.left_out)
            write_whole(folder / "networks.html", text.encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_module(_command, "sim.measure.networks", arguments)


@click.command(
    cls=Command,
    help="Networks of MLPerf Tiny and of the paper on the map engine in RTL: every value of every "
    "layer against the golden model, cycles, accuracies; `make networks`. Data and weights lie "
    "where DPNET_DATA and DPNET_WEIGHTS say. Writes networks.json and networks.html of the build "
    f"folder. Networks: {', '.join(NETWORKS)}.",
    exit_codes={
        0: "everything equals the golden model",
        1: "something differs",
        2: "wrong usage, or data are missing; the networks that have theirs were measured",
        3: "no simulator, or it failed",
        130: "interrupted; the same command goes on where it was",
    },
    example="python -m dpnet.sim.measure.networks resnet-8 --pictures 5",
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--pictures",
    type=whole(1, 10_000),
    metavar="N",
    help="in RTL, of each network (default: "
    + ", ".join(f"{source.pictures} of {name}" for name, source in NETWORKS.items())
    + ")",
)
@click.option("--bits", type=whole(1, 4), default=4, metavar="N", help="of an index (default 4)")
@click.option(
    "--seed",
    type=whole(0, 2**31),
    default=0,
    metavar="N",
    help="of trainings, and of the choice of calibration pictures (default 0)",
)
@click.option(
    "--maps",
    default="maps",
    metavar="ENGINE",
    help="the map engine, such as 'maps?clusters=4' (default maps, 2 clusters × 8 stages)",
)
def _command(names: tuple[str, ...], pictures: int | None, bits: int, seed: int, maps: str) -> int:
    context = click.get_current_context()
    if unknown := [name for name in names if name not in NETWORKS]:
        raise click.UsageError(
            f"no network is called {unknown[0]!r}; there are {', '.join(NETWORKS)}", context
        )
    try:
        engine = _engine(maps)
    except ValueError as error:
        raise click.UsageError(str(error), context) from error
    chosen = tuple(dict.fromkeys(names)) or tuple(NETWORKS)
    return _guarded(Options(chosen, engine, pictures, bits, seed))


def _engine(text: str) -> MapEngineParameters:
    try:
        engine = parse_engine(text)
    except ValueError as error:
        raise ValueError(f"--maps must be {error}") from error
    if not isinstance(engine, MapEngineParameters):
        raise ValueError(f"--maps must be maps or maps?NAME=N&NAME=N, not {text!r}")
    check_size(engine)
    return engine


def _guarded(options: Options) -> int:
    """The exit code of a run; what goes wrong is one line."""
    tally = Tally(options, _called(options))
    try:
        _run(tally)
        return _end(tally)
    except (SimulatorError, HarnessError) as error:
        code, text = 3, str(error)
    except OSError as error:
        code, text = 2, str(error)
    except KeyboardInterrupt:
        code, text = 130, "interrupted; the same command goes on where it was"
    if tally.measured:
        print(networks_table([one.row for one in tally.measured]))
    print(f"networks: {text}", file=sys.stderr)
    return code


def _called(options: Options) -> str:
    """The command that does the same."""
    text = "make networks"
    if set(options.names) != set(NETWORKS):
        text += f" NAMES='{' '.join(options.names)}'"
    if options.pictures is not None:
        text += f" PICTURES={options.pictures}"
    usual = options.engine == MapEngineParameters()
    maps = "" if usual else f" MAPS='{engine_url(options.engine).rpartition('/')[2]}'"
    return f"{text} BITS={options.bits} SEED={options.seed}{maps}"


def _run(tally: Tally) -> None:
    """Every network that has its data; report and page are written anew after each of them."""
    options, root = tally.options, build_root()
    made_of = provenance("networks.json") if options.whole else {}
    tally.left_out = {name: missing(NETWORKS[name]) for name in options.names}
    tally.left_out = {name: lines for name, lines in tally.left_out.items() if lines}
    _tell_left_out(tally.left_out)
    there = [name for name in options.names if name not in tally.left_out]
    if not there:
        return
    bench = Bench(
        engine=options.engine,
        build=cache(_built),
        bits=options.bits,
        seed=options.seed,
        pictures=options.pictures,
        folder=root / "networks",
        made_of=digest(SOURCES),
    )
    for name in there:
        _measure(tally, bench, name)
        complete = len(tally.measured) == len(NETWORKS)
        tally.write(root, made_of if complete else {})


def _built(engine: MapEngineParameters) -> Path:
    """The program that simulates an engine's core."""
    sizes = engine_url(engine).rpartition("/")[2]
    print(f"building the engine {sizes} (first time: minutes)", file=sys.stderr, flush=True)
    return build_core(emit(MapCore(params=engine)))[0]


def _measure(tally: Tally, bench: Bench, name: str) -> None:
    try:
        found = measure(bench, NETWORKS[name])
    except REFUSED as error:
        tally.left_out[name] = [str(error)]
        _tell_left_out({name: [str(error)]})
        return
    tally.measured.append(found)
    row = found.row
    said = "–" if row.accuracy_engine is None else f"{row.accuracy_engine:.2f} % right"
    print(
        f"{name}: {row.pictures:,} pictures, {row.outputs:,} values, {row.mismatches} differ; "
        f"{row.cycles_per_picture:,} cycles; {said}, error {row.result_error:.1%}",
        file=sys.stderr,
        flush=True,
    )


def _tell_left_out(left_out: Mapping[str, Sequence[str]]) -> None:
    """Each reason once, with the networks that it keeps from running."""
    names: dict[str, list[str]] = {}
    for name, lines in left_out.items():
        for line in lines:
            names.setdefault(line, []).append(name)
    for line, all_names in names.items():
        print(f"networks: {', '.join(all_names)}: {line}", file=sys.stderr, flush=True)


def _end(tally: Tally) -> int:
    """Tell everything at the end; the exit code."""
    if tally.measured:
        root = build_root()
        print(networks_table([one.row for one in tally.measured]))
        print(f"\nreport {root / 'networks.json'}, page {root / 'networks.html'}")
    failed = tally.failures()
    for text in failed:
        print(f"networks: {text}", file=sys.stderr)
    if left := list(tally.left_out):
        print(f"networks: {', '.join(left)} left out, see above", file=sys.stderr)
    return 1 if failed else 2 if left else 0
