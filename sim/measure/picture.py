"""The picture of `make sim`: how fast, how small, how accurate, and what the engine saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dpnet.host.bench import BenchRow
from dpnet.sim.measure.chain import NetworkRow
from dpnet.sim.measure.cnn import CnnRow

INK, MUTED, SLOW, LANE, FAST, WRONG = (
    "#1b2733",
    "#8a97a3",
    "#b9c3cc",
    "#5b9bd5",
    "#0b6e4f",
    "#c0392b",
)
PICTURES = 24


def draw(
    path: Path,
    networks: list[NetworkRow],
    cnn: CnnRow,
    table6: list[BenchRow],
    pixels: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    predictions: NDArray[np.integer[Any]],
) -> None:
    """Write the PNG.  `pixels` (n, 64), `labels` and `predictions` (n,) are the 4-bit network's."""
    figure = Figure(figsize=(13, 8.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    rows: list[NetworkRow | CnnRow | BenchRow] = [*networks, cnn, *table6]
    differ = sum(r.mismatches for r in rows)
    figure.suptitle(
        "DP-Net on a simulated FPGA: every output equals the golden model"
        if not differ
        else "DP-Net on a simulated FPGA: THE ENGINE DIFFERS FROM THE GOLDEN MODEL",
        fontsize=16,
        color=INK,
        fontweight="bold",
    )
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    top, bottom = halves
    _times(top, table6)
    left, right = bottom.subfigures(1, 2, width_ratios=(1, 1.25))
    _accuracy(left.subplots(), networks, cnn)
    _digits(right, pixels, labels, predictions, networks[0])
    figure.savefig(path, dpi=130)


def _times(area: Any, rows: list[BenchRow]) -> None:
    area.suptitle(
        "one matrix-vector product, 4-bit weights, fp32 in and out, milliseconds at 100 MHz (log)",
        color=INK,
        fontsize=11,
    )
    matrices = list(dict.fromkeys((r.name, r.rows, r.columns) for r in rows))
    for axes, matrix in zip(np.atleast_1d(area.subplots(1, len(matrices))), matrices, strict=True):
        bars: list[tuple[str, float, str]] = []
        group = [r for r in rows if (r.name, r.rows, r.columns) == matrix]
        slow = next(r for r in group if r.engine == "paper-baseline")
        for r in group:
            if r.paper_ms is not None and r.engine != "array":
                what = "baseline" if r.engine == "paper-baseline" else "DP-Net"
                bars.append((f"paper's {what}", r.paper_ms, "none"))
            label = {"paper-baseline": "fp32 baseline", "lane": "one lane"}.get(
                r.engine, f"array, {r.lanes} lanes"
            )
            color = {"paper-baseline": SLOW, "lane": LANE}.get(r.engine, FAST)
            bars.append((label, r.ms_at_100_mhz, color))
        _bars(axes, bars, slow.ms_at_100_mhz)
        axes.set_title(f"{matrix[0]}: {matrix[1]} × {matrix[2]}", fontsize=11, color=INK)


def _bars(axes: Axes, bars: list[tuple[str, float, str]], slow_ms: float) -> None:
    for n, (_, value, color) in enumerate(bars):
        axes.barh(n, value, color=color, edgecolor=MUTED if color == "none" else color, height=0.62)
        note = f" {value:.3g} ms"
        if value < slow_ms * 0.9:
            note += f"  ({slow_ms / value:,.0f} × faster)"
        axes.text(value, n, note, va="center", fontsize=10, color=INK)
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axes.set_xscale("log")
    axes.set_xlim(min(v for _, v, _ in bars) / 3, max(v for _, v, _ in bars) * 30)
    axes.invert_yaxis()
    _plain(axes)


def _accuracy(axes: Axes, networks: list[NetworkRow], cnn: CnnRow) -> None:
    rows: list[NetworkRow | CnnRow] = [*networks, cnn]
    notes = [
        f"{r.bits} bits\n{r.ratio_bytes:.1f} × smaller file\n(Eq. 1: {r.ratio_eq1:.1f} ×)"
        for r in networks
    ]
    notes.append(f"{cnn.bits} bits\nconvolutions\n(Eq. 1: {cnn.ratio_eq1:.1f} ×)")
    places = np.arange(len(rows))
    low = min(min(r.accuracy_float, r.accuracy_engine) for r in rows)
    axes.bar(
        places - 0.2, [r.accuracy_float for r in rows], 0.38, color=SLOW, label="float, PyTorch"
    )
    axes.bar(
        places + 0.2, [r.accuracy_engine for r in rows], 0.38, color=FAST, label="on the engine"
    )
    axes.set_ylim(max(0.0, low - 3), 100.6)
    axes.set_xticks(places, notes)
    for place, r in zip(places, rows, strict=True):
        axes.text(
            place - 0.2, r.accuracy_float, f"{r.accuracy_float:.1f}", ha="center", va="bottom"
        )
        axes.text(
            place + 0.2, r.accuracy_engine, f"{r.accuracy_engine:.1f}", ha="center", va="bottom"
        )
    axes.set_title(
        f"digits: accuracy in percent, {rows[0].pictures} test pictures "
        f"(axis from {axes.get_ylim()[0]:.0f})",
        fontsize=11,
        color=INK,
    )
    axes.legend(loc="upper right", fontsize=9, framealpha=1, ncols=2)
    _plain(axes)


def _digits(
    area: Any,
    pixels: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    predictions: NDArray[np.integer[Any]],
    row: NetworkRow,
) -> None:
    area.suptitle(
        f"what the engine read ({row.bits} bits, {row.cycles_per_picture:,} cycles a picture)",
        fontsize=11,
        color=INK,
    )
    wrong = np.flatnonzero(labels != predictions)
    chosen = np.concatenate([wrong[:2], np.flatnonzero(labels == predictions)])[:PICTURES]
    for axes, n in zip(area.subplots(3, PICTURES // 3).flat, chosen, strict=False):
        axes.imshow(pixels[n].reshape(8, 8), cmap="gray_r", interpolation="nearest")
        right = labels[n] == predictions[n]
        note = str(predictions[n]) if right else f"{predictions[n]} not {labels[n]}"
        axes.set_title(note, fontsize=11, color=FAST if right else WRONG, pad=2)
        axes.set_axis_off()


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    axes.grid(axis="x" if axes.get_xscale() == "log" else "y", color="#e8ecef")
    axes.set_axisbelow(True)
