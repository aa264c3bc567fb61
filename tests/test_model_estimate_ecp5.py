"""Estimated resources of an ECP5 against Yosys: six engines as it counted them, one once more."""

import json
from collections import Counter
from dataclasses import fields, replace

import pytest

from dpnet.boards.ecp5.nextpnr import AVAILABLE, synthesize
from dpnet.boards.ulx3s.board import BOARD
from dpnet.gateware.core import ArrayCore
from dpnet.gateware.emit import emit
from dpnet.model.engine.configurations import ECP5, PLANNED, SMALL
from dpnet.model.engine.devices import KINDS, LFE5U_85F, LIMITS
from dpnet.model.engine.estimate import Estimate
from dpnet.model.engine.estimate_ecp5 import estimate_ecp5
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.plan import Layer, plan

LIVE = "int8-2x4x2"
ENGINES = {
    "fp32-16": ECP5["fp32-16"].engine,
    "int8-64": ECP5["int8-64"].engine,
    "ulx3s": BOARD.engine,
    "small-fp32": replace(SMALL["small-fp32"].engine, multiplier="18x18"),
    "small-int8": replace(SMALL["small-int8"].engine, multiplier="18x18"),
    LIVE: replace(PLANNED[LIVE], multiplier="18x18"),
}

# `CELLS` by Yosys 0.70 with the script of boards/ecp5/nextpnr.py.  A CCU2C is two LUTs, a
# TRELLIS_DPR16X4 six: four hold it, two are its write port's place.
COUNTED = {
    "fp32-16": (9700, 1601, 144, 10531, 32, 36),
    "int8-64": (9046, 1176, 320, 7715, 11, 33),
    "ulx3s": (5499, 525, 40, 4389, 7, 43),
    "small-fp32": (11391, 1565, 270, 10901, 24, 33),
    "small-int8": (15155, 1898, 600, 12737, 20, 61),
    LIVE: (5405, 539, 64, 4695, 7, 23),
}
CELLS = ("LUT4", "CCU2C", "TRELLIS_DPR16X4", "TRELLIS_FF", "MULT18X18D", "DP16KD")


def sites(cells):
    lut4, carry, memory, ff, multipliers, block = cells
    lut = lut4 + 2 * carry + 6 * memory
    return Estimate(lut=lut, lutram=memory, ff=ff, dsp=multipliers, bram18=block)


def wrong(name, cells, part, least=1):
    found, counted = estimate_ecp5(ENGINES[name]), sites(cells)
    pairs = {f.name: (getattr(found, f.name), getattr(counted, f.name)) for f in fields(Estimate)}
    return {kind: (a, b) for kind, (a, b) in pairs.items() if abs(a - b) > max(least, part * b)}


@pytest.mark.parametrize("name", ENGINES)
def test_estimates_are_within_a_tenth_of_yosys(name):
    assert not wrong(name, COUNTED[name], 0.1)
    found = estimate_ecp5(ENGINES[name])
    assert (found.lutram, found.bram18) == (COUNTED[name][2], COUNTED[name][5]), "exact"


@pytest.mark.long
def test_what_yosys_counts_now():
    netlist = json.loads(synthesize(emit(ArrayCore(engine=ENGINES[LIVE]), "top"), "top"))
    kinds = Counter(cell["type"] for cell in netlist["modules"]["top"]["cells"].values())
    assert not wrong(LIVE, [kinds[cell] for cell in CELLS], 0.1)


@pytest.mark.parametrize("changes", [{"storage": "distributed"}, {"multiplier": "25x18"}])
def test_engines_for_other_chips_are_refused(changes):
    engine = EngineParameters(**{"multiplier": "18x18", **changes})
    with pytest.raises(ValueError) as error:
        estimate_ecp5(engine)
    assert str(error.value) == (
        "estimates for an ECP5 are for storage 'block' and multiplier '18x18', not "
        f"{engine.storage!r} and {engine.multiplier!r}"
    )


@pytest.mark.parametrize("activation", ["int8", "fp32"])
def test_proposals_fit_the_chip_and_have_its_multipliers(activation):
    layers = [Layer(256, 64, 16), Layer(128, 256, 16), Layer(10, 128, 16)]
    found = plan(layers, LFE5U_85F, activation=activation)
    assert len(found) == 5
    for one in found:
        assert one.engine.multiplier == "18x18" and one.engine.dsp_columns == 0
        assert one.resources == estimate_ecp5(one.engine)
        for kind in KINDS:
            assert getattr(one.resources, kind) <= LFE5U_85F.sizes[kind] * LIMITS[kind]
    lanes = max(one.engine.lanes for one in found)
    assert lanes > BOARD.engine.lanes, "more than the board's small one"


def test_the_chip_is_the_one_that_nextpnr_counts():
    assert (AVAILABLE) == {
        "lut": 83_640,
        "ff": 83_640,
        "lutram": 10_455,
        "bram": 208,
        "multiplier": 156,
    }
