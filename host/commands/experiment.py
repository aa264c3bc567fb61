"""`dpnet experiment`: one of the paper's experiments on real data, to rows of results."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from dpnet.host.arguments import OneOf, number, whole
from dpnet.host.commands import FILE, FINE, InputError, check_output, command, going_on
from dpnet.host.report import Progress, emit, table
from dpnet.model.build_root import build_root
from dpnet.model.data.places import DataError
from dpnet.model.experiments.budget import Budget, BudgetError, within
from dpnet.model.experiments.plans import METHODS, PLANS, Plan, find_plan
from dpnet.model.experiments.results.rows import Row, document, with_deltas
from dpnet.model.experiments.runner import Found, run_plan, sources
from dpnet.model.files import write_json
from dpnet.model.networks.published import WeightsError
from dpnet.model.training.recipe import CheckpointError, DivergedError

EXAMPLE = "dpnet experiment resnet8 --bits 2 --budget 2h\ndpnet experiment table5 --full"
UNITS = {"min": 60.0, "h": 3600.0, "s": 1.0}
BITS = whole(1, 4)
METHOD = OneOf(METHODS)
SEED = whole(0, 2**31)

NOTES = {
    "cifar-10": "CIFAR-10, 10,000 pictures to test; chosen on 5,000 of the 50,000 to train with",
    "mnist": "MNIST, 10,000 pictures to test; chosen on 5,000 of the 60,000 to train with",
}


def _budget(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h)", text)
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not seconds:
        raise click.BadParameter(f"must be a time, as 90min or 2h, not {text!r}")
    return seconds


def _bits(text: str) -> tuple[int, ...]:
    found = tuple(BITS(part) for part in text.split(","))
    if len(set(found)) < len(found):
        raise click.BadParameter(f"must be different numbers from 1 to 4, as 2,3, not {text!r}")
    return found


def _methods(text: str) -> tuple[str, ...]:
    found = tuple(METHOD.convert(part, None, None) for part in text.split(","))
    if len(set(found)) < len(found):
        raise click.BadParameter(f"must be different methods, not {text!r}")
    return found


def _seeds(text: str) -> tuple[int, ...]:
    found = tuple(SEED(part) for part in text.split(","))
    if len(set(found)) < len(found):
        raise click.BadParameter(f"must be different numbers, as 0,1,2, not {text!r}")
    return found


def _positive(text: str) -> float:
    value = number(text)
    if not 0.0 < value < math.inf:
        raise click.BadParameter(f"must be a positive number, not {text!r}")
    return value


@command("experiment", EXAMPLE)
@click.argument("name", type=OneOf(PLANS), metavar="NAME", help=", ".join(PLANS))
@click.option("--bits", type=_bits, metavar="N,N", help="of an index (default: the experiment's)")
@click.option(
    "--methods",
    type=_methods,
    metavar="M,M",
    help=f"of {', '.join(METHODS)} (default: those of the paper's tables)",
)
@click.option(
    "--budget",
    type=_budget,
    metavar="TIME",
    help="as many epochs as fit, all methods alike: 90min, 2h",
)
@click.option("--epochs", type=whole(1, 100_000), metavar="N", help="of each method")
@click.option("--rate", type=_positive, metavar="X", help="the peak of the learning rate")
@click.option("--rho", type=_positive, metavar="X", help="the term's gradient is rho (W - C)")
@click.option("--bf16", is_flag=True, help="forward passes in training in bfloat16")
@click.option("--full", is_flag=True, help="the paper's schedule: days on a CPU")
@click.option(
    "--seed", type=_seeds, default="0", metavar="N,N", help="one after the other (default 0)"
)
@click.option("--device", default="cpu", metavar="NAME", help="cpu (default), cuda, cuda:1 …")
@click.option(
    "--engine/--no-engine", default=True, help="the golden model's accuracy too (default)"
)
@click.option(
    "--runs",
    type=FILE,
    metavar="FOLDER",
    help="of checkpoints, rows and nets (default FILE.runs beside --out)",
)
@click.option("--out", type=FILE, metavar="FILE", help="default build/experiments/NAME.json")
def run(
    name: str,
    bits: tuple[int, ...] | None,
    methods: tuple[str, ...] | None,
    budget: float | None,
    epochs: int | None,
    rate: float | None,
    rho: float | None,
    bf16: bool,
    full: bool,
    seed: tuple[int, ...],
    device: str,
    engine: bool,
    runs: Path | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Train, quantize, judge, write and report; what was interrupted goes on."""
    if sum(map(bool, (budget, epochs, full))) > 1:
        raise InputError("--budget, --epochs and --full exclude each other; give one of them")
    path = out or build_root() / "experiments" / f"{name}.json"
    if out is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    check_output(path)
    folder = runs or path.with_name(f"{path.name}.runs")
    plan = find_plan(name).whole() if full else find_plan(name)
    chosen_by_hand = {
        "bits": bits,
        "methods": methods,
        "epochs": epochs,
        "rate": rate,
        "rho": rho,
        "bf16": bf16 or None,
    }
    given = {option: value for option, value in chosen_by_hand.items() if value is not None}
    try:
        plan = replace(plan, **given, engine=plan.engine and engine)  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(str(error)) from error
    kept = f"finished epochs and rows are in {folder}; run the same command again to go on"
    with going_on(kept), Progress(name) as progress:
        try:
            share = budget / len(seed) if budget else 0.0
            chosen = within(plan, share, device) if share else Budget(plan, 0.0)
            progress.note(chosen.text)
            writer = _Writer(path, chosen.plan, seed, device)
            for one in seed:
                writer.next(
                    run_plan(
                        chosen.plan,
                        seed=one,
                        folder=folder,
                        code=writer.code,
                        device=device,
                        on_progress=progress,
                        on_rows=writer,
                    )
                )
        except (DataError, WeightsError, BudgetError) as error:
            raise InputError(str(error)) from error
        except DivergedError as error:
            raise InputError(f"training failed: {error}") from error
        except CheckpointError as error:
            raise InputError(f"{error}, or give another --out") from error
    emit(writer.made(), _text(writer.rows, path), as_json)
    return FINE


