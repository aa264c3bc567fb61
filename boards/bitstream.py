"""`make bitstream`: an engine for a board, from sizes to a bitstream.

    python -m dpnet.boards.bitstream BOARD [--toolchain T] [--door D] [--revision R] [--mhz F]
        [--baud N] [--seed 1] [--stages N --columns N --segments N …] [--json]
    python -m dpnet.boards.bitstream BOARD --engine maps
    python -m dpnet.boards.bitstream BOARD --engine 'maps?clusters=4&stages=4'

Writes build/BOARD/.  Exit codes: 0 there is a bitstream whose timing is met; 2 wrong usage; 3 a
tool is missing or failed, or timing is not met: then there is none, not even an older one; 130
interrupted (run again: it goes on).
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.boards.bitstream", "boards"))

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from dpnet.boards.board import Board, BuildOptions, Built, Engine, board_names, find_board
from dpnet.boards.command import result_path, run
from dpnet.boards.tool import ToolError
from dpnet.host.maps.engines import NAME, SCHEME, engine_url, parse_engine
from dpnet.model.build_root import build_root
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.parameters import EDGES, MULTIPLIERS, EngineParameters
from dpnet.model.files import write_json

SUMMARY = "build.json"
ARRAY = "array"
BITSTREAMS = ("*.bit", "*.bin", "*.svf")
CHOICES = {"edges": EDGES, "storage": ("block", "distributed"), "multiplier": MULTIPLIERS}


def argument_parser() -> argparse.ArgumentParser:
    """BOARD, the build's options, and one option for every size of an engine."""
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.boards.bitstream",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("board", metavar="BOARD", help=f"of {', '.join(board_names())}")
    parser.add_argument("--toolchain", help="default: the board's first one that is installed")
    parser.add_argument("--door", help="the host's way in; default: the board's usual one")
    parser.add_argument("--revision", help="of the board; default: the usual one")
    parser.add_argument("--mhz", type=float, help="the engine's clock; default: the board's")
    parser.add_argument("--baud", type=int, default=3_000_000, help="of a UART (3000000)")
    parser.add_argument("--seed", type=int, default=1, help="of the placement (1)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument(
        "--engine",
        default=ARRAY,
        metavar="ENGINE",
        help="array (default); maps, the board's map engine; that one in other sizes, "
        "maps?clusters=4&stages=4; or the one of a URL, as dpnet plan says it, sim://maps?…",
    )
    sizes = parser.add_argument_group("sizes of an array; defaults: the board's")
    for name, value in vars(EngineParameters()).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            sizes.add_argument(option, action=argparse.BooleanOptionalAction)
        else:
            sizes.add_argument(option, type=type(value), choices=CHOICES.get(name))
    return parser


def chosen_engine(board: Board, text: str, sizes: Mapping[str, Any]) -> Engine:
    """The engine that `text` names: the board's array in `sizes`, its map engine in those behind
    `maps?`, or the one of a URL; `ValueError` for what no engine is."""
    kind, _, query = text.partition("?")
    if text != ARRAY and kind.removeprefix(SCHEME) != NAME:
        raise ValueError(
            f"engine must be array, maps, maps?NAME=N&NAME=N or sim://maps?…, not {text!r}"
        )
    try:
        named = parse_engine(text)
    except ValueError as error:
        raise ValueError(f"engine must be {error}") from None
    if isinstance(named, MapEngineParameters):
        if sizes:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in sizes)
            raise ValueError(
                f"{options}: sizes of an array; those of a map engine are in its name, "
                "--engine 'maps?clusters=4&stages=4'"
            )
        if text.startswith(SCHEME):
            return named
        own = (name for name, _ in parse_qsl(query, keep_blank_values=True))
        return replace(board.maps, **{name: getattr(named, name) for name in own})
    return replace(board.engine, **sizes)


def shape_of(engine: Engine) -> str:
    """How an engine is made of lanes, in words."""
    if isinstance(engine, MapEngineParameters):
        sizes, names = (engine.clusters, engine.stages, LANES), "clusters × stages × 16"
        return f"a map engine of {' × '.join(map(str, sizes))} lanes ({names})"
    sizes, names = (engine.stages, engine.columns, engine.segments), "stages × columns × segments"
    return f"{' × '.join(map(str, sizes))} lanes ({names})"


