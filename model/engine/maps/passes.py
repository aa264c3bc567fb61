"""What a layer is to the engine: passes over a map, each with its row groups and their indices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.taps import Geometry, geometry, skip_geometry
from dpnet.model.engine.parameters import ceil_div
from dpnet.model.indices import packed_bits
from dpnet.model.maps.layers import MapLayer, MapNetwork

Integers = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Rows `first_row` … `first_row` + `count` - 1 of a layer, `rows` to a row group.

    A row group reads `channels` channels at each tap, the first one from `first_channel` on, each
    further one `block` channels behind the one before.  `indices` (row groups, taps · channels,
    lanes), a tap's channels one after the other, and `entries` (row groups, lanes, K) are None for
    a maximum.  `shared`: all row groups have the same indices.  `apart`: each stage computes a
    picture of its own, so that all of them work on the same positions.
    """

    layer: MapLayer
    first_row: int
    count: int
    rows: int
    first_channel: int
    channels: int
    block: int
    window: Geometry
    skip_window: Geometry | None
    indices: Bytes | None
    entries: Integers | None
    shared: bool
    apart: bool = False

    @property
    def row_groups(self) -> int:
        return ceil_div(self.count, self.rows)

    @property
    def last_rows(self) -> int:
        """Rows of the last row group."""
        return self.count - (self.row_groups - 1) * self.rows

    @property
    def adds(self) -> int:
        """Cycles in which a tile's activations are read."""
        return len(self.window.taps) * self.channels

    @property
    def bucket_adds(self) -> int:
        """The most additions to a bucket whose entry is not 0."""
        if self.indices is None or self.entries is None:
            return 1
        taken = [np.where(entry, (self.indices == k).sum(1), 0) for k, entry in self._by_index()]
        return max(1, int(np.max(taken)))

    def _by_index(self) -> Iterator[tuple[int, Integers]]:
        """Each index with its entries (row groups, lanes)."""
        assert self.entries is not None
        yield from enumerate(np.moveaxis(self.entries, 2, 0))

    @property
    def index_bits(self) -> int:
        """Bits of an index in the store: 1, 2 or 4."""
        bits = 1 if self.indices is None else packed_bits(int(self.indices.max()) + 1)
        return 4 if bits == 3 else bits

    @property
    def index_groups(self) -> int:
        """Row groups whose indices are stored."""
        if self.indices is None:
            return 0
        return 1 if self.shared else self.row_groups

    def channels_of(self, row_group: int) -> tuple[int, int]:
        """The first channel that a row group reads, and the one behind the last."""
        first = self.first_channel + row_group * self.block
        return first, first + self.channels


def layer_passes(
    params: MapEngineParameters, layer: MapLayer, network: MapNetwork, apart: bool = False
) -> Iterator[Pass]:
    """The passes of a layer, one after the other, of a picture or of pictures that are `apart`.
    Raises `ValueError` naming the layer."""
    input, output = network.tensor(layer.input), network.tensor(layer.output)
    try:
        window = geometry(layer, input, output)
        if layer.indices is None and window.uncovered:
            raise ValueError("a window without a value has no maximum")
        skip_window = None
        if layer.skip is not None:
            skip_window = skip_geometry(layer.skip, network.tensor(layer.skip.tensor), window)
    except ValueError as error:
        raise ValueError(f"layer {layer.name}: {error}") from None
    for one in _split(params, layer, input.shape[0], window, apart):
        yield replace(one, skip_window=skip_window, apart=apart)


def _split(
    params: MapEngineParameters, layer: MapLayer, channels: int, window: Geometry, apart: bool
) -> Iterator[Pass]:
    """Rows that read the same channels, or blocks of channels."""
    groups = channels if layer.indices is None else layer.groups
    rows, wide = layer.rows // groups, channels // groups
    if layer.indices is None:
        together = _fewest(params, window, groups, 1, LANES, apart)
        yield from _blocks(layer, window, groups, 1, 1, together)
    elif groups == 1 or rows > LANES:
        for group in range(groups):
            yield _dense(layer, window, group * rows, rows, group * wide, wide)
    else:
        most = _together(layer, window, groups, rows)
        together = _evenly(groups, most)
        if layer.entries is not None and layer.entries.shape[1] == 1:
            together = _fewest(params, window, groups, wide, most, apart)
        yield from _blocks(layer, window, groups, rows, wide, together)


def _fewest(
    params: MapEngineParameters, window: Geometry, groups: int, wide: int, most: int, apart: bool
) -> int:
    """How many groups, up to `most`, make a row group of the fastest pass where all row groups have
    the same indices: a tile of fewer channels is shorter, and its stages work on more of them,
    unless each has a picture of its own."""

    def cycles(together: int) -> int:
        items = ceil_div(groups, together) * ceil_div(window.height * window.width, params.clusters)
        adds = len(window.taps) * wide * together
        tiles = items if apart else ceil_div(items, params.stages)
        return tiles * params.tile_cycles(adds, params.stages)

    even = [together for together in range(most - 1, 0, -1) if groups % together == 0]
    return min([_evenly(groups, most), *even], key=cycles)


def _evenly(groups: int, most: int) -> int:
    """Up to `most` groups to a row group, all row groups alike if that is possible."""
    together = ceil_div(groups, ceil_div(groups, most))
    return min(most, groups) if groups % together else together


