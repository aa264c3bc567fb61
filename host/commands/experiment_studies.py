"""`dpnet experiment` of figures and of what else is no table of rows alone."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpnet.host.commands import InputError, check_output
from dpnet.host.commands.experiment_arguments import NOTES, Asked, told
from dpnet.host.report import Progress, table
from dpnet.model.evidence import digest, experiment_entries
from dpnet.model.experiments.budget import Budget, within
from dpnet.model.experiments.plans import Plan
from dpnet.model.experiments.studies.catalog import STUDIES
from dpnet.model.experiments.studies.pictures import draw
from dpnet.model.experiments.studies.study import Call, Found, Study
from dpnet.model.files import write_json
from dpnet.model.networks.catalog import find

__all__ = ["run_study", "study_plan"]

SHOWN = {
    "method": "method",
    "bits": "bits",
    "epochs": "epochs",
    "seed": "seed",
    "lam_full": "λ",
    "period_full": "t",
    "apart": "from its centroids",
    "accuracy": "accuracy",
    "delta": "Δ",
    "accuracy_top5": "in five",
    "delta_top5": "Δ in five",
}
"""What the text has of a row, as far as it has it, and what it is called there."""


def study_plan(study: Study, given: Mapping[str, Any], full: bool) -> Plan:
    """What is asked for, with all options; `InputError` for those that the study has not."""
    if "rho" in given and not study.rho:
        raise InputError(f"--rho must not be given for {study.name}: it is what is varied there")
    if len(given.get("bits", (0,))) > 1:
        bits = ",".join(map(str, given["bits"]))
        raise InputError(f"--bits must be one number for {study.name}, not {bits!r}")
    for method in given.get("methods", ()):
        if method not in study.methods:
            known = ", ".join(study.methods)
            raise InputError(f"--methods must be of {known} for {study.name}, not {method!r}")
    plan = study.plan.whole() if full else study.plan
    return replace(plan, **given)


def run_study(asked: Asked) -> tuple[dict[str, Any], str]:
    """A study as a document, which is written with its picture, and as text."""
    study = STUDIES[asked.name]
    if study.one and len(asked.seeds) > 1:
        seeds = ",".join(map(str, asked.seeds))
        raise InputError(f"--seed must be one number for {study.name}, not {seeds!r}")
    if study.rho:
        asked.check_stable()
    picture = asked.path.with_suffix(".png")
    if study.picture:
        check_output(picture)
        importlib.import_module("matplotlib")  # missing: told before the training
    with told(asked.folder), Progress(asked.name) as progress:
        chosen = _within(study, asked)
        progress.note(replace(chosen, plan=replace(chosen.plan, name=asked.name)).text)
        writer = _Writer(study, replace(asked, plan=chosen.plan))
        for seed in asked.seeds:
            call = Call(
                plan=chosen.plan,
                seed=seed,
                folder=asked.folder,
                code=writer.code,
                device=asked.device,
                on_progress=progress,
                on_rows=writer,
            )
            writer.next(study.run(call))
    made = writer.made()
    if study.picture:
        draw(study.name, made, picture)
    return made, _text(made, [asked.path, *[picture] * study.picture])


def _within(study: Study, asked: Asked) -> Budget:
    if not asked.share:
        return Budget(asked.plan, 0.0)
    return within(asked.plan, asked.share, asked.device, study.count)


class _Writer:
    """Writes the rows that there are after each new one, those of earlier seeds first."""

    def __init__(self, study: Study, asked: Asked) -> None:
        self.asked = asked
        self.code = digest(experiment_entries(study.name))
        self.command = asked.spoken(study.plan)
        self.done: list[Found] = []

    def made(self, last: Found | None = None) -> dict[str, Any]:
        """The document, with what the seed under way has found."""
        all_found = [*self.done, *([] if last is None else [last])]
        machines = [name for found in all_found for name in found.machine.split("; ")]
        besides = {key: value for found in all_found for key, value in found.besides.items()}
        return {
            "command": self.command,
            "data": NOTES[find(self.asked.plan.network).dataset],
            "machine": "; ".join(dict.fromkeys(machines)),
            "sources": self.code,
            **besides,
            "rows": [dict(row) for found in all_found for row in found.rows],
        }

    def next(self, found: Found) -> None:
        """A seed is done."""
        self.done.append(found)
        write_json(self.asked.path, self.made())

    def __call__(self, found: Found) -> None:
        write_json(self.asked.path, self.made(found))


def _text(document: Mapping[str, Any], paths: Sequence[Path]) -> str:
    rows = document["rows"]
    names = [name for name in SHOWN if rows and name in rows[0]]
    lines = [[_cell(name, row[name]) for name in names] for row in rows]
    head = [SHOWN[name] for name in names]
    return "\n".join([table(head, lines), f"written: {', '.join(map(str, paths))}"])


def _cell(name: str, value: Any) -> Any:
    if name.startswith("accuracy"):
        return f"{value:.2f} %"
    if name == "apart":
        return f"{100 * value:.2f} %"
    if name.startswith("delta"):
        return f"{value:+.2f}"
    return f"{value:g}" if isinstance(value, float) else value
