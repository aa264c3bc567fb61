"""Digilent Arty Z7-20: pins as in amaranth-boards 0.0.21; LD0 to LD3 are the lamps, BTN0 the
button, a Pmod USBUART in the upper row of connector JA the UART.

Nothing here has been run on the board, nor with Vivado or openXC7.
"""

from __future__ import annotations

from dataclasses import replace

from dpnet.boards.parts.map_engines import RESNET8
from dpnet.boards.series7.description import DIGITS
from dpnet.boards.series7.design import Pad
from dpnet.boards.series7.top import LAMPS, Oscillator
from dpnet.boards.zynq.description import ZynqBoard
from dpnet.model.engine.devices import XC7Z020

BOARD = ZynqBoard(
    name="arty-z7-20",
    title="Digilent Arty Z7-20, XC7Z020CLG400-1",
    part="xc7z020clg400-1",
    device=XC7Z020,
    clock=Oscillator(125, (Pad("H16"),)),
    button=Pad("D19"),
    tx=Pad("Y19"),
    rx=Pad("Y16"),
    lamps=dict(zip(LAMPS, map(Pad, ("R14", "P14", "N16", "M14")), strict=True)),
    load="openFPGALoader -b arty_z7_20 dpnet.bit",
    engine=replace(DIGITS, columns=16, segments=8),
    maps=RESNET8,
)
