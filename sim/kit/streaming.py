"""A transport for tests of streaming: an engine model that computes tiles as they are released."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dpnet.sim.peers.faulty import ModelTransport

CYCLES_PER_S = 100_000_000

Segment = tuple[int, Sequence[int]]


@dataclass
class StreamingTransport(ModelTransport):
    """A line to an engine whose only layer has `count` tiles, each `tile_s` long.

    `expected(tile)` says which words, from which byte addresses on, a tile has to have in the
    stores; they are compared when the tile starts and when it ends.  Every write takes `byte_s` a
    byte.  Members: `runs`, of each run the tiles that were right, in order; `wrong`, tiles that
    were not.
    """

    count: int = 1
    tile_s: float = 1e-3
    byte_s: float = 0.0
    expected: Callable[[int], Sequence[Segment]] = lambda tile: ()
    runs: list[list[int]] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)

    def _started(self, run: int, first: int, last: int, vectors: int) -> None:
        self.runs.append([])
        self._began = self._idle_since = self._now
        self._end: float | None = None
        self._stalled_s = 0.0
        self._releases: list[float] = []

    def _tick(self) -> None:
        engine = self.engine
        while engine.busy and self._end is not None and self._now >= self._end:
            self._compare(engine.tiles)
            engine.tiles += 1
            self._idle_since, self._end = self._end, None
            if engine.tiles == self.count:
                engine.busy = False
                engine.cycles = round((self._idle_since - self._began) * CYCLES_PER_S)
            else:
                self._next_tile()
        if engine.busy and self._end is None:
            self._show_stalled(self._now - self._idle_since)

    def _next_tile(self) -> None:
        """Start the next tile if it was released."""
        number = self.engine.tiles
        if number < len(self._releases):
            at = max(self._idle_since, self._releases[number])
            self._stalled_s += at - self._idle_since
            self._show_stalled(0.0)
            self._compare(number)
            self._end = at + self.tile_s

    def _show_stalled(self, more_s: float) -> None:
        self.engine.stalled = round((self._stalled_s + more_s) * CYCLES_PER_S)

    def _compare(self, tile: int) -> None:
        memory = self.engine.memory
        right = all(
            memory.get(address // 4 + n) == int(word)
            for address, words in self.expected(tile)
            for n, word in enumerate(words)
        )
        if not right:
            self.wrong.append(tile)
        elif self._end is not None:
            self.runs[-1].append(tile)

    def write(self, data: bytes) -> None:
        """See `Transport`."""
        for piece in data.split(b"\0"):
            self._now += self.byte_s * (len(piece) + 1)
            super().write(piece + b"\0")
            if self.engine.busy:
                self._see_release()

    def _see_release(self) -> None:
        released = min(self.engine.released, self.count)
        self._releases += [self._now] * (released - len(self._releases))
        if self._end is None:
            self._next_tile()

    def read(self, limit: int, timeout_s: float) -> bytes:
        """See `Transport`."""
        data = super().read(limit, timeout_s)
        self._tick()
        return data
