"""A serial line and a USB adapter in front of a simulated board, in simulated time."""

from __future__ import annotations

import math
import random
from collections import deque

from dpnet.sim.board.bytes_board import CLOCK_HZ, SimTransport

BITS_PER_BYTE = 10
_FRAME_CYCLES = 1000
"""An answer to anything but a CHECK or a COMMIT has come by then, after the frame's own bytes."""
_COMMIT_CYCLES = 400_000
"""And to a COMMIT of 1.5 MB."""
_SILENCE_S = 1e-6


class SlowLine:
    """A transport (`dpnet.host.link.transport.Transport`): `board` behind a line of `baud` and an
    adapter.

    Bytes take their time on the line, one after the other, in both directions at once.  What comes
    from the board waits in the adapter: each byte for `latency_s`, or, with `ticks`, until the next
    multiple of it (a timer that runs by itself).  Of all bytes the share `error_rate` arrives as
    another byte.  The board computes in its own cycles while bytes for it arrive; while nothing is
    on its way its time is skipped.
    Members: `line_bytes`, bytes sent so far; `changed`, bytes that arrived wrong, both ways.
    """

    def __init__(
        self,
        board: SimTransport,
        *,
        baud: int,
        latency_s: float,
        ticks: bool = False,
        error_rate: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.board = board
        self.byte_s = BITS_PER_BYTE / baud
        self.latency_s, self.ticks, self.error_rate = latency_s, ticks, error_rate
        # As dpnet.host.link.transport.SerialTransport has it: two latencies and two windows.
        self.reply_s = 2 * latency_s + 2 * 16 * 274 * self.byte_s
        self.line_bytes = self.changed = 0
        self._random = random.Random(seed)
        self._now = 0.0
        self._down: deque[tuple[float, bytes]] = deque()
        self._up: deque[tuple[float, bytes]] = deque()
        self._down_free = self._up_free = 0.0

    def write(self, data: bytes) -> None:
        """See `Transport`."""
        self.line_bytes += len(data)
        at = max(self._now, self._down_free)
        piece = bytearray()
        for byte in self._damaged(data):
            at += self.byte_s
            piece.append(byte)
            if not byte:
                self._down.append((at, bytes(piece)))
                piece.clear()
        if piece:
            self._down.append((at, bytes(piece)))
        self._down_free = at

    def read(self, limit: int, timeout_s: float) -> bytes:
        """See `Transport`."""
        end = self._now + max(timeout_s, _SILENCE_S)
        while not self._up or self._up[0][0] > self._now:
            following = self._up[0][0] if self._up else math.inf
            if self._down and self._down[0][0] <= min(following, end):
                self._arrive(_FRAME_CYCLES)
            elif following <= end:
                self._now = following
            elif self._up or not self._work(min(_COMMIT_CYCLES, round((end - self._now) * 1e8))):
                self._now = end
                return b""
        out = bytearray()
        while self._up and self._up[0][0] <= self._now and len(out) < limit:
            out += self._up.popleft()[1]
        return bytes(out)

    def now(self) -> float:
        """See `Transport`."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """See `Transport`."""
        end = self._now + seconds
        while self._down and self._down[0][0] <= end:
            self._arrive(_FRAME_CYCLES)
        self._now = end

    def close(self) -> None:
        """See `Transport`."""
        self.board.close()

    def _arrive(self, cycles: int) -> None:
        """The next bytes reach the board, which has so many cycles for them."""
        self._now, piece = self._down.popleft()
        self.board.write(piece)
        if len(piece) > 1:
            self._work(len(piece) + cycles)

    def _work(self, cycles: int) -> bool:
        """Let the board run until an answer comes; whether one did."""
        before = self.board.cycles
        answer = self.board.read(1 << 16, cycles / CLOCK_HZ)
        if not answer:
            return False
        at = max(self._up_free, self._now + (self.board.cycles - before) / CLOCK_HZ)
        for byte in self._damaged(answer):
            at += self.byte_s
            self._up.append((self._handed_on(at), bytes([byte])))
        self._up_free = at
        return True

    def _handed_on(self, at: float) -> float:
        if self.ticks:
            return math.ceil(at / self.latency_s) * self.latency_s
        return at + self.latency_s

    def _damaged(self, data: bytes) -> bytes:
        if not self.error_rate:
            return data
        out = bytearray(data)
        for n in range(len(out)):
            if self._random.random() < self.error_rate:
                out[n] ^= self._random.randrange(1, 256)
                self.changed += 1
        return bytes(out)
