"""The picture of `dpnet.model.quantizer.judges.figure`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from dpnet.model.quantizer.judges.limits import Density

INK, MUTED, SHADE = "#1b2733", "#8a97a3", "#eceff2"
BEST, PRICED, LINEAR, PLUS = "#0b6e4f", "#2f6fb0", "#c0392b", "#d08a0e"
BITS = (0.8, 4.2)

STYLES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "lloyd linear",
        "bits",
        "Lloyd from a linear start",
        {"color": LINEAR, "marker": "s", "linestyle": "-", "linewidth": 1, "markersize": 5},
    ),
    (
        "lloyd k-means++",
        "bits",
        "Lloyd from k-means++, once",
        {"color": PLUS, "marker": "^", "linestyle": "-", "linewidth": 1, "markersize": 5.5},
    ),
    (
        "optimal",
        "bits",
        "optimal, log₂ K bits",
        {"color": BEST, "marker": "o", "linestyle": "-", "linewidth": 1.6, "markersize": 5.5},
    ),
    (
        "lloyd-max",
        "bits",
        "Lloyd–Max, of the density",
        {"color": INK, "marker": "x", "linestyle": "", "markersize": 7},
    ),
    (
        "optimal",
        "entropy",
        "optimal, then entropy coding",
        {
            "color": BEST,
            "marker": "o",
            "linestyle": (0, (4, 2)),
            "linewidth": 1.6,
            "markersize": 5.5,
            "markerfacecolor": "white",
        },
    ),
    (
        "entropy-constrained",
        "bits",
        "entropy-constrained",
        {"color": PRICED, "linestyle": "-", "linewidth": 2.2},
    ),
    (
        "entropy-constrained, shared",
        "bits",
        "the same, a codebook for all rows",
        {"color": PRICED, "linestyle": ":", "linewidth": 1.6},
    ),
)


def decibel(ratio: ArrayLike) -> NDArray[np.float64]:
    """Of a ratio of squares."""
    return 10 * np.log10(np.asarray(ratio, np.float64))


def draw(file: IO[bytes], measured: dict[str, Any], sources: Sequence[Density]) -> None:
    """Write the PNG: error over bits above, its distance from Shannon's bound below."""
    figure = Figure(figsize=(9, 8.6), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(
        2, len(sources), sharex=True, sharey="row", height_ratios=(1.15, 1)
    )
    for column, source in enumerate(sources):
        found = measured["sources"][source.name]
        _distortion(above[column], source, found)
        _distance(below[column], source, found)
        below[column].set_xlabel("bits per weight", color=INK)
    above[0].set_ylabel("mean squared error / variance", color=INK)
    below[0].set_ylabel("dB above Shannon's bound", color=INK)
    handles, labels = above[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=10.5,
        labelcolor=INK,
    )
    figure.savefig(file, dpi=150, format="png")


def _distortion(axes: Axes, source: Density, found: dict[str, Any]) -> None:
    bits = np.linspace(*BITS, 100)
    limit = source.shannon(bits)
    for curve, key, label, style in STYLES:
        axes.plot(*_values(found[curve], key), label=label, **style)
    axes.plot(bits, limit, color=INK, linewidth=1.2, label="Shannon's (lower) bound", zorder=1)
    axes.fill_between(bits, limit, 1e-9, color=SHADE, linewidth=0, zorder=0)
    axes.set_yscale("log")
    axes.set_ylim(0.0022, 0.6)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.set_title(_title(source), color=INK, fontsize=11.5)
    _plain(axes)


def _distance(axes: Axes, source: Density, found: dict[str, Any]) -> None:
    for curve, key, _, style in STYLES:
        bits, mse = _values(found[curve], key)
        axes.plot(bits, decibel(mse / source.shannon(bits)), **style)
    axes.axhline(0, color=INK, linewidth=1.2, zorder=1)
    axes.fill_between(BITS, 0, -10, color=SHADE, linewidth=0, zorder=0)
    axes.set_xlim(*BITS)
    axes.set_ylim(-0.4, 7.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain(axes)


def _values(points: list[dict[str, float]], key: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Bits and errors."""
    return np.array([p[key] for p in points]), np.array([p["mse"] for p in points])


def _title(source: Density) -> str:
    factor = "" if source.entropy_power == 1 else f"{source.entropy_power:.3f} · "
    return f"{source.name} (Shannon: {factor}2$^{{-2R}}$)"


def _plain(axes: Axes) -> None:
    axes.grid(color="#dfe4e8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
