"""Digilent Nexys 4 DDR, today Nexys A7-100T: pins as in amaranth-boards 0.0.21; LD0 to LD3 are the
lamps, CPU RESET the button, `rx` is the FT2232HQ's TXD.

Nothing here has been run on the board, nor with Vivado or openXC7.
"""

from __future__ import annotations

from dataclasses import replace

from dpnet.boards.parts.map_engines import RESNET8
from dpnet.boards.series7.description import DIGITS, Series7Board
from dpnet.boards.series7.design import Pad
from dpnet.boards.series7.top import LAMPS, Oscillator
from dpnet.model.engine.devices import XC7A100T

BOARD = Series7Board(
    name="nexys4-ddr",
    title="Digilent Nexys 4 DDR, XC7A100TCSG324-1",
    part="xc7a100tcsg324-1",
    device=XC7A100T,
    clock=Oscillator(100, (Pad("E3"),)),
    button=Pad("C12"),
    rx=Pad("C4"),
    tx=Pad("D4"),
    lamps=dict(zip(LAMPS, map(Pad, ("H17", "K15", "J13", "N14")), strict=True)),
    load="openFPGALoader -b nexys_a7_100 dpnet.bit",
    engine=replace(DIGITS, columns=16, segments=8),
    maps=RESNET8,
)
