"""All that is trained in an experiment, without judging it.

    python -m dpnet.model.experiments.alone resnet8 --folder runs --device cuda

Needs a checkout, torch, NumPy, numba and SciPy (with Lloyd's iteration scikit-learn), no other
package.  `dpnet experiment resnet8` with the same settings and `--runs runs`, on whatever machine,
then judges, counts and writes rows, and trains nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from dpnet.model.data.places import DataError
from dpnet.model.experiments.fit import print_progress
from dpnet.model.experiments.methods import Bench, chains, origin
from dpnet.model.experiments.nets.unfold import unfold_norms
from dpnet.model.experiments.plans import METHODS, PLANS, Plan, find_plan
from dpnet.model.experiments.pretrain import HELD, as_pictures, pretrain
from dpnet.model.experiments.stages import load_stage, save_stage
from dpnet.model.networks.published import WeightsError, trained
from dpnet.model.pictures import Pictures
from dpnet.model.training.checkpoint import CheckpointError
from dpnet.model.training.run import Progress

__all__ = ["bench_of", "train_alone"]

UNFOLDED = 5_000
"""Pictures over which statistics of norms that were folded are taken."""


def bench_of(
    plan: Plan, seed: int, folder: Path, device: str, on_progress: Progress | None = None
) -> Bench:
    """The pretrained net, trained now where it is neither published nor there, and its data.

    Everything lies in a folder of `folder` that the plan's name, its epochs and the seed name.
    Raises `DataError`, `WeightsError` for what is missing, and the errors of `fit`.
    """
    labeled = plan.data()
    data = as_pictures(labeled, min(HELD, len(labeled.train_x) // 10))
    place = folder / f"{plan.name}-{plan.epochs}-{seed}"
    path, of = place / "stages" / "start.pt", origin(plan, seed)
    net = _published(plan, data) if plan.published else plan.entry.make()
    if load_stage(path, of, net) is None:
        if not plan.published:
            net = pretrain(
                plan.entry,
                data,
                plan.before(seed),
                device=device,
                folder=place,
                on_progress=on_progress,
                task_loss=plan.trades,
            )
        save_stage(path, of, net, device)
    return Bench(plan, net.to(device), data, seed, device, place)


def _published(plan: Plan, data: Pictures) -> nn.Module:
    """Norms that were folded are put back."""
    x, preparation = data.train_x[:UNFOLDED], plan.entry.preparation
    return unfold_norms(trained(plan.network), x, preparation)


def train_alone(
    plan: Plan, seed: int, folder: Path, device: str, on_progress: Progress | None = None
) -> None:
    """Make all nets of a plan, as far as they are not there.  Errors as those of `bench_of`."""
    bench = bench_of(plan, seed, folder, device, on_progress)
    for chain in chains(plan, bench.normed):
        for _ in bench.stages(chain, on_progress):
            pass


def main(arguments: Sequence[str] | None = None) -> int:
    """The command above; its exit status."""
    parser = argparse.ArgumentParser(description="Train what an experiment judges.")
    parser.add_argument("name", choices=PLANS)
    parser.add_argument("--folder", type=Path, required=True, help="of the checkpoints")
    parser.add_argument("--bits", type=int, nargs="+", choices=range(1, 5))
    parser.add_argument("--epochs", type=int, help="of each method")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="the plan's by default")
    parser.add_argument("--bf16", action="store_true", help="forward passes in bfloat16")
    parser.add_argument("--full", action="store_true", help="the paper's schedule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 …")
    given = parser.parse_args(arguments)
    plan = find_plan(given.name)
    plan = plan.whole() if given.full else plan
    bits, epochs = tuple(given.bits or plan.bits), given.epochs or plan.epochs
    methods = tuple(given.methods or plan.methods)
    try:
        plan = replace(plan, bits=bits, epochs=epochs, methods=methods, bf16=given.bf16)
    except ValueError as error:
        parser.error(str(error))
    try:
        train_alone(plan, given.seed, given.folder, given.device, print_progress)
    except (CheckpointError, DataError, WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on after the last epoch", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
