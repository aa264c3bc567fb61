"""The map engine's cycles and placement: the figures of five networks, and what is refused."""

import numpy as np
import pytest
from map_kit import NETWORKS, ONE, THREE, TWO, Builder, multiply_adds

from dpnet.model.engine.maps.allocate import lifetimes
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge, place
from dpnet.model.engine.maps.plan import plan
from dpnet.model.maps.layers import MapLayer, MapNetwork, MapTensor

DEFAULT = MapEngineParameters()

FIGURES = {
    "resnet-8": (65_054, 65_502),
    "resnet-20": (176_448, 176_896),
    "tt-conv": (455_868, 455_868),
    "ds-cnn": (42_070, 43_006),
    "mobilenet-vww": (148_769, 148_769),
}
"""Cycles of a picture, and how many there may be at most: those of decision 0010."""


@pytest.mark.parametrize("name", FIGURES)
def test_cycles_of_the_five_networks(name):
    """Each mean takes 8 channels in 8 stages instead of 16 in 4: 512 cycles less where it has 64
    values, 1,000 where it has 125, 64 of which the last layer waits."""
    made = plan(DEFAULT, NETWORKS[name]())
    wanted, most = FIGURES[name]
    assert made.cycles == wanted <= most
    assert sum(made.layer_cycles().values()) == made.cycles


IN_FLIGHT = {
    "resnet-8": (24, 8, 6_460),
    "resnet-20": (24, 8, 16_248),
    "ds-cnn": (32, 6, 4_419),
}
"""Clusters, stages, and cycles of each of as many pictures as there are stages, rounded up."""


