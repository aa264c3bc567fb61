"""The dense engine of decision 0014, by its model."""

import re
from typing import Any

import pytest
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from map_kit import NETWORKS

from dpnet.boards.yosys import find_yosys, run_script
from dpnet.gateware.emit import emit
from dpnet.model.engine.devices import XC7Z045
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.plan import plan
from dpnet.model.engine.maps.sizing.dense import DenseMapParameters

SHAPES = [(clusters, stages) for clusters in range(1, 57) for stages in range(1, 33)]
BEST = {
    "resnet-8": (17, 6, 11_207, 7_605),
    "resnet-20": (13, 8, 28_816, 19_107),
    "tt-conv": (12, 9, 71_714, 42_283),
    "ds-cnn": (25, 4, 6_846, 5_462),
    "mobilenet-vww": (25, 4, 20_586, 16_673),
}
"""Clusters and stages of the fastest dense engine of 900 DSP slices or fewer among those that
decision 0014 has, its cycles, and those of the map engine of 24 × 8."""


@pytest.mark.parametrize("name", BEST)
def test_cycles_of_the_dense_engine(name: str) -> None:
    clusters, stages, cycles, ours = BEST[name]
    network = NETWORKS[name]()
    dense = DenseMapParameters(clusters=clusters, stages=stages, streams=4)
    assert dense.slices <= XC7Z045.sizes["dsp"]
    assert plan(dense, network).cycles == cycles
    assert plan(MapEngineParameters(clusters=24, streams=4), network).cycles == ours
    assert 1.2 < cycles / ours < 1.75


def test_a_tile_by_hand() -> None:
    """144 products need no more cycles than 144, 9 are waited for by 8 stages' drains."""
    dense, ours = DenseMapParameters(), MapEngineParameters()
    assert (dense.tile_cycles(144, 8), ours.tile_cycles(144, 8)) == (144, 160)
    assert dense.tile_cycles(9, 8) == ours.tile_cycles(9, 8) == 128
    assert dense.slices == 256 // 2 + 2 * 3


def test_the_widest_that_the_chip_has_slices_for() -> None:
    fits = [
        DenseMapParameters(clusters=clusters, stages=stages).lanes
        for clusters, stages in SHAPES
        if DenseMapParameters(clusters=clusters, stages=stages).slices <= XC7Z045.sizes["dsp"]
    ]
    assert max(fits) <= 1_776


class Mac(wiring.Component):
    """A product of 8 × `bits` bits, and an accumulator of 20."""

    def __init__(self, bits: int) -> None:
        super().__init__(
            {"x": In(signed(8)), "w": In(signed(bits)), "clear": In(1), "o": Out(signed(20))}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        product = Signal(signed(len(self.x) + len(self.w)))
        m.d.sync += [product.eq(self.x * self.w), self.o.eq(Mux(self.clear, 0, self.o) + product)]
        return m


SCRIPT = """\
read_verilog design.v
synth_xilinx -family xc7 -nodsp -top top
tee -o counts.txt stat
"""


@pytest.mark.whole
@pytest.mark.parametrize(("bits", "luts"), [(8, 154), (4, 74)])
def test_lut_multipliers(bits: int, luts: int) -> None:
    """As decision 0014 has them: no slice, for all of them are taken."""
    counts = run_script(find_yosys(), SCRIPT, emit(Mac(bits)), "counts.txt")
    found = {name: int(count) for count, name in re.findall(r"(\d+) +(LUT\d|DSP48E1)", counts)}
    assert "DSP48E1" not in found
    assert sum(found.values()) == luts
