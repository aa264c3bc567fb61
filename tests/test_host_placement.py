"""Which layers stay in an engine's stores, which are streamed through what is left, and where."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpnet.host.placement import (
    CapacityError,
    LayerTiles,
    Placement,
    place_layers,
    runs,
    segments,
)
from dpnet.model.compile import DenseLayer, compile_fp32, compile_integer
from dpnet.model.engine.layout import Region
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.image import Image
from dpnet.model.quantizer.exact import quantize

ENGINE = EngineParameters(stages=2, columns=4, segments=2, index_depth=512)
PACKING = EngineParameters(stages=2, columns=8, segments=2, index_depth=512)


def matrices(*layers: tuple[int, int, int]) -> Image:
    """An fp32 image of matrices (R, C, K)."""
    rng = np.random.default_rng(0)
    return compile_fp32(
        {
            f"m{n}": (quantize(rng.standard_normal((rows, columns)), k), (rows, columns))
            for n, (rows, columns, k) in enumerate(layers)
        }
    )


def network(*sizes: int) -> Image:
    """A chain of integer layers of K = 4."""
    rng = np.random.default_rng(0)
    return compile_integer(
        [
            DenseLayer(
                f"fc{n}", quantize(rng.standard_normal((rows, columns)), 4), np.zeros(rows), True
            )
            for n, (columns, rows) in enumerate(pairwise(sizes))
        ],
        rng.standard_normal((20, sizes[0])),
    )


def where(placements: list[Placement]) -> list[tuple[int, ...]]:
    """Stream, tiles in the stores, first index row and slot of every layer."""
    found = [placement.descriptor for placement in placements]
    return [(d.stream, d.tiles, d.index_row, d.slot) for d in found]


def test_layers_that_fit_stay() -> None:
    # 8 rows a tile, 2 columns a beat: 1 tile of 50 beats, then 9 of them.
    placements = place_layers(
        matrices((8, 100, 16), (65, 100, 16)), replace(ENGINE, index_depth=500, slots=20)
    )
    assert where(placements) == [(0, 1, 0, 0), (0, 9, 50, 2)]
    assert [placement.tiles for placement in placements] == [1, 9]
    assert not any(placement.streamed for placement in placements)


@pytest.mark.parametrize(
    "sizes, expected",
    [
        # The larger one is streamed through what the other leaves: 449 and 59 index rows.
        ({"index_depth": 499}, [(0, 1, 0, 0), (9, 8, 50, 2)]),
        ({"index_depth": 109}, [(0, 1, 0, 0), (9, 1, 50, 2)]),
        # Not even one tile beside the other: both are streamed, in the same places.
        ({"index_depth": 99}, [(1, 1, 0, 0), (9, 1, 0, 0)]),
        ({"index_depth": 149, "slots": 4}, [(0, 1, 0, 0), (9, 1, 50, 2)]),
        # 20 slots are needed; the other takes 2.
        ({"slots": 19}, [(0, 1, 0, 0), (9, 8, 50, 2)]),
        ({"slots": 4}, [(0, 1, 0, 0), (9, 1, 50, 2)]),
        ({"slots": 3}, [(1, 1, 0, 0), (9, 1, 0, 0)]),
    ],
)
def test_the_largest_layer_is_streamed_first(
    sizes: dict[str, int], expected: list[tuple[int, ...]]
) -> None:
    engine = replace(ENGINE, **sizes)
    placements = place_layers(matrices((8, 100, 16), (65, 100, 16)), engine)
    assert where(placements) == expected
    assert [placement.tiles for placement in placements] == [1, 9]
    # All tiles have results of their own.
    assert [placement.descriptor.result_slot for placement in placements] == [0, 0]


def test_the_share_of_either_store_counts() -> None:
    # 5 tiles of 1 beat, and one of 60: of 64 index rows and 10 slots.
    image = matrices((40, 2, 16), (8, 120, 16))
    engine = replace(ENGINE, index_depth=64, slots=10)
    assert where(place_layers(image, engine)) == [(5, 4, 60, 2), (0, 1, 0, 0)]


def test_a_ring_begins_with_a_word_of_the_index_store() -> None:
    # Two index rows share a word; the first layer takes 3 rows.
    image = matrices((8, 6, 16), (65, 100, 16))
    engine = replace(ENGINE, index_depth=300)
    assert engine.fold == 2
    assert where(place_layers(image, engine)) == [(0, 1, 0, 0), (9, 5, 4, 2)]


def test_packed_layers_take_fewer_rows() -> None:
    # 16 rows a tile; 50 beats are 50, 38, 25 and 13 rows.
    image = matrices((16, 100, 16), (16, 100, 8), (16, 100, 4), (32, 100, 2), (16, 100, 5))
    placements = place_layers(image, PACKING)
    assert [d.descriptor.index_row for d in placements] == [0, 50, 88, 113, 139]
    assert [d.descriptor.index_bits for d in placements] == [4, 3, 2, 1, 3]
    # What decides is how many rows they take packed: 177.  Streaming the largest one alone frees
    # nothing for its only tile, so the next one of 38 shares its place.
    fits = replace(PACKING, index_depth=177)
    assert not any(placement.streamed for placement in place_layers(image, fits))
    assert where(place_layers(image, replace(fits, index_depth=176))) == [
        (1, 1, 89, 8),
        (1, 1, 89, 8),
        (0, 1, 0, 0),
        (0, 2, 25, 2),
        (0, 1, 51, 6),
    ]
    plain = place_layers(image, replace(PACKING, packed=False))
    assert [d.descriptor.index_row for d in plain] == [0, 50, 100, 150, 250]
    assert [d.descriptor.index_bits for d in plain] == [4] * 5


def test_results_of_every_tile_have_a_place() -> None:
    image = matrices((65, 100, 16))
    engine = replace(ENGINE, index_depth=100, result_slots=17)
    with pytest.raises(CapacityError) as caught:
        place_layers(image, engine)
    assert str(caught.value) == (
        "the image is larger than the engine: layer m0 (65 × 100, K = 16) needs 18 result slots, "
        "there are 17; an engine that holds it: "
        "sim://array?stages=2&columns=4&index_depth=100&result_slots=18"
    )
    assert where(place_layers(image, replace(engine, result_slots=18))) == [(9, 2, 0, 0)]


def test_a_chain_is_cut_around_streamed_layers() -> None:
    image = network(10, 40, 40, 10, 10)
    # 5 tiles of 5 beats, 5 of 20, 2 of 20 and 2 of 5: 175 rows.
    placements = place_layers(image, replace(ENGINE, index_depth=120))
    assert where(placements) == [(0, 5, 0, 0), (5, 2, 76, 18), (0, 2, 25, 10), (0, 2, 65, 14)]
    assert runs(placements, 0, 3) == [(0, 0), (1, 1), (2, 3)]
    assert runs(placements, 2, 3) == [(2, 3)] and runs(placements, 1, 1) == [(1, 1)]
    descriptors = [placement.descriptor for placement in placements]
    assert [d.forward for d in descriptors] == [True, True, True, False]
    assert [d.result_slot for d in descriptors] == [0, 10, 20, 24]
    for one, other in pairwise(descriptors):
        assert one.out_row == other.in_row
    # Streamed layers next to each other are runs of their own.
    both = place_layers(image, replace(ENGINE, index_depth=40))
    assert [placement.streamed for placement in both] == [True, True, True, False]
    assert runs(both, 0, 3) == [(0, 0), (1, 1), (2, 2), (3, 3)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 30), st.sampled_from([2, 3, 7, 16])),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([ENGINE, PACKING]),
    st.integers(15, 200),
    st.integers(2, 20),
)
def test_nothing_lies_in_two_places_at_once(
    shapes: list[tuple[int, int, int]], engine: EngineParameters, depth: int, slots: int
) -> None:
    """Every image whose tiles fit one by one is placed; what is loaded and each layer's tiles
    never meet, and all lie inside the stores."""
    engine = replace(engine, index_depth=depth, slots=slots)
    image = matrices(*shapes)
    placements = place_layers(image, engine)
    held = set[int]()
    for address, words in segments(image, engine):
        places = set(range(address, address + 4 * len(words), 4))
        assert not held & places
        held |= places
    whole = {Region.INDEX: -(-depth // engine.fold), Region.CODEBOOK: slots, Region.ROWS: slots}
    # Words of a row of the index store and of a slot.
    row = {ENGINE.columns: 4, PACKING.columns: 4}[engine.columns]
    columns = engine.columns
    size = {Region.INDEX: row, Region.CODEBOOK: 16 * columns, Region.ROWS: 4 * columns}
    for placement in placements:
        if not placement.streamed:
            continue
        tiles = LayerTiles(placement, engine)
        assert 1 <= tiles.ring <= tiles.count == engine.tiles(placement.layer.rows)
        for tile in range(tiles.count):
            for address, words in tiles.words(tile):
                region = Region(address >> 28)
                assert address + 4 * len(words) <= region.base + 4 * whole[region] * size[region]
                assert not held & set(range(address, address + 4 * len(words), 4))


def test_only_descriptors_are_held_of_an_image_that_is_all_streamed() -> None:
    image = matrices((65, 100, 16))
    ((address, words),) = segments(image, replace(ENGINE, index_depth=100))
    assert (address, len(words)) == (Region.LAYERS.base, 8)


def test_entries_of_a_streamed_layer_must_fit_too() -> None:
    image = network(10, 40)
    engine = replace(ENGINE, index_depth=20, entry_bits=4)
    assert place_layers(image, replace(engine, entry_bits=16))[0].streamed
    for call in (place_layers, segments):
        with pytest.raises(CapacityError, match="has entries of 16 bits, the engine 4: compile"):
            call(image, engine)