@pytest.mark.parametrize("name", IN_FLIGHT)
def test_cycles_of_pictures_in_flight(name):
    """ResNet-20's to be met: 16,400."""
    clusters, stages, wanted = IN_FLIGHT[name]
    params = MapEngineParameters(clusters=clusters, stages=stages, streams=4)
    made, alone = (plan(params, NETWORKS[name](), apart) for apart in (True, False))
    assert made.pictures == stages and -(-made.cycles // stages) == wanted < alone.cycles
    assert sum(made.layer_cycles().values()) == made.cycles
    assert made.cycles_of(1) == made.cycles - 16 * (stages - 1)


def test_a_layer_in_flight_by_hand():
    """64 positions of 24 clusters are 3 groups, each a tile of all stages for each of 4 row groups:
    576 additions and a drain of 16."""
    params = MapEngineParameters(clusters=24, streams=4)
    made = plan(params, NETWORKS["resnet-20"](), True)
    [one] = [one for one in made.passes if one.work.layer.name == "2.1.a"]
    assert (one.schedule.tiles, one.schedule.tile, one.schedule.last_tile) == (12, 592, 592)
    alone = plan(params, NETWORKS["resnet-20"]())
    [one] = [one for one in alone.passes if one.work.layer.name == "2.1.a"]
    assert one.schedule.tiles == 2


def test_a_layer_by_hand():
    """ResNet-8's conv2: 1,024 positions, 16 channels, 3 × 3, 16 rows: 512 groups on 8 stages, 64
    tiles of 144 additions and a drain of 16."""
    made = plan(DEFAULT, NETWORKS["resnet-8"]())
    [one] = [one for one in made.passes if one.work.layer.name == "conv2"]
    assert (one.schedule.tiles, one.schedule.tile, one.wait) == (64, 160, 0)
    assert multiply_adds(made.network)["conv2"] == 9 * 16 * 16 * 1024


def test_odd_rows_go_on_in_the_next_one():
    """DS-CNN's maps of 25 × 5: 63 groups of two positions, not 75."""
    made = plan(DEFAULT, NETWORKS["ds-cnn"]())
    assert {one.dispatch.groups for one in made.passes[:-2]} == {63}
    assert all(form.pitch % 2 for key, form in made.forms.items() if form.shape[1:] == (25, 5))


def test_pools_of_all_channels_at_once():
    made = plan(DEFAULT, NETWORKS["ds-cnn"]())
    pool = made.passes[-2]
    assert pool.work.shared and pool.work.row_groups == 8 and pool.schedule.tiles == 1
    assert pool.schedule.tile == 25 * 5 * 8 + 16


@pytest.mark.parametrize("name", ["resnet-8", "ds-cnn"])
def test_maps_of_one_time_share_no_words(name):
    placed = place(DEFAULT, NETWORKS[name]())
    spans, forms = lifetimes(placed.plan), placed.plan.forms
    for key, (begin, end) in spans.items():
        words = range(placed.bases[key], placed.bases[key] + forms[key].size)
        assert words.stop <= DEFAULT.map_depth
        for other, (start, stop) in spans.items():
            if other != key and start <= end and begin <= stop:
                there = range(placed.bases[other], placed.bases[other] + forms[other].size)
                assert max(words.start, there.start) >= min(words.stop, there.stop)


def small():
    net = Builder((3, 8, 8))
    x = net.conv("a", "picture", 16, THREE)
    return net.made(net.conv("b", x, 8, ONE, signed=True))


def test_a_network_that_is_too_large_says_which_engine_holds_it():
    params = MapEngineParameters(index_depth=16, map_depth=256, row_groups=1)
    with pytest.raises(NetworkTooLarge) as caught:
        place(params, small())
    assert str(caught.value) == (
        "the network is larger than the engine: index_depth 16 (it needs 54), row_groups 1 (it "
        "needs 2), map_depth 256 (it needs 512); "
        "index_depth=128, row_groups=128, map_depth=512 fits"
    )
    assert caught.value.fitting is not None
    place(caught.value.fitting, small())


def test_results_of_pictures_in_flight_need_room():
    """512 bytes in each bank for a picture, in halves; in flight for each of eight."""
    params = MapEngineParameters(result_depth=512)
    place(params, small())
    with pytest.raises(NetworkTooLarge) as caught:
        place(params, small(), True)
    assert str(caught.value) == (
        "the network in flight is larger than the engine: result_depth 512 (it needs 4096); "
        "result_depth=4096 fits"
    )


def test_a_network_that_no_engine_holds():
    net = Builder((600, 1, 1))
    network = net.made(net.conv("a", "picture", 1, ONE))
    net = Builder((500, 9, 9))
    wide = net.made(net.conv("a", "picture", 1, THREE))
    assert place(DEFAULT, network).plan.cycles
    with pytest.raises(NetworkTooLarge, match=r"it needs 4500 additions in a tile, .* most 4096"):
        place(MapEngineParameters(picture_depth=1 << 17), wide)


def changed(layer, **values):
    names = MapLayer.__dataclass_fields__
    return MapLayer(**{name: getattr(layer, name) for name in names} | values)


def with_first(**values):
    network = small()
    return MapNetwork(
        network.tensors, (changed(network.layers[0], **values), network.layers[1]), network.output
    )


@pytest.mark.parametrize(
    "values, message",
    [
        (
            {"multiplier": np.full(16, 1 << 16)},
            "layer a: multiplier must be from 0 to 65535, not 65536",
        ),
        ({"shift": np.full(16, 64)}, "layer a: shift must be from 0 to 63, not 64"),
        (
            {"entries": np.full((16, 16), 1 << 17)},
            "layer a: entries must be from -131072 to 131071, not 131072",
        ),
        (
            {"bias": np.full(16, 1 << 39)},
            "layer a: row 0 may need more than the 40 bits of an accumulator",
        ),
        ({"output": "b"}, "layer b reads a, which is not all written"),
    ],
)
def test_what_is_too_wide_or_missing(values, message):
    if values.get("output") == "b":
        network = small()
        tensors = (*network.tensors, MapTensor("c", (16, 8, 8), 1.0, True))
        first = changed(network.layers[0], output="c")
        network = MapNetwork(tensors, (first, network.layers[1]), network.output)
    else:
        network = with_first(**values)
    with pytest.raises(ValueError) as caught:
        place(DEFAULT, network)
    assert str(caught.value) == message


def test_a_dispatch_given_up_by_a_pass_that_takes_skip_values_of_what_it_reads():
    """Plane writes of 5 × 5 wrap into one bank: the sum, which reads x twice, must give way."""
    net = Builder((3, 5, 5))
    x = net.conv("x", "picture", 4, THREE)
    y = net.conv("y", x, 4, ONE, skip={"tensor": x})
    z = net.conv("z", y, 4, ONE, stride=(1, 2))
    for clusters in (2, 3, 4):
        made = plan(MapEngineParameters(clusters=clusters), net.made(z))
        assert {key[0] for key in made.forms} == {"picture", "x", "y", "z"}


def test_a_maximum_of_nothing():
    net = Builder((3, 4, 4))
    network = net.made(net.maximum("m", "picture", ONE, stride=TWO, padding=(2, 0, 0, 0)))
    with pytest.raises(ValueError, match=r"layer m: a window without a value has no maximum"):
        place(DEFAULT, network)


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"clusters": 0}, "clusters must be an integer from 1 to 64, not 0"),
        ({"stages": 65}, "stages must be an integer from 1 to 64, not 65"),
        ({"entry_bits": 19}, "entry_bits must be an integer from 2 to 18, not 19"),
        ({"index_depth": 33}, "index_depth must be a multiple of 2, not 33"),
        ({"multiplier": "9x9"}, "multiplier must be one of 25x18, 18x18, not '9x9'"),
        (
            {"clusters": 64, "stages": 63, "map_depth": 1 << 17},
            "clusters, stages and their banks must have addresses of at most 28 bits, not of 29",
        ),
    ],
)
def test_sizes_that_cannot_be_built(sizes, message):
    with pytest.raises(ValueError) as caught:
        MapEngineParameters(**sizes)
    assert str(caught.value) == message


def test_lanes_and_columns_are_the_arrays_own():
    assert DEFAULT.lanes == 256 and DEFAULT.cluster.lanes == 128
    assert (DEFAULT.cluster.sum_bits, DEFAULT.cluster.accumulator_bits) == (20, 38)
    assert not DEFAULT.cluster.split_entries
