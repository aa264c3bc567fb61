"""A whole network on a map engine: placed for its size, loaded, run picture after picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.gateware.registers import BY_NAME
from dpnet.host.driver import Driver
from dpnet.host.errors import EngineError
from dpnet.host.maps.engines import engine_url
from dpnet.host.maps.halves import HALVES, picture_address, result_address
from dpnet.host.maps.throughput import Throughput
from dpnet.host.segments import LoadImage, Progress, Segment
from dpnet.host.session import CapacityError, parameters
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge, Placement, place
from dpnet.model.image import ImageError
from dpnet.model.image.maps import MapImage

__all__ = ["LARGEST_PASSES", "MapSession", "map_parameters", "placed"]

Integers = NDArray[np.int64]

LARGEST_PASSES = 256
"""Passes that START names: field `last` is that of the last one."""
SLACK_S = 1.0
"""Beside twice the time that a run takes by the formula."""


def map_parameters(driver: Driver, image: MapImage) -> MapEngineParameters:
    """What the map engine behind a link was built from; `CapacityError` for engines of other kinds,
    with a map engine that holds the image."""
    engine = parameters(driver.identify())
    if not isinstance(engine, MapEngineParameters):
        raise CapacityError(
            "the engine at the port is no map engine, and runs no whole networks; one that holds "
            f"it: {engine_url(image.engine)}"
        )
    return engine


def placed(image: MapImage, engine: MapEngineParameters) -> Placement:
    """The image's network as words of an engine's stores; `CapacityError` where it is larger, with
    an engine that holds it."""
    try:
        found = place(engine, image.network)
    except NetworkTooLarge as error:
        told = str(error).rpartition("; ")[0] if error.fitting else str(error)
        remedy = f"; an engine that holds it: {engine_url(error.fitting)}" if error.fitting else ""
        raise CapacityError(f"{told}{remedy}") from None
    if len(found.plan.passes) > LARGEST_PASSES:
        raise CapacityError(
            f"the network takes {len(found.plan.passes)} passes, a run has at most {LARGEST_PASSES}"
        )
    return found


class MapSession:
    """An engine with one network on it.

    Members: `placement`, the network's words for this engine; `clock_hz`, the engine's; `cycles`
    of a picture by the formula, which those that the engine counts are equal to; `throughput` of
    the last batch.  All methods raise `LinkError`s, and `ImageError` for pictures that are no
    integers of the network's first tensor; results that changed between the engine's storing and
    reading them are an `EngineError`, and so are results of an engine that holds another image by
    now.
    """

    def __init__(self, driver: Driver, image: MapImage, engine: MapEngineParameters) -> None:
        self.driver, self.image, self.engine = driver, image, engine
        self.placement = placed(image, engine)
        self.clock_hz = driver.identify().clock_hz
        self.cycles = self.placement.plan.cycles
        self.throughput: Throughput | None = None
        self._crc: int | None = None
        self._until = 0.0

    def load(self, progress: Progress | None = None) -> bool:
        """Load the network, or go on with an interrupted load; False if it was there already.
        `progress` is called with the words done and all words."""
        parts: list[Segment] = [
            (region.base, words) for region, words in self.placement.words.items() if len(words)
        ]
        self._crc = LoadImage(parts).crc
        return self.driver.load(parts, progress)

    def run(self, picture: NDArray[Any]) -> tuple[Integers, int]:
        """Integers of the network's first tensor (C, H, W), padding and all, to those of its
        output, and the cycles that the engine counted."""
        values, cycles = self.run_batch(np.asarray(picture)[None])
        return values[0], int(cycles[0])

    def run_batch(
        self, pictures: NDArray[Any], progress: Progress | None = None
    ) -> tuple[Integers, Integers]:
        """As `run`, for pictures (N, C, H, W) one after the other: outputs (N, C, H, W), cycles
        (N,).  While one is computed, the next one is written and the results before are read.
        `progress` is called with the pictures whose results are there, and all."""
        given = self._checked(pictures)
        count = len(given)
        shape = self.image.network.tensor(self.image.network.output).shape
        values, cycles = np.empty((count, *shape), np.int64), np.empty(count, np.int64)
        self._write(given, 0)
        began = self.driver.link.transport.now()
        for n in range(count):
            number = self._start(n)
            if n + 1 < count:
                self._write(given, n + 1)
            if n > 0:
                values[n - 1] = self._results(n - 1)
                self._check_results()
                _report(progress, n, count)
            cycles[n] = self._finish(number, n)
        self.throughput = self._measured(began, cycles)
        values[count - 1] = self._results(count - 1)
        self._check_results()
        _report(progress, count, count)
        return values, cycles

    def _measured(self, began: float, cycles: Integers) -> Throughput:
        return Throughput(
            pictures=len(cycles),
            seconds=self.driver.link.transport.now() - began,
            computing_s=int(cycles.sum()) / self.clock_hz,
            written_bytes=4 * self.placement.picture_count,
            read_bytes=4 * self.placement.result_words,
        )

    def _checked(self, pictures: NDArray[Any]) -> NDArray[Any]:
        """All of a batch, before any of it runs."""
        first, given = self.image.network.input, np.asarray(pictures)
        shape = ", ".join(map(str, first.shape))
        if given.shape[1:] != first.shape or not len(given) or given.dtype.kind not in "iu":
            raise ImageError(
                f"pictures must be integers (n, {shape}), not {given.dtype} {given.shape}"
            )
        if given.min() < first.low or given.max() > first.high:
            raise ImageError(f"pictures must be integers from {first.low} to {first.high}")
        return given

    def _start(self, n: int) -> int:
        """Start the run of picture n, all passes on its half; the run's number."""
        number = self.driver.start(0, len(self.placement.plan.passes) - 1, half=n % HALVES)
        self._until = self.driver.link.transport.now() + self.cycles / self.clock_hz
        return number

    def _finish(self, number: int, n: int) -> int:
        """Wait for the end of a run; its cycles."""
        # It is known when that will be: who only asked now and then would come late.
        transport = self.driver.link.transport
        if (left_s := self._until - transport.now()) > 0:
            transport.sleep(left_s)
        patience_s = 2 * self.cycles / self.clock_hz + SLACK_S
        return self.driver.finish(number, f"picture {n}", patience_s).cycles

    def _write(self, pictures: NDArray[Any], n: int) -> None:
        """Picture n into its half."""
        words = self.placement.picture_words(pictures[n])
        self.driver.write_words(picture_address(self.engine, n % HALVES), words)

    def _results(self, n: int) -> Integers:
        """Those of picture n, from its half."""
        address = result_address(self.engine, n % HALVES)
        words = self.driver.read_words(address, self.placement.result_words)
        return self.placement.results(words)

    def _check_results(self) -> None:
        """After results were read: they are this image's, or an `EngineError` is raised."""
        self.driver.check_results()
        held = int.from_bytes(self.driver.link.read(BY_NAME["IMAGE_CRC"].offset, 4), "little")
        if self._crc is not None and held != self._crc:
            raise EngineError(
                "the engine holds another image by now: another session or program loaded it, or "
                "the engine was reset; load and run again"
            )


def _report(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
