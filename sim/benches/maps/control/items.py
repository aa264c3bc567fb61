"""Random items of a pass, in the order of their tiles."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.sim.benches.maps.control.passes import Fields


@dataclass(frozen=True)
class RandomItem:
    """An item: row group and group, where it is in its pass and tile, its clusters' places, and
    whether its stage has a picture of its own."""

    row_group: int
    group: int
    stage: int
    apart: bool
    first: bool
    last: bool
    final: bool
    short: bool
    ends: bool
    used: int
    words: tuple[int, ...]
    banks: tuple[int, ...]

    @property
    def flags(self) -> dict[str, int]:
        names = ("first", "last", "final", "short", "ends")
        return {name: int(getattr(self, name)) for name in names}

    def row(self, fields: Fields, number: int) -> int:
        """The number of its row `number` in the pass."""
        return self.row_group * fields["rows"] + number

    def rows(self, fields: Fields) -> int:
        return fields["last_rows" if self.short else "rows"]


def random_items(
    params: MapEngineParameters, fields: Fields, source: random.Random
) -> Iterator[list[RandomItem]]:
    """Tiles of any length, where stages are apart of as many as have pictures; banks are a
    permutation."""
    groups = source.randint(1, 4)
    row_groups = source.randint(1, 4)
    pairs = [(r, g) for r in range(row_groups) for g in range(groups)]
    fields["groups"], fields["row_groups"] = groups, row_groups
    first, pictures = True, source.randint(1, params.stages)
    while pairs:
        size = 1 if fields["apart"] else min(len(pairs), source.randint(1, params.stages))
        tile, pairs = pairs[:size], pairs[size:]
        if fields["apart"]:
            tile, size = tile * pictures, pictures
        items = []
        for stage, (row_group, group) in enumerate(tile):
            banks = list(range(params.clusters))
            source.shuffle(banks)
            last = stage == size - 1
            items.append(
                RandomItem(
                    row_group=row_group,
                    group=group,
                    stage=stage,
                    apart=bool(fields["apart"]),
                    first=first,
                    last=last,
                    final=last and not pairs,
                    short=row_group == row_groups - 1,
                    ends=group == groups - 1 and (last or not fields["apart"]),
                    used=source.getrandbits(params.clusters),
                    words=tuple(source.getrandbits(18) for _ in range(params.clusters)),
                    banks=tuple(banks),
                )
            )
            first = False
        yield items
