"""What the records of a map engine can say at most.  Standard library only."""

SPREAD_BITS = 6
"""Bits of the number of words from a group's first place to any other of its positions."""

REACH_BITS = 4
"""Bits of how far a position is from the edge of its window: what is farther than `FAR` counts as
that far."""

FAR = (1 << REACH_BITS) - 2
"""Positions by which a tap may reach beyond a map at most; one more means that it always does."""

MOST_ADDS = 4096
"""Additions of a tile at most."""
