"""Table IV: every method of one seed, judged by its first and its first five classes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, nn

from dpnet.model.compression.ratios import fp32_bytes
from dpnet.model.evaluating import evaluating
from dpnet.model.experiments.alone import bench_of
from dpnet.model.experiments.imagenet.plan import IMAGENET_PLAN, ImageNetPlan
from dpnet.model.experiments.methods import Bench, Chain, Stage, chains, origin
from dpnet.model.experiments.plans import FLOAT_BITS, LLOYD_METHODS, WITHOUT_LLOYD, Plan
from dpnet.model.experiments.results.rows import Row, float_fields, row_of, size_fields, with_deltas
from dpnet.model.experiments.results.sizes import sizes
from dpnet.model.experiments.stages import save_stage
from dpnet.model.experiments.studies.study import Call, Epochs, Found, Kept, Study, kept_of

__all__ = ["METHODS", "TABLE4", "top"]

METHODS = (*WITHOUT_LLOYD, *LLOYD_METHODS, "dp-net-ramp", "straight")
"""Those that may be chosen.  None is distilled: the teacher would read other parts of the pictures
than the net does."""
FIVE = 5
BATCH = 500


@torch.no_grad()
def top(net: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Percent of the inputs whose label is the net's first class, and one of its first five.

    The net is in evaluation mode meanwhile, and afterwards as it was.
    """
    device = next(net.parameters()).device
    first = five = 0
    with evaluating(net):
        for inputs, labels in zip(torch.split(x, BATCH), torch.split(y, BATCH), strict=True):
            logits = net(inputs.to(device))
            ranked = logits.topk(min(FIVE, logits.shape[1]), dim=1).indices
            right = ranked == labels.to(device)[:, None]
            first += int(right[:, 0].sum())
            five += int(right.any(1).sum())
    return 100.0 * first / len(y), 100.0 * five / len(y)


class _Bench(Bench):
    """Norms are estimated anew on random parts of pictures that the seed says."""

    def _reestimate(self, net: nn.Module) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            super()._reestimate(net)


def _count(plan: Plan) -> int:
    return sum(chain.epochs for chain in chains(plan, normed=True))


def _run(call: Call) -> Found:
    plan = cast(ImageNetPlan, call.plan).identified()
    place = call.folder / f"{plan.name}-{plan.epochs}-{call.seed}"
    start = place / "stages" / "start.pt"
    if not start.exists():
        save_stage(start, origin(plan, call.seed), plan.start(), call.device)
    bench = _Bench(**vars(bench_of(plan, call.seed, call.folder, call.device)))
    epochs = Epochs(_count(plan), call.on_progress)
    kept = kept_of(call, plan, bench.folder / "rows")
    rows: list[tuple[Row, float]] = []
    machines: dict[str, None] = {}
    before = kept.once("pretrained", lambda: _judged(bench.net, bench))
    for row, five, machine in _rows(call, bench, kept, epochs, before[0]):
        rows.append((row, five))
        machines[machine] = None
        call.on_rows(_found(plan, rows, list(machines), before[1]))
    return _found(plan, rows, list(machines), before[1])


def _rows(
    call: Call, bench: Bench, kept: Kept, epochs: Epochs, before: float
) -> Iterator[tuple[Row, float, str]]:
    """Each row, its accuracy in five, and the machine that trained what it is of."""
    for chain in chains(bench.plan, bench.normed):
        told = epochs.phase(f"{chain.methods[0]}, {chain.bits} bits")
        for stage in bench.stages(chain, told):
            name = f"{stage.method}-{chain.bits}"
            said = kept.get(name)
            if said is None:
                row, five = _row(call, bench, stage, chain, before)
                said = [asdict(row), five]
                kept.put(name, said)
            yield row_of(said[0]), float(said[1]), stage.machine
        epochs.passed(chain.epochs)


def _row(call: Call, bench: Bench, stage: Stage, chain: Chain, before: float) -> tuple[Row, float]:
    # As it is written: without the part that reads.
    net = cast(nn.Module, copy.deepcopy(stage.net).cpu().net)
    if chain.bits == FLOAT_BITS:
        counted = float_fields(fp32_bytes(net))
    else:
        place = bench.folder / "nets" / f"{stage.method}-{chain.bits}"
        counted = size_fields(sizes(net, 1 << chain.bits, place))
    first, five = _judged(stage.net, bench)
    row = Row(
        table=bench.plan.name,
        network=bench.plan.network,
        dataset=bench.plan.entry.dataset,
        method=stage.method,
        bits=chain.bits,
        epochs=stage.epochs,
        seed=call.seed,
        accuracy_pretrained=before,
        accuracy=first,
        **counted,
    )
    return row, five


def _judged(net: nn.Module, bench: Bench) -> list[float]:
    return list(top(net.to(bench.device), bench.data.test_x, bench.data.test_y))


def _found(
    plan: ImageNetPlan, rows: list[tuple[Row, float]], machines: list[str], before: float
) -> Found:
    """Rows as those of other tables, with the accuracy in five."""
    said: list[dict[str, Any]] = []
    for row, (_, five) in zip(with_deltas([row for row, _ in rows]), rows, strict=True):
        besides = {
            "accuracy_top5_pretrained": before,
            "accuracy_top5": five,
            "delta_top5": round(five - before, 4),
        }
        said.append(asdict(row) | besides)
    folder = plan.folder
    note = (
        f"{len(folder.files) - folder.n_train:,} pictures of {len(folder.classes):,} classes to "
        f"test, {folder.n_train:,} to train with, of which a part is held out; digest of their "
        f"names {folder.digest}"
    )
    return Found(tuple(said), "; ".join(machines), {"data": note})


TABLE4 = Study(
    name="table4",
    plan=IMAGENET_PLAN,
    methods=METHODS,
    run=_run,
    count=_count,
    picture=False,
    folders=True,
)
"""GoogLeNet on ImageNet."""
