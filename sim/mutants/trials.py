"""Mutants tried one after the other: whether the block's bench fails, and if it does not, whether
anything could tell the mutant from the block."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from dpnet.sim.formal.sby import Sby
from dpnet.sim.kit.bench import BenchError, rounds, run_bench
from dpnet.sim.mutants.blocks import BLOCKS
from dpnet.sim.mutants.netlist import pair

__all__ = ["Trial", "benched", "judged", "run_one"]

THOROUGH = "DPNET_THOROUGH"
"""See `dpnet.sim.kit.bench.thorough`."""
DEPTH = 24
"""Cycles after reset in which a difference is searched for."""
TIMEOUT = 120


@dataclass(frozen=True)
class Trial:
    """What to run: a block's mutated `verilog` with its `mutant`, from 1, or none, 0; with the
    bench at its full length if it is `thorough`."""

    block: str
    verilog: str
    mutant: int
    thorough: bool = False


def run_one(trial: Trial) -> str:
    """What the bench has against it, "" for nothing.  Raises whatever is no verdict."""
    block = BLOCKS[trial.block]
    before = os.environ.pop(THOROUGH, None)
    try:
        if trial.thorough:
            os.environ[THOROUGH] = "1"
        run_bench(
            trial.verilog,
            block.bench,
            values=block.values(rounds),
            tests=block.tests,
            plusargs=[f"+mutant={trial.mutant}"],
        )
    except BenchError as error:
        return str(error)
    finally:
        os.environ.pop(THOROUGH, None)
        if before is not None:
            os.environ[THOROUGH] = before
    return ""


def benched(trials: Sequence[Trial], jobs: int) -> Iterator[tuple[int, str]]:
    """Each trial's mutant and what the bench has against it, in the order in which they end."""
    pool = ProcessPoolExecutor(max_workers=jobs)
    try:
        waiting = {pool.submit(run_one, trial): trial.mutant for trial in trials}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def judged(sby: Sby, netlist: str, mutant: str) -> str:
    """Of a mutant that no bench noticed: `equivalent` where registers and outputs take the same
    values from the same ones, whatever the inputs are; `different` where some inputs show another
    output within `DEPTH` cycles from reset; else `undecided`.  Raises `FormalError`.
    """
    same = sby.prove(pair(netlist, mutant, True), 1, TIMEOUT)
    if same.status == "pass":
        return "equivalent"
    found = sby.search(pair(netlist, mutant, False), DEPTH, TIMEOUT)
    return "different" if found.status == "fail" else "undecided"
