"""What the XC7Z045 could do at most, and what the arrays do: the picture of `make arrays`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dpnet.model.engine.configurations import Configuration
from dpnet.sim.measure.picture import FAST, INK, LANE, MUTED

LUTS, BRAM_BITS = 218_600, 545 * 72
"""LUTs of an XC7Z045, and the bits that its 545 block RAMs read in a cycle (DS190)."""

MACS = 1800
"""Products that its 900 DSP slices make in a cycle, two int8 ones each."""


def bucket_roof(bits: float) -> float:
    """Weights per cycle if the whole chip were lanes: an adder of `bits` LUTs and a bucket memory
    of `bits` / 2 LUTs each (RAM32M, 8 bits in 4 LUTs)."""
    return LUTS / (1.5 * bits)


def index_roof(index_bits: int) -> float:
    """Weights per cycle that the block RAMs can name."""
    return BRAM_BITS / index_bits


def draw(path: Path, rows: Sequence[dict[str, Any]], known: Mapping[str, Configuration]) -> None:
    """Write the PNG: `rows` of arrays.json over the width of their buckets."""
    figure = Figure(figsize=(9, 5.4), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    bits = np.linspace(14, 40, 200)
    roof = np.minimum([bucket_roof(b) for b in bits], index_roof(4))
    axes.plot(bits, roof, color=INK, linewidth=2, label="roof: adders and bucket memories")
    axes.plot(bits, roof / 2, color=INK, linewidth=1, linestyle=":", label="half of it")
    axes.axhline(
        index_roof(4), color=MUTED, linestyle="--", label="roof: block RAM bandwidth, 4-bit indices"
    )
    axes.axhline(MACS, color=MUTED, linestyle="-.", label="dense int8, two products per DSP slice")
    for row in rows:
        engine = known[row["name"]].engine
        rate = row["rows"] * row["columns"] / row["interval_cycles"]
        color = FAST if row["activation"] == "fp32" else LANE
        axes.plot(engine.sum_bits, rate, "o", color=color, markersize=9)
        axes.annotate(
            f"{row['name']}\n{rate:,.0f} = {rate / bucket_roof(engine.sum_bits):.0%}",
            (engine.sum_bits, rate),
            textcoords="offset points",
            fontsize=9,
            color=INK,
            xytext=(8, 8) if row["columns"] == 1728 else (-8, -34),
            ha="left",
        )
    axes.set_xlabel("bits of a bucket")
    axes.set_ylabel("weights per cycle, vectors back to back")
    axes.set_ylim(0, index_roof(4) * 1.08)
    axes.set_title("Arrays on an XC7Z045: how near to its roof (cycles counted in RTL)", color=INK)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.9), fontsize=9, frameon=False)
    figure.savefig(path, dpi=120)
