"""The post-synthesis netlist as Verilog that a simulator takes.

LUTs, carries, flip-flops and memories of 16 words are Yosys' own models of the ECP5's cells.  Yosys
has none of block RAM, multiplier, PLL and clock gate: `HARD_CELLS` has, for what Yosys makes of
them (no output registers, no cascades).  A word that one port reads while the other one writes it
comes out inverted: on the chip it is undefined.
"""

from __future__ import annotations

import json

from dpnet.boards.build import kept
from dpnet.boards.tool import Tool
from dpnet.boards.yosys import find_yosys, run_script

FLATTEN = """\
read_json design.v
read_verilog -lib +/lattice/cells_bb_ecp5.v
read_verilog -overwrite +/lattice/cells_sim_ecp5.v
hierarchy -top {top}
proc
flatten
opt -full
rename -hide
opt_clean -purge
splitnets
rename {top} netlist
write_verilog -noattr netlist.v
"""


def netlist_model(netlist: str, top: str, yosys: Tool | None = None) -> str:
    """The netlist that nextpnr reads, of module `top`, as one module `netlist` with its ports;
    needs `HARD_CELLS` beside it.  Kept by content; raises `ToolError`."""
    yosys = yosys or find_yosys()
    script = FLATTEN.format(top=top)
    # All other modules in it are cells without contents.
    only = json.dumps({"modules": {top: json.loads(netlist)["modules"][top]}})

    def run() -> str:
        return run_script(yosys, script, only, "netlist.v")

    return str(kept((only, yosys.version, script), run)[0])


def _vector(name: str, width: int) -> str:
    """`{NAMEn, …, NAME0}`: the cells' vectors are scalars."""
    return "{" + ", ".join(f"{name}{n}" for n in reversed(range(width))) + "}"


def _scalars(kind: str, *vectors: tuple[str, int]) -> str:
    names = (f"{name}{n}" for name, width in vectors for n in range(width))
    return f"{kind} {', '.join(names)}"


_INITIAL = [f"INITVAL_{n:02X}" for n in range(64)]
_BLOCK_RAM = f"""
module DP16KD(
  {_scalars("input", ("DIA", 18), ("DIB", 18), ("ADA", 14), ("ADB", 14), ("CSA", 3), ("CSB", 3))},
  input CLKA, CLKB, CEA, CEB, OCEA, OCEB, WEA, WEB, RSTA, RSTB,
  {_scalars("output", ("DOA", 18), ("DOB", 18))});
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", CSDECODE_A = "0b000";
  parameter CSDECODE_B = "0b000", CLKAMUX = "CLKA", CLKBMUX = "CLKB", WRITEMODE_A = "NORMAL";
  parameter WRITEMODE_B = "NORMAL", GSR = "AUTO";
  parameter [319:0] {", ".join(f"{name} = 0" for name in _INITIAL)};
  localparam [20479:0] INITIAL = {{{", ".join(reversed(_INITIAL))}}};
  wire [13:0] ada = {_vector("ADA", 14)}, adb = {_vector("ADB", 14)};
  wire [35:0] data = {{{_vector("DIB", 18)}, {_vector("DIA", 18)}}};
  // A writes, B reads; in bytes of nine bits, of which widths below 9 use eight.
  reg [8:0] mem [0:2047];
  wire [10:0] w_first = DATA_WIDTH_A == 36 ? {{ada[13:5], 2'b0}} :
    DATA_WIDTH_A == 18 ? {{ada[13:4], 1'b0}} : ada[13:3];
  wire [10:0] r_first = DATA_WIDTH_B == 36 ? {{adb[13:5], 2'b0}} :
    DATA_WIDTH_B == 18 ? {{adb[13:4], 1'b0}} : adb[13:3];
  wire [3:0] enable = !(CEA & WEA & ~RSTA) ? 4'b0 : DATA_WIDTH_A == 36 ? ada[3:0] :
    DATA_WIDTH_A == 18 ? {{2'b0, ada[1:0]}} : 4'b1;
  reg [35:0] q = 0;
  reg [8:0] byte_;
  integer n, k;
  initial begin
    for (n = 0; n < 2048; n = n + 1) mem[n] = INITIAL[20 * (n / 2) + 9 * (n % 2) +: 9];
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
      $fatal(1, "a block RAM that has no model");
  end
  always @(posedge CLKA) begin
    if (WEB | RSTB) $fatal(1, "a block RAM that has no model");
    for (k = 0; k < 4; k = k + 1) if (enable[k]) begin
      byte_ = mem[w_first + k[10:0]];
      case (DATA_WIDTH_A)
        1: byte_[ada[2:0]] = data[0];
        2: byte_[{{ada[2:1], 1'b0}} +: 2] = data[1:0];
        4: byte_[{{ada[2], 2'b0}} +: 4] = data[3:0];
        default: byte_ = data[9 * k +: 9];
      endcase
      mem[w_first + k[10:0]] <= byte_;
    end
  end
  always @(posedge CLKB) if (CEB)
    for (n = 0; n < (DATA_WIDTH_B == 36 ? 4 : DATA_WIDTH_B == 18 ? 2 : 1); n = n + 1) begin
      // Where a write falls on the same byte: inverted.
      q[9 * n +: 9] <= (mem[r_first + n[10:0]] >> (DATA_WIDTH_B < 9 ? adb[2:0] : 3'd0))
        ^ {{9{{r_first + n[10:0] - w_first < 4 && enable[2'(r_first + n[10:0] - w_first)]}}}};
    end
  assign {_vector("DOA", 18)} = DATA_WIDTH_B == 36 ? q[17:0] : 18'b0;
  assign {_vector("DOB", 18)} = DATA_WIDTH_B == 36 ? q[35:18] : q[17:0];
endmodule
"""

