"""Committed results and the sources behind them.

python -m dpnet.model.evidence          which results are older than their sources, and what to run
python -m dpnet.model.evidence --keep   copy those that were measured anew from build/ to docs/

A result carries the digest of the sources that it depends on (`provenance`), written by the command
that measures it; docs/decisions/0009-evidence-with-provenance.md says what counts.  Standard
library only.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dpnet.model.build_root import build_root
from dpnet.model.files import write_whole

PACKAGE = "dpnet"
ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("docs/results")
EXPERIMENTS = "experiments"
"""The folder of what `dpnet experiment` found, below `RESULTS` and below the build root: each file
says itself which command makes it, and of which `sources` it is."""
EXPERIMENT_ENTRIES = (f"{PACKAGE}.model.experiments.runner", f"{PACKAGE}.model.quantizer.lloyd")
STUDY_ENTRIES: Mapping[str, tuple[str, ...]] = {
    "figure2": (f"{PACKAGE}.model.experiments.studies.weights",),
    "figure4": (f"{PACKAGE}.model.experiments.studies.sweep",),
    "table4": (f"{PACKAGE}.model.experiments.imagenet.table",),
}
"""What the experiments of these names depend on besides."""
OLDER = "older.txt"
"""The results that are older than their sources, a name a line: admitted, until measured anew."""

SHOWING = frozenset(
    f"{PACKAGE}.{name}"
    for name in (
        "boards.command",
        "host.report",
        "model.experiments.results.drawings",
        "model.evidence",
        "model.pictures",
        "sim.measure.networks.page",
        "sim.measure.picture",
        "sim.measure.roofline",
    )
)
"""Modules that only show what was measured: no result depends on them."""

_BOARD = ("sim/board/*.cpp", "sim/board/*.sv")
_SIMULATED = ("dpnet.sim.board.bytes_board", "dpnet.sim.board.axi_board")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A file of docs/results.

    `command` measures it and writes `written`, below the build root; `minutes` is about what that
    takes on two quiet cores.  It depends on the modules `entries`, on all that they import, and on
    the files `others` (patterns).  `pictures`: files drawn with it, below the build root, and where
    they belong.
    """

    command: str
    written: str
    minutes: float
    entries: tuple[str, ...]
    others: tuple[str, ...] = ()
    pictures: tuple[tuple[str, str], ...] = ()


RESULT_FILES: Mapping[str, Result] = {
    "make-sim.json": Result(
        command="make sim",
        written="sim/report.json",
        minutes=3,
        entries=("dpnet.sim.__main__", *_SIMULATED),
        others=_BOARD,
        pictures=(("sim/report.png", "docs/report.png"),),
    ),
    "networks.json": Result(
        command="make networks",
        written="networks.json",
        minutes=180,
        entries=("dpnet.sim.measure.networks.__main__",),
        others=_BOARD,
    ),
    "arrays.json": Result(
        command="make arrays",
        written="arrays.json",
        minutes=60,
        entries=("dpnet.sim.measure.arrays",),
        others=_BOARD,
        pictures=(("roofline.png", "docs/roofline.png"),),
    ),
    "arrays-lean.json": Result(
        command="python -m dpnet.sim.measure.arrays int8-1000x1024-lean "
        "--out build/lean/arrays-lean.json",
        written="lean/arrays-lean.json",
        minutes=5,
        entries=("dpnet.sim.measure.arrays",),
        others=_BOARD,
    ),
    "baselines.json": Result(
        command="make baselines",
        written="baselines.json",
        minutes=20,
        entries=(
            "dpnet.sim.measure.baselines",
            "dpnet.sim.benches.baselines.dense_run",
            *_SIMULATED,
        ),
        others=_BOARD,
    ),
    "faults.json": Result(
        command="make faults",
        written="faults.json",
        minutes=30,
        entries=("dpnet.sim.measure.faults",),
        others=_BOARD,
    ),
    "resources.json": Result(
        command="make resources",
        written="resources.json",
        minutes=50,
        entries=("dpnet.boards.resources",),
    ),
    "fmax.json": Result(
        command="make fmax",
        written="fmax.json",
        minutes=12,
        entries=("dpnet.boards.fmax",),
    ),
    "formal.json": Result(
        command="make formal",
        written="formal.json",
        minutes=20,
        entries=("dpnet.sim.formal.__main__",),
    ),
    "soak.json": Result(
        command="make soak",
        written="soak.json",
        minutes=15,
        entries=("dpnet.sim.soak.__main__", *_SIMULATED),
        others=(*_BOARD, "sim/soak/*.cpp", "sim/soak/*.h"),
    ),
    "quantizer.json": Result(
        command="make bench-quantizer",
        written="bench/quantizer.json",
        minutes=30,
        entries=("dpnet.model.quantizer.judges.bench",),
    ),
    "quantizer-figure.json": Result(
        command="python -m dpnet.model.quantizer.judges.figure",
        written="quantizer-figure.json",
        minutes=1,
        entries=("dpnet.model.quantizer.judges.figure",),
        pictures=(("quantizer.png", "docs/quantizer.png"),),
    ),
}
"""All of them, by name."""


