"""What the parts of a computation take over the link: load, vector, run, read-back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

from dpnet.gateware.registers import Operation
from dpnet.host.driver import Driver, RunReport
from dpnet.host.segments import LoadImage, Progress, Segment, Words

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Bytes of content, and seconds of the transport's clock from the first request to the last
    answer, of a `load` of the whole image, of the `vector`, of the `run` (from its start until the
    host knows its end, streamed tiles in it) and of reading the results `back`.  All 0 where
    nothing was timed.
    """

    load_bytes: int = 0
    load_s: float = 0.0
    vector_bytes: int = 0
    vector_s: float = 0.0
    run_s: float = 0.0
    back_bytes: int = 0
    back_s: float = 0.0


class TimedDriver(Driver):
    """A driver that keeps time.  Members: `phases`, all calls so far together."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver.link)
        self.phases = Phases()
        self._run_began = 0.0

    def load(self, segments: Sequence[Segment], progress: Progress | None = None) -> bool:
        """As `Driver.load`, but all of the image is always sent."""
        image = LoadImage(segments)
        self._forget(image)
        return self._timed(
            "load", 4 * image.count, lambda: super(TimedDriver, self).load(segments, progress)
        )

    def write_words(self, address: int, words: NDArray[Any]) -> None:
        """See `Driver`."""
        self._timed(
            "vector", 4 * len(words), lambda: super(TimedDriver, self).write_words(address, words)
        )

    def read_words(self, address: int, count: int) -> Words:
        """See `Driver`."""
        return self._timed(
            "back", 4 * count, lambda: super(TimedDriver, self).read_words(address, count)
        )

    def start(
        self, first: int, last: int, *, vectors: int = 1, half: int = 0, pictures: int = 1
    ) -> int:
        """See `Driver`."""
        self._run_began = self.link.transport.now()
        return super().start(first, last, vectors=vectors, half=half, pictures=pictures)

    def finish(self, number: int, what: str, timeout_s: float) -> RunReport:
        """See `Driver`."""
        report = super().finish(number, what, timeout_s)
        self._add(run_s=self.link.transport.now() - self._run_began)
        return report

    def check_results(self) -> None:
        """See `Driver`; it belongs to the reading."""
        self._timed("back", 0, super().check_results)

    def _forget(self, image: LoadImage) -> None:
        # An engine that holds the image, or a part of it, would be sent less than all.
        self.abort()
        used = {self.registers()["EPOCH"], *image.epochs}
        epoch = next(value for value in range(1, 256) if value not in used)
        self.link.request(Operation.BEGIN, epoch=epoch)

    def _timed(self, phase: str, size: int, call: Callable[[], Result]) -> Result:
        began = self.link.transport.now()
        result = call()
        took = self.link.transport.now() - began
        self._add(**{f"{phase}_s": took}, **({f"{phase}_bytes": size} if size else {}))
        return result

    def _add(self, **more: float) -> None:
        kept = vars(self.phases)
        self.phases = Phases(**{**kept, **{name: kept[name] + more[name] for name in more}})
