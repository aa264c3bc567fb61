"""Transports for tests of the host: an engine model on a line in virtual time, and bad lines."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from dpnet.host.errors import PortError
from dpnet.host.link.transport import Transport
from dpnet.sim.peers.engine_model import EngineModel


@dataclass
class ModelTransport:
    """A line to an `EngineModel`: every answer takes `delay_s`, and no real time passes.

    A run of the engine takes `run_s`.  `traffic` collects what was written.
    """

    engine: EngineModel = field(default_factory=EngineModel)
    delay_s: float = 0.001
    run_s: float = 0.01
    reply_s: float = 0.01
    traffic: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self._now = 0.0
        self._busy_until = -1.0
        self._arrivals: list[tuple[float, bytes]] = []
        self.engine.on_start = self._started

    def _started(self, run: int, first: int, last: int, vectors: int) -> None:
        self._busy_until = self._now + self.run_s

    def _tick(self) -> None:
        if self.engine.busy and self._now >= self._busy_until:
            self.engine.busy, self.engine.cycles = False, 4321

    def write(self, data: bytes) -> None:
        """See `Transport`."""
        self._tick()
        self.traffic += data
        answer = self.engine.feed(data)
        if answer:
            self._arrivals.append((self._now + self.delay_s, answer))

    def read(self, limit: int, timeout_s: float) -> bytes:
        """See `Transport`."""
        if not self._arrivals or self._arrivals[0][0] > self._now + timeout_s:
            # Even a look takes time: whoever only looks must get to the deadline.
            self._now += max(timeout_s, 1e-6)
            return b""
        when, data = self._arrivals.pop(0)
        self._now = max(self._now, when)
        if data[limit:]:
            self._arrivals.insert(0, (when, data[limit:]))
        return data[:limit]

    def now(self) -> float:
        """See `Transport`."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """See `Transport`."""
        self._now += seconds

    def close(self) -> None:
        """See `Transport`."""


@dataclass
class FaultyTransport:
    """A `Transport` that harms what passes, in both directions.

    Shares of bytes: `flip` one bit, `drop`, `double`; `swap` is the share of writes and reads two
    neighboring frames of which change places.  `mute_after` swallows all that is written after so
    many bytes, `close_after` closes the port after them, `babble` puts random bytes in place of
    silence.
    """

    inner: Transport
    seed: int
    flip: float = 0.0
    drop: float = 0.0
    double: float = 0.0
    swap: float = 0.0
    mute_after: int | None = None
    close_after: int | None = None
    babble: bool = False

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.reply_s = self.inner.reply_s
        self.written = 0
        self.faults = 0

    def _harm(self, data: bytes) -> bytes:
        out = bytearray()
        if data and self._random.random() < self.swap:
            pieces = data.split(b"\0")
            first = self._random.randrange(len(pieces))
            second = min(first + 2, len(pieces) - 1)
            pieces[first], pieces[second] = pieces[second], pieces[first]
            data = b"\0".join(pieces)
            self.faults += 1
        for byte in data:
            chance = self._random.random()
            if chance < self.flip:
                out.append(byte ^ 1 << self._random.randrange(8))
            elif chance < self.flip + self.drop:
                pass
            elif chance < self.flip + self.drop + self.double:
                out += bytes([byte, byte])
            else:
                out.append(byte)
                continue
            self.faults += 1
        return bytes(out)

    def write(self, data: bytes) -> None:
        """See `Transport`."""
        self.written += len(data)
        if self.close_after is not None and self.written > self.close_after:
            raise PortError("the port was closed")
        if self.mute_after is not None:
            data = data[: max(0, self.mute_after - self.written + len(data))]
        self.inner.write(self._harm(data))

    def read(self, limit: int, timeout_s: float) -> bytes:
        """See `Transport`."""
        wait_s = min(timeout_s, 0.001) if self.babble else timeout_s
        data = self._harm(self.inner.read(limit, wait_s))
        if self.babble and not data:
            data = self._random.randbytes(min(limit, 64))
        return data

    def now(self) -> float:
        """See `Transport`."""
        return self.inner.now()

    def sleep(self, seconds: float) -> None:
        """See `Transport`."""
        self.inner.sleep(seconds)

    def close(self) -> None:
        """See `Transport`."""
        self.inner.close()