def provenance(name: str) -> dict[str, str]:
    """What the result `name` says of its sources: the entry that its writer adds to it."""
    result = RESULT_FILES[name]
    return {"provenance": digest(result.entries, result.others)}


def digest(entries: Sequence[str], others: Sequence[str] = (), root: Path = ROOT) -> str:
    """16 hexadecimal digits that change with the code of the modules `entries` of the package below
    `root`, of all modules that they import, and with the contents of the files `others` (patterns).

    They do not change with comments, docstrings, layout, or the place of a file, nor with the
    modules of `SHOWING`.
    """
    modules = _modules(root)
    unknown = [entry for entry in entries if entry not in modules]
    if unknown:
        raise ValueError(f"entries must be modules of {PACKAGE}, not {', '.join(unknown)}")
    codes = _refined({name: modules[name] for name in _closure(modules, entries)})
    found = sorted(codes[entry] for entry in entries)
    for pattern in others:
        files = sorted(root.glob(pattern))
        if not files:
            raise ValueError(f"others must name files, not {pattern!r}")
        found += sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Module:
    """A module: its `code` without names of modules of the package, and those that it `imports`, in
    order."""

    code: str
    imports: tuple[str, ...]


def stale(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """(name, what is wrong) of every committed result that is not of the sources as they are."""
    for path in sorted((root / RESULTS).glob("*.json")):
        if path.name not in RESULT_FILES:
            yield path.name, "no command measures it"
            continue
        said = json.loads(path.read_text()).get("provenance")
        if said is None:
            yield path.name, "it does not say of which sources it is"
        elif said != provenance(path.name)["provenance"]:
            yield path.name, "its sources have changed since it was measured"
    for name in RESULT_FILES:
        if not (root / RESULTS / name).exists():
            yield name, "it is not there"
    for path in sorted((root / RESULTS / EXPERIMENTS).glob("*.json")):
        if json.loads(path.read_text()).get("sources") != digest(experiment_entries(path.stem)):
            yield f"{EXPERIMENTS}/{path.name}", "its sources have changed since it was run"


def experiment_entries(name: str) -> tuple[str, ...]:
    """The modules that the result of an experiment depends on."""
    return (*EXPERIMENT_ENTRIES, *STUDY_ENTRIES.get(name, ()))


def declared(root: Path = ROOT) -> set[str]:
    """Results that `OLDER` admits to be stale: everybody who reads a figure of theirs is told."""
    lines = (root / RESULTS / OLDER).read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def keep(name: str, root: Path = ROOT) -> bool:
    """Copy `name` and its pictures from the build root, if it is of the sources as they are; then
    `OLDER` admits it no more."""
    if name.startswith(f"{EXPERIMENTS}/"):
        return _keep_experiment(name, root)
    result, built = RESULT_FILES[name], build_root()
    path = built / result.written
    if not path.exists():
        return False
    if json.loads(path.read_text()).get("provenance") != provenance(name)["provenance"]:
        return False
    shutil.copyfile(path, root / RESULTS / name)
    for drawn, kept in result.pictures:
        shutil.copyfile(built / drawn, root / kept)
    _admit_no_more(name, root)
    return True


def _keep_experiment(name: str, root: Path) -> bool:
    """Pictures are drawn from it by `make results`."""
    path = build_root() / name
    if not path.exists():
        return False
    if json.loads(path.read_text()).get("sources") != digest(experiment_entries(path.stem)):
        return False
    shutil.copyfile(path, root / RESULTS / name)
    _admit_no_more(name, root)
    return True


def _admit_no_more(name: str, root: Path) -> None:
    older = root / RESULTS / OLDER
    if older.exists():
        lines = older.read_text().splitlines(keepends=True)
        write_whole(older, "".join(line for line in lines if line.strip() != name).encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 if a result is stale."""
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.model.evidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--keep", action="store_true", help="copy what was measured anew")
    options = parser.parse_args(arguments)
    left = 0
    for name, reason in stale():
        known = name in RESULT_FILES or name.startswith(f"{EXPERIMENTS}/")
        if options.keep and known and keep(name):
            print(f"{RESULTS / name}: copied")
            continue
        left += 1
        print(advice(name, reason))
    if not left:
        print(f"{len(RESULT_FILES)} results, all of the sources as they are")
    return min(left, 1)


def advice(name: str, reason: str) -> str:
    """A line: what is wrong with `name`, and what measures it anew."""
    line = f"{RESULTS / name}: {reason}"
    if name.startswith(f"{EXPERIMENTS}/"):
        command = json.loads((ROOT / RESULTS / name).read_text())["command"]
        return f"{line}: {command} (hours), then make evidence KEEP=1"
    if name not in RESULT_FILES:
        return line
    result = RESULT_FILES[name]
    return f"{line}: {result.command} (about {result.minutes:g} min), then make evidence KEEP=1"


class _Modules(Mapping[str, _Module]):
    """All modules of the package below `root` by name, without those that only show; each is read
    when it is asked for."""

    def __init__(self, root: Path) -> None:
        self._paths = _known(root)
        self._read: dict[str, _Module] = {}

    def __getitem__(self, name: str) -> _Module:
        if name not in self._read:
            self._read[name] = _module(self._paths[name].read_text(), self._paths)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


_modules = cache(_Modules)
"""The modules below a folder, read once in this process."""


def _known(root: Path) -> dict[str, Path]:
    paths = {}
    for folder in ("model", "gateware", "sim", "host", "boards"):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            paths[".".join((PACKAGE, *parts))] = path
    return {name: path for name, path in paths.items() if name not in SHOWING}


def _module(text: str, known: Mapping[str, Path]) -> _Module:
    tree = ast.parse(text)
    stripped = _Stripped(known)
    return _Module(ast.dump(stripped.visit(tree)), tuple(stripped.imports))


class _Stripped(ast.NodeTransformer):
    """Takes docstrings out, and names of the package's modules out of imports, which it counts."""

    def __init__(self, known: Mapping[str, Path]) -> None:
        self.imports: list[str] = []
        self._known = known

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Pass()]
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if not (node.module or "").startswith(PACKAGE):
            return node
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            self.imports.append(inner if inner in self._known else node.module or "")
        return ast.ImportFrom(module="", names=node.names, level=0)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        self.imports += [alias.name for alias in node.names if alias.name in self._known]
        return node


def _closure(modules: Mapping[str, _Module], entries: Sequence[str]) -> set[str]:
    found, left = set(), list(entries)
    while left:
        name = left.pop()
        if name in modules and name not in found:
            found.add(name)
            left += modules[name].imports
    return found


def _refined(modules: Mapping[str, _Module]) -> dict[str, str]:
    """A digest of each module's code and those of its imports, in order, and so on: as many times
    as there are modules, so that each has all that is behind it, circles or not."""
    own = {name: _hash([module.code]) for name, module in modules.items()}
    codes = own
    for _ in modules:
        codes = {
            name: _hash([own[name], *(codes.get(n, "") for n in module.imports)])
            for name, module in modules.items()
        }
    return codes


def _hash(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
