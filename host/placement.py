"""Where an image lies on an engine: what stays in its stores, and what is streamed through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from dpnet.host.errors import LinkError
from dpnet.host.fitting import activation_bits, entry_bits, remedy
from dpnet.host.segments import Segment
from dpnet.model.engine.layout import (
    Descriptor,
    Region,
    codebook_store,
    index_rows,
    index_store,
    row_store,
)
from dpnet.model.engine.parameters import EngineParameters, ceil_div
from dpnet.model.engine.tiles import tile_words
from dpnet.model.image import Image, ImageLayer

Integers = NDArray[np.int64]


class CapacityError(LinkError):
    """An image, or a vector, that the engine at hand cannot hold; the message compares sizes, and
    for an image names an engine that holds it."""


@dataclass(frozen=True)
class Placement:
    """A layer and its descriptor, which says where everything of it is."""

    layer: ImageLayer
    descriptor: Descriptor

    @property
    def streamed(self) -> bool:
        """Whether the layer's tiles are sent while it runs."""
        return self.descriptor.stream > 0

    @property
    def tiles(self) -> int:
        """All tiles of the layer, wherever they are."""
        return self.descriptor.stream or self.descriptor.tiles


@dataclass(frozen=True)
class _Size:
    """What a layer takes of the stores that its weights lie in."""

    tiles: int
    index_rows: int
    """of a tile"""

    @property
    def all_rows(self) -> int:
        return self.tiles * self.index_rows


@dataclass(frozen=True)
class _Home:
    """Where a layer's weights lie, as its descriptor says it."""

    index_row: int
    slot: int
    tiles: int
    stream: int


@dataclass(frozen=True)
class _Weights:
    """See `dpnet.model.engine.tiles.Weights`."""

    indices: NDArray[np.uint8]
    entries: Integers
    bias: Integers
    multiplier: Integers
    shift: Integers
    exponent: Integers


def place_layers(image: Image, engine: EngineParameters) -> list[Placement]:
    """A place for every layer of `image`; `CapacityError` if it is larger than the engine, or of
    numbers that the engine does not compute with.

    Layers whose weights do not fit beside each other are streamed, those that take the largest
    share of a store first, until the rest fits and leaves room for one tile.  Streamed layers share
    what the rest leaves: each is the only one that runs.
    """
    try:
        return _placed(image, engine)
    except CapacityError as error:
        raise CapacityError(f"{error}; {remedy(image, engine)}") from None


def _placed(image: Image, engine: EngineParameters) -> list[Placement]:
    taken = activation_bits(image)
    for number, layer in enumerate(image.layers):
        _check_alone(number, layer, engine)
        _check_widths(layer, taken[number], engine)
    placements: list[Placement] = []
    row = result_slot = 0
    for number, (layer, home) in enumerate(zip(image.layers, _homes(image, engine), strict=True)):
        vector_rows = ceil_div(engine.beats(layer.columns), engine.row_beats)
        out_row = row + vector_rows
        chained = not layer.is_fp32 and number < len(image.layers) - 1
        descriptor = Descriptor(
            beats=engine.beats(layer.columns),
            tiles=home.tiles,
            rows=layer.rows,
            k=layer.k,
            index_row=home.index_row,
            slot=home.slot,
            result_slot=result_slot,
            in_row=row,
            out_row=out_row if chained else 0,
            out_bits=layer.out_bits,
            vector_rows=vector_rows,
            index_bits=engine.index_bits_of(layer.k),
            stream=home.stream,
            fp32_in=layer.is_fp32,
            fp32_out=layer.is_fp32,
            relu=layer.relu,
            forward=chained,
        )
        placements.append(Placement(layer, descriptor))
        results = result_slot + engine.tiles(layer.rows) * engine.stages
        _check(layer, "result slots", results, engine.result_slots)
        _check(layer, "rows of activations", out_row, engine.vector_rows)
        # fp32 matrices stand alone and share the first rows and result slots; a chain has a vector
        # and results after each layer.
        row, result_slot = (out_row, results) if chained else (0, 0)
    return placements


def _homes(image: Image, engine: EngineParameters) -> list[_Home]:
    """Where the weights of each layer lie."""
    sizes = [
        _Size(engine.tiles(layer.rows), engine.index_rows(layer.columns, layer.k))
        for layer in image.layers
    ]
    streamed = _streamed(sizes, engine)
    resident = [size for n, size in enumerate(sizes) if n not in streamed]
    ring_row, ring_slot = _room_taken(resident, engine, whole=True)
    homes = []
    index_row = slot = 0
    for number, size in enumerate(sizes):
        if number in streamed:
            ring = min(
                size.tiles,
                (engine.index_depth - ring_row) // size.index_rows,
                (engine.slots - ring_slot) // engine.stages,
            )
            homes.append(_Home(ring_row, ring_slot, ring, size.tiles))
        else:
            homes.append(_Home(index_row, slot, size.tiles, 0))
            index_row, slot = index_row + size.all_rows, slot + size.tiles * engine.stages
    return homes


def runs(placements: Sequence[Placement], first: int, last: int) -> list[tuple[int, int]]:
    """Layers `first` to `last` as (first, last) of runs: a streamed layer is a run of its own."""
    found = []
    numbers = range(first, last + 1)
    for _, group in groupby(numbers, lambda n: n if placements[n].streamed else -1):
        together = list(group)
        found.append((together[0], together[-1]))
    return found


