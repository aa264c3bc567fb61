"""Random networks for benches: layers of every K in their places, streamed ones beside them."""

from dataclasses import replace

import numpy as np
import pytest

from dpnet.model.engine.layout import Region
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import seed
from dpnet.sim.kit.random_networks import Batches, Network, Streams

ENGINES = {
    "folds": EngineParameters(
        stages=2,
        columns=3,
        segments=2,
        index_depth=160,
        slots=24,
        result_slots=32,
        bank=2,
        max_columns=64,
        vector_words=256,
    ),
    "packs": EngineParameters(
        stages=3,
        columns=17,
        segments=3,
        index_depth=90,
        slots=20,
        result_slots=30,
        max_columns=64,
        vector_words=256,
    ),
    "lane": EngineParameters(
        stages=1,
        columns=1,
        segments=1,
        index_depth=64,
        slots=4,
        result_slots=9,
        max_columns=32,
        vector_words=64,
        index_bits=2,
        edges="integer",
    ),
}


def words_of(segments):
    """Word addresses to words; none twice."""
    found = {}
    for address, words in segments:
        for n, word in enumerate(words.tolist()):
            assert address // 4 + n not in found
            found[address // 4 + n] = word
    return found


@pytest.fixture
def rng():
    print(f"seed {seed()}")
    return np.random.default_rng(seed())


@pytest.mark.parametrize("kind", [Network, Batches, Streams])
@pytest.mark.parametrize("name", ENGINES)
def test_layers_lie_inside_the_stores_and_apart(rng, name, kind):
    engine, seen = ENGINES[name], set()
    for _ in range(6):
        network = kind(engine, rng)
        held = words_of(network.image())
        for layer in network.layers:
            d = layer.descriptor
            assert d.index_bits == engine.index_bits_of(d.k)
            assert layer.indices.max() < d.k <= engine.buckets
            seen.add(d.k)
            tiles = d.stream or d.tiles
            assert tiles == engine.tiles(layer.rows)
            assert d.result_slot + tiles * engine.stages <= engine.result_slots
            assert d.slot + d.tiles * engine.stages <= engine.slots
            rows = d.tiles * engine.index_rows(layer.columns, d.k)
            assert d.index_row + rows <= engine.index_depth
            for tile in range(d.stream):
                assert not held.keys() & words_of(layer.tile_words(tile)).keys()
    if kind is Streams:
        assert {engine.index_bits_of(k) for k in seen} >= ({1, 2, 3, 4} if engine.packs else set())


@pytest.mark.parametrize("name", ENGINES)
def test_streams_have_rings_of_one_to_three_and_go_round(rng, name):
    networks = [Streams(ENGINES[name], rng) for _ in range(8)]
    streamed = [y for network in networks for y in network.layers if y.descriptor.stream]
    assert {layer.descriptor.tiles for layer in streamed} == {1, 2, 3}
    assert any(layer.descriptor.stream > 2 * layer.descriptor.tiles for layer in streamed)
    # The next ones share the places of those before.
    for network in networks:
        layers = [y for y in network.layers if y.descriptor.stream]
        assert len({(y.descriptor.index_row, y.descriptor.slot) for y in layers}) == 1
        assert [y.descriptor.stream > 0 for y in network.layers].count(False) == 1
        assert {layer.most_vectors for layer in layers} == {1}


def test_a_streamed_layer_in_a_ring_of_all_its_tiles_is_the_resident_one(rng):
    """Word for word in the same places."""
    engine = ENGINES["packs"]
    layer = next(y for y in Streams(engine, rng).layers if y.descriptor.stream)
    d = layer.descriptor
    network = Streams(engine, rng)
    network.layers = [layer]
    layer.descriptor = replace(d, index_row=0, slot=0, tiles=d.stream)
    parts = {}
    for tile in range(d.stream):
        parts |= words_of(layer.tile_words(tile))
    layer.descriptor = replace(layer.descriptor, stream=0)
    whole = words_of(network.image())
    held = {address: word for address, word in whole.items() if address >> 26 < Region.LAYERS}
    # Words that no store has are left out, or zeros.
    assert {place: parts.get(place, 0) for place in held} == held and parts.keys() <= held.keys()
