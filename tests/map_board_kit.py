"""A map engine on a line: the link's model, with the step model of the engine behind it.

It takes words where a map engine has them, runs all passes on the half and the pictures that
VECTORS names, and lets the other half be written and read meanwhile; its own half is BUSY then.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dpnet.gateware.registers import Region, identity
from dpnet.host.driver import Driver
from dpnet.host.link import Link
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.steps.machine import Machine
from dpnet.model.engine.stores import copy_words, half_words
from dpnet.sim.peers.engine_model import OK, EngineModel
from dpnet.sim.peers.faulty import ModelTransport

CLOCK_HZ = 100_000_000

SIMULATED = MapEngineParameters(
    clusters=2,
    stages=2,
    index_depth=8192,
    row_groups=32,
    taps=1024,
    passes=32,
    map_depth=4096,
    picture_depth=1024,
    result_depth=512,
)
"""The map engine that the tests of `sim://maps` share, so that it is built once."""


class MapModel(EngineModel):
    """The engine as the link sees it.  `log` has what happened while a run was on, and between."""

    def __init__(self, params: MapEngineParameters, **others: Any) -> None:
        super().__init__(
            identity=identity(params, clock_hz=CLOCK_HZ), halves=half_words(params), **others
        )
        self.params, self.copy = params, copy_words(params)[Region.VECTOR]
        self.log: list[tuple[str, int, bool]] = []

    def compute(self, passes: int) -> int:
        """Run the passes on the half and the pictures that were named; the cycles."""
        machine = Machine(self.params, {region: self._words(region) for region in range(1, 5)})
        for stage in range(len(machine.pictures)):
            machine.write_picture(self._picture(stage), 0, stage)
        cycles = machine.run(passes, 0, pictures=(self.vectors - 1) // 2 + 1)
        size = self.halves[Region.RESULT]
        first = (int(Region.RESULT) << 26) + self.half * size
        for n, word in enumerate(machine.read_results(size, 0).tolist()):
            self.memory[first + n] = word
        return cycles

    def _picture(self, stage: int) -> np.ndarray:
        """The words of the half in a stage's copy."""
        size = self.halves[Region.VECTOR]
        first = (int(Region.VECTOR) << 26) + self.half * size + (stage + 1) * self.copy
        return np.array([self.memory.get(first + n, 0) for n in range(size)], np.uint32)

    def _words(self, region: int) -> np.ndarray:
        base = region << 26
        held = [at - base for at in self.memory if at >> 26 == region]
        return np.array([self.memory.get(base + n, 0) for n in range(max(held) + 1)], np.uint32)

    def _note(self, name: str, region: int, offset: int) -> None:
        within = offset % (1 << 28) % (4 * self.copy if region == Region.VECTOR else 1 << 28)
        half = within // (4 * self.halves[region])
        self.log.append((name, half, self.busy))

    def _write(self, region: int, offset: int, payload: bytes, own: bool, stream: bool) -> int:
        if region == Region.VECTOR:
            self._note("picture", region, offset)
        status = super()._write(region, offset, payload, own, stream)
        if status == OK and region == Region.VECTOR and offset % (1 << 28) < 4 * self.copy:
            # What is written for all stages each of them has.
            for stage in range(self.params.stages):
                at = offset + 4 * (stage + 1) * self.copy
                super()._write(region, at, payload, own, stream)
        return status

    def _read(self, region: int, offset: int, length: int) -> tuple[int, bytes]:
        if region == Region.RESULT:
            self._note("results", region, offset)
        return super()._read(region, offset, length)


class MapTransport(ModelTransport):
    """Its line.  A run takes as long as its cycles, or `run_s` if that is given."""

    def __init__(self, engine: MapModel, run_s: float | None = None, **others: float) -> None:
        self._fixed = run_s
        super().__init__(engine=engine, **others)

    def _started(self, run: int, first: int, last: int, vectors: int) -> None:
        assert isinstance(self.engine, MapModel) and first == 0
        self._passes = last + 1
        self.engine.log.append(("start", self.engine.half, False))
        # What the run takes is known when it is through; the model computes at once.
        self._cycles = self.engine.compute(self._passes)
        took = self._cycles / CLOCK_HZ if self._fixed is None else self._fixed
        self._busy_until = self._now + took

    def _tick(self) -> None:
        if self.engine.busy and self._now >= self._busy_until:
            self.engine.busy, self.engine.cycles = False, self._cycles


def board(params: MapEngineParameters, **times: float) -> tuple[Driver, MapModel, MapTransport]:
    model = MapModel(params)
    line = MapTransport(model, **times)
    return Driver(Link(line)), model, line