class _Writer:
    """Writes the rows that there are after each new one, those of earlier seeds first."""

    def __init__(self, path: Path, plan: Plan, seeds: Sequence[int], device: str) -> None:
        self.path, self.plan = path, plan
        self.rows: tuple[Row, ...] = ()
        self.machines: tuple[str, ...] = ()
        self.code = sources()
        self.command = shlex.join(
            [
                *("dpnet", "experiment", plan.name, "--bits", ",".join(map(str, plan.bits))),
                *("--epochs", str(plan.epochs), *_settings(plan)),
                *("--seed", ",".join(map(str, seeds)), "--device", device),
            ]
        )

    def made(self, last: Found | None = None) -> dict[str, object]:
        """The document, with what the seed under way has found."""
        rows, machines = (self.rows, self.machines) if last is None else self._with(last)
        note = NOTES[self.plan.entry.dataset]
        return document(self.command, note, "; ".join(machines), self.code, rows)

    def next(self, found: Found) -> None:
        """A seed is done."""
        self.rows, self.machines = self._with(found)

    def _with(self, found: Found) -> tuple[tuple[Row, ...], tuple[str, ...]]:
        machines = dict.fromkeys([*self.machines, *found.machine.split("; ")])
        return (*self.rows, *found.rows), tuple(machines)

    def __call__(self, found: Found) -> None:
        write_json(self.path, self.made(found))


def _settings(plan: Plan) -> list[str]:
    """Those that are not the experiment's own, as options."""
    own = find_plan(plan.name)
    changed = [name for name in ("rate", "rho") if getattr(plan, name) != getattr(own, name)]
    rates = [part for name in changed for part in (f"--{name}", f"{getattr(plan, name):g}")]
    rates += ["--bf16"] if plan.bf16 else []
    same = plan.methods == own.methods
    return rates if same else ["--methods", ",".join(plan.methods), *rates]


def _text(rows: Sequence[Row], path: Path) -> str:
    head = [
        "method",
        "bits",
        "epochs",
        "seed",
        "accuracy",
        "Δ",
        "Δ control",
        "engine",
        "bytes",
        "×",
    ]
    lines = [
        [
            row.method,
            row.bits,
            row.epochs,
            row.seed,
            f"{row.accuracy:.2f} %",
            _points(row.delta),
            _points(row.delta_control),
            "–" if row.accuracy_engine is None else f"{row.accuracy_engine:.2f} %",
            f"{row.bytes_total:,}",
            f"{row.bytes_float / row.bytes_total:.2f}",
        ]
        for row in with_deltas(rows)
    ]
    pretrained = dict.fromkeys(f"{row.accuracy_pretrained:.2f} %" for row in rows)
    before = f"{rows[0].network} before: {', '.join(pretrained)}" if rows else ""
    noise = "differences of 0.3 points are within the noise of 10,000 pictures"
    return "\n".join([before, table(head, lines), noise, f"rows in {path}"])


def _points(difference: float | None) -> str:
    return "–" if difference is None else f"{difference:+.2f}"