def segments(image: Image, engine: EngineParameters) -> list[Segment]:
    """Everything that an engine holds of `image`, but for layers that are streamed: (byte address,
    words); as `place_layers` raises.
    """
    indices, books, rows, descriptors = [], [], [], []
    for placement in place_layers(image, engine):
        descriptors.append(placement.descriptor.words())
        weights = _weights(placement.layer, engine)
        if placement.streamed:
            continue
        indices.append(index_rows(engine, weights.indices, placement.descriptor.index_bits))
        books.append(codebook_store(engine, weights.entries))
        rows.append(
            row_store(engine, weights.bias, weights.multiplier, weights.shift, weights.exponent)
        )
    parts = [(Region.LAYERS.base, np.concatenate(descriptors))]
    if indices:
        parts += [
            (Region.INDEX.base, index_store(engine, np.concatenate(indices))),
            (Region.CODEBOOK.base, np.concatenate(books)),
            (Region.ROWS.base, np.concatenate(rows)),
        ]
    return sorted(parts, key=lambda part: part[0])


class LayerTiles:
    """The tiles of a streamed layer: `count` of them, `ring` of which the stores hold at a time.

    Raises as `segments` does.
    """

    def __init__(self, placement: Placement, engine: EngineParameters) -> None:
        self.count, self.ring = placement.tiles, placement.descriptor.tiles
        self._descriptor, self._engine = placement.descriptor, engine
        self._weights = _weights(placement.layer, engine)

    def words(self, tile: int) -> list[Segment]:
        """(byte address, words) of a tile in its place."""
        return tile_words(self._engine, self._descriptor, self._weights, tile)


def _streamed(sizes: Sequence[_Size], engine: EngineParameters) -> set[int]:
    """The numbers of the layers to be streamed."""
    found: set[int] = set()

    def share(number: int) -> Fraction:
        size = sizes[number]
        return max(
            Fraction(size.all_rows, engine.index_depth),
            Fraction(size.tiles * engine.stages, engine.slots),
        )

    while True:
        rest = [n for n in range(len(sizes)) if n not in found]
        rows, slots = _room_taken([sizes[n] for n in rest], engine, whole=bool(found))
        if found:
            rows += max(sizes[n].index_rows for n in found)
            slots += engine.stages
        if rows <= engine.index_depth and slots <= engine.slots:
            return found
        found.add(max(rest, key=share))


def _room_taken(
    sizes: Sequence[_Size], engine: EngineParameters, *, whole: bool
) -> tuple[int, int]:
    """Index rows, if `whole` those of whole words of the store, and slots that these layers
    take."""
    rows = sum(size.all_rows for size in sizes)
    slots = sum(size.tiles for size in sizes) * engine.stages
    return (ceil_div(rows, engine.fold) * engine.fold if whole else rows), slots


def _check_alone(number: int, layer: ImageLayer, engine: EngineParameters) -> None:
    """What no way to place the layers can change."""
    if not (engine.fp32 if layer.is_fp32 else engine.integer):
        kinds = ("fp32", "integers") if layer.is_fp32 else ("integers", "fp32")
        raise CapacityError(
            f"layer {layer.name} computes with {kinds[0]}, the engine only with {kinds[1]} "
            f"(edges {engine.edges})"
        )
    _check(layer, "columns", layer.columns, engine.max_columns)
    _check(layer, "layers", number + 1, engine.layers)
    _check(layer, "values per codebook", layer.k, engine.buckets)
    tile = engine.index_rows(layer.columns, layer.k)
    _check(layer, "index rows for a tile", tile, engine.index_depth)
    _check(layer, "codebook slots for a tile", engine.stages, engine.slots)


def _check_widths(layer: ImageLayer, taken: int, engine: EngineParameters) -> None:
    """The engine computes with the integers that the layer takes and has; -2^(bits - 1) is one."""
    if taken > engine.activation_bits:
        raise CapacityError(
            f"layer {layer.name} takes activations of {taken} bits, the engine has "
            f"{engine.activation_bits}"
        )
    if entry_bits(layer) > engine.entry_bits:
        raise CapacityError(
            f"layer {layer.name} has entries of {entry_bits(layer)} bits, the engine "
            f"{engine.entry_bits}: compile it with fewer entry bits"
        )


def _check(layer: ImageLayer, what: str, needed: int, there: int) -> None:
    if needed > there:
        raise CapacityError(
            f"the image is larger than the engine: layer {layer.name} "
            f"({layer.rows} × {layer.columns}, K = {layer.k}) needs {needed} {what}, "
            f"there are {there}"
        )


def _weights(layer: ImageLayer, engine: EngineParameters) -> _Weights:
    entries, exponent = layer.aligned(engine.entry_bits)
    zeros = np.zeros(layer.rows, np.int64)
    return _Weights(
        indices=layer.indices,
        entries=entries,
        bias=zeros if layer.bias is None else layer.bias,
        multiplier=zeros if layer.multiplier is None else layer.multiplier,
        shift=zeros if layer.shift is None else layer.shift,
        exponent=exponent,
    )
