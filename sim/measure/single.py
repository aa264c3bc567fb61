"""One random layer on a bare core: its words, and what its results must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.configurations import K
from dpnet.model.engine.layout import Descriptor, Region, result_bytes, results, slot_words
from dpnet.model.engine.parameters import ceil_div
from dpnet.sim.board.bare_core import BareCore
from dpnet.sim.kit.random_networks import Network


@dataclass
class Single(Network):
    """One random layer at the start of an engine's stores, K = 16."""

    rows: int = 1
    columns: int = 1

    def __post_init__(self) -> None:
        engine = self.engine
        descriptor = Descriptor(
            beats=engine.beats(self.columns),
            tiles=engine.tiles(self.rows),
            rows=self.rows,
            k=K,
            index_row=0,
            slot=0,
            result_slot=0,
            in_row=0,
            out_bits=8,
            fp32_in=engine.fp32,
            vector_rows=ceil_div(engine.beats(self.columns), engine.row_beats),
            fp32_out=engine.fp32,
            relu=not engine.fp32,
        )
        self.layers.append(self._numbers(descriptor, self.columns))

    def load(self, core: BareCore, vectors: Sequence[NDArray[np.uint32]]) -> None:
        """Everything that runs of these vectors need."""
        for address, words in self.image():
            core.write(address, words)
        for n, vector in enumerate(vectors):
            core.write(*self.input(self.layers[0], vector, n))

    def mismatches(self, core: BareCore, vectors: Sequence[NDArray[np.uint32]]) -> int:
        """Results that differ from golden."""
        engine, layer = self.engine, self.layers[0]
        slots = engine.tiles(self.rows) * engine.stages
        count = result_bytes(engine, self.rows) // 4
        wrong = 0
        for n, vector in enumerate(vectors):
            address = Region.RESULT.base + 4 * n * slots * slot_words(engine)
            found = results(engine, core.read(address, count), self.rows)
            wrong += int((found != layer.results(vector)).sum())
        return wrong
