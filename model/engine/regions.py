"""Regions of an engine's address map (standard library only): for gateware, host and layout."""

from __future__ import annotations

import enum

REGION_SHIFT = 28
"""Byte address bits below the region."""


class Region(enum.IntEnum):
    """Upper four bits of a byte address.

    IMAGE_FIRST to IMAGE_LAST are written while LOADING under the right epoch; VECTOR and RESULT
    whenever the engine computes nothing, on a map engine also the halves that a run leaves alone.
    MAPS, which only map engines have, is read while nothing is computed.
    """

    REGISTERS = 0
    INDEX = 1
    CODEBOOK = 2
    ROWS = 3
    LAYERS = 4
    VECTOR = 5
    RESULT = 6
    MAPS = 7
    IMAGE_FIRST = 1
    IMAGE_LAST = 4

    @property
    def base(self) -> int:
        """Byte address of the region."""
        return int(self) << REGION_SHIFT
