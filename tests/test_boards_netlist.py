"""What Yosys makes of lanes, segments, columns and parts of a map engine does what their RTL does,
cycle by cycle.

Guards against synthesis that is wrong: Yosys 0.70 takes a difference modulo 2^n into the pre-adder
of a DSP slice, where it does not wrap (the `keep` in gateware/array/column.py).
"""

import pytest
from amaranth.hdl import Shape
from amaranth.lib.wiring import In

from dpnet.boards.series7.netlist import netlist_model, synthesize
from dpnet.gateware.array.column import Column
from dpnet.gateware.array.lane import Lane
from dpnet.gateware.array.segment import Segment
from dpnet.gateware.emit import emit
from dpnet.gateware.maps.finish import Finish
from dpnet.gateware.maps.stage_path import StagePath
from dpnet.gateware.maps.unit import Unit
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.bundle import Bundle

# Five columns of 4-bit indices: packed.  As many rows as the address has values: a read beyond
# them is nobody's contract.  Block RAMs have no model.
SIZES = {
    "columns": 5,
    "index_depth": 16,
    "max_columns": 1024,
    "dsp_columns": 1,
    "storage": "distributed",
    "stages": 2,
}
FP32 = EngineParameters(**SIZES, activation_bits=24, edges="fp32")
MAPS = MapEngineParameters()
INT8 = EngineParameters(**SIZES, activation_bits=8, entry_bits=16, edges="integer")


def ports(bundle):
    """(name, width) of all inputs, and of all outputs."""
    inputs, outputs = [], []
    for path, member, _ in bundle.signature.flatten(bundle):
        name = "__".join(map(str, path))
        # The parts' inputs are the bundle's too.
        side = inputs if member.flow == In else outputs
        side.append((name, Shape.cast(member.shape).width))
    return inputs, outputs


def side_by_side(rtl, model, inputs, outputs):
    """One design of both, with their inputs in `i` and their outputs in `rtl` and `netlist`."""

    def connected(instance, output):
        pins = [".clk(clk)", ".rst(rst)"]
        for vector, group in (("i", inputs), (output, outputs)):
            bits = 0
            for name, width in group:
                pins.append(f".{name}({vector}[{bits + width - 1}:{bits}])")
                bits += width
        return f"  {instance} {instance}_0 ({', '.join(pins)});"

    widths = [sum(width for _, width in group) for group in (inputs, outputs)]
    return f"""{rtl}
{model}
module top(clk, rst, i, rtl, netlist);
  input clk;
  input rst;
  input [{widths[0] - 1}:0] i;
  output [{widths[1] - 1}:0] rtl;
  output [{widths[1] - 1}:0] netlist;
{connected("design_rtl", "rtl")}
{connected("netlist", "netlist")}
endmodule
"""


@pytest.mark.long
def test_the_netlist_does_what_the_rtl_does():
    bundle = Bundle(
        lane=Lane(buckets=16, activation_bits=24, bits=34),
        dsp=Lane(buckets=16, activation_bits=8, bits=19, adder="dsp"),
        segment=Segment(engine=FP32, first=True),
        later=Segment(engine=INT8, first=False),
        fp32=Column(engine=FP32),
        int8=Column(engine=INT8),
        unit=Unit(params=MAPS),
        path=StagePath(params=MAPS, first=False),
        finish=Finish(params=MAPS),
    )
    rtl = emit(bundle, "design_rtl")
    inputs, outputs = ports(bundle)
    design = side_by_side(rtl, netlist_model(rtl, "design_rtl"), inputs, outputs)
    # Nothing upsets the stores; a sum of 18 bits has no low limb.
    still = ["segment__corrupt", "later__corrupt", "int8__low"]
    values = {"inputs": inputs, "outputs": outputs, "still": still, "cycles": 3000}
    assert run_bench(design, "parts.netlist", values=values) == 1


@pytest.mark.whole
@pytest.mark.parametrize("bits, lutram", [(34, 18), pytest.param(19, 11, marks=pytest.mark.long)])
def test_a_lane_takes_no_more_than_its_adder_and_its_bits_of_memory(bits, lutram):
    lane = synthesize(emit(Lane(buckets=16, activation_bits=8, bits=bits), "lane"), "lane")
    assert (lane.lut, lane.lutram, lane.ff, lane.dsp) == (lutram + bits, lutram, bits, 0)


@pytest.mark.long
def test_a_checked_store_folds_its_words_once():
    store = synthesize(emit(CheckedRam(width=16 * 32, depth=512, granularity=32), "store"), "store")
    # 3 LUTs take 16 bits, 33 times; the parities of what is read and written take 7 each.
    assert 3 * 33 + 2 * 7 <= store.lut <= 3 * 33 + 2 * 7 + 4
    assert store.bram18 == 16
