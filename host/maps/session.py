"""A whole network on a map engine: placed for its size, loaded, run picture after picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.gateware.registers import BY_NAME
from dpnet.host.driver import Driver
from dpnet.host.errors import EngineError
from dpnet.host.maps.engines import engine_url
from dpnet.host.maps.halves import picture_address, result_address
from dpnet.host.maps.runs import Run
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


def placed(image: MapImage, engine: MapEngineParameters, in_flight: bool = False) -> Placement:
    """The image's network as words of an engine's stores, for a picture at a time or a picture in
    each stage; `CapacityError` where it is larger, with an engine that holds it."""
    try:
        found = place(engine, image.network, in_flight)
    except NetworkTooLarge as error:
        told = str(error).rpartition("; ")[0] if error.fitting else str(error)
        remedy = f"; an engine that holds it: {engine_url(error.fitting)}" if error.fitting else ""
        remedy += ", or run one picture at a time" if in_flight else ""
        raise CapacityError(f"{told}{remedy}") from None
    if len(found.plan.passes) > LARGEST_PASSES:
        raise CapacityError(
            f"the network takes {len(found.plan.passes)} passes, a run has at most {LARGEST_PASSES}"
        )
    return found


IN_FLIGHT = 7
"""The first gateware whose map engines have pictures in flight."""


class MapSession:
    """An engine with one network on it; a run computes a picture, or `in_flight` one in each stage.

    Members: `placement`, the network's words for this engine; `most` pictures of a run; `clock_hz`,
    the engine's; `cycles` of a run of so many by the formula, which those that the engine counts
    are equal to; of the last batch `runs` and `throughput`.  All methods raise `LinkError`s, and
    `ImageError` for pictures that are no integers of the network's first tensor; results that
    changed between the engine's storing and reading them are an `EngineError`, and so are results
    of an engine that holds another image by now.
    """

    def __init__(
        self,
        driver: Driver,
        image: MapImage,
        engine: MapEngineParameters,
        *,
        in_flight: bool = False,
    ) -> None:
        self.driver, self.image, self.engine = driver, image, engine
        gateware = driver.identify().gateware
        if in_flight and gateware < IN_FLIGHT:
            raise CapacityError(
                f"pictures in flight need an engine of gateware {IN_FLIGHT} or later, not of "
                f"{gateware}: build its bitstream anew, or run one picture at a time"
            )
        self.placement = placed(image, engine, in_flight)
        self.in_flight = in_flight
        self.most = self.placement.plan.pictures
        self.clock_hz = driver.identify().clock_hz
        self.cycles = self.placement.plan.cycles
        self.runs: list[Run] = []
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
        """As `run`, for pictures (N, C, H, W), run after run: outputs (N, C, H, W), cycles (N,) of
        the run that each picture was in.  While a run is on, the pictures of the next one are
        written and the results before are read.  `progress` is called with the pictures whose
        results are there, and all."""
        given = self._checked(pictures)
        shape = self.image.network.tensor(self.image.network.output).shape
        values = np.empty((len(given), *shape), np.int64)
        self.runs = self.runs_of(len(given))
        self._write(given, self.runs[0])
        began = self.driver.link.transport.now()
        for n, run in enumerate(self.runs):
            number = self._start(run)
            if n + 1 < len(self.runs):
                self._write(given, self.runs[n + 1])
            if n > 0:
                self._read(values, self.runs[n - 1], progress)
            run.cycles = self._finish(number, run)
        self.throughput = self._measured(began)
        self._read(values, self.runs[-1], progress)
        cycles = np.repeat([run.cycles for run in self.runs], [run.count for run in self.runs])
        return values, cycles

    def runs_of(self, count: int) -> list[Run]:
        """The runs of so many pictures; the last one may have fewer than the others."""
        plan = self.placement.plan
        sizes = [min(self.most, count - first) for first in range(0, count, self.most)]
        return [Run(n, n * self.most, size, plan.cycles_of(size)) for n, size in enumerate(sizes)]

    def _measured(self, began: float) -> Throughput:
        return Throughput(
            pictures=sum(run.count for run in self.runs),
            seconds=self.driver.link.transport.now() - began,
            computing_s=sum(run.cycles for run in self.runs) / self.clock_hz,
            written_bytes=4 * self.placement.picture_count,
            read_bytes=4 * self._result_words(1),
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

    def _start(self, run: Run) -> int:
        """Start a run, all passes on its half; the engine's number of it."""
        last = len(self.placement.plan.passes) - 1
        number = self.driver.start(0, last, half=run.half, pictures=run.count)
        self._until = self.driver.link.transport.now() + run.predicted / self.clock_hz
        return number

    def _finish(self, number: int, run: Run) -> int:
        """Wait for the end of a run; its cycles."""
        # It is known when that will be: who only asked now and then would come late.
        transport = self.driver.link.transport
        if (left_s := self._until - transport.now()) > 0:
            transport.sleep(left_s)
        patience_s = 2 * run.predicted / self.clock_hz + SLACK_S
        return self.driver.finish(number, run.what, patience_s).cycles

    def _write(self, pictures: NDArray[Any], run: Run) -> None:
        """A run's pictures into its half."""
        for n, picture in enumerate(pictures[run.part]):
            address = picture_address(self.engine, run.half, n if self.in_flight else None)
            self.driver.write_words(address, self.placement.picture_words(picture))

    def _read(self, values: Integers, run: Run, progress: Progress | None) -> None:
        """A run's results from its half into those of all: they are this image's, or an
        `EngineError` is raised."""
        address = result_address(self.engine, run.half)
        words = self.driver.read_words(address, self._result_words(run.count))
        for n in range(run.count):
            values[run.first + n] = self.placement.results(words, n)
        self.driver.check_results()
        held = int.from_bytes(self.driver.link.read(BY_NAME["IMAGE_CRC"].offset, 4), "little")
        if self._crc is not None and held != self._crc:
            raise EngineError(
                "the engine holds another image by now: another session or program loaded it, or "
                "the engine was reset; load and run again"
            )
        if progress is not None:
            progress(run.part.stop, len(values))

    def _result_words(self, pictures: int) -> int:
        """Words that the results of the first pictures of a run take."""
        return pictures * self.placement.result_words // self.most
