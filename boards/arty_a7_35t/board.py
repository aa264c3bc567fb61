"""Digilent Arty A7-35T: pins as in amaranth-boards 0.0.21; LD4 to LD7 are the lamps, CK_RST the
button, `rx` is the FT2232HQ's TXD.

Nothing here has been run on the board, nor with Vivado or openXC7.
"""

from __future__ import annotations

from dpnet.boards.series7.description import Series7Board
from dpnet.boards.series7.design import Pad
from dpnet.boards.series7.top import LAMPS, Oscillator
from dpnet.model.engine.devices import XC7A35T

BOARD = Series7Board(
    name="arty-a7-35t",
    title="Digilent Arty A7-35T, XC7A35TCSG324-1",
    part="xc7a35tcsg324-1",
    device=XC7A35T,
    clock=Oscillator(100, (Pad("E3"),)),
    button=Pad("C2"),
    rx=Pad("A9"),
    tx=Pad("D10"),
    lamps=dict(zip(LAMPS, map(Pad, ("H5", "J5", "T9", "T10")), strict=True)),
    load="openFPGALoader -b arty_a7_35t dpnet.bit",
)
