"""What limits layers: parts that add up to the cycles, roofs that nothing is below, layers reckoned
by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from map_kit import NETWORKS, multiply_adds
from test_model_map_steps import networks

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.plan import Plan, plan
from dpnet.model.engine.maps.sizing.roofs import LOSSES, ROOFS, LayerRoofs, layer_roofs

LARGE = MapEngineParameters(clusters=24, streams=4)


def by_name(made: Plan) -> dict[str, LayerRoofs]:
    return {one.name: one for one in layer_roofs(made)}


def check(made: Plan) -> None:
    """All parts of every layer, and of the layers."""
    found = by_name(made)
    assert {name: one.cycles for name, one in found.items()} == made.layer_cycles()
    for one in found.values():
        assert list(one.roofs) == list(ROOFS) and list(one.lost) == list(LOSSES)
        assert one.roofs["lanes"] + sum(one.lost.values()) == one.cycles
        assert min(one.lost.values()) >= 0
        assert max(one.roofs.values()) <= one.cycles
        assert 0 <= one.reached <= 1


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("params", [MapEngineParameters(), LARGE], ids=["2 × 8", "24 × 8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_parts_add_up(name: str, params: MapEngineParameters, apart: bool) -> None:
    made = plan(params, NETWORKS[name](), apart)
    check(made)
    adds = multiply_adds(made.network)
    for layer, one in by_name(made).items():
        if layer in adds and one.operator.startswith(("conv", "depthwise", "linear")):
            assert one.roofs["lanes"] == Fraction(made.pictures * adds[layer], params.lanes)


@given(network=networks(), apart=st.booleans())
def test_parts_of_random_networks_add_up(network: object, apart: bool) -> None:
    for sizes in ({"clusters": 3, "stages": 2}, {"clusters": 5, "stages": 3, "streams": 1}):
        check(plan(MapEngineParameters(**sizes), network, apart))


def test_a_convolution_by_hand() -> None:
    """ResNet-20's first layers on 24 × 8: 1,024 positions, 16 rows that add 144 values each. 43 to
    48 groups of positions are 6 tiles of 8 stages, each with a drain of 16 cycles."""
    one = by_name(plan(LARGE, NETWORKS["resnet-20"]()))["0.0.a"]
    assert one.roofs["lanes"] == one.roofs["reads"] == 1024 * 16 * 144 / 3072 == 768
    assert one.roofs["results"] == Fraction(1024 * 16, 24)
    assert one.roofs["indices"] == Fraction(144, 4)
    assert (one.cycles, one.limit) == (960, "lanes")
    assert one.lost["drains"] == 6 * 16
    assert one.lost["rows"] == one.lost["groups"] == 0
    assert one.lost["positions"] + one.lost["stages"] == 960 - 768 - 96


def test_a_depthwise_layer_by_hand() -> None:
    """DS-CNN's: 25 × 5 positions of 64 channels, 16 at a time, each row adds 9 values of 144."""
    one = by_name(plan(MapEngineParameters(), NETWORKS["ds-cnn"]()))["depthwise1"]
    assert one.roofs["lanes"] == Fraction(125 * 64 * 9, 256)
    assert one.lost["groups"] == Fraction(125 * 64 * (144 - 9), 256)
    assert one.roofs["reads"] == Fraction(125 * 4 * 144, 16)
    assert one.limit == "reads"
    assert one.largest()[0][0] == "groups"
