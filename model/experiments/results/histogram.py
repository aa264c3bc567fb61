"""Figure 2: the weights of a layer as float training leaves them, and clustering-friendly training.

    python -m dpnet.model.experiments.results.histogram table1 --runs table1.json.runs

Of FreshNet's first layer `dpnet experiment figure2` trains and draws, this is for any layer of any
run.  Reads what `dpnet experiment` kept: the pretrained net, and the net with the term as the last
epoch left it, before it was quantized.  Writes NAME-weights.json and NAME-weights.png.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpnet.model.compression.weights import weights_in
from dpnet.model.experiments.plans import PLANS, find_plan
from dpnet.model.experiments.results.drawings import draw_weights
from dpnet.model.files import write_json

__all__ = ["FLOAT", "TRAINED", "Histogram", "histogram", "kept_states", "nearness"]

BINS = 201
FLOAT, TRAINED = "float", "with the term"
"""The two kinds of training."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many weights of `layer` lie in each of the bins between `edges`, by kind of training, and
    how near they are to the best codebook of their row (`apart`: see `nearness`)."""

    layer: str
    edges: NDArray[np.float64]
    counts: dict[str, NDArray[np.int64]]
    apart: dict[str, float]


def histogram(states: Mapping[str, Mapping[str, Tensor]], k: int, layer: str = "") -> Histogram:
    """Of the first compressed weight, or of `layer`, in the state dicts of nets by kind.

    Raises ValueError for a layer that they do not have.
    """
    rows = {}
    for kind, state in states.items():
        found = {weight.name: weight for weight in weights_in(state)[0]}
        layer = layer or next(iter(found))
        if layer not in found:
            raise ValueError(f"layer must be one of {list(found)!r}, not {layer!r}")
        rows[kind] = found[layer].to_rows(found[layer].values).double().numpy()
    largest = max(float(np.abs(values).max()) for values in rows.values())
    edges = np.linspace(-largest, largest, BINS + 1)
    counts = {kind: np.histogram(values, edges)[0] for kind, values in rows.items()}
    return Histogram(layer, edges, counts, {kind: nearness(r, k) for kind, r in rows.items()})


def nearness(rows: NDArray[np.float64], k: int) -> float:
    """Root mean square of weights less their centroids, the best ones of each row, as a share of
    the root mean square of the weights."""
    quantize = importlib.import_module("dpnet.model.quantizer.exact").quantize
    return float(np.sqrt(quantize(rows, k).cost.sum() / np.square(rows).sum()))


def kept_states(folder: Path, k: int) -> dict[str, Mapping[str, Tensor]]:
    """State dicts by kind in the folder of one seed of a run: the pretrained net, and the one with
    the term as its last epoch left it.  FileNotFoundError where one is not there."""
    paths = {FLOAT: folder / "stages" / "start.pt", TRAINED: folder / f"dp-net-{k}.pt"}
    return {kind: _state(path) for kind, path in paths.items()}


def _state(path: Path) -> Mapping[str, Tensor]:
    state: Mapping[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["net"]
    return state


def main(arguments: Sequence[str] | None = None) -> int:
    """The command above; its exit status."""
    parser = argparse.ArgumentParser(description="Figure 2, of a run of an experiment.")
    parser.add_argument("name", choices=PLANS)
    parser.add_argument("--runs", type=Path, required=True, help="the folder of its checkpoints")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--bits", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layer", default="", help="by default the first one")
    parser.add_argument("--out", type=Path, default=Path(), help="a folder, by default this one")
    given = parser.parse_args(arguments)
    plan = find_plan(given.name)
    epochs, k = given.epochs or plan.epochs, 1 << (given.bits or plan.bits[0])
    folder = given.runs / f"{plan.name}-{epochs}-{given.seed}"
    try:
        found = histogram(kept_states(folder, k), k, given.layer)
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_json(given.out / f"{given.name}-weights.json", _document(found, k))
    draw_weights(found, given.out / f"{given.name}-weights.png")
    for kind, apart in found.apart.items():
        print(f"{found.layer}, {kind}: {100 * apart:.2f} % from {k} values a row")
    return 0


def _document(found: Histogram, k: int) -> dict[str, Any]:
    return {
        "layer": found.layer,
        "k": k,
        "edges": found.edges.tolist(),
        "counts": {kind: counts.tolist() for kind, counts in found.counts.items()},
        "apart": found.apart,
    }


if __name__ == "__main__":
    sys.exit(main())