def _blocks(
    layer: MapLayer, window: Geometry, groups: int, rows: int, wide: int, together: int
) -> Iterator[Pass]:
    """`together` groups to a row group; then those that are left."""
    whole = groups // together * together
    for first, count in ((0, whole), (whole, groups - whole)):
        if count:
            taken = min(together, count)
            yield _block(layer, window, first, count, taken, rows, wide)


def _together(layer: MapLayer, window: Geometry, groups: int, rows: int) -> int:
    """The most groups that a row group may hold: each of its rows needs an entry of 0 beside those
    that it uses, unless it holds a single group."""
    zero = _used(layer, window)[2]
    return 1 if zero.max() >= LANES else min(groups, LANES // rows)


def _used(layer: MapLayer, window: Geometry) -> tuple[Integers, Bytes, Integers]:
    """The entries that each row uses (R, …), 0 behind them; the indices of its weights in them
    (R, taps, channels); the index of that 0 (R,)."""
    assert layer.entries is not None
    own = _weights(layer, window, 0, layer.rows)
    weights = np.take_along_axis(layer.entries, own.reshape(layer.rows, -1).astype(np.int64), 1)
    above = np.int64(1) << 40
    keys = np.pad(np.where(weights == 0, above, weights), [(0, 0), (0, 1)], constant_values=above)
    order = np.argsort(keys, axis=1)
    ordered = np.take_along_axis(keys, order, 1)
    rank = np.cumsum(np.diff(ordered, axis=1, prepend=ordered[:, :1]) != 0, axis=1)
    entries, indices = np.zeros_like(keys), np.zeros_like(keys)
    np.put_along_axis(entries, rank, np.where(ordered == above, 0, ordered), 1)
    np.put_along_axis(indices, order, rank, 1)
    return entries, indices[:, :-1].reshape(own.shape).astype(np.uint8), rank[:, -1]


def _weights(layer: MapLayer, window: Geometry, first: int, end: int) -> Bytes:
    """The indices of rows (R, taps, channels), without taps that are never inside of the map."""
    assert layer.indices is not None
    kernel = layer.kernel[0] * layer.kernel[1]
    rows = np.asarray(layer.indices[first:end], np.uint8)
    taken = [tap.number for tap in window.taps]
    return rows.reshape(len(rows), -1, kernel)[:, :, taken].transpose(0, 2, 1)


def _dense(
    layer: MapLayer, window: Geometry, first: int, count: int, channel: int, wide: int
) -> Pass:
    """Rows that all read the same channels."""
    assert layer.entries is not None
    groups = ceil_div(count, LANES)
    weights = _weights(layer, window, first, first + count).reshape(count, -1)
    indices = np.zeros((groups * LANES, weights.shape[1]), np.uint8)
    indices[:count] = weights
    entries = np.zeros((groups * LANES, LANES), np.int64)
    entries[:count, : layer.entries.shape[1]] = layer.entries[first : first + count]
    return Pass(
        layer=layer,
        first_row=first,
        count=count,
        rows=LANES,
        first_channel=channel,
        channels=wide,
        block=0,
        window=window,
        skip_window=None,
        indices=indices.reshape(groups, LANES, -1).transpose(0, 2, 1),
        entries=entries.reshape(groups, LANES, LANES),
        shared=groups == 1,
    )


def _block(
    layer: MapLayer, window: Geometry, first: int, count: int, together: int, rows: int, wide: int
) -> Pass:
    """`count` groups from `first` on, of `rows` rows that read `wide` channels each, `together` of
    them in a row group."""
    indices = entries = None
    if layer.indices is not None:
        indices, entries = _diagonal(layer, window, first, count, together, rows, wide)
    return Pass(
        layer=layer,
        first_row=first * rows,
        count=count * rows,
        rows=together * rows,
        first_channel=first * wide,
        channels=together * wide,
        block=together * wide,
        window=window,
        skip_window=None,
        indices=indices,
        entries=entries,
        shared=indices is None or bool((indices == indices[:1]).all()),
    )


def _diagonal(
    layer: MapLayer, window: Geometry, first: int, count: int, together: int, rows: int, wide: int
) -> tuple[Bytes, Integers]:
    """Indices and entries of row groups of several groups: what a row does not read has the index
    of its 0."""
    assert layer.entries is not None
    groups, taps, lanes = count // together, len(window.taps), together * rows
    taken = slice(first * rows, (first + count) * rows)
    used, own, zero = _used(layer, window)
    if together == 1:
        used, own = layer.entries, _weights(layer, window, 0, layer.rows)
    entries = np.zeros((groups, LANES, LANES), np.int64)
    width = min(used.shape[1], LANES)
    entries[:, :lanes, :width] = used[taken, :width].reshape(groups, lanes, width)
    indices = np.zeros((groups, taps, together * wide, LANES), np.uint8)
    indices[..., :lanes] = zero[taken].reshape(groups, 1, 1, lanes)
    split = own[taken].reshape(groups, lanes, taps, wide)
    for lane in range(lanes):
        channel = lane // rows * wide
        indices[:, :, channel : channel + wide, lane] = split[:, lane]
    return indices.reshape(groups, -1, LANES), entries