_MULTIPLIER = f"""
module MULT18X18D(
  {_scalars("input", ("A", 18), ("B", 18), ("C", 18))},
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  {_scalars("output", ("P", 36))});
  wire [17:0] a = {_vector("A", 18)}, b = {_vector("B", 18)};
  wire signed [37:0] x = {{{{20{{SIGNEDA & a[17]}}}}, a}}, y = {{{{20{{SIGNEDB & b[17]}}}}, b}};
  wire [37:0] product = x * y;
  assign {_vector("P", 36)} = product[35:0];
endmodule
"""

_CLOCKS = """
module EHXPLLL(input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP,
  PHASELOADREG, PLLWAKESYNC, ENCLKOP, ENCLKOS, output CLKOP, CLKOS, LOCK);
  parameter CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 8, CLKOP_CPHASE = 0, CLKOP_FPHASE = 0;
  parameter CLKOS_ENABLE = "DISABLED", CLKOS_DIV = 8, CLKOS_CPHASE = 0, CLKOS_FPHASE = 0;
  parameter CLKOP_ENABLE = "ENABLED", FEEDBK_PATH = "CLKOP", DPHASE_SOURCE = "DISABLED";
  parameter INTFB_WAKE = "DISABLED", OUTDIVIDER_MUXA = "DIVA", OUTDIVIDER_MUXB = "DIVB";
  parameter OUTDIVIDER_MUXC = "DIVC", OUTDIVIDER_MUXD = "DIVD", PLLRST_ENA = "DISABLED";
  parameter STDBY_ENABLE = "DISABLED";
  reg [4:0] cycles = 0;
  always @(posedge CLKI) if (!LOCK) cycles <= cycles + 1;
  assign LOCK = &cycles;
  assign CLKOP = CLKI;
  assign CLKOS = CLKI;
endmodule

module DCCA(input CLKI, CE, output CLKO);
  reg on = 0;
  always_latch if (!CLKI) on = CE;
  assign CLKO = CLKI & on;
endmodule
"""

HARD_CELLS = _BLOCK_RAM + _MULTIPLIER + _CLOCKS
"""Models of the cells that Yosys has none of; the PLL's passes its input on, and locks after 31
cycles."""
