"""Counting an XC7 netlist: sums over a hierarchy, sizes of cells, what Yosys makes of a lane."""

import json

import pytest

from dpnet.boards.series7.netlist import (
    CELLS,
    Netlist,
    Resources,
    binding,
    fits,
    parse_statistics,
    share,
    synthesize,
    synthesize_netlist,
)
from dpnet.boards.tool import ToolError
from dpnet.gateware.array.lane import Lane
from dpnet.gateware.emit import emit
from dpnet.model.engine.devices import XC7A35T, XC7Z045

# top: 2 × half, 1 × leaf.  half: 3 × leaf.  So 7 leaves; `unused` is in the file, not in the top.
HIERARCHY = {
    "top": {"half": 2, "leaf": 1, "LUT6": 5, "FDRE": 10, "RAMB18E1": 1, "INV": 4},
    "half": {"leaf": 3, "LUT2": 1, "DSP48E1": 2, "RAMB18E1": 1, "RAMB36E1": 1},
    "leaf": {"LUT3": 7, "RAM32M": 2, "SRL16E": 3, "FDSE": 9, "CARRY4": 4, "MUXF7": 1},
    "unused": {"LUT6": 1000},
}


def test_a_hierarchy_is_summed_with_every_module_as_often_as_it_is_placed():
    netlist = Netlist("top", HIERARCHY)
    # LUT sites of a leaf: 7 + 2 RAM32M of 4 + 3 shift registers = 18, of which 11 are memory.
    assert netlist.total == Resources(
        lut=5 + 2 * 1 + 7 * 18,
        lutram=7 * 11,
        ff=10 + 7 * 9,
        dsp=2 * 2,
        bram18=1 + 2 * (1 + 2),
        carry=7 * 4,
    )
    assert netlist.total.bram36 == 4  # 3.5 block RAMs
    assert [(use.module, use.count, use.own.lut) for use in netlist.uses] == [
        ("leaf", 7, 18),
        ("top", 1, 5),
        ("half", 2, 1),
    ]


def test_half_block_rams_are_rounded_once_at_the_end():
    modules = {"top": {"store": 3}, "store": {"RAMB18E1": 1}}
    assert Netlist("top", modules).total.bram36 == 2


@pytest.mark.parametrize(
    "cell, sites",
    # LUTs of a SLICEM that each primitive takes, as in Xilinx' UG474 (tables of distributed RAM).
    [
        ("RAM32X1S", 1),
        ("RAM32X1D", 2),
        ("RAM32M", 4),
        ("RAM64X1S", 1),
        ("RAM64X1D", 2),
        ("RAM64M", 4),
        ("RAM128X1S", 2),
        ("RAM128X1D", 4),
        ("RAM256X1S", 4),
        ("SRLC32E", 1),
    ],
)
def test_memories_in_luts_have_the_size_of_the_data_sheet(cell, sites):
    assert CELLS[cell] == Resources(lut=sites, lutram=sites)


def test_a_cell_of_unknown_size_is_refused_even_in_a_module_that_is_not_placed():
    with pytest.raises(ToolError) as caught:
        Netlist("top", {"top": {"LUT1": 1}, "spare": {"URAM288": 1}})
    assert str(caught.value) == (
        "cannot count spare: no size known for its cell 'URAM288'; add it to CELLS in "
        "boards/series7/netlist.py"
    )


def test_a_netlist_without_the_top_is_refused():
    with pytest.raises(ToolError, match=r"^cannot count the netlist: it has no module 'engine'$"):
        Netlist("engine", {"top": {}})


def test_statistics_name_modules_with_and_without_a_backslash():
    text = json.dumps(
        {
            "modules": {
                "\\top": {"num_cells_by_type": {"a.b": 2, "$scopeinfo": 1}},
                "\\a.b": {"num_cells_by_type": {"LUT2": 3}},
            }
        }
    )
    assert Netlist("top", parse_statistics(text)).total == Resources(lut=6)