def build(
    board: Board, *, engine: Engine, toolchain: str | None, options: BuildOptions
) -> tuple[Built, Path]:
    """(what was built, its folder): files are named relative to the folder, which has all of them
    or, if this raises, no bitstream at all."""
    for kind, value, known in (
        ("toolchain", toolchain, board.toolchains),
        ("door", options.door, board.doors),
        ("revision", options.revision, board.revisions),
    ):
        if value is not None and value not in known:
            one_of = " or ".join(known) or "left out, as all are alike"
            raise ValueError(f"{kind} of {board.name} must be {one_of}, not {value!r}")
    folder = build_root() / board.name
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as name:
        scratch = Path(name)
        built = board.build(engine=engine, toolchain=toolchain, folder=scratch, options=options)
        # The bitstream last: where it is, everything is.
        for path in (*built.files, *([built.bitstream] if built.bitstream else [])):
            target = folder / path.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    files = tuple(path.relative_to(scratch) for path in built.files)
    bitstream = built.bitstream and built.bitstream.relative_to(scratch)
    return replace(built, files=files, bitstream=bitstream), folder


def _clear(folder: Path) -> None:
    """Remove what an earlier build left here: after a failure it would pass for this one's."""
    try:
        summary = json.loads((folder / SUMMARY).read_text())
        for name in summary["files"]:
            (folder / name).unlink(missing_ok=True)
    except (FileNotFoundError, ValueError, KeyError):
        pass
    for pattern in (*BITSTREAMS, SUMMARY):
        for path in folder.glob(pattern):
            path.unlink()


def summary(board: Board, engine: Engine, options: BuildOptions, built: Built) -> Any:
    """What build.json says."""
    url = engine_url(engine) if isinstance(engine, MapEngineParameters) else None
    return {
        "command": f"make bitstream BOARD={board.name}" + (f" ENGINE='{url}'" if url else ""),
        "board": board.name,
        "title": board.title,
        "bitstream": str(built.bitstream) if built.bitstream else None,
        "files": [str(path) for path in built.files],
        "clock_hz": built.clock_hz,
        "mhz": built.mhz,
        "used": dict(built.used),
        "available": dict(built.available),
        "notes": list(built.notes),
        "missing": built.missing,
        "options": asdict(options),
        "engine": asdict(engine),
        **({"url": url} if url else {}),
    }


def report(built: Built, folder: str, engine: Engine) -> str:
    """The same for people."""
    paths = [*built.files, *([built.bitstream] if built.bitstream else [])]
    lines = [f"{folder}/{path}" for path in paths]
    reached = "not placed and routed" if built.mhz is None else f"reaches {built.mhz:.1f} MHz"
    lines.append(f"clock {built.clock_hz / 1e6:g} MHz; {reached}")
    for kind, count in built.used.items():
        of = built.available.get(kind)
        share = f" of {of:,} ({100 * count / of:.1f} %)" if of else ""
        lines.append(f"{kind:<12}{count:>8,}{share}")
    lines += built.notes
    if isinstance(engine, MapEngineParameters):
        url = engine_url(engine)
        lines.append(f"a network for it: dpnet compile … --engine '{url}'")
        lines.append(f"the same in simulation: dpnet run … --port '{url}'")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = vars(argument_parser().parse_args(arguments))
    sizes = {name: given.pop(name) for name in vars(EngineParameters())}
    as_json, name, toolchain, kind = (
        given.pop(key) for key in ("json", "board", "toolchain", "engine")
    )

    def work() -> None:
        board, options = find_board(name), BuildOptions(**given)
        chosen = {size: value for size, value in sizes.items() if value is not None}
        engine = chosen_engine(board, kind, chosen)
        print(f"{board.title}: {shape_of(engine)}", file=sys.stderr)
        built, folder = build(board, engine=engine, toolchain=toolchain, options=options)
        document = summary(board, engine, options, built)
        write_json(folder / SUMMARY, document)
        print(
            json.dumps(document, indent=2)
            if as_json
            else report(built, result_path(board.name), engine)
        )
        if built.missing is not None:
            raise ToolError(f"no bitstream: {built.missing}")

    return run("bitstream", work)
