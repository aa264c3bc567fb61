"""Figure 4: TT-Conv's accuracy against lambda and against t, DP-Net and Lloyd in its place.

A shortened schedule keeps what the paper's sizes do, and not their numbers: the term shrinks W - C
by exp(-2 lambda / n * sum of lr / (1 - momentum)) from one solution of the codebooks to the next.
With a share 1 / s of the epochs lambda is taken s times and t 1 / s times, at least one epoch, so
that this exponent and the count of solutions are those of the whole schedule.  Rows have both the
values of the run and those of a whole schedule that they stand for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from dpnet.model.experiments.alone import bench_of
from dpnet.model.experiments.evaluation import accuracy
from dpnet.model.experiments.methods import Bench, Chain, Stage
from dpnet.model.experiments.nets.unfold import fold_norms
from dpnet.model.experiments.plans import LLOYD_METHODS, Plan, find_plan
from dpnet.model.experiments.results.rows import Row, size_fields, with_deltas
from dpnet.model.experiments.results.sizes import sizes
from dpnet.model.experiments.studies.study import Call, Epochs, Found, Study, kept_of
from dpnet.model.training.stability import stability_limit

__all__ = ["FIGURE4", "LAMBDA", "LAMBDAS", "PERIOD", "PERIODS", "Point", "points"]

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


def _count(plan: Plan) -> int:
    """All epochs, those of points that turn out unstable too."""
    return plan.epochs_float + len(points(plan)) * len(plan.methods) * plan.epochs


def _run(call: Call) -> Found:
    """Every method at every point behind one pretrained net, each judged once.

    Points that would diverge are left out and named.  Nothing is chosen by these accuracies.
    """
    epochs = Epochs(_count(call.plan), call.on_progress)
    bench = bench_of(call.plan, call.seed, call.folder, call.device, epochs.phase("float"))
    epochs.passed(call.plan.epochs_float)
    n_train = len(bench.data.train_x)
    kept = [point for point in points(call.plan) if stable(point, call.plan, n_train)]
    left = [point.lam_full for point in points(call.plan) if point not in kept]
    epochs.total -= len(left) * len(call.plan.methods) * call.plan.epochs
    besides = {"lambdas_left_out": left}
    rows: list[dict[str, Any]] = []
    machines: dict[str, None] = {}
    for row, machine in _rows(call, bench, kept, epochs):
        rows.append(row)
        machines[machine] = None
        call.on_rows(Found(tuple(rows), "; ".join(machines), besides))
    return Found(tuple(rows), "; ".join(machines), besides)


def _rows(
    call: Call, bench: Bench, kept: list[Point], epochs: Epochs
) -> Iterator[tuple[dict[str, Any], str]]:
    """Each row and the machine that trained what it is of."""
    judge = _Judge(call, bench)
    for point in kept:
        plan = point.of(call.plan, len(bench.data.train_x))
        place = bench.folder / "points" / point.name
        at = Bench(plan, bench.net, bench.data, bench.seed, bench.device, place)
        of = kept_of(call, plan, place / "rows")
        for method in plan.methods:
            name = f"{method}, lambda {point.lam_full:g}, t {point.period}"
            chain = Chain(plan.bits[0], _both(method, bench.normed), plan.epochs)
            for stage in at.stages(chain, epochs.phase(name)):
                row = of.get(f"{stage.method}-{chain.bits}")
                if row is None:
                    row = judge.row(stage, plan, point)
                    of.put(f"{stage.method}-{chain.bits}", row)
                yield row, stage.machine
            epochs.passed(chain.epochs)


def _both(method: str, normed: bool) -> tuple[str, ...]:
    """As it is, and with batch norms estimated anew."""
    return (method, f"{method}-bn") if normed else (method,)


class _Judge:
    """Rows of nets, against the pretrained one."""

    def __init__(self, call: Call, bench: Bench) -> None:
        self.call, self.bench = call, bench
        kept = kept_of(call, call.plan, bench.folder / "points")
        self.before = float(kept.once("pretrained", lambda: self._accuracy(bench.net)))

    def row(self, stage: Stage, plan: Plan, point: Point) -> dict[str, Any]:
        """As those of tables, and the point."""
        net = fold_norms(copy.deepcopy(stage.net).cpu())
        row = Row(
            table=FIGURE4.name,
            network=plan.network,
            dataset=plan.entry.dataset,
            method=stage.method,
            bits=plan.bits[0],
            epochs=stage.epochs,
            seed=self.call.seed,
            accuracy_pretrained=self.before,
            accuracy=self._accuracy(stage.net),
            **size_fields(sizes(net, 1 << plan.bits[0])),
        )
        (row,) = with_deltas([row])
        return asdict(row) | asdict(point) | {"varies": list(point.varies)}

    def _accuracy(self, net: nn.Module) -> float:
        data = self.bench.data
        return accuracy(net, data.test_x, data.test_y, self.bench.preparation)


FIGURE4 = Study(
    name="figure4",
    plan=replace(
        find_plan("table1"),
        bits=(3,),
        methods=("dp-net", *LLOYD_METHODS),
        engine=False,
    ),
    methods=("dp-net", *LLOYD_METHODS),
    run=_run,
    count=_count,
    rho=False,
)
"""TT-Conv at the 3 bits of Table I, behind the pretrained net of `table1`."""
