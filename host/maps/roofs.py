"""What limits each layer of a network on an engine, as `dpnet plan --layers` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dpnet.host.report import table
from dpnet.model.engine.maps.sizing.roofs import LOSSES, ROOFS, LayerRoofs

__all__ = ["roofs_document", "roofs_text"]


def roofs_document(layers: Sequence[LayerRoofs]) -> list[dict[str, Any]]:
    """In JSON's types: cycles of a run, rounded to thousandths where they are no whole ones."""
    return [
        {
            "name": one.name,
            "operator": one.operator,
            "cycles": one.cycles,
            "limit": one.limit,
            "reached": round(one.reached, 6),
            "roofs": {name: round(float(value), 3) for name, value in one.roofs.items()},
            "lost": {name: round(float(value), 3) for name, value in one.lost.items()},
        }
        for one in layers
    ]


def roofs_text(layers: Sequence[LayerRoofs], pictures: int) -> str:
    """A table, and what its words mean, those that are in it."""
    shown = [name for name in LOSSES if any(name in dict(one.largest()) for one in layers)]
    limits = [name for name in ROOFS if any(one.limit == name for one in layers)]
    total = sum(one.cycles for one in layers)
    cycles = "cycles" if pictures == 1 else f"cycles of {pictures}"
    return "\n".join(
        (
            table(
                ("layer", "operator", cycles, "of all", "limit", "reached", "lost to"),
                [_cells(one, total) for one in layers],
            ),
            "",
            *(f"limit {name}: {ROOFS[name]}" for name in limits),
            *(f"lost to {name}: {LOSSES[name]}" for name in shown),
        )
    )


def _cells(one: LayerRoofs, total: int) -> list[str]:
    lost = ", ".join(f"{name} {part:.0%}" for name, part in one.largest())
    return [
        one.name,
        one.operator,
        f"{one.cycles:,}",
        f"{one.cycles / total:.0%}",
        one.limit,
        f"{one.reached:.0%}",
        lost or "–",
    ]
