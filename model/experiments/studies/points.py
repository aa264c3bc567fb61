"""The points of Figure 4, and their training: TT-Conv against lambda and against t.

    python -m dpnet.model.experiments.studies.points --folder runs --device cuda

A shortened schedule keeps what the paper's sizes do, and not their numbers: the term shrinks W - C
by exp(-2 lambda / n * sum of lr / (1 - momentum)) from one solution of the codebooks to the next.
With a share 1 / s of the epochs lambda is taken s times and t 1 / s times, at least one epoch, so
that this exponent and the count of solutions are those of the whole schedule.  Points have both the
values of the run and those of a whole schedule that they stand for.

The command trains all of them without judging and needs no more packages than
`dpnet.model.experiments.alone`; `dpnet experiment figure4` with the same settings and `--runs runs`
judges, and trains nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpnet.model.data.places import DataError
from dpnet.model.experiments.alone import bench_of
from dpnet.model.experiments.fit import print_progress
from dpnet.model.experiments.methods import Bench, Chain
from dpnet.model.experiments.plans import LLOYD_METHODS, Plan, find_plan
from dpnet.model.training.checkpoint import CheckpointError
from dpnet.model.training.stability import stability_limit

__all__ = ["LAMBDA", "LAMBDAS", "PERIOD", "PERIODS", "PLAN", "Point", "benches", "points", "stable"]

METHODS = ("dp-net", *LLOYD_METHODS)
PLAN = replace(find_plan("table1"), bits=(3,), methods=METHODS, engine=False)
"""The 3 bits of Table I, behind the pretrained net of `table1`."""
LAMBDA, PERIOD = 100.0, 20
"""Where the paper holds the one while the other varies."""
LAMBDAS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
PERIODS = (1, 5, 10, 20, 50, 100, 300)
"""Of a whole schedule, in epochs; the paper's text has no list of its points."""


@dataclass(frozen=True)
class Point:
    """One setting: `lam` and `period` (epochs) of the run, `lam_full` and `period_full` of the
    whole schedule that they stand for, and what of "lambda" and "period" `varies` through it."""

    lam: float
    period: int
    lam_full: float
    period_full: float
    varies: tuple[str, ...]

    @property
    def name(self) -> str:
        """A folder's."""
        return f"{self.lam_full:g}-{self.period}"

    def of(self, plan: Plan, n_train: int) -> Plan:
        """The plan at this point: its term is `lam` / `n_train` times the sum."""
        return replace(plan, rho=2.0 * self.lam / n_train, period=self.period)


def points(plan: Plan) -> list[Point]:
    """All settings of a plan, those of lambda first; each once, periods that round to the same
    epochs as one."""
    shortened = plan.full / plan.epochs
    held = _epochs(PERIOD, shortened)
    periods = sorted({held, *(_epochs(period, shortened) for period in PERIODS)})
    wanted: dict[tuple[float, int], list[str]] = {}
    for lam in LAMBDAS:
        wanted.setdefault((lam, held), []).append("lambda")
    for period in periods:
        wanted.setdefault((LAMBDA, period), []).append("period")
    return [
        Point(lam * shortened, period, lam, period * shortened, tuple(varies))
        for (lam, period), varies in wanted.items()
    ]


def _epochs(period: int, shortened: float) -> int:
    return max(1, round(period / shortened))


def stable(point: Point, plan: Plan, n_train: int) -> bool:
    """Whether the term does not diverge at the peak of the learning rate."""
    momentum = plan.phase(0).momentum
    limit = stability_limit(momentum, nesterov=momentum > 0)
    return plan.rate * point.of(plan, n_train).rho < limit


def split(plan: Plan, n_train: int) -> tuple[list[Point], list[Point]]:
    """The points that are stable, and those that are not."""
    found = points(plan)
    kept = [point for point in found if stable(point, plan, n_train)]
    return kept, [point for point in found if point not in kept]


def benches(bench: Bench, kept: Sequence[Point]) -> Iterator[tuple[Point, Bench]]:
    """Each point, and what its methods share: the pretrained net, a folder of its own."""
    for point in kept:
        plan = point.of(bench.plan, len(bench.data.train_x))
        place = bench.folder / "points" / point.name
        yield point, Bench(plan, bench.net, bench.data, bench.seed, bench.device, place)


def chain_of(bench: Bench, method: str) -> Chain:
    """A method at the plan's bits as it is, and with batch norms estimated anew."""
    both = (method, f"{method}-bn") if bench.normed else (method,)
    return Chain(bench.plan.bits[0], both, bench.plan.epochs)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command above; its exit status."""
    parser = argparse.ArgumentParser(description="Train what Figure 4 judges.")
    parser.add_argument("--folder", type=Path, required=True, help="of the checkpoints")
    parser.add_argument("--epochs", type=int, help="of each method")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--bf16", action="store_true", help="forward passes in bfloat16")
    parser.add_argument("--full", action="store_true", help="the paper's schedule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 …")
    given = parser.parse_args(arguments)
    plan = PLAN.whole() if given.full else PLAN
    epochs = given.epochs or plan.epochs
    plan = replace(plan, epochs=epochs, methods=tuple(given.methods), bf16=given.bf16)
    try:
        bench = bench_of(plan, given.seed, given.folder, given.device, print_progress)
        kept, _ = split(plan, len(bench.data.train_x))
        for point, at in benches(bench, kept):
            for method in plan.methods:
                print(f"{method}, lambda {point.lam_full:g}, t {point.period}", flush=True)
                for _ in at.stages(chain_of(at, method), print_progress):
                    pass
    except (CheckpointError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on after the last epoch", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
