"""Figure 4: TT-Conv's accuracy against lambda and against t, DP-Net and Lloyd in its place."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from torch import nn

from dpnet.model.experiments.alone import bench_of
from dpnet.model.experiments.evaluation import accuracy
from dpnet.model.experiments.methods import Bench, Stage
from dpnet.model.experiments.nets.unfold import fold_norms
from dpnet.model.experiments.plans import Plan
from dpnet.model.experiments.results.rows import Row, size_fields, with_deltas
from dpnet.model.experiments.results.sizes import sizes
from dpnet.model.experiments.studies.points import (
    METHODS,
    PLAN,
    Point,
    benches,
    chain_of,
    points,
    split,
)
from dpnet.model.experiments.studies.study import Call, Epochs, Found, Study, kept_of
from dpnet.model.training.run import DivergedError

__all__ = ["FIGURE4"]


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
    kept, left = split(call.plan, len(bench.data.train_x))
    if not kept:
        raise DivergedError(
            f"every lambda would diverge at rate {call.plan.rate:g} in {call.plan.epochs} epochs; "
            "give more --epochs or a smaller --rate"
        )
    epochs.total -= len(left) * len(call.plan.methods) * call.plan.epochs
    besides = {"lambdas_left_out": [point.lam_full for point in left]}
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
    for point, at in benches(bench, kept):
        of = kept_of(call, at.plan, at.folder / "rows")
        for method in at.plan.methods:
            name = f"{method}, lambda {point.lam_full:g}, t {point.period}"
            chain = chain_of(at, method)
            for stage in at.stages(chain, epochs.phase(name)):
                row = of.get(f"{stage.method}-{chain.bits}")
                if row is None:
                    row = judge.row(stage, at.plan, point)
                    of.put(f"{stage.method}-{chain.bits}", row)
                yield row, stage.machine
            epochs.passed(chain.epochs)


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
    plan=PLAN,
    methods=METHODS,
    run=_run,
    count=_count,
    rho=False,
)
"""TT-Conv at 3 bits."""
