"""Xilinx ZC706: its pins, as in UG954; the lamps are called 0, center, left and right there."""

from __future__ import annotations

from dpnet.boards.series7.design import Pad
from dpnet.boards.series7.top import Oscillator
from dpnet.boards.zynq.description import ZynqBoard
from dpnet.model.engine.devices import XC7Z045
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EngineParameters

PMOD = tuple(
    Pad(site, "LVCMOS25")
    for site in ("AJ21", "AK21", "AB21", "AB16", "Y20", "AA20", "AC18", "AC19")
)
"""Of the connector J58, PMOD1_0 to PMOD1_7; a level shifter makes 3.3 V of them.  Digilent's UART
modules listen at the second one and talk at the third one."""

LEFT, RIGHT = Pad("Y21", "LVCMOS25"), Pad("W21", "LVCMOS25")

BOARD = ZynqBoard(
    name="zc706",
    title="Xilinx ZC706, XC7Z045FFG900-2",
    part="xc7z045ffg900-2",
    device=XC7Z045,
    clock=Oscillator(200, (Pad("H9", "LVDS"), Pad("G9", "LVDS"))),
    button=Pad("A8", "LVCMOS15"),
    tx=PMOD[1],
    rx=PMOD[2],
    lamps={
        "alive": Pad("A17", "LVCMOS15"),
        "failed": Pad("G2", "LVCMOS15"),
        "link": LEFT,
        "busy": RIGHT,
    },
    mhz=100.0,
    engine=EngineParameters(),
    maps=MapEngineParameters(),
    unknown=(*PMOD, LEFT, RIGHT),
    why="openXC7's pin file for the XC7Z045 has only banks 10, 33, 34 and 35, not the PMOD's",
)
