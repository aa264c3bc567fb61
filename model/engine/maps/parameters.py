"""The parameters of a map engine: one object that gateware, compiler, host and tests share.

Standard library only, so that gateware and host may import it without NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass

from dpnet.model.engine.parameters import MULTIPLIERS, EngineParameters, ceil_div, ceil_log2
from dpnet.model.engine.regions import REGION_SHIFT

LANES = 16
"""Lanes of a unit: output channels that are computed at once, buckets of a lane, and the cycles
from one stage to the next."""

START_CYCLES = 40
"""From the start of a run to the first pass's first command, if it does not wait: its descriptor
is read a word a cycle."""

DESCRIPTOR_CYCLES = 36
"""From the first command of a pass to that of the next one, at least: its descriptor is read."""

READ_CYCLES = 2
"""From a command to the edge at which a unit's bank is read: the address, its way to the bank."""

WRITE_CYCLES = 26
"""From the last bucket's command to the edge at which a row group's first row is written: the bank
and what is behind it (5), column (6), serializer (1), accumulator and skip value (2), requantize
(10), bank of the result (2)."""


@dataclass(frozen=True, kw_only=True)
class MapEngineParameters:
    """Size of a map engine: `clusters` × `stages` units of `LANES` lanes, stores in entries.

    The units of one stage work on `clusters` output positions beside each other, each cluster on
    one of them; the stages' units of one cluster share `LANES` multipliers.  A tile holds at most
    `streams` row groups, each with its own words of indices.

    `index_depth` counts words of `LANES` indices, the same number for each stream; `row_groups`
    codebooks and parameters of `LANES` rows, `taps` entries of the tap table, `passes` descriptors.
    Bytes of each cluster's bank: `map_depth` for maps, `picture_depth` for the picture (half of it
    while the other half is written), both once for each stage; `result_depth` for results (half of
    it likewise).
    `max_columns` is the largest number of additions to a bucket in a tile, so that none that counts
    overflows; buckets whose entry is 0 may.
    `entry_bits` are those of a codebook's integers, and `multiplier` is the size of the chip's
    multipliers.
    Raises `ValueError` for sizes that cannot be built.
    """

    clusters: int = 2
    stages: int = 8
    streams: int = 2
    max_columns: int = 4096
    entry_bits: int = 18
    index_depth: int = 36864
    row_groups: int = 256
    taps: int = 512
    passes: int = 64
    map_depth: int = 65536
    picture_depth: int = 32768
    result_depth: int = 4096
    multiplier: str = "25x18"

    def __post_init__(self) -> None:
        limits = {
            "clusters": (1, 64),
            "stages": (1, 64),
            "streams": (1, 4),
            "max_columns": (1, 4096),
            "entry_bits": (2, 18),
            "index_depth": (1, 1 << 24),
            "row_groups": (1, 1 << 12),
            "taps": (1, 1 << 16),
            "passes": (1, 1 << 10),
            "map_depth": (4, 1 << 17),
            "picture_depth": (8, 1 << 17),
            "result_depth": (8, 1 << 17),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer from {low} to {high}, not {value!r}")
        units = {"index_depth": self.streams, "map_depth": 4, "picture_depth": 8, "result_depth": 8}
        for name, unit in units.items():
            if (value := getattr(self, name)) % unit:
                raise ValueError(f"{name} must be a multiple of {unit}, not {value!r}")
        if self.multiplier not in MULTIPLIERS:
            raise ValueError(
                f"multiplier must be one of {', '.join(MULTIPLIERS)}, not {self.multiplier!r}"
            )
        banks = ceil_log2(max(self.map_depth, self.picture_depth))
        bits = self.cluster_bits + banks + ceil_log2(self.stages + 1)
        if bits > REGION_SHIFT:
            raise ValueError(
                f"clusters, stages and their banks must have addresses of at most {REGION_SHIFT} "
                f"bits, not of {bits}"
            )

    @property
    def units(self) -> int:
        """Output positions in work at once."""
        return self.clusters * self.stages

    @property
    def stream_depth(self) -> int:
        """Index words of each stream."""
        return self.index_depth // self.streams

    @property
    def lanes(self) -> int:
        return LANES * self.units

    @property
    def cluster(self) -> EngineParameters:
        """A cluster's lanes and columns as the array's components know them: a unit is a stage of
        one segment, its buckets of `cluster.sum_bits` bits."""
        return EngineParameters(
            stages=self.stages,
            columns=LANES,
            segments=1,
            activation_bits=8,
            entry_bits=self.entry_bits,
            max_columns=self.max_columns,
            slots=self.row_groups,
            edges="integer",
            multiplier=self.multiplier,
        )

    @property
    def cluster_bits(self) -> int:
        """Bits that name a cluster, or a bank."""
        return ceil_log2(self.clusters)

    @property
    def drain_cycles(self) -> int:
        """Cycles in which all stages drain one after the other."""
        return LANES * self.stages

    def tile_cycles(self, adds: int, stages: int) -> int:
        """Cycles from one tile to the next: the additions of stage 0 and its drain; more only where
        the drains of the `stages` that have work take longer, which share the multipliers."""
        return max(adds + LANES, LANES * stages)

    def written_cycles(self, adds: int, stages: int) -> int:
        """Cycles from a tile's first command until its last result is written, both included."""
        return adds + LANES * stages + WRITE_CYCLES + LANES - 1

    def index_words(self, adds: int, bits: int) -> int:
        """Words of the index store that a row group takes: 1 for each addition, or for 2 or 4 of
        them where its indices have 2 or 1 `bits`."""
        return ceil_div(adds * bits, 4)
