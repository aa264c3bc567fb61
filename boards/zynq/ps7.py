"""The processor side of a Zynq-7000 as logic sees it: the primitive PS7.

Amaranth has none, and Vivado's own wrapper is made by a tool of its own.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Instance

_READ = (
    "ACLK ARVALID RREADY ARBURST:2 ARLOCK:2 ARSIZE:2 ARPROT:3 ARADDR:32 ARCACHE:4 ARLEN:4 ARQOS:4"
)
_WRITE = (
    "AWVALID BREADY WLAST WVALID AWBURST:2 AWLOCK:2 AWSIZE:2 AWPROT:3 AWADDR:32 AWCACHE:4 AWLEN:4 "
    "AWQOS:4"
)
_GROUPS = (
    ("DMA0 DMA1 DMA2 DMA3", "ACLK DAREADY DRLAST DRVALID DRTYPE:2"),
    (
        "MAXIGP0 MAXIGP1",
        "ACLK ARREADY AWREADY BVALID RLAST RVALID WREADY BID:12 RID:12 BRESP:2 RRESP:2 RDATA:32",
    ),
    ("SAXIGP0 SAXIGP1", f"{_READ} {_WRITE} ARID:6 AWID:6 WID:6 WDATA:32 WSTRB:4"),
    (
        "SAXIHP0 SAXIHP1 SAXIHP2 SAXIHP3",
        f"{_READ} {_WRITE} ARID:6 AWID:6 WID:6 WDATA:64 WSTRB:8 RDISSUECAP1EN WRISSUECAP1EN",
    ),
    ("SAXIACP", f"{_READ} {_WRITE} ARID:3 AWID:3 WID:3 WDATA:64 WSTRB:8 ARUSER:5 AWUSER:5"),
    ("EMIOCAN0 EMIOCAN1", "PHYRX"),
    (
        "EMIOENET0 EMIOENET1",
        "EXTINTIN GMIICOL GMIICRS GMIIRXCLK GMIIRXDV GMIIRXER GMIITXCLK MDIOI GMIIRXD:8",
    ),
    ("EMIOI2C0 EMIOI2C1", "SCLI SDAI"),
    ("EMIOPJTAG", "TCK TDI TMS"),
    ("EMIOSDIO0 EMIOSDIO1", "CDN CLKFB CMDI WP DATAI:4"),
    ("EMIOSPI0 EMIOSPI1", "MI SCLKI SI SSIN"),
    ("EMIOTTC0 EMIOTTC1", "CLKI:3"),
    ("EMIOUART0 EMIOUART1", "CTSN DCDN DSRN RIN RX"),
    ("EMIOUSB0 EMIOUSB1", "VBUSPWRFAULT"),
    ("EMIO", "SRAMINTIN TRACECLK WDTCLKI GPIOI:64"),
    ("FTMD", "TRACEINCLOCK TRACEINVALID TRACEINDATA:32 TRACEINATID:4"),
    ("FTM", "TF2PDEBUG:32 TF2PTRIG:4 TP2FTRIGACK:4"),
    ("", "EVENTEVENTI FPGAIDLEN IRQF2P:20 DDRARB:4 FCLKCLKTRIGN:4"),
)

INPUTS = {
    prefix + name: int(bits or 1)
    for prefixes, members in _GROUPS
    for prefix in prefixes.split() or [""]
    for name, _, bits in (member.partition(":") for member in members.split())
}
"""Every input of PS7 and its bits (Zynq-7000 TRM UG585; as Yosys' library has it)."""

_TO_LOGIC = {
    "aw": ("id", "addr", "len", "size", "burst", "valid"),
    "w": ("id", "data", "strb", "last", "valid"),
    "b": ("ready",),
    "ar": ("id", "addr", "len", "size", "burst", "valid"),
    "r": ("ready",),
}
_FROM_LOGIC = {
    "aw": ("ready",),
    "w": ("ready",),
    "b": ("id", "resp", "valid"),
    "ar": ("ready",),
    "r": ("id", "data", "resp", "last", "valid"),
}


def ps7(**ports: Any) -> Instance:
    """An instance with these `i_…` and `o_…` ports.  Every other input is 0, as Vivado's wrapper
    has it: nothing floats.  The pins of the processor side (DDR, MIO) are not the logic's and stay
    open; Vivado wants the primitive in every design for this chip, so it is kept."""
    zeros = {f"i_{name}": Const(0, bits) for name, bits in INPUTS.items()}
    return Instance("PS7", a_keep="true", a_DONT_TOUCH="true", **zeros | ports)


def gp0(door: Any, clk: Any) -> dict[str, Any]:
    """The `ps7` ports that join M_AXI_GP0 to `door`, which has the `s_axi_*` of
    `dpnet.gateware.doors.axi3.Axi3Door`, at the clock `clk`."""
    ports = {"i_MAXIGP0ACLK": clk}
    for direction, channels in (("o", _TO_LOGIC), ("i", _FROM_LOGIC)):
        for channel, names in channels.items():
            for name in names:
                signal = getattr(door, f"s_axi_{channel}{name}")
                # AXI3's sizes have three bits, of which the processor side has two.
                if name == "size":
                    signal = signal[:2]
                ports[f"{direction}_MAXIGP0{(channel + name).upper()}"] = signal
    return ports
