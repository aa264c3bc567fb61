"""Frames byte by byte through the frame decoder of the gateware, damaged in five ways."""

from __future__ import annotations

from dpnet.gateware.emit import emit
from dpnet.gateware.link.receiver import FrameReceiver
from dpnet.sim.soak.build import build_program
from dpnet.sim.soak.cells import Cell, program_cell

KINDS = ("flip", "drop", "insert", "duplicate", "reorder")
RATES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Damage per byte; with "duplicate" and "reorder" so much also per frame, times 20, at most 0.5."""
PROMISES = ("wrong", "lost", "differs")
"""Counts that must be 0 (see receiver.cpp)."""


def cells(frames: int, seed: int) -> list[Cell]:
    """`frames` shared out over all kinds and rates."""
    program = build_program(emit(FrameReceiver()), "receiver")
    places = [(kind, rate) for kind in KINDS for rate in RATES]
    share = -(-frames // len(places))
    return [
        program_cell(
            "frames",
            f"{kind} {rate:.0e}",
            program,
            (kind, f"{rate:g}", str(share), str(1000 * seed + 2 * n)),
        )
        for n, (kind, rate) in enumerate(places)
    ]
