"""The tables and figures of docs/experiments.md, made from the committed rows.

    python -m dpnet.model.experiments.results.page          # make results: write them anew
    python -m dpnet.model.experiments.results.page --check  # exit status 1 where they are others

What is between `<!-- rows NAME -->` and `<!-- end -->` is the table of docs/results/experiments/,
NAME.json; of an experiment without a file it says that it has not been run.  A figure's picture is
drawn from its file, to docs/NAME.png.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from dpnet.model.evidence import EXPERIMENTS, RESULTS, ROOT
from dpnet.model.experiments.imagenet.plan import PAPER_TOP5
from dpnet.model.experiments.imagenet.table import TABLE4
from dpnet.model.experiments.plans import FLOAT_BITS, Paper, Plan, find_plan
from dpnet.model.experiments.results.rows import Row, row_of
from dpnet.model.experiments.studies.catalog import STUDIES
from dpnet.model.experiments.studies.pictures import PICTURES, draw
from dpnet.model.files import write_whole

__all__ = ["figure_of", "main", "rewritten", "table_of", "with_top5"]

PAGE = Path("docs/experiments.md")
PLACE = re.compile(r"(<!-- rows ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = (
    "| method | bits | epochs | seed | accuracy | Δ | Δ control | Δ attacked | engine | indices "
    "| + codebooks | all | × | Eq. (1) |\n"
    "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
)
NOT_RUN = "Not run yet: `dpnet experiment {}`."
DRAWN = PAGE.parent
"""The folder of the pictures."""


def rewritten(text: str, folder: Path) -> str:
    """The page with the tables of the files in `folder`."""

    def made(match: re.Match[str]) -> str:
        return f"{match[1]}\n{_section(match[2], folder)}\n\n{match[3]}"

    return PLACE.sub(made, text)


def _section(name: str, folder: Path) -> str:
    path = folder / f"{name}.json"
    if not path.exists():
        return NOT_RUN.format(name)
    said = json.loads(path.read_text())
    if name in PICTURES:
        return figure_of(name, said)
    known = {field.name for field in fields(Row)}
    rows = [row_of({key: row[key] for key in row if key in known}) for row in said["rows"]]
    plan = STUDIES[name].plan if name in STUDIES else find_plan(name)
    table = table_of(plan, said["command"], said["machine"], rows)
    return with_top5(table, said["rows"]) if name == TABLE4.name else table


def with_top5(table: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with two columns more: the accuracy in the first five classes, and its delta."""
    intro, empty, head, rule, *lines = table.splitlines()
    cells = [f"{row['accuracy_top5']:.2f} % | {row['delta_top5']:+.2f}" for row in rows]
    cells += [f" | {said.delta:+.2f}" for said in PAPER_TOP5]
    before = f"In five: {rows[0]['accuracy_top5_pretrained']:.2f} % before."
    wider = [f"{line} {more} |" for line, more in zip(lines, cells, strict=True)]
    return "\n".join(
        [f"{intro} {before}", empty, f"{head} in five | Δ |", f"{rule} --: | --: |", *wider]
    )


def table_of(plan: Plan, command: str, machine: str, rows: Sequence[Row]) -> str:
    """One experiment: where it comes from, its rows, the paper's rows."""
    before = ", ".join(sorted({f"{row.accuracy_pretrained:.2f} %" for row in rows}))
    shortened = (
        f" The epochs of a full schedule are {plan.full}." if _longest(rows) < plan.full else ""
    )
    intro = f"`{command}`, {machine}. Pretrained: {before}.{shortened}"
    lines = [HEAD, *(_line(row) for row in rows), *(_paper(one) for one in plan.paper)]
    return "\n".join([intro, "", *lines])


def figure_of(name: str, said: Mapping[str, Any]) -> str:
    """A figure: where it comes from, and its picture."""
    full, epochs = STUDIES[name].plan.full, max(row["epochs"] for row in said["rows"])
    shortened = f" The epochs of a full schedule are {full}." if epochs < full else ""
    return f"`{said['command']}`, {said['machine']}.{shortened}\n\n![{name}]({name}.png)"


def _longest(rows: Sequence[Row]) -> int:
    return max(row.epochs for row in rows)


def _line(row: Row) -> str:
    coded = [row.bytes_indices, row.bytes_with_codebooks, row.bytes_total]
    cells = [
        row.method,
        "float" if row.bits == FLOAT_BITS else str(row.bits),
        str(row.epochs),
        str(row.seed),
        f"{row.accuracy:.2f} %",
        _points(row.delta),
        _points(row.delta_control),
        _points(row.delta_adversarial),
        "–" if row.accuracy_engine is None else f"{row.accuracy_engine:.2f} %",
        *("–" if count is None else f"{count:,}" for count in coded),
        f"{row.bytes_float / row.bytes_total:.1f} ×",
        f"{row.ratio_eq1:.1f} ×",
    ]
    return f"| {' | '.join(cells)} |"


def _paper(said: Paper) -> str:
    cells = [f"*the paper's {said.method}*", str(said.bits), str(said.epochs), "", ""]
    attacked = "" if said.delta_adversarial is None else f"{said.delta_adversarial:+.2f}"
    return f"| {' | '.join([*cells, f'{said.delta:+.2f}', '', attacked, *[''] * 6])} |"


def _points(difference: float | None) -> str:
    return "–" if difference is None else f"{difference:+.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command above; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args(arguments).check
    path = ROOT / PAGE
    old = path.read_text(encoding="utf-8")
    new = rewritten(old, ROOT / RESULTS / EXPERIMENTS)
    if check and new != old:
        print(f"{PAGE}: its tables are not those of the rows: make results", file=sys.stderr)
        return 1
    if not check:
        write_whole(path, new.encode())
        _draw_all(ROOT / RESULTS / EXPERIMENTS, ROOT / DRAWN)
    return 0


def _draw_all(folder: Path, drawn: Path) -> None:
    """The pictures of the figures that have a file."""
    for name in PICTURES:
        if (folder / f"{name}.json").exists():
            draw(name, json.loads((folder / f"{name}.json").read_text()), drawn / f"{name}.png")


if __name__ == "__main__":
    sys.exit(main())
