"""`dpnet experiment`: one of the paper's experiments on real data, to rows of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from dpnet.host.arguments import OneOf, whole
from dpnet.host.commands import FILE, FINE, InputError, check_output, command
from dpnet.host.commands.experiment_arguments import (
    NOTES,
    Asked,
    bits_of,
    budget_of,
    device_of,
    methods_of,
    positive,
    seeds_of,
    told,
)
from dpnet.host.commands.experiment_studies import run_study, study_plan
from dpnet.host.report import Progress, emit, table
from dpnet.model.build_root import build_root
from dpnet.model.experiments.budget import Budget, within
from dpnet.model.experiments.plans import METHODS, PLANS, Plan, find_plan
from dpnet.model.experiments.results.rows import Row, document, with_deltas
from dpnet.model.experiments.runner import Found, run_plan, sources
from dpnet.model.experiments.studies.catalog import STUDIES
from dpnet.model.files import write_json

__all__ = ["NOTES", "PLANS", "run"]

EXAMPLE = "dpnet experiment resnet8 --bits 2 --budget 2h\ndpnet experiment table5 --full"
NAMES = (*PLANS, *STUDIES)


@command("experiment", EXAMPLE)
@click.argument("name", type=OneOf(NAMES), metavar="NAME", help=", ".join(NAMES))
@click.option("--bits", type=bits_of, metavar="N,N", help="of an index (default: the experiment's)")
@click.option(
    "--methods",
    type=methods_of,
    metavar="M,M",
    help=f"of {', '.join(METHODS)} (default: those of the paper's tables)",
)
@click.option(
    "--budget",
    type=budget_of,
    metavar="TIME",
    help="as many epochs as fit, all methods alike: 90min, 2h",
)
@click.option("--epochs", type=whole(1, 100_000), metavar="N", help="of each method")
@click.option("--rate", type=positive, metavar="X", help="the peak of the learning rate")
@click.option("--rho", type=positive, metavar="X", help="the term's gradient is rho (W - C)")
@click.option("--bf16", is_flag=True, help="forward passes in training in bfloat16")
@click.option("--full", is_flag=True, help="the paper's schedule: days on a CPU")
@click.option(
    "--seed", type=seeds_of, default="0", metavar="N,N", help="one after the other (default 0)"
)
@click.option(
    "--device", type=device_of, default="cpu", metavar="NAME", help="cpu (default), cuda, cuda:1 …"
)
@click.option(
    "--engine/--no-engine", default=True, help="the golden model's accuracy too (default)"
)
@click.option(
    "--runs",
    type=FILE,
    metavar="FOLDER",
    help="of checkpoints, rows and nets (default FILE.runs beside --out)",
)
@click.option(
    "--data",
    type=FILE,
    metavar="FOLDER",
    help="of table4: train/CLASS/*.jpg and val/CLASS/*.jpg, read from disk",
)
@click.option(
    "--weights",
    type=FILE,
    metavar="FILE",
    help="of table4: GoogLeNet's state dict in torchvision's names, .pth or .safetensors",
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
    data: Path | None,
    weights: Path | None,
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
    chosen_by_hand = {
        "bits": bits,
        "methods": methods,
        "epochs": epochs,
        "rate": rate,
        "rho": rho,
        "bf16": bf16 or None,
        "pictures": data,
        "weights": weights,
    }
    given = {option: value for option, value in chosen_by_hand.items() if value is not None}
    asked = Asked(
        name=name,
        plan=_plan(name, given, full, engine),
        seeds=seed,
        path=path,
        folder=runs or path.with_name(f"{path.name}.runs"),
        device=device,
        budget=budget or 0.0,
    )
    made, text = (run_study if name in STUDIES else _run_table)(asked)
    emit(made, text, as_json)
    return FINE


def _plan(name: str, given: Mapping[str, Any], full: bool, engine: bool) -> Plan:
    """What is asked for, with all options."""
    for option, named in (("data", "pictures"), ("weights", "weights")):
        if named in given and not (name in STUDIES and STUDIES[name].folders):
            raise InputError(
                f"--{option} must not be given for {name}: its data are in the folder of DPNET_DATA"
            )
    if name in STUDIES:
        return study_plan(STUDIES[name], given, full)
    plan = find_plan(name).whole() if full else find_plan(name)
    try:
        return replace(plan, **given, engine=plan.engine and engine)
    except ValueError as error:
        raise InputError(str(error)) from error


def _run_table(asked: Asked) -> tuple[dict[str, object], str]:
    """Rows of one of the tables, as a document and as text."""
    asked.check_stable()
    with told(asked.folder), Progress(asked.name) as progress:
        share = asked.share
        chosen = within(asked.plan, share, asked.device) if share else Budget(asked.plan, 0.0)
        progress.note(chosen.text)
        writer = _Writer(replace(asked, plan=chosen.plan))
        for one in asked.seeds:
            writer.next(
                run_plan(
                    chosen.plan,
                    seed=one,
                    folder=asked.folder,
                    code=writer.code,
                    device=asked.device,
                    on_progress=progress,
                    on_rows=writer,
                )
            )
    return writer.made(), _text(writer.rows, asked.path)


class _Writer:
    """Writes the rows that there are after each new one, those of earlier seeds first."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.rows: tuple[Row, ...] = ()
        self.machines: tuple[str, ...] = ()
        self.code = sources()
        self.command = asked.spoken(find_plan(asked.name))

    def made(self, last: Found | None = None) -> dict[str, object]:
        """The document, with what the seed under way has found."""
        rows, machines = (self.rows, self.machines) if last is None else self._with(last)
        note = NOTES[self.asked.plan.entry.dataset]
        return document(self.command, note, "; ".join(machines), self.code, rows)

    def next(self, found: Found) -> None:
        """A seed is done."""
        self.rows, self.machines = self._with(found)

    def _with(self, found: Found) -> tuple[tuple[Row, ...], tuple[str, ...]]:
        machines = dict.fromkeys([*self.machines, *found.machine.split("; ")])
        return (*self.rows, *found.rows), tuple(machines)

    def __call__(self, found: Found) -> None:
        write_json(self.asked.path, self.made(found))


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
