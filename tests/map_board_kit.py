"""A map engine on a line: the link's model, with the step model of the engine behind it.

It takes words where a map engine has them, runs all passes on the half that START names, and lets
the other half be written and read meanwhile; its own half is BUSY then.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dpnet.gateware.registers import Region
from dpnet.host.driver import Driver
from dpnet.host.link import Link
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.steps.machine import Machine
from dpnet.sim.peers.engine_model import BUSY, EngineModel
from dpnet.sim.peers.faulty import ModelTransport

CLOCK_HZ = 100_000_000


class MapModel(EngineModel):
    """The engine as the link sees it.  `log` has what happened while a run was on, and between."""

    def __init__(self, params: MapEngineParameters, **others: Any) -> None:
        super().__init__(identity={"CLOCK_HZ": CLOCK_HZ}, **others)
        self.params = params
        self.half = 0
        self.log: list[tuple[str, int, bool]] = []

    def compute(self, passes: int) -> int:
        """Run the passes on the half that was named; the cycles."""
        machine = Machine(self.params, {region: self._words(region) for region in range(1, 5)})
        size = (self.params.picture_depth // 8) << self.params.cluster_bits
        machine.write_picture(self._block(Region.VECTOR, size), 0)
        cycles = machine.run(passes, 0)
        size = (self.params.result_depth // 8) << self.params.cluster_bits
        first = (int(Region.RESULT) << 26) + self.half * size
        for n, word in enumerate(machine.read_results(size, 0).tolist()):
            self.memory[first + n] = word
        return cycles

    def _block(self, region: int, size: int) -> np.ndarray:
        """A half's words."""
        first = (int(region) << 26) + self.half * size
        return np.array([self.memory.get(first + n, 0) for n in range(size)], np.uint32)

    def _words(self, region: int) -> np.ndarray:
        base = region << 26
        held = [at - base for at in self.memory if at >> 26 == region]
        return np.array([self.memory.get(base + n, 0) for n in range(max(held) + 1)], np.uint32)

    def _half_of(self, region: int, offset: int) -> int:
        depth = self.params.picture_depth if region == Region.VECTOR else self.params.result_depth
        return (offset % (1 << 28)) // (4 * ((depth // 8) << self.params.cluster_bits))

    def _free(self, name: str, region: int, offset: int) -> bool:
        """Whether a half of a store may be touched now; noted."""
        half = self._half_of(region, offset)
        self.log.append((name, half, self.busy))
        return not self.busy or half != self.half

    def _write(self, region: int, offset: int, payload: bytes, own: bool, stream: bool) -> int:
        if region != Region.VECTOR:
            return super()._write(region, offset, payload, own, stream)
        if not self._free("picture", region, offset):
            return BUSY
        for n in range(0, len(payload), 4):
            self.memory[(offset + n) // 4] = int.from_bytes(payload[n : n + 4], "little")
        return 0

    def _read(self, region: int, offset: int, length: int) -> tuple[int, bytes]:
        if region != Region.RESULT:
            return super()._read(region, offset, length)
        if not self._free("results", region, offset):
            return BUSY, b""
        words = [self.memory.get(offset // 4 + n, 0) for n in range(length // 4)]
        return 0, b"".join(word.to_bytes(4, "little") for word in words)


class MapTransport(ModelTransport):
    """Its line.  A run takes as long as its cycles, or `run_s` if that is given."""

    def __init__(self, engine: MapModel, run_s: float | None = None, **others: float) -> None:
        self._fixed = run_s
        super().__init__(engine=engine, **others)

    def _started(self, run: int, first: int, last: int, vectors: int) -> None:
        assert isinstance(self.engine, MapModel) and vectors == 1 and first in (0, 1)
        self.engine.half, self._passes = first, last + 1
        self.engine.log.append(("start", first, False))
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
