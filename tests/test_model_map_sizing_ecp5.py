"""Map engines for an ECP5: estimates beside Yosys' counts, and the search."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields, replace

import pytest
from map_image_kit import small_network

from dpnet.boards.ecp5.nextpnr import synthesize
from dpnet.boards.parts.map_engines import KEYWORDS, RESNET8
from dpnet.gateware.emit import emit
from dpnet.gateware.maps.core import MapCore
from dpnet.model.engine.devices import KINDS, LFE5U_85F, LIMITS
from dpnet.model.engine.estimate import Estimate
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import place
from dpnet.model.engine.maps.sizing.configurations import MAP_ENGINES
from dpnet.model.engine.maps.sizing.estimate_ecp5 import LINK, estimate_maps_ecp5
from dpnet.model.engine.maps.sizing.search import propose

SMALL = MapEngineParameters(
    clusters=2,
    stages=1,
    streams=1,
    max_columns=16,
    index_depth=128,
    row_groups=8,
    taps=32,
    passes=8,
    map_depth=640,
    picture_depth=192,
    result_depth=64,
    multiplier="18x18",
)
ENGINES = {
    "resnet-8": replace(RESNET8, multiplier="18x18"),
    "keywords": replace(KEYWORDS, multiplier="18x18"),
    "maps-4x4x2": replace(MAP_ENGINES["maps-4x4x2"], multiplier="18x18"),
    "2x1x1": SMALL,
    "1x3x2": replace(SMALL, clusters=1, stages=3, streams=2, map_depth=1152, picture_depth=384),
    "6x2x4": replace(
        SMALL,
        clusters=6,
        stages=2,
        streams=4,
        index_depth=256,
        map_depth=256,
        picture_depth=128,
    ),
}
"""Clusters × stages × streams; the small ones are as large as `map_image_kit.small_network`.  The
last one was counted besides: the estimate is made of the others."""

# `CELLS` by Yosys 0.70 with the script of boards/ecp5/nextpnr.py, of MapCore alone:
# pytest -m long tests/test_model_map_sizing_ecp5.py counts one of them once more.
COUNTED = {
    "resnet-8": (25797, 4354, 602, 30664, 82, 175),
    "keywords": (14412, 2404, 307, 17184, 42, 87),
    "maps-4x4x2": (33871, 7121, 1385, 44034, 146, 263),
    "2x1x1": (11422, 1813, 137, 13163, 42, 40),
    "1x3x2": (9888, 1396, 177, 15035, 22, 37),
    "6x2x4": (31716, 5229, 691, 39433, 122, 94),
}
CELLS = ("LUT4", "CCU2C", "TRELLIS_DPR16X4", "TRELLIS_FF", "MULT18X18D", "DP16KD")


def sites(cells: tuple[int, ...]) -> Estimate:
    """A CCU2C is two LUTs, a TRELLIS_DPR16X4 six: four hold it, two are its write port's place."""
    lut4, carry, memory, ff, multipliers, block = cells
    lut = lut4 + 2 * carry + 6 * memory
    return Estimate(lut=lut, lutram=memory, ff=ff, dsp=multipliers, bram18=block)


def wrong(name: str, cells: tuple[int, ...]) -> dict[str, tuple[int, int]]:
    """What is estimated, and counted, where they differ by more than a tenth."""
    found, counted = estimate_maps_ecp5(ENGINES[name]), sites(cells)
    pairs = {f.name: (getattr(found, f.name), getattr(counted, f.name)) for f in fields(Estimate)}
    return {kind: (a, b) for kind, (a, b) in pairs.items() if 10 * abs(a - b) > b}


@pytest.mark.parametrize("name", ENGINES)
def test_estimates_are_within_a_tenth_of_yosys(name: str) -> None:
    assert not wrong(name, COUNTED[name])
    found = estimate_maps_ecp5(ENGINES[name])
    assert (found.dsp, found.bram18) == COUNTED[name][4:], "exact"


@pytest.mark.long
def test_what_yosys_counts_now() -> None:
    netlist = json.loads(synthesize(emit(MapCore(params=SMALL), "top"), "top"))
    kinds = Counter(cell["type"] for cell in netlist["modules"]["top"]["cells"].values())
    assert not wrong("2x1x1", tuple(kinds[cell] for cell in CELLS))


def test_multipliers_of_another_chip() -> None:
    message = "estimates for an ECP5 are for multiplier '18x18', not '25x18'"
    with pytest.raises(ValueError, match=message):
        estimate_maps_ecp5(MapEngineParameters())


def test_proposals_fit_with_a_link_and_come_fastest_first() -> None:
    network = small_network()
    found = propose(network, LFE5U_85F)
    cycles = [one.cycles.total for one in found]
    assert found and cycles == sorted(cycles)
    for one in found:
        assert one.engine.multiplier == "18x18"
        assert place(one.engine, network).plan.cycles == one.cycles.total
        assert one.resources == estimate_maps_ecp5(one.engine)
        both = one.resources + LINK
        for kind in KINDS:
            assert getattr(both, kind) <= LFE5U_85F.sizes[kind] * LIMITS[kind]
