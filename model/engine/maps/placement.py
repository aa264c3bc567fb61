"""A network as the words of a map engine's stores, ready to be loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpnet.model.engine.maps.allocate import map_bases, picture_bases, words_needed
from dpnet.model.engine.maps.checks import check_layer, check_tensors
from dpnet.model.engine.maps.dispatch import IDLE
from dpnet.model.engine.maps.layout.steps import Key
from dpnet.model.engine.maps.limits import MOST_ADDS
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.plan import Plan, plan
from dpnet.model.engine.maps.records import MAP_ROW, PASS, TAP
from dpnet.model.engine.maps.words import (
    Places,
    Words,
    codebook_words,
    index_words,
    pass_words,
    row_words,
    stored_words,
    tap_words,
)
from dpnet.model.engine.parameters import ceil_div, ceil_log2
from dpnet.model.engine.regions import Region
from dpnet.model.maps.layers import MapNetwork

Integers = NDArray[np.int64]

PASS_PITCH = 1 << ceil_log2(PASS.words)
"""Words of the LAYERS region from one descriptor to the next."""


class NetworkTooLarge(ValueError):
    """A network that the engine does not hold; `fitting` are parameters of one that does, None if
    there is none."""

    def __init__(self, message: str, fitting: MapEngineParameters | None) -> None:
        super().__init__(message)
        self.fitting = fitting


@dataclass(frozen=True)
class Placement:
    """`words` of each region from its base on.  The LAYERS region has `PASS_PITCH` words for each
    pass, and the tap table from word `taps_at(params)` on."""

    plan: Plan
    words: dict[Region, Words]
    bases: dict[Key, int]
    places: tuple[Places, ...]

    @property
    def params(self) -> MapEngineParameters:
        return self.plan.params

    def picture_words(self, picture: ArrayLike) -> Words:
        """A picture (C, H, W) in the range of the network's input -> words of one half of the
        VECTOR region, from its base on."""
        network, clusters = self.plan.network, self.params.clusters
        tensor = network.input
        values = np.asarray(picture)
        if values.shape != tensor.shape:
            raise ValueError(f"a picture must have shape {tensor.shape!r}, not {values.shape!r}")
        if values.min() < tensor.low or values.max() > tensor.high:
            raise ValueError(f"a picture's values must be from {tensor.low} to {tensor.high}")
        banks = np.zeros((clusters, self._picture_bytes()), np.uint8)
        channel, y, x = np.indices(tensor.shape)
        for key, base in self._picture():
            form = self.plan.forms[key]
            word, bank = np.divmod(form.place(y, x), clusters)
            banks[bank, base + channel * form.words + word] = values.astype(np.int64) & 0xFF
        return interleaved(banks)

    def results(self, words: Words, picture: int = 0) -> Integers:
        """Words of one half of the RESULT region, from its base on -> the result (C, H, W) of a
        picture of the run."""
        network = self.plan.network
        banks = deinterleaved(words, self.params.clusters)
        tensor = network.tensor(network.output)
        result = np.zeros(tensor.shape, np.int64)
        for one, at in zip(self.plan.passes, self.places, strict=True):
            if at.to_result:
                group_y, group_x = one.dispatch.positions
                group, cluster = np.nonzero(group_y != IDLE)
                window, layer = one.work.window, one.work.layer
                y = group_y[group, cluster] + window.top
                x = group_x[group, cluster] + window.left
                for row in range(one.work.count):
                    byte = at.result + row * one.dispatch.groups + group
                    byte = byte + 4 * at.result_pitch * picture
                    channel = layer.output_channel + one.work.first_row + row
                    result[channel, y, x] = banks[cluster, byte]
        return np.where(result > tensor.high, result - 256, result)

    def map(self, key: Key, words: Words) -> Integers:
        """Words of the MAPS region, from its base on -> a tensor (C, H, W) in one of its forms, as
        far as its passes have written it and no other has since."""
        tensor, form = self.plan.network.tensor(key[0]), self.plan.forms[key]
        banks = deinterleaved(words, self.params.clusters)
        channel, y, x = np.indices(tensor.shape)
        word, bank = np.divmod(form.place(y, x), self.params.clusters)
        stored = banks[bank, self.bases[key] + channel * form.words + word].astype(np.int64)
        values: Integers = np.where(stored > tensor.high, stored - 256, stored)
        return values

    def map_range(self, key: Key) -> tuple[int, int]:
        """The words of the MAPS region, from one to before another, in which a tensor lies in one
        of its forms."""
        base, bits = self.bases[key], self.params.cluster_bits
        return base // 4 << bits, ceil_div(base + self.plan.forms[key].size, 4) << bits

    @property
    def map_words(self) -> int:
        """Words of the MAPS region."""
        return self.params.map_depth // 4 << self.params.cluster_bits

    @property
    def picture_count(self) -> int:
        """Words that `picture_words` gives."""
        return self._picture_bytes() // 4 << self.params.cluster_bits

    @property
    def result_words(self) -> int:
        """Words of the RESULT region that hold the results of a run, in each half."""
        return self.plan.pictures * _result_pitch(self.plan) << self.params.cluster_bits

    def _picture_bytes(self) -> int:
        """Bytes of each bank of a half that a picture takes, whole words."""
        size = max(base + self.plan.forms[key].size for key, base in self._picture())
        return ceil_div(size, 4) * 4

    def _picture(self) -> list[tuple[Key, int]]:
        name = self.plan.network.input.name
        return [(key, base) for key, base in self.bases.items() if key[0] == name]


def taps_at(params: MapEngineParameters) -> int:
    """Word of the LAYERS region at which the tap table begins: a bit of the address of its own."""
    return 1 << max(ceil_log2(params.passes * PASS_PITCH), ceil_log2(params.taps * TAP.words))


def interleaved(banks: NDArray[np.uint8]) -> Words:
    """Bytes of the banks (clusters, bytes) -> words: four bytes of a bank, the banks' words beside
    each other, as many as the next power of two."""
    clusters = len(banks)
    words = np.ascontiguousarray(banks).view("<u4")
    full = np.zeros((words.shape[1], 1 << ceil_log2(clusters)), np.uint32)
    full[:, :clusters] = words.T
    return full.reshape(-1)


def deinterleaved(words: Words, clusters: int) -> NDArray[np.uint8]:
    """The other way round."""
    full = np.asarray(words, "<u4").reshape(-1, 1 << ceil_log2(clusters))
    return np.ascontiguousarray(full[:, :clusters].T).view(np.uint8)


def place(params: MapEngineParameters, network: MapNetwork, apart: bool = False) -> Placement:
    """Everything that an engine must be loaded with to run the network, with a picture in all
    stages or pictures `apart`, one in each.

    Raises `NetworkTooLarge` for one that the engine does not hold, saying what would do, and
    `ValueError` naming the layer for one that does not keep to its contract.
    """
    check_tensors(network)
    for layer in network.layers:
        check_layer(params, layer)
    made = plan(params, network, apart)
    pictures, maps = picture_bases(made), map_bases(made)
    taps, first_taps = _taps(made)
    streams = _streams(made)
    _check_sizes(made, maps, pictures, len(taps), streams)
    bases, result, slot, places = {**maps, **pictures}, 0, 0, []
    pitch = _result_pitch(made) if made.pictures > 1 else 0
    for n, one in enumerate(made.passes):
        to_result = one.write[0] == network.output and one.write in made.forms
        to_result &= not one.work.layer.name.startswith("copy of ")
        to_map = one.write in maps
        places.append(Places(first_taps[n], slot, *streams[n], result, pitch, to_map, to_result))
        slot += one.work.row_groups
        result += one.work.count * one.dispatch.groups if to_result else 0
    words = {
        Region.INDEX: _index_region(made, places),
        Region.CODEBOOK: np.concatenate(
            [codebook_words(one.work, params.entry_bits) for one in made.passes]
        ),
        Region.ROWS: np.concatenate([row_words(made, one.work) for one in made.passes]),
        Region.LAYERS: _layer_region(made, bases, places, taps),
    }
    return Placement(made, words, bases, tuple(places))


def _taps(made: Plan) -> tuple[list[tuple[int, ...]], list[int]]:
    """The tap table, and where in it each pass begins; passes of the same taps share them."""
    table: list[tuple[int, ...]] = []
    found: dict[bytes, int] = {}
    firsts = []
    for one in made.passes:
        words = tap_words(made.forms[one.read], one.work)
        if words.tobytes() not in found:
            found[words.tobytes()] = len(table)
            table += [tuple(int(word) for word in tap) for tap in words]
        firsts.append(found[words.tobytes()])
    return table, firsts


def _streams(made: Plan) -> list[tuple[int, int]]:
    """The first word of each pass's indices and the stream that it begins with: the one with which
    they lie lowest."""
    streams = made.params.streams
    ends, found = [0] * streams, []
    for one in made.passes:
        groups, size = one.work.index_groups, stored_words(one.work)
        best = min(range(streams), key=lambda first: _lowest(ends, first, groups))
        base = _lowest(ends, best, groups)
        found.append((base if groups else 0, best if groups else 0))
        for group in range(best, best + groups):
            ends[group % streams] = base + (group // streams + 1) * size
    return found


def _lowest(ends: list[int], first: int, groups: int) -> int:
    used = {group % len(ends) for group in range(first, first + groups)}
    return max((ends[stream] for stream in used), default=0)


def _index_region(made: Plan, places: list[Places]) -> Words:
    """Words of all streams beside each other, two to a word of indices."""
    streams = made.params.streams
    parts = []
    for one, at in zip(made.passes, places, strict=True):
        if one.work.indices is not None:
            for group, words in enumerate(index_words(one.work)):
                n = at.first_stream + group
                parts.append((at.first_index + n // streams * len(words), n % streams, words))
    depth = max((first + len(words) for first, _, words in parts), default=0)
    region = np.zeros((depth, 1 << ceil_log2(streams), 2), np.uint32)
    for first, stream, words in parts:
        region[first : first + len(words), stream] = words
    return region.reshape(-1)


def _layer_region(
    made: Plan, bases: dict[Key, int], places: list[Places], taps: list[tuple[int, ...]]
) -> Words:
    at = taps_at(made.params)
    region = np.zeros(at + len(taps) * TAP.words, np.uint32)
    for n, (one, its) in enumerate(zip(made.passes, places, strict=True)):
        words = pass_words(made, one, bases, its)
        region[n * PASS_PITCH : n * PASS_PITCH + len(words)] = words
    region[at:] = np.array(taps, np.uint32).reshape(-1)
    return region


def _result_pitch(made: Plan) -> int:
    """Words of 4 bytes that a picture's results take in each cluster's bank."""
    size = sum(
        one.work.count * one.dispatch.groups
        for one in made.passes
        if one.writes(made.network.output)
    )
    return ceil_div(size, 4)


def _check_sizes(
    made: Plan,
    maps: dict[Key, int],
    pictures: dict[Key, int],
    taps: int,
    streams: list[tuple[int, int]],
) -> None:
    params = made.params
    index = max(
        first
        + ceil_div(stream + one.work.index_groups, params.streams)
        * (stored_words(one.work) if one.work.indices is not None else 0)
        for one, (first, stream) in zip(made.passes, streams, strict=True)
    )
    needed = {
        "index_depth": params.streams * index,
        "row_groups": sum(one.work.row_groups for one in made.passes),
        "taps": taps,
        "passes": len(made.passes),
        "map_depth": words_needed(made, maps),
        "picture_depth": 2 * words_needed(made, pictures),
        "result_depth": 2 * 4 * made.pictures * _result_pitch(made),
        "max_columns": max(one.work.bucket_adds for one in made.passes),
    }
    for one in made.passes:
        if one.work.adds > MOST_ADDS:
            raise NetworkTooLarge(
                f"layer {one.work.layer.name} is larger than any engine: it needs {one.work.adds} "
                f"additions in a tile, which are at most {MOST_ADDS}",
                None,
            )
    larger = {name: size for name, size in needed.items() if size > getattr(params, name)}
    if not larger:
        return
    lacks = ", ".join(
        f"{name} {getattr(params, name)} (it needs {size})" for name, size in larger.items()
    )
    rounded: dict[str, Any] = {
        name: ceil_div(size, 8 * LANES) * 8 * LANES for name, size in larger.items()
    }
    what = "the network in flight" if made.apart else "the network"
    message = f"{what} is larger than the engine: {lacks}"
    try:
        fitting = replace(params, **rounded)
    except ValueError as error:
        raise NetworkTooLarge(f"{message}; there is none that fits: {error}", None) from None
    would = ", ".join(f"{name}={size}" for name, size in rounded.items())
    raise NetworkTooLarge(f"{message}; {would} fits", fitting)


assert MAP_ROW.words == 4 and TAP.words == 2, "addresses are made of powers of two"
