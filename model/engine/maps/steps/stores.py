"""What the words of the stores say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.maps.limits import FAR
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.placement import PASS_PITCH, taps_at
from dpnet.model.engine.maps.records import MAP_ROW, PASS, TAP
from dpnet.model.engine.maps.steps.dispatcher import Fields
from dpnet.model.engine.parameters import ceil_div, ceil_log2
from dpnet.model.engine.records import Record
from dpnet.model.engine.regions import Region

Integers = NDArray[np.int64]
Words = NDArray[np.uint32]

SIGNED = {"low", "high", "skip_first", "bias", "factor"}


@dataclass(frozen=True)
class Tap:
    """A tap's place less the position's, and how far from its window's edges it is inside of the
    map."""

    word: int
    bank: int
    above: int
    below: int
    left: int
    right: int

    def inside(self, y: Integers, x: Integers, fields: Fields) -> NDArray[np.bool_]:
        """For positions (y, x) of the window of `fields`."""
        far = [np.minimum(at, FAR) for at in (y, fields["height"] - 1 - y)]
        far += [np.minimum(at, FAR) for at in (x, fields["width"] - 1 - x)]
        needed = self.above, self.below, self.left, self.right
        inside: NDArray[np.bool_] = np.all(
            [at >= least for at, least in zip(far, needed, strict=True)], axis=0
        )
        return inside


def unpacked(record: Record, words: Words) -> dict[str, int]:
    """The fields of a record; those of `SIGNED` and words of places are signed."""
    whole = sum(int(word) << 32 * n for n, word in enumerate(words[: record.words]))
    found = {}
    for name, (offset, bits) in record.places.items():
        value = whole >> offset & (1 << bits) - 1
        signed = name in SIGNED or name.endswith("_word")
        found[name] = value - (1 << bits) if signed and value >> bits - 1 else value
    return found


class Stores:
    """Descriptors, taps, indices, codebooks and parameters of rows, by region."""

    def __init__(self, params: MapEngineParameters, words: Mapping[Region, Words]) -> None:
        self._params = params
        self._layers, self._rows = words[Region.LAYERS], words[Region.ROWS]
        streams = 1 << ceil_log2(params.streams)
        self._index = words[Region.INDEX].reshape(-1, streams, 2)
        entries = words[Region.CODEBOOK].astype(np.int64).reshape(-1, LANES, LANES)
        sign = 1 << params.entry_bits - 1
        self._entries = (entries ^ sign) - sign

    def descriptor(self, number: int) -> Fields:
        return unpacked(PASS, self._layers[number * PASS_PITCH :])

    def taps(self, fields: Fields) -> list[Tap]:
        found = []
        for n in range(fields["first_tap"], fields["first_tap"] + fields["taps"]):
            at = unpacked(TAP, self._layers[taps_at(self._params) + n * TAP.words :])
            reach = [at[name] for name in ("above", "below", "left", "right")]
            found.append(Tap(at["offset_word"], at["offset_bank"], *reach))
        return found

    def indices(self, fields: Fields, row_group: int, adds: int) -> Integers:
        """The lanes' indices (adds, lanes) of a row group."""
        bits = fields["index_mode"] + 1
        words = ceil_div(adds * bits, 4)
        n = fields["first_stream"] + row_group
        first = fields["first_index"] + n // self._params.streams * words
        halves = self._index[first : first + words, n % self._params.streams].astype(np.int64)
        nibbles = halves[:, :, None] >> np.arange(0, 32, 4) & 15
        parts = nibbles.reshape(words, 1, LANES) >> np.arange(0, 4, bits)[None, :, None]
        indices: Integers = (parts & (1 << bits) - 1).reshape(-1, LANES)[:adds]
        return indices

    def codebook(self, slot: int) -> Integers:
        """Entries (lanes, K)."""
        entries: Integers = self._entries[slot]
        return entries

    def rows(self, slot: int, count: int) -> tuple[Integers, ...]:
        """Bias, multiplier, shift, factor of the skip value (count, 1) of the first rows."""
        first = slot * LANES * MAP_ROW.words
        words = self._rows[first:].reshape(-1, MAP_ROW.words)[:count]
        read = [unpacked(MAP_ROW, row) for row in words]
        names = ("bias", "multiplier", "shift", "factor")
        return tuple(np.array([[row[name]] for row in read]) for name in names)
