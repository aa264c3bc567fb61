"""How positions are dispatched and maps laid out: gaps, pitches, one choice for all passes, and the
cycles of an engine at the size of the chip."""

from itertools import combinations

import numpy as np
import pytest
from map_kit import NETWORKS, ONE, THREE, TIGHT, TWO, Builder

from dpnet.model.engine.maps.dispatch import IDLE, Dispatch, dispatches
from dpnet.model.engine.maps.layout.forms import Reader, Writer, find_form, twists
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge, place
from dpnet.model.engine.maps.plan import plan
from dpnet.model.engine.maps.records import PASS
from dpnet.model.engine.maps.steps.banks import ScheduleError
from dpnet.model.engine.maps.steps.machine import Machine
from dpnet.model.engine.regions import Region

CHIP = MapEngineParameters(clusters=24, streams=4, max_columns=256)

MOST = {"resnet-8": 8_200, "resnet-20": 22_000, "tt-conv": 46_000, "mobilenet-vww": 20_000}
"""Cycles of a picture at the size of the chip."""


@pytest.mark.parametrize("name", MOST)
def test_cycles_at_the_size_of_the_chip(name):
    made = plan(CHIP, NETWORKS[name]())
    assert CHIP.lanes == 3_072 and made.cycles <= MOST[name]
    assert max(one.work.bucket_adds for one in made.passes) <= CHIP.max_columns


def test_a_gap_by_hand():
    """Rows of 6 and 2 idle ones, 5 to a group: 8 · 2 - 2 = 14 places, 3 groups."""
    one = Dispatch(6, 2, 5, 2)
    y, x = one.positions
    assert x.tolist() == [[0, 1, 2, 3, 4], [5, IDLE, IDLE, 0, 1], [2, 3, 4, 5, IDLE]]
    assert y.tolist() == [[0] * 5, [0, IDLE, IDLE, 1, 1], [1, 1, 1, 1, IDLE]]
    assert one.groups == 3 and one.crossings == 1
    assert one.group_of.tolist() == [[0, 0, 0, 0, 0, 1], [1, 1, 2, 2, 2, 2]]


def test_a_group_that_begins_in_a_gap_goes_on_in_another_row():
    assert Dispatch(3, 2, 4, 2).positions[1].tolist() == [[0, 1, 2, IDLE], [IDLE, 0, 1, 2]]
    assert Dispatch(3, 2, 4, 2).crosses and not Dispatch(3, 2, 4, 1).crosses


@pytest.mark.parametrize("size", [(1, 1), (5, 1), (1, 7), (6, 6), (25, 5)])
def test_every_way_has_every_position_once(size):
    width, height = size
    ways = list(dispatches(width, height, 6))
    assert not ways[-1].crosses and (ways[-1].positions[0] != IDLE).sum(axis=1).max() == 1
    for way in ways:
        y, x = way.positions
        pairs = list(zip(y[y != IDLE].tolist(), x[y != IDLE].tolist(), strict=True))
        assert pairs == [(y, x) for y in range(height) for x in range(width)], way
        assert (y != IDLE).any(axis=1).all()


def test_twists_are_the_forms_without_a_meeting():
    """Against every pair of positions of every group, one by one."""
    clusters, stride = 6, (2, 2)
    writer = Writer(Dispatch(7, 5, 4, 1), 1, 0)
    y, x = writer.dispatch.positions
    found = twists(writer.differences(stride), stride, clusters, range(clusters))
    for pitch, down, across in np.ndindex(found.shape):
        met = False
        for group in range(writer.dispatch.groups):
            used = np.nonzero(y[group] != IDLE)[0]
            places = [
                ((y[group, n] + 1) % 2 * down + x[group, n] % 2 * across)
                + (y[group, n] + 1) // 2 * pitch
                + x[group, n] // 2
                for n in used
            ]
            met |= any((a - b) % clusters == 0 for a, b in combinations(places, 2))
        assert found[pitch, down, across] == (not met)


def test_rows_of_eight_for_six_positions():
    """TT-Conv's conv5 at 24 clusters: 3 rows of 8 to a group, 2 groups, 16 items in 2 tiles."""
    net = Builder((128, 8, 8))
    made = plan(CHIP, net.made(net.conv("a", "picture", 128, THREE, padding=TIGHT)))
    [one] = made.passes
    assert (one.dispatch.groups, one.schedule.tiles, one.schedule.tile) == (2, 2, 9 * 128 + 16)


def test_a_pitch_that_readers_cannot_follow():
    """A reader's rows end before the map's; its words are then a spread of `SPREAD_BITS`."""
    one = Dispatch(2, 40, 3, 0)
    assert Reader(one).spans(5, 3) and not Reader(one).spans(4, 3) and not Reader(one).spans(-1, 3)
    assert not Reader(one).spans(2 + 3 * 63, 3) and Reader(one).spans(2 + 3 * 62, 3)
    assert find_form("x", (1, 40, 500), ONE, 3, [Reader(one)]) is None
    assert find_form("x", (1, 40, 100), ONE, 3, [Reader(one)]).pitch == 101


def test_a_group_beside_another_row_is_refused():
    """The descriptor's step to the next row, a bank too far."""
    net = Builder((1, 5, 5))
    placed = place(MapEngineParameters(clusters=3), net.made(net.conv("a", "picture", 2, ONE)))
    assert placed.plan.passes[0].dispatch.crosses
    words = {region: part.copy() for region, part in placed.words.items()}
    bit = PASS.places["read_row_bank"][0]
    words[Region.LAYERS][bit // 32] += 1 << bit % 32
    machine = Machine(placed.params, words)
    machine.write_picture(placed.picture_words(np.zeros((1, 5, 5))), 0)
    with pytest.raises(ScheduleError, match="group 1 does not lie in one row"):
        machine.run(1)


def test_buckets_are_as_wide_as_what_they_take():
    """Two rows of 300 additions: one to a bucket of 0, one to two buckets of 150."""
    net = Builder((300, 1, 1))
    net.conv("a", "picture", 2, ONE, k=2)
    [layer] = net.layers
    layer.indices[:] = [[0] * 300, [0, 1] * 150]
    layer.entries[:] = [[0, 5], [3, 0]]
    network = net.made("a")
    assert plan(CHIP, network).passes[0].work.bucket_adds == 150
    layer.entries[0, 0] = 1
    with pytest.raises(NetworkTooLarge, match=r"max_columns 256 \(it needs 300\)"):
        place(MapEngineParameters(max_columns=256), network)


def test_a_tap_far_outside_of_the_map():
    net = Builder((1, 40, 4))
    network = net.made(net.conv("a", "picture", 1, ONE, padding=(15, 0, 0, 0)))
    message = "layer a: taps must be within 14 positions of the map, not 15 beyond it"
    with pytest.raises(ValueError, match=message):
        place(MapEngineParameters(), network)


def test_means_of_few_channels():
    """64 means of 8 × 8 values: 8 stages of 8 channels, a tile of 64 · 8 + 16; 20 of them in two
    row groups of 10."""
    net = Builder((64, 8, 8))
    [one] = plan(MapEngineParameters(), net.made(net.average("a", "picture"))).passes
    assert (one.work.row_groups, one.work.channels, one.schedule.cycles) == (8, 8, 528)
    net = Builder((20, 2, 2))
    [one] = plan(MapEngineParameters(), net.made(net.average("a", "picture", TWO))).passes
    assert (one.work.row_groups, one.work.channels) == (2, 10)
