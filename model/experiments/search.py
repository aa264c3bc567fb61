"""Settings of an experiment chosen on the held-out part: each is tried, none sees a test picture.

    python -m dpnet.model.experiments.search resnet8 --folder runs --rate 0.005 0.01 --rho 1 10
    python -m dpnet.model.experiments.search resnet8 --folder runs --epochs 1 --pictures 10000

Every rate with every rho: trained with the term at the plan's first bits, quantized,
batch norms re-estimated, and judged on the pictures that are held out.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dpnet.model.data.places import DataError
from dpnet.model.experiments.alone import bench_of
from dpnet.model.experiments.evaluation import accuracy, reestimate_norms
from dpnet.model.experiments.fit import fit
from dpnet.model.experiments.methods import REESTIMATED, Bench
from dpnet.model.experiments.plans import PLANS, Plan, find_plan
from dpnet.model.files import write_json
from dpnet.model.networks.published import WeightsError

__all__ = ["Trial", "trials"]


@dataclass(frozen=True)
class Trial:
    """Settings, and percent of the held-out pictures: of the trained net before it was quantized,
    of the quantized one, and with its batch norms re-estimated."""

    bits: int
    epochs: int
    pictures: int
    rate: float
    rho: float
    before: float
    quantized: float
    normed: float


def trials(
    bench: Bench, rates: Sequence[float], rhos: Sequence[float], pictures: int
) -> Iterator[Trial]:
    """Each rate with each rho, trained on the first `pictures` of the training part,
    with checkpoints where the bench has its own."""
    for rate, rho in itertools.product(rates, rhos):
        yield _tried(bench, replace(bench.plan, rate=rate, rho=rho), pictures)


def _tried(bench: Bench, plan: Plan, pictures: int) -> Trial:
    data, preparation, bits = bench.data, bench.preparation, plan.bits[0]
    few = replace(data, train_x=data.train_x[:pictures], train_y=data.train_y[:pictures])
    settings = plan.clustered(bench.seed, bits, len(few.train_x))
    net = copy.deepcopy(bench.net)
    name = f"trial-{plan.rate:g}-{plan.rho:g}-{bits}-{len(few.train_x)}"
    found = fit(
        net,
        few,
        settings,
        preparation=preparation,
        device=bench.device,
        checkpoint=bench.folder / "trials" / f"{name}.pt",
        task_loss=plan.trades,
    )
    held = data.validation_x, data.validation_y
    quantized = accuracy(net, *held, preparation)
    reestimate_norms(net, data.train_x[:REESTIMATED], preparation, plan.augmentation, bench.seed)
    return Trial(
        bits=bits,
        epochs=plan.epochs,
        pictures=len(few.train_x),
        rate=plan.rate,
        rho=plan.rho,
        before=found.history[-1].accuracy_validation,
        quantized=quantized,
        normed=accuracy(net, *held, preparation),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command above; its exit status."""
    given = _parser().parse_args(arguments)
    plan = find_plan(given.name)
    plan = replace(plan, epochs=given.epochs or plan.epochs, bf16=given.bf16)
    done: list[Trial] = []
    try:
        bench = bench_of(plan, given.seed, given.folder, given.device)
        rates, rhos = given.rate or [plan.rate], given.rho or [plan.rho]
        for trial in trials(bench, rates, rhos, given.pictures or len(bench.data.train_x)):
            done.append(trial)
            print(
                f"rate {trial.rate:g}, rho {trial.rho:g}: "
                f"{trial.before:.2f} % before, {trial.quantized:.2f} % quantized, "
                f"{trial.normed:.2f} % with norms re-estimated",
                flush=True,
            )
            if given.out is not None:
                write_json(given.out, [asdict(one) for one in done])
    except (DataError, WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Try settings on the held-out part.")
    parser.add_argument("name", choices=PLANS)
    parser.add_argument("--folder", type=Path, required=True, help="of the checkpoints")
    parser.add_argument("--rate", type=float, nargs="+", help="peaks of the cosine")
    parser.add_argument("--rho", type=float, nargs="+", help="the term's gradient is rho (W - C)")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--bf16", action="store_true", help="forward passes in bfloat16")
    parser.add_argument("--pictures", type=int, help="of the training part, all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="the trials as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
