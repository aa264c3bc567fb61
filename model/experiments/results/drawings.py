"""The pictures of figures, from what was found; matplotlib is imported when one is drawn."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dpnet.model.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpnet.model.experiments.results.histogram import Histogram

__all__ = ["draw_sweep", "draw_weights"]

AXES = {"lambda": ("lam_full", "λ"), "period": ("period_full", "t, epochs")}
"""What a sweep varies: the field of a row, and its name."""


def draw_weights(found: Histogram, path: Path) -> None:
    """The histograms above each other, as PNG.  Raises ImportError without matplotlib."""
    with _figure(path, len(found.counts), 1, sharex=True, figsize=(6.4, 4.8)) as panels:
        for panel, (kind, counts) in zip(panels, found.counts.items(), strict=True):
            panel.stairs(counts, found.edges, fill=True)
            panel.set_title(f"{kind}: {100 * found.apart[kind]:.1f} % from its centroids")
            panel.set_ylabel("weights")
        panels[-1].set_xlabel(found.layer)


def draw_sweep(document: Mapping[str, Any], path: Path) -> None:
    """Accuracy against lambda and against t, a line for each method, the mean of its seeds, as PNG;
    dashed with batch norms estimated anew.  Raises ImportError without matplotlib."""
    rows = document["rows"]
    with _figure(path, 1, len(AXES), sharey=True, figsize=(9.0, 4.2)) as panels:
        for panel, (varied, (field, name)) in zip(panels, AXES.items(), strict=True):
            shown = [row for row in rows if varied in row["varies"]]
            for method in dict.fromkeys(row["method"] for row in shown):
                x, y = _means(shown, method, field)
                panel.plot(x, y, "o--" if method.endswith("-bn") else "o-", label=method)
            panel.axhline(np.mean([row["accuracy_pretrained"] for row in rows]), color="gray")
            panel.set_xscale("log")
            places = sorted({row[field] for row in shown})
            panel.set_xticks(places, [f"{place:g}" for place in places])
            panel.minorticks_off()
            panel.set_xlabel(name)
        panels[0].set_ylabel("accuracy, % (gray: pretrained)")
        panels[0].legend(fontsize="small")


def _means(
    rows: Sequence[Mapping[str, Any]], method: str, field: str
) -> tuple[list[float], list[float]]:
    """The values of a field, rising, and the mean accuracy at each."""
    found: dict[float, list[float]] = {}
    for row in rows:
        if row["method"] == method:
            found.setdefault(row[field], []).append(row["accuracy"])
    return sorted(found), [float(np.mean(found[at])) for at in sorted(found)]


@contextmanager
def _figure(path: Path, rows: int, columns: int, **options: Any) -> Iterator[Any]:
    """The panels of a picture in one row, written in the end."""
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, panels = pyplot.subplots(rows, columns, **options)
    try:
        yield np.atleast_1d(panels)
        figure.tight_layout()
        with replacing(path) as file:
            figure.savefig(file, format="png", dpi=120)
    finally:
        pyplot.close(figure)
