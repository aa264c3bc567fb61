"""A layer larger than the stores: its tiles are sent while it runs, into places that are free."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Protocol

from dpnet.gateware.registers import BY_NAME, STREAM, Operation, State
from dpnet.host.driver import Driver, RunReport, register_word
from dpnet.host.errors import DeadlineError, EngineError, LinkError
from dpnet.host.link.request import Request
from dpnet.host.segments import Progress, Segment, pieces

_SHORTEST_SLEEP_S, _LONGEST_SLEEP_S = 0.000002, 0.02


class Tiles(Protocol):
    """The tiles of a layer: `count` of them, `ring` of which the stores hold at a time."""

    count: int
    ring: int

    def words(self, tile: int) -> list[Segment]:
        """(byte address, words) of a tile, in the place of tile `tile` - `ring`."""


def run_streamed(
    driver: Driver, layer: int, tiles: Tiles, timeout_s: float, progress: Progress | None = None
) -> RunReport:
    """Run a streamed layer: send each tile as soon as its place is free, and release it.

    Tile t is on its way while the engine computes tiles before it, if `ring` is 2 or more.
    `progress` is called with the tiles sent and all of them.  Raises as `Driver.run` does,
    `DeadlineError` also if no place becomes free for `timeout_s`.  Whatever stops it, the engine is
    told to end the run.
    """
    with _abandoned_unless_done(driver):
        number = driver.start(layer, layer)
        sent = _Sender(driver, number, tiles, timeout_s).send(progress)
        report = driver.finish(number, f"layer {layer}", timeout_s)
        return replace(report, sent_bytes=sent)


@contextmanager
def _abandoned_unless_done(driver: Driver) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(LinkError):
            driver.abort()
        raise


class _Sender:
    """The host's side of one run; see `run_streamed`."""

    def __init__(self, driver: Driver, number: int, tiles: Tiles, timeout_s: float) -> None:
        self.driver, self.number, self.tiles, self.timeout_s = driver, number, tiles, timeout_s
        self._epoch = driver.registers()["EPOCH"]
        self._done = 0
        self._there, self._released = 0, 0

    def send(self, progress: Progress | None) -> int:
        """Send and release every tile; the number of bytes of their words.  It ends early if the
        run does."""
        try:
            return self._send(progress)
        except EngineError:
            # An engine without this run refuses what belongs to it; the wait for its end says why.
            if self._is_on(self.driver.registers()):
                raise
            return 0

    def _send(self, progress: Progress | None) -> int:
        sent = 0
        for tile in range(self.tiles.count):
            words = self.tiles.words(tile)
            if not self._wait_for_place(tile):
                break
            self._transfer(words)
            self._there = tile + 1
            sent += sum(4 * len(part) for _, part in words)
            if progress is not None:
                progress(tile + 1, self.tiles.count)
        self._release()
        return sent

    def _transfer(self, words: list[Segment]) -> None:
        """Send a tile, between the release of the one before it and a look at what is done: the
        window of the link stays full."""
        requests = [
            Request(Operation.WRITE, at, data, self._epoch, flags=STREAM)
            for at, data in pieces(words)
        ]
        if self._released < self._there:
            word = register_word("RELEASE", run=self.number, tiles=self._there)
            release = BY_NAME["RELEASE"].offset, word.to_bytes(4, "little")
            requests.insert(0, Request(Operation.WRITE, *release))
        requests.append(Request(Operation.READ, BY_NAME["TILES"].offset, wanted=4))
        *_, look = self.driver.link.exchange(requests, by_bitmap=True)
        self._released = self._there
        if look is not None:
            self._done = int.from_bytes(look.payload, "little")

    def _release(self) -> None:
        if self._released < self._there:
            self.driver.release(self.number, self._there)
            self._released = self._there

    def _wait_for_place(self, tile: int) -> bool:
        """Whether the place of `tile` is free; False if the run is over."""
        transport = self.driver.link.transport
        began = transport.now()
        while tile >= self._done + self.tiles.ring:
            self._release()
            values = self.driver.registers()
            if not self._is_on(values):
                return False
            self._done = values["TILES"]
            if tile >= self._done + self.tiles.ring:
                waited_s = transport.now() - began
                if waited_s >= self.timeout_s:
                    raise DeadlineError(
                        f"run {self.number}: tile {tile - self.tiles.ring} is not done after "
                        f"{self.timeout_s:g} s; allow more, or reset the engine"
                    )
                # Found free late by an eighth of the wait at most: the place is needed.
                transport.sleep(min(max(waited_s / 8, _SHORTEST_SLEEP_S), _LONGEST_SLEEP_S))
        return True

    def _is_on(self, values: dict[str, int]) -> bool:
        return _busy(values) and values["RUN"] == self.number


def _busy(values: dict[str, int]) -> bool:
    status = BY_NAME["STATUS"]
    valid = status.field("state").of(values["STATUS"]) == State.VALID
    return valid and bool(status.field("busy").of(values["STATUS"]))
