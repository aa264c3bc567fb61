"""Distortion over bits: optimal, Lloyd's iteration, entropy-constrained, and the limits.

    python -m dpnet.model.quantizer.judges.figure [--seed 0] [--json]

writes build/quantizer.png and build/quantizer-figure.json, and prints the figures. Half a minute
of processor time, most of it scikit-learn's.

A row is 1024 draws of a density of variance 1. Errors are summed over all rows and relative to
the rows' variance; the entropy is that of each row's indices, in bits per weight. Codebooks and
tables of frequencies are not counted as bits.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.model.quantizer.judges.figure", "bench"))

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dpnet.model.build_root import build_root
from dpnet.model.coding.entropy import quantize_entropy
from dpnet.model.evidence import provenance
from dpnet.model.files import replacing, write_json
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.judges.figure_picture import draw
from dpnet.model.quantizer.judges.limits import GAUSSIAN, LAPLACE, Density
from dpnet.model.quantizer.lloyd import lloyd
from dpnet.model.quantizer.quantized import Quantized

Floats = NDArray[np.float64]
Point = dict[str, float]

SIZES = (2, 3, 4, 6, 8, 12, 16)
SOURCES = (GAUSSIAN, LAPLACE)
STARTS: tuple[Literal["linear", "k-means++"], ...] = ("linear", "k-means++")
ROWS, N = 100, 1024
MOST = 64  # centroids with a price for bits: at 4 bits a Laplace row uses about 40
# 2 ln 2 · 4^-r is about the price of a bit at r bits; the rate changes fast below 1 bit.
PRICES = np.concatenate([np.arange(0.2, 1.0, 0.1), np.arange(1.0, 4.5, 0.2)])


def measure(
    seed: int,
    rows: int = ROWS,
    n: int = N,
    sizes: Sequence[int] = SIZES,
    prices: Floats = PRICES,
) -> dict[str, Any]:
    """All curves of both sources, as they go into the JSON."""
    random = np.random.default_rng(seed)
    sources = {
        source.name: curves(source, source.draw(random, (rows, n)), seed, sizes, prices)
        for source in SOURCES
    }
    return {
        "command": "python -m dpnet.model.quantizer.judges.figure",
        "seed": seed,
        "rows": rows,
        "n": n,
        "sources": sources,
    }


def curves(
    source: Density, values: Floats, seed: int, sizes: Sequence[int], prices: Floats
) -> dict[str, Any]:
    """The points of each method: `bits`, `mse` relative to the variance, `k` or `mu`.

    `bits` are log2 k where the indices are stored as they are, and their entropy, also given as
    `entropy`, for "entropy-constrained" ("shared": one codebook for all rows). `saved` is how far
    below the optimal k centroids the entropy-constrained curve is at their entropy, with
    `priced centroids` a row instead of k. `excess` is over the optimal k centroids.
    """
    variance = float(((values - values.mean(axis=1, keepdims=True)) ** 2).sum())
    constrained, shared = (_priced(x, prices, variance) for x in (values, values.reshape(1, -1)))
    optimal = [_point(quantize(values, k), variance) for k in sizes]
    for point in optimal:
        point["saved"] = 1 - at_bits(constrained, point["entropy"]) / point["mse"]
        point["priced centroids"] = at_bits(constrained, point["entropy"], "centroids")
    found: dict[str, Any] = {
        "optimal": optimal,
        "entropy-constrained": constrained,
        "entropy-constrained, shared": shared,
    }
    for start in STARTS:
        points = [_point(lloyd(values, k, start, seed=seed), variance) for k in sizes]
        for point, best in zip(points, optimal, strict=True):
            point["excess"] = point["mse"] / best["mse"] - 1
        found[f"lloyd {start}"] = points
    found["lloyd-max"] = [
        {"k": k, "bits": float(np.log2(k)), "mse": source.lloyd_max(k)} for k in sizes
    ]
    found["shannon"] = {"mse": f"{source.entropy_power:.6g} * 2**(-2 * bits)"}
    return found


def _priced(values: Floats, prices: Floats, variance: float) -> list[Point]:
    solved = (quantize_entropy(values, MOST, 2 * np.log(2) * 4.0**-rate) for rate in prices)
    return [
        {
            "bits": q.rate,
            "mse": float(q.cost.sum()) / variance,
            "mu": q.mu,
            "centroids": float(q.k_eff.mean()),
        }
        for q in solved
    ]


def _point(q: Quantized, variance: float) -> Point:
    return {
        "k": q.k,
        "bits": float(np.log2(q.k)),
        "entropy": entropy(q.indices, q.k),
        "mse": float(q.cost.sum()) / variance,
    }


def entropy(indices: NDArray[np.integer], k: int) -> float:
    """Bits per index, (rows, n), for a code that knows each row's frequencies."""
    shares = np.stack([(indices == index).mean(axis=1) for index in range(k)])
    return float(-(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=0).mean())


def at_bits(points: list[Point], bits: float, what: str = "mse") -> float:
    """The error of a curve at so many bits: its logarithm is taken as linear between two points.

    Raises ValueError outside the curve.
    """
    at, known = np.array(sorted((point["bits"], point[what]) for point in points)).T
    if not at[0] <= bits <= at[-1]:
        raise ValueError(f"bits must be within {at[0]:.3f}..{at[-1]:.3f}, not {bits!r}")
    return float(np.exp(np.interp(bits, at, np.log(known))))


def table(measured: dict[str, Any]) -> str:
    """What the picture shows, as text."""
    lines = [
        f"{measured['rows']} rows of {measured['n']} draws, seed {measured['seed']}; "
        "errors relative to the variance"
    ]
    for name, found in measured["sources"].items():
        lines += [
            "",
            f"{name:9} K   bits  entropy  optimal  Lloyd-Max   Lloyd, linear  Lloyd, k-means++"
            "   entropy-constrained at that entropy",
        ]
        columns = (found[key] for key in ("optimal", "lloyd-max", *(f"lloyd {s}" for s in STARTS)))
        for best, ideal, linear, plus in zip(*columns, strict=True):
            lines.append(
                f"{best['k']:11}  {best['bits']:5.3f}    {best['entropy']:5.3f}  "
                f"{best['mse']:7.5f}    {ideal['mse']:7.5f}   {linear['excess']:+13.2%}  "
                f"{plus['excess']:+16.2%}   {-best['saved']:+.1%} with "
                f"{best['priced centroids']:.0f} centroids"
            )
    return "\n".join(lines)


def write(folder: Path, measured: dict[str, Any]) -> None:
    """The picture and the figures it rests on, each whole or not at all."""
    write_json(folder / "quantizer-figure.json", measured, indent=1)
    with replacing(folder / "quantizer.png") as file:
        draw(file, measured, SOURCES)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m dpnet.model.quantizer.judges.figure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args(arguments)
    print("measuring: half a minute …", file=sys.stderr, flush=True)
    made_of = provenance("quantizer-figure.json")
    try:
        measured = measure(given.seed) | made_of
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    write(build_root(), measured)
    print(json.dumps(measured, indent=1) if given.json else table(measured))
    print(f"{build_root() / 'quantizer.png'}, seed {given.seed}", file=sys.stderr)
    return 0
