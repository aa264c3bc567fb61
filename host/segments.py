"""Words on their way into an engine: segments, what identifies them, the pieces to send."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.gateware.registers import MAX_PAYLOAD, MAX_RANGES, REGION_SHIFT, Region

Words = NDArray[np.uint32]
Segment = tuple[int, Words]
Progress = Callable[[int, int], None]

CHUNK_WORDS = 1024
"""Words that one CHECK covers when a load goes on: 4 KB, against about 40 bytes of frames."""


class LoadImage:
    """Segments to load: checked, joined where they touch, in the order of their addresses.

    Members: `segments`; `count`, words; `crc`, CRC-32 of all words; `commit`, the payload of
    COMMIT; `epochs`, the two that this image may be loaded under.  `ValueError` if it is none.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = joined(segments)
        self.count = sum(len(words) for _, words in self.segments)
        if not 1 <= len(self.segments) <= MAX_RANGES:
            raise ValueError(
                f"an image must have 1 to {MAX_RANGES} ranges of words, not {len(self.segments)}"
            )
        self.crc = 0
        for _, words in self.segments:
            self.crc = zlib.crc32(words.tobytes(), self.crc)
        ranges = [(address // 4, len(words)) for address, words in self.segments]
        self.commit = np.array([self.crc, *sum(ranges, ())], "<u4").tobytes()
        # Addresses count too; 0 means no image.
        first = zlib.crc32(self.commit) % 255 + 1
        self.epochs = (first, first % 255 + 1)

    def is_held(self, values: Mapping[str, int]) -> bool:
        """Whether these registers of a valid engine are those after a load of this image."""
        return (
            values["IMAGE_CRC"] == self.crc
            and values["IMAGE_WORDS"] == self.count
            and values["EPOCH"] in self.epochs
        )

    def chunks(self) -> Iterator[Segment]:
        """The image in parts of at most `CHUNK_WORDS` words."""
        for address, words in self.segments:
            for start in range(0, len(words), CHUNK_WORDS):
                yield address + 4 * start, words[start : start + CHUNK_WORDS]


def joined(segments: Sequence[Segment]) -> list[Segment]:
    """The segments without gaps between neighbors in a region; `ValueError` if they overlap."""
    parts: list[tuple[int, list[Words]]] = []
    end = 0
    for address, array in sorted(segments, key=lambda segment: segment[0]):
        words = as_words(array)
        region = address >> REGION_SHIFT
        if address % 4 or not Region.IMAGE_FIRST <= region <= Region.IMAGE_LAST:
            raise ValueError(f"a segment must lie in regions 1 to 4, not at 0x{address:08x}")
        if not len(words):
            continue
        if parts and address < end:
            raise ValueError(f"segments must not overlap, as they do at 0x{address:08x}")
        # Ranges of a COMMIT stay inside a region.
        if parts and address == end and region == parts[-1][0] >> REGION_SHIFT:
            parts[-1][1].append(words)
        else:
            parts.append((address, [words]))
        end = address + 4 * len(words)
        if end > (region + 1) << REGION_SHIFT:
            raise ValueError(f"a segment must end inside its region, not at 0x{end:08x}")
    return [(address, np.concatenate(arrays)) for address, arrays in parts]


def as_words(array: NDArray[Any]) -> Words:
    """Integers as 32-bit words, little endian; more bits are cut off."""
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"words must be one row of integers, not {array.ndim}-d {array.dtype}")
    return np.ascontiguousarray(array).astype("<u4")


def pieces(segments: Sequence[Segment]) -> Iterator[tuple[int, bytes]]:
    """(byte address, at most 256 bytes) pairs, each a WRITE."""
    for address, words in segments:
        data = words.tobytes()
        for start in range(0, len(data), MAX_PAYLOAD):
            yield address + start, data[start : start + MAX_PAYLOAD]


class Reporter:
    """Turns bytes done into calls of a `Progress`."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def bytes_done(self, count: int) -> None:
        """So many bytes more are where they belong."""
        self._done += count // 4
        if self._progress is not None:
            self._progress(self._done, self._total)

    def finish(self) -> None:
        """All words are."""
        if self._progress is not None:
            self._progress(self._total, self._total)
