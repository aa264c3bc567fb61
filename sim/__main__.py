"""`make sim`: the whole chain on real input, from training to counted cycles."""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.__main__", "all"))

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from dpnet.host.arguments import Command, run_module, whole
from dpnet.host.bench import VECTORS, BenchRow, bench_table
from dpnet.host.commands import InputError
from dpnet.host.errors import LinkError
from dpnet.host.maps.engines import parse_engine
from dpnet.host.session import Parameters
from dpnet.model.build_root import build_root
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.evidence import provenance
from dpnet.model.files import write_json
from dpnet.model.networks.digits import digits
from dpnet.model.networks.digits_cnn import CnnResult
from dpnet.model.networks.digits_training import DigitsResult
from dpnet.sim.board.harness import HarnessError
from dpnet.sim.board.limits import check_size
from dpnet.sim.measure.beside import Beside, Job
from dpnet.sim.measure.boards import Boards
from dpnet.sim.measure.chain import (
    NetworkRow,
    forget_checkpoints,
    network_table,
    run_network,
    settings_for,
    train_networks,
)
from dpnet.sim.measure.cnn import LAYERED, CnnRow, cnn_table, run_cnn, train_cnn_network
from dpnet.sim.measure.picture import draw
from dpnet.sim.measure.table_six import CHECKPOINT, Case, file_cases, run_table, trained_cases
from dpnet.sim.simulator import Simulator, SimulatorError, find_simulator


@dataclass(frozen=True)
class Options:
    """What a run was asked for: the array, the map engine; no `weights`: Table VI takes those of
    networks trained here; no `pictures`: all of the test part run."""

    engine: EngineParameters
    maps: MapEngineParameters
    seed: int
    pictures: int | None
    waves: bool
    weights: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_module(_command, "sim", arguments)


def _size(name: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """A decorator: the option of a size of the array."""
    default = getattr(EngineParameters(), name)
    return click.option(
        f"--{name}",
        type=whole(1, 1024),
        default=default,
        metavar="N",
        help=f"{name} of the array (default {default})",
    )


@click.command(
    cls=Command,
    help="The whole chain on real input: train, compress, compile, load, run on the simulated "
    "engine, Table VI; `make sim`.",
    exit_codes={
        0: "everything equals the golden model",
        1: "something differs",
        2: "wrong usage, or a bad file",
        3: "no simulator, or a board failed",
        130: "interrupted; the same command goes on where it was",
    },
    example="python -m dpnet.sim --stages 8 --columns 16 --segments 2",
)
@_size("stages")
@_size("columns")
@_size("segments")
@click.option(
    "--seed", type=whole(0, 2**31), default=0, metavar="N", help="seed of training (default 0)"
)
@click.option(
    "--maps",
    default="maps",
    metavar="ENGINE",
    help="the map engine, such as 'maps?clusters=4' (default maps, 2 clusters × 8 stages)",
)
@click.option(
    "--pictures",
    type=whole(LAYERED, 360),
    metavar="N",
    help=f"test pictures that run, at least {LAYERED} (default: all 360)",
)
@click.option("--waves", is_flag=True, help="write a waveform of the first picture")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="take Table VI's matrices from this .safetensors file",
)
def _command(
    stages: int,
    columns: int,
    segments: int,
    seed: int,
    maps: str,
    pictures: int | None,
    waves: bool,
    weights: Path | None,
) -> int:
    try:
        engine = _engine(EngineParameters(stages=stages, columns=columns, segments=segments))
        check_size(engine)
        map_engine = _map_engine(maps)
    except ValueError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    return _guarded(Options(engine, map_engine, seed, pictures, waves, weights))


