"""Figure 2: FreshNet's first layer, its weights after float and clustering-friendly training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dpnet.model.data.places import DataError
from dpnet.model.experiments.alone import bench_of
from dpnet.model.experiments.methods import Chain
from dpnet.model.experiments.plans import Plan, find_plan
from dpnet.model.experiments.results.histogram import FLOAT, Histogram, histogram, kept_states
from dpnet.model.experiments.studies.study import Call, Epochs, Found, Study

__all__ = ["FIGURE2", "histogram_of"]

METHOD = "dp-net"


def _count(plan: Plan) -> int:
    return plan.epochs_float + plan.epochs


def _run(call: Call) -> Found:
    """Both nets as far as they are not there, and their histograms: no picture is judged.

    The nets are those of `table2`, whose folder serves as well.
    """
    plan = call.plan
    (bits,) = plan.bits
    epochs = Epochs(_count(plan), call.on_progress)
    bench = bench_of(plan, call.seed, call.folder, call.device, epochs.phase("float"))
    epochs.passed(plan.epochs_float)
    chain = Chain(bits, (METHOD,), plan.epochs)
    (stage,) = bench.stages(chain, epochs.phase(f"{METHOD}, {bits} bits"))
    try:
        found = histogram(kept_states(bench.folder, 1 << bits), 1 << bits)
    except FileNotFoundError as error:
        raise DataError(
            f"{error.filename} is missing, the net before it was quantized: delete {bench.folder} "
            "to train again, or name another folder with --runs"
        ) from error
    rows = tuple(_row(call, found, kind) for kind in found.counts)
    besides = {"layer": found.layer, "k": 1 << bits, "edges": found.edges.tolist()}
    made = Found(rows, stage.machine, besides)
    call.on_rows(made)
    return made


def _row(call: Call, found: Histogram, kind: str) -> dict[str, Any]:
    """How many weights lie in each of the bins between the edges, and how far they are from the
    best centroids of their row, as a share of their root mean square."""
    trained = kind != FLOAT
    return {
        "table": FIGURE2.name,
        "network": call.plan.network,
        "dataset": call.plan.entry.dataset,
        "method": METHOD if trained else FLOAT,
        "bits": call.plan.bits[0],
        "epochs": call.plan.epochs if trained else 0,
        "seed": call.seed,
        "apart": found.apart[kind],
        "counts": found.counts[kind].tolist(),
    }


def histogram_of(document: Mapping[str, Any]) -> Histogram:
    """The histograms that a document of `FIGURE2` has."""
    rows = document["rows"]
    counts = {row["method"]: np.asarray(row["counts"], np.int64) for row in rows}
    apart = {row["method"]: float(row["apart"]) for row in rows}
    return Histogram(document["layer"], np.asarray(document["edges"]), counts, apart)


FIGURE2 = Study(
    name="figure2",
    plan=replace(find_plan("table2"), methods=(METHOD,), engine=False),
    methods=(METHOD,),
    run=_run,
    count=_count,
    one=True,
)
"""The nets of `table2`."""