def test_shares_and_what_binds():
    used = Resources(lut=109_300, lutram=35_200, ff=4_372, dsp=450, bram18=545)
    assert share(used) == pytest.approx(
        {"lut": 0.5, "lutram": 0.5, "ff": 0.01, "dsp": 0.5, "bram36": 273 / 545}
    )
    assert binding(used) == "lut"  # 50 of 85 %
    assert binding(used + Resources(lutram=10_000)) == "lutram"  # 64 of 90 %
    assert binding(Resources(dsp=1)) == "dsp"


@pytest.mark.parametrize(
    "kind, most", [("lut", 185_810), ("lutram", 63_360), ("dsp", 900), ("ff", 437_200)]
)
def test_a_design_fits_up_to_its_limit(kind, most):
    assert fits(Resources(**{kind: most}))
    assert not fits(Resources(**{kind: most + 1}))


def test_block_rams_fit_up_to_the_last_half():
    assert fits(Resources(bram18=2 * XC7Z045.sizes["bram36"]))
    assert not fits(Resources(bram18=2 * XC7Z045.sizes["bram36"] + 1))


def test_shares_are_of_the_chip_that_is_meant():
    used = Resources(lut=10_400, dsp=90, bram18=40)
    assert share(used, XC7A35T) == {"lut": 0.5, "lutram": 0, "ff": 0, "dsp": 1, "bram36": 0.4}
    assert binding(used, XC7A35T) == "dsp" and fits(used, XC7A35T)
    assert not fits(used + Resources(dsp=1), XC7A35T) and fits(used + Resources(dsp=1))


KNOWN = """
module known(input clk, input [3:0] a, input [34:0] x, input [24:0] p, input [17:0] q,
             output reg [34:0] o, output reg [42:0] product, output delayed);
  (* ram_style = "distributed" *) reg [34:0] mem [0:15];
  always @(posedge clk) begin o <= mem[a]; mem[a] <= mem[a] + x; end
  reg signed [24:0] p1; reg signed [17:0] q1;
  always @(posedge clk) begin p1 <= p; q1 <= q; product <= p1 * q1; end
  reg [15:0] line;
  always @(posedge clk) line <= {line[14:0], x[0]};
  assign delayed = line[15];
endmodule
"""


@pytest.mark.whole
def test_yosys_makes_of_known_verilog_what_the_chip_has_for_it():
    used = synthesize(KNOWN, "known")
    # 35 bits at 8 a RAM32M: 5 of 4 LUTs; a delay of 16: one shift register; registers of the
    # product are the DSP slice's; the adder is 35 LUTs; 35 flip-flops for `o`, one or none behind
    # the shift register.
    assert (used.lutram, used.dsp, used.bram36) == (21, 1, 0)
    assert used.ff in (35, 36)
    assert 21 + 35 <= used.lut <= 21 + 35 + 3


@pytest.mark.long
def test_a_lane_has_its_bucket_memory_in_lut_ram(tmp_path, monkeypatch):
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    lane = emit(Lane(buckets=16, activation_bits=8, bits=18), "lane")
    first, again = (synthesize_netlist(lane, "lane") for _ in range(2))
    assert (first.kept, again.kept) == (False, True)
    assert first.total == again.total
    # 16 bits in two RAM32M, read and written at one address, 2 in RAM32X1S; the adder, and little
    # else.
    assert first.total.lutram == 10
    assert first.total.ff == 18
    assert 10 + 18 <= first.total.lut <= 30


def test_verilog_that_yosys_refuses_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        synthesize("module broken(", "broken")
    log = tmp_path / "synthesis" / "failed-yosys.log"
    assert str(caught.value).startswith("Yosys failed: ") and str(caught.value).count("\n") == 0
    assert str(caught.value).endswith(f"; the log is {log}")
    assert "ERROR" in log.read_text()
    assert list(tmp_path.glob("synthesis/*.json")) == []
