"""`make mutants`: the netlist of each block changed in one place, a thousand times, and what the
block's bench says of it."""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.mutants.__main__", "all"))

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from dpnet.host.arguments import Command, run_module, whole
from dpnet.host.report import Progress, table
from dpnet.model.build_root import build_root
from dpnet.model.evidence import digest
from dpnet.model.files import write_json
from dpnet.sim.formal.sby import FormalError, Sby
from dpnet.sim.kit.bench import BenchError, seed
from dpnet.sim.mutants.blocks import BLOCKS, Block
from dpnet.sim.mutants.kept import KILLED, SURVIVED, Mutants
from dpnet.sim.mutants.netlist import flat, mutations, selectable
from dpnet.sim.mutants.trials import Trial, benched, judged, run_one
from dpnet.sim.simulator import SimulatorError, find_simulator

COUNT = 1000
"""Mutants of each block, where there are so many."""
LIMIT = 20_000_000
"""Nanoseconds, of which a clock cycle takes ten, until a simulation that does not end is ended."""
SAVED_EVERY = 8
"""Simulations, of which an interruption loses fewer."""
GOAL = 0.99
"""The least score of a block."""


@dataclass(frozen=True)
class Options:
    """What a run was asked for; `seed` draws the mutants."""

    names: tuple[str, ...]
    count: int
    seed: int
    jobs: int
    as_json: bool

    @property
    def command(self) -> str:
        text = "make mutants"
        if self.names != tuple(BLOCKS):
            text += f" NAMES='{' '.join(self.names)}'"
        return f"{text} COUNT={self.count} SEED={self.seed}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_module(_command, "sim.mutants", arguments)


@click.command(
    cls=Command,
    help="Mutants of the gateware: Yosys changes a bit of one cell of a block's netlist, and the "
    "block's bench must fail. What it does not notice is run at full length, then compared with "
    "the block by SymbiYosys: equal, or a survivor. Writes mutants.json of the build folder after "
    f"each block. Blocks: {', '.join(BLOCKS)}.",
    exit_codes={
        0: f"of each block at least {GOAL:.0%} of what is not equal is killed",
        1: "of a block less is killed",
        2: "wrong usage",
        3: "no simulator, Yosys or SymbiYosys, or one failed; or a bench fails without any mutant",
        130: "interrupted; the same command goes on where it was",
    },
    example="python -m dpnet.sim.mutants lane --count 100",
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--count", type=whole(1, 50_000), default=COUNT, metavar="N", help=f"of each (default {COUNT})"
)
@click.option(
    "--seed", "chosen", type=whole(0, 2**31 - 1), default=1, metavar="N", help="(default 1)"
)
@click.option(
    "--jobs", type=whole(1, 1024), metavar="N", help="simulations at a time (default: a core each)"
)
@click.option("--json", "as_json", is_flag=True, help="print the report, no table")
def _command(
    names: tuple[str, ...], count: int, chosen: int, jobs: int | None, as_json: bool
) -> int:
    context = click.get_current_context()
    if unknown := [name for name in names if name not in BLOCKS]:
        raise click.UsageError(
            f"no block is called {unknown[0]!r}; there are {', '.join(BLOCKS)}", context
        )
    picked = tuple(name for name in BLOCKS if name in names or not names)
    return _guarded(Options(picked, count, chosen, jobs or os.cpu_count() or 1, as_json))


def _guarded(options: Options) -> int:
    """The exit code; what goes wrong is one line."""
    found: list[Mutants] = []
    try:
        for name in options.names:
            found.append(_try_all(BLOCKS[name], options))
            _write(options, found)
    except (BenchError, SimulatorError, FormalError) as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("mutants: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    document = _document(options, found)
    print(json.dumps(document, indent=2) if options.as_json else _text(found))
    low = [one.name for one in found if one.score < GOAL]
    if low:
        print(f"mutants: less than {GOAL:.0%} killed: {', '.join(low)}", file=sys.stderr)
    return 1 if low else 0


def _try_all(block: Block, options: Options) -> Mutants:
    """Every mutant of a block to its verdict, from where an earlier run was."""
    sby, netlist = Sby(), flat(block.verilog())
    drawn = mutations(netlist, options.count, options.seed)
    found = Mutants.read(block.name, build_root() / "mutants", _key(block, netlist, drawn), drawn)
    if found.complete:
        return found
    verilog = selectable(netlist, drawn, LIMIT)
    for full in (False, True):
        if problem := run_one(Trial(block.name, verilog, 0, full)):
            raise BenchError(f"block {block.name} without any mutant: {problem}")
        _bench(found, verilog, options.jobs, full)
    with Progress(f"{block.name}: comparing survivors") as progress:
        left = found.without(found.full)
        for done, number in enumerate(left):
            progress(done, len(left), f"{done} of {len(left)}")
            found.verdicts[number] = judged(sby, netlist, drawn[number - 1])
            found.save()
    return found


def _bench(found: Mutants, verilog: str, jobs: int, full: bool) -> None:
    """The mutants that are left, through the bench at its usual length, or at its full one."""
    survivors = found.full if full else found.usual
    left = [n for n in found.without(found.usual if full else found.all) if n not in survivors]
    trials = [Trial(found.name, verilog, number, full) for number in left]
    length = "full" if full else "usual"
    with Progress(f"{found.name}: bench of {length} length") as progress:
        for done, (number, problem) in enumerate(benched(trials, jobs), 1):
            if problem:
                found.verdicts[number] = KILLED
            else:
                survivors.append(number)
            if done % SAVED_EVERY == 0 or done == len(left):
                found.save()
            progress(done, len(left), f"{done:,} of {len(left):,}, {len(survivors)} survive")


def _key(block: Block, netlist: str, drawn: Sequence[str]) -> str:
    """Changes with everything that a block's verdicts depend on."""
    bench = digest((f"dpnet.sim.benches.{block.bench}", "dpnet.sim.mutants.trials"))
    simulator = find_simulator()
    parts = (netlist, *drawn, bench, simulator.kind, str(simulator.version), str(seed()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _document(options: Options, found: Sequence[Mutants]) -> dict[str, Any]:
    return {
        "command": options.command,
        "seed": options.seed,
        "seed_of_benches": seed(),
        "blocks": [one.row() for one in found],
        "sources": digest(("dpnet.sim.mutants.__main__",)),
    }


def _write(options: Options, found: Sequence[Mutants]) -> None:
    write_json(build_root() / "mutants.json", _document(options, found), indent=1)


def _text(found: Sequence[Mutants]) -> str:
    """A table, and every survivor."""
    rows = [
        [
            one.name,
            f"{len(one.verdicts):,}",
            f"{one.count('equivalent'):,}",
            f"{one.count(KILLED):,}",
            f"{one.count(*SURVIVED):,}",
            f"{one.score:.1%}",
        ]
        for one in found
    ]
    lines = [table(["block", "mutants", "equivalent", "killed", "survived", "score"], rows)]
    for one in found:
        survivors = one.row()["survivors"]
        lines += [f"{one.name}: {each['verdict']}: {each['mutation']}" for each in survivors]
    return "\n".join([*lines, f"report {build_root() / 'mutants.json'}"])