def _map_engine(text: str) -> MapEngineParameters:
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
    try:
        return _run(options)
    except (InputError, OSError) as error:
        code, text = 2, str(error)
    except (SimulatorError, HarnessError, LinkError) as error:
        code, text = 3, str(error)
    except KeyboardInterrupt:
        code, text = 130, "interrupted; the same command goes on where it was"
    print(f"\nsim: {text}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    # A simulator may still be building in its thread; nothing of it is worth waiting for.
    os._exit(code)


def _engine(engine: EngineParameters) -> EngineParameters:
    """`engine` with stores as deep as Table VI needs, with several vectors back to back."""
    shapes = ((1000, 1024), (384, 1728))
    depth = max(engine.tiles(rows) * engine.beats(columns) for rows, columns in shapes)
    slots = engine.stages * max(engine.tiles(1000), engine.tiles(256) + 2)
    return replace(
        engine,
        index_depth=max(engine.index_depth, depth),
        slots=max(engine.slots, slots),
        result_slots=max(engine.result_slots, VECTORS * slots),
        vector_words=max(engine.vector_words, VECTORS * 2048),
    )


def _run(options: Options) -> int:
    started = time.monotonic()
    engine = options.engine
    usual = (
        options.weights is None
        and options.pictures is None
        and engine == _engine(EngineParameters())
        and options.maps == MapEngineParameters()
    )
    made_of = provenance("make-sim.json") if usual else {}
    folder = build_root() / "sim"
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "report.json"
    # An old picture beside no report would be taken for this run's.
    for old in (report, folder / "report.png"):
        old.unlink(missing_ok=True)
    simulator = find_simulator()
    print("DP-Net on a simulated FPGA: train, compress, compile, load, run, compare")
    print(f"simulator  {simulator}")
    print(
        f"array      {engine.stages} stages × {engine.columns} columns × {engine.segments} "
        f"segments = {engine.lanes} lanes; seed {options.seed}"
    )
    print(
        f"map engine {options.maps.clusters} clusters × {options.maps.stages} stages × {LANES} = "
        f"{options.maps.lanes} lanes"
    )
    if simulator.kind == "icarus":
        print(
            "note       Icarus is hundreds of times slower than Verilator, and this needs "
            "22 million cycles: many hours; with Verilator 5.036 or newer it takes minutes"
        )
    given = file_cases(options.weights, options.seed) if options.weights else None
    pool = ThreadPoolExecutor(1)
    try:
        sizes: dict[str, Parameters] = {"array": engine, "maps": options.maps}
        boards = Boards(pool, sizes, simulator, folder if options.waves else None)
        measured = _measure(options, folder, boards, given)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    _finish(options, simulator, measured, folder, started, made_of)
    failed = measured.failures()
    for text in failed:
        print(f"sim: {text}", file=sys.stderr)
    return 1 if failed else 0


@dataclass(frozen=True)
class _Measured:
    """The rows of all tables, the first network's predictions, where the matrices are from."""

    networks: list[NetworkRow]
    predictions: np.ndarray[Any, Any]
    table6: list[BenchRow]
    source: str
    cnn: CnnRow

    def failures(self) -> list[str]:
        """What is not as it must be."""
        rows: list[NetworkRow | CnnRow | BenchRow] = [*self.networks, self.cnn, *self.table6]
        failed = []
        if sum(row.mismatches for row in rows):
            failed.append("results of the engine differ from the golden model (see the tables)")
        if not all(row.within_bound for row in self.table6):
            failed.append("an error against float64 is above its proved bound")
        counted: list[float | None] = [
            row.cycles if isinstance(row, BenchRow) else row.cycles_per_picture for row in rows
        ]
        counted += [row.interval_cycles for row in self.table6]
        predicted = [row.predicted_cycles for row in rows]
        if counted != predicted + [row.predicted_interval for row in self.table6]:
            failed.append("counted cycles differ from the formula")
        return failed


def _measure(
    options: Options, folder: Path, boards: Boards, given: tuple[list[Case], str] | None
) -> _Measured:
    """Networks are trained here; as soon as one is, its simulation starts beside that."""
    beside = Beside()
    _heading(f"1  training on scikit-learn's digits ({_since(boards.started)})")
    cases, source = trained_cases(folder, options.seed) if given is None else given
    print(f"Table VI: {source}")
    table6 = [
        beside.submit(partial(_run_table6, options.engine, boards, name, cases))
        for name in ("baseline", "lane", "array")
    ]
    networks: list[Job[tuple[NetworkRow, np.ndarray[Any, Any]]]] = []
    for result in train_networks(folder, settings_for(options.seed)):
        print(
            f"{result.bits} bits: float {result.accuracy_float:.2f} %, quantized "
            f"{result.accuracy_quantized:.2f} %, integer golden model "
            f"{result.accuracy_engine:.2f} %; {result.ratio_eq1:.2f} × smaller by Eq. (1), "
            f"{result.ratio_bytes:.2f} × on disk "
            f"({result.path.name}, {result.file_bytes:,} bytes)"
        )
        traced = options.waves and not networks
        networks.append(beside.submit(partial(_run_network, options, boards, result, traced)))
    cnn = train_cnn_network(folder, options.seed)
    print(
        f"convolutions, {cnn.bits} bits: float {cnn.accuracy_float:.2f} %, quantized "
        f"{cnn.accuracy_quantized:.2f} %, integer golden model {cnn.accuracy_golden:.2f} %; "
        f"{cnn.ratio_eq1:.2f} × smaller by Eq. (1) ({cnn.path.name}, {cnn.file_bytes:,} bytes)"
    )
    on_maps = beside.submit(partial(_run_cnn, options, boards, cnn))
    _heading(f"2  the networks on the engine ({_since(boards.started)})")
    rows = []
    for job in networks:
        row, guessed = beside.result(job)
        rows.append(row)
        print(
            f"{row.bits} bits: {row.outputs:,} outputs of all layers for {row.pictures} "
            f"pictures, {row.mismatches} differ from the golden model; "
            f"{row.cycles_per_picture:,} cycles a picture; the first ones read "
            + " ".join(map(str, guessed[:20]))
        )
    predictions = beside.result(networks[0])[1]
    _heading(f"3  the paper's Table VI at full size ({_since(boards.started)})")
    benches = [row for job in table6 for row in beside.result(job)]
    names = [case[0].name for case in cases]
    for bench in benches:
        print(
            f"{bench.name} on {bench.engine}: {bench.cycles:,} cycles, {bench.compared:,} results, "
            f"{bench.mismatches} differ from the golden model"
        )
    benches.sort(key=lambda row: names.index(row.name))
    _heading(f"4  the convolutional network on the map engine ({_since(boards.started)})")
    maps = beside.result(on_maps)
    print(
        f"{maps.bits} bits: {maps.outputs:,} outputs, the results of {maps.pictures} pictures and "
        f"every map of {maps.layered}, {maps.mismatches} differ from the golden model; "
        f"{maps.cycles_per_picture:,} cycles a picture"
    )
    return _Measured(rows, predictions, benches, source, maps)


def _run_network(
    options: Options, boards: Boards, result: DigitsResult, traced: bool
) -> tuple[NetworkRow, np.ndarray[Any, Any]]:
    """A digits network on the array: its row, and what it read."""
    with boards.open("array", traced=traced) as board:
        trace = board.transport if traced else None
        return run_network(board.driver, result, pictures=options.pictures, trace=trace)


def _run_cnn(options: Options, boards: Boards, cnn: CnnResult) -> CnnRow:
    with boards.open("maps") as board:
        return run_cnn(board.driver, cnn, options.pictures)


def _run_table6(
    engine: EngineParameters, boards: Boards, name: str, cases: list[Case]
) -> list[BenchRow]:
    """Table VI's rows of one board."""
    kind = "paper-baseline" if name == "baseline" else name
    if name == "array" and engine.lanes == 1:
        kind = "lane"
    with boards.open(name) as board:
        return run_table(kind, board.driver, cases)


def _heading(title: str) -> None:
    print(f"\n── {title} " + "─" * max(0, 96 - len(title)), flush=True)


def _since(started: float) -> str:
    return f"{time.monotonic() - started:.0f} s"


def _finish(
    options: Options,
    simulator: Simulator,
    measured: _Measured,
    folder: Path,
    started: float,
    made_of: Mapping[str, str],
) -> None:
    """Tables, picture, report; only here, when everything was measured in this run."""
    _heading("results")
    print(network_table(measured.networks))
    print("\n" + cnn_table(measured.cnn))
    print("\n" + bench_table(measured.table6))
    print(
        "next vector: cycles of each further vector, back to back.  differ: results that are not "
        "equal to the golden\nmodel bit for bit.  error: against float64 with the same weights, "
        "beside a sequential fp32 dot product's.\npaper ms: its Table VI (behavioral simulation, "
        "100 MHz)."
    )
    data, shown_pictures = digits(), len(measured.predictions)
    picture = folder / "report.png"
    draw(
        picture,
        measured.networks,
        measured.cnn,
        measured.table6,
        data.test_x.numpy()[:shown_pictures],
        data.test_y.numpy()[:shown_pictures],
        measured.predictions,
    )
    document = {
        "command": "make sim",
        "seed": options.seed,
        "simulator": str(simulator),
        "engine": asdict(options.engine),
        "map_engine": asdict(options.maps),
        "matrices": measured.source,
        "seconds": round(time.monotonic() - started, 1),
        "networks": [asdict(row) for row in measured.networks],
        "cnn": asdict(measured.cnn),
        "table6": [asdict(row) for row in measured.table6],
        **made_of,
    }
    report = folder / "report.json"
    write_json(report, document)
    forget_checkpoints(folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    shown = [_short(picture), _short(report)]
    print(f"\npicture {shown[0]}, report {shown[1]}; {time.monotonic() - started:.0f} s in all")
    if options.waves:
        waves = _short(folder / "waves.vcd")
        print(
            f"waveform of the first picture: {waves}; open it with gtkwave {waves} "
            f"or surfer {waves}"
        )


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
