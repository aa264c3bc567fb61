"""The ULX3S's whole top after synthesis, as nextpnr reads it, answers the host as its RTL does."""

import copy
import json

import pytest

from dpnet.boards.ecp5.flow import synthesize
from dpnet.boards.ecp5.models import HARD_CELLS, netlist_model
from dpnet.boards.ulx3s.board import TOP
from dpnet.boards.ulx3s.top import Ulx3sTop
from dpnet.boards.yosys import find_yosys
from dpnet.gateware.emit import emit
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import BenchError, run_bench

pytestmark = pytest.mark.long

ENGINE = {
    "stages": 1,
    "columns": 2,
    "segments": 1,
    "index_bits": 2,
    "activation_bits": 8,
    "entry_bits": 8,
    "max_columns": 16,
    "index_depth": 32,
    "slots": 4,
    "result_slots": 4,
    "vector_words": 32,
    "layers": 2,
    "row_beats": 1,
    "edges": "integer",
    "packed": False,
    "residues": False,
    "multiplier": "18x18",
}
MHZ, BAUD = 50, 6_250_000
# The PLL's model passes its input on, so the bench drives the oscillator at the engine's clock.
VALUES = {"engine": ENGINE, "baud": BAUD, "clock_ps": 1_000_000 // MHZ}

BENCH_TOP = """
module top(clk, rx, flip, tx, rtl_tx, led, differs);
  input clk, rx, flip;
  output tx, rtl_tx, differs;
  output [7:0] led;
  wire [7:0] rtl_led;
  wire rtl_high, high;
  reg differs = 0;
  ulx3s rtl(.clk25(clk), .rx(rx), .tx(rtl_tx), .led(rtl_led), .wifi_gpio0(rtl_high));
  netlist netlist(
    .clk25(clk), .rx(rx), .tx(tx), .led(led), .wifi_gpio0(high), .flip(flip));
  always @(negedge clk) if ({tx, led, high} != {rtl_tx, rtl_led, rtl_high}) differs <= 1;
endmodule
"""
MUX = f"{0xCACA:016b}"
"""INIT of a LUT4 that gives A or B as C says: B on 1."""


def with_flip(netlist, prefix):
    """The netlist with an input `flip` that turns over the INIT of a LUT whose name has `prefix`:
    so that one build shows that the netlist is right, and that a wrong one is noticed."""
    document = json.loads(netlist)
    module = document["modules"][TOP]
    cells = module["cells"]
    lookups = sorted(n for n in cells if n.startswith(prefix) and cells[n]["type"] == "LUT4")
    chosen = cells[lookups[len(lookups) // 2]]
    free = 1 + max(b for n in module["netnames"].values() for b in n["bits"] if isinstance(b, int))
    flip, right, wrong = range(free, free + 3)
    output = chosen["connections"]["Z"]
    chosen["connections"]["Z"] = [right]
    flipped = copy.deepcopy(chosen)
    flipped["connections"]["Z"] = [wrong]
    turned = chosen["parameters"]["INIT"].translate(str.maketrans("01", "10"))
    flipped["parameters"]["INIT"] = turned
    mux = copy.deepcopy(chosen)
    mux["parameters"]["INIT"] = MUX
    mux["connections"] = {"A": [right], "B": [wrong], "C": [flip], "D": ["0"], "Z": output}
    cells |= {"flipped": flipped, "flip_mux": mux}
    module["ports"]["flip"] = {"direction": "input", "bits": [flip]}
    module["netnames"]["flip"] = {"hide_name": 0, "bits": [flip], "attributes": {}}
    return json.dumps(document)


@pytest.fixture(scope="module")
def design():
    """RTL and netlist of the board's top around a very small engine, side by side."""
    top = Ulx3sTop(engine=EngineParameters(**ENGINE), mhz=MHZ, baud=BAUD)
    rtl = emit(top, TOP)
    netlist = with_flip(synthesize(rtl, TOP, find_yosys()), "logic.engine.core.array")
    return rtl + netlist_model(netlist, TOP) + HARD_CELLS + BENCH_TOP


def test_the_netlist_answers_the_host_as_the_rtl_does(design):
    assert run_bench(design, "doors.netlist_top", values={**VALUES, "flip": 0}) == 1


def test_a_lookup_table_that_is_turned_over_is_noticed(design):
    with pytest.raises(BenchError, match=r"answers_as_the_rtl_does: .*(differs|expected)"):
        run_bench(design, "doors.netlist_top", values={**VALUES, "flip": 1})
