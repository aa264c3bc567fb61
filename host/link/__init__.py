"""Requests to an engine over a lossy byte pipe: window, acknowledgement, retransmission, deadline.

Every request can be repeated without harm, so a lost one is simply sent again.  A response tells by
its bitmap which requests before it were carried out.

A line keeps the order, so a response says as well that what was sent before its request and has no
answer is lost.  That is sent again under a new txid: the window never waits for its oldest request.
What is sent again because nothing at all came keeps its txid.  So of the txids that are given while
no answer comes there is one for each request on its way, and one comes round again (256) only when
everything that was sent under it has passed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from dpnet.gateware.registers import (
    FIRST,
    HELLO_BYTES,
    HISTORY,
    MAX_PAYLOAD,
    VERSION,
    Operation,
    Status,
)
from dpnet.host.errors import DeadlineError, ProtocolError
from dpnet.host.link.frames import Decoder, Frame
from dpnet.host.link.request import Request, answers, check
from dpnet.host.link.transport import Transport

AHEAD_BYTES = 9600
"""Twice what a line of 3 Mbaud carries in the 16 ms after which USB adapters hand on an answer."""

_MOST_FLIGHTS = 64
"""A quarter of all txids (see above)."""
_WRITE_BYTES = 1200
"""Bytes for a port at a time: 1.25 s at 9,600 baud; ports give up after 2 s."""
_READ_LIMIT = 65536
_OVERHEAD = 18
"""Bytes of a frame on the line besides its payload."""
_MOST_PARTS = 8
_MEMORY = 0.99
"""What the share of lost frames forgets with each frame: it is that of the last 100."""
_LOSSY = 0.9
_FEW = 2
_TAIL_COPIES = 2
"""Where one of 100 frames is lost, the last one before a pause is sent so often besides: its answer
tells at once what was lost before it, which otherwise takes a time-out."""
_SLOWEST = 8
"""A time-out grows with every loss up to so many `reply_s`."""
_LEAST_REPLIES, _MOST_REPLIES = 16, 48
"""The default deadline is 3 s, but within so many `reply_s`: simulated seconds are long."""


@dataclass
class _Flight:
    """A request on its way: as it was sent last, under `txid`, the first time as number
    `first_order` of all that was sent, the last time as `last_order`."""

    number: int
    request: Request
    first_sent: float
    txid: int = 0
    data: bytes = b""
    sent: float = 0.0
    due: float = 0.0
    first_order: int = 0
    last_order: int = 0
    lost: bool = False


class Link:
    """Talks frames over `transport`, which it does not own.

    Parameters: `window`, requests on their way at once (1 to 16: so many READs fit the engine's
    receive buffer while it sends); `ahead_bytes`, of writes as many as these bytes, if that is more
    (at most 64); `timeout_s`, how long a request may stay without its answer before
    `DeadlineError` (default: 3 s, but at least 16 and at most 48 of the transport's `reply_s`);
    `first_txid`, random by default.
    Members: `retransmissions`, requests sent again; `errors`, damaged frames that came.
    """

    def __init__(
        self,
        transport: Transport,
        window: int = 16,
        *,
        ahead_bytes: int = 0,
        timeout_s: float | None = None,
        first_txid: int | None = None,
    ) -> None:
        if not 1 <= window <= HISTORY // 2:
            raise ValueError(f"window must be 1 to {HISTORY // 2}, not {window!r}")
        if ahead_bytes < 0:
            raise ValueError(f"ahead_bytes must be 0 or more, not {ahead_bytes!r}")
        self.transport = transport
        self.window = window
        self.ahead_bytes = ahead_bytes
        reply_s = transport.reply_s
        default_s = min(max(3.0, _LEAST_REPLIES * reply_s), _MOST_REPLIES * reply_s)
        self.timeout_s = timeout_s or default_s
        self.retransmissions = 0
        self._decoder = Decoder()
        self._outgoing = bytearray()
        self._txid = random.randrange(256) if first_txid is None else first_txid
        self._wait_s = transport.reply_s
        self._order = 0
        self._met = False
        self._heard_at: float | None = None
        self._lost, self._passed_bytes = 0.0, 5000.0

    @property
    def errors(self) -> int:
        """Byte strings between two zeros that came and were no frame."""
        return self._decoder.errors

    def request(
        self,
        operation: Operation,
        offset: int = 0,
        payload: bytes = b"",
        *,
        epoch: int = 0,
        wanted: int = 0,
        patience_s: float = 0.0,
        accept: Sequence[Status] = (),
    ) -> Frame:
        """The response to one request; `EngineError` if its status is not OK nor in `accept`."""
        request = Request(operation, offset, payload, epoch, wanted, patience_s)
        (response,) = self.exchange([request], accept=accept)
        assert response is not None
        return response

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes (a multiple of 4) from byte address `offset`, windowed; up to 256 bytes are
        read at one moment."""
        pieces = self._pieces(size) if size > MAX_PAYLOAD else [(0, size)]
        requests = (Request(Operation.READ, offset + at, wanted=wanted) for at, wanted in pieces)
        return b"".join(response.payload for response in self.exchange(requests) if response)

    def write_many(
        self,
        writes: Iterable[tuple[int, bytes]],
        *,
        epoch: int = 0,
        flags: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Write (byte address, bytes) pairs, all of which are there when this returns.

        Each pair has at most 256 bytes; pairs must not overlap, since any order may happen.
        `flags`: 0, or `dpnet.gateware.registers.STREAM` for a streamed tile.
        `progress` is called with the number of bytes of each part as it is acknowledged: pairs go
        in parts where the line loses frames.
        """
        requests = (
            Request(Operation.WRITE, offset + at, payload[at : at + size], epoch, flags=flags)
            for offset, payload in writes
            for at, size in self._pieces(len(payload))
        )
        self.exchange(requests, by_bitmap=True, progress=progress)

    def exchange(
        self,
        requests: Iterable[Request],
        *,
        by_bitmap: bool = False,
        accept: Sequence[Status] = (),
        progress: Callable[[int], None] | None = None,
    ) -> list[Frame | None]:
        """Carry out `requests` in any order; their responses in the order of the requests.

        With `by_bitmap` a request that a later response reports as carried out is done too, and
        has `None`.  Each request ends within `timeout_s` and its patience after it was first sent.
        """
        if not self._met:
            self._meet()
        return self._fly(iter(requests), by_bitmap, accept, progress)

    def _meet(self) -> None:
        # Answers to a program before this one may still be on their way: they come before the one
        # that has these very bytes.  The engine may remember txids of it: FIRST makes it forget.
        mark = random.randbytes(HELLO_BYTES)
        self.transport.write(b"\0\0")
        self._fly(iter([Request(Operation.HELLO, payload=mark, flags=FIRST)]), False, (), None)
        self._met = True

    def _fly(
        self,
        source: Iterator[Request],
        by_bitmap: bool,
        accept: Sequence[Status],
        progress: Callable[[int], None] | None,
    ) -> list[Frame | None]:
        flights: dict[int, _Flight] = {}
        responses: dict[int, Frame | None] = {}
        count = 0
        more = True

        def finish(flight: _Flight, response: Frame | None) -> None:
            del flights[flight.txid]
            responses[flight.number] = response
            self._passed(flight)
            if progress is not None:
                progress(len(flight.request.payload))

        while True:
            last = None
            while more and self._room(flights, by_bitmap):
                request = next(source, None)
                if request is None:
                    more = False
                    break
                last = _Flight(count, request, self.transport.now())
                self._launch(last, flights)
                self._write(last.data)
                count += 1
            for last in self._again(flights):
                self._write(last.data)
            if last is not None and (not more or len(flights) <= _FEW) and self._is_lossy:
                self.retransmissions += _TAIL_COPIES
                self._write(_TAIL_COPIES * last.data)
            self._write()
            if not flights and not more:
                return [responses[number] for number in range(count)]
            for response in self._receive(flights):
                answered = flights.get(response.txid)
                if answered is None or not answers(response, answered.request):
                    continue
                self._learn(answered)
                check(response, answered.request, accept)
                if by_bitmap:
                    for flight in _reported(response, flights):
                        finish(flight, None)
                finish(answered, response)
                _mark_lost(answered, flights)

    def _room(self, flights: dict[int, _Flight], by_bitmap: bool) -> bool:
        if len(flights) < self.window:
            return True
        if not by_bitmap or len(flights) >= _MOST_FLIGHTS:
            return False
        ahead = sum(len(flight.data) for flight in flights.values())
        return ahead + MAX_PAYLOAD + _OVERHEAD <= self.ahead_bytes

    def _pieces(self, size: int) -> Iterator[tuple[int, int]]:
        """Places and lengths that make up `size` bytes, each with the payload that brings most over
        the line for the bytes that were lost lately."""
        at = 0
        while at < size:
            most = min(MAX_PAYLOAD, size - at)
            # n / (n + overhead) · (1 - p)^(n + overhead) is largest near n = √(overhead / p).
            best = (_OVERHEAD * self._passed_bytes / max(self._lost, 1e-3)) ** 0.5
            parts = min(_MOST_PARTS, max(1, round(MAX_PAYLOAD / best)))
            length = min(most, 4 * -(-MAX_PAYLOAD // (4 * parts)))
            yield at, length
            at += length

    @property
    def _is_lossy(self) -> bool:
        return self._heard_at is not None and self._lost >= _LOSSY

    def _launch(self, flight: _Flight, flights: dict[int, _Flight]) -> None:
        """Give the request a new txid, under which it is on its way."""
        while self._txid in flights:
            self._txid = (self._txid + 1) % 256
        flight.txid, request = self._txid, flight.request
        self._txid = (self._txid + 1) % 256
        flight.data = Frame(
            request.operation,
            flight.txid,
            request.epoch,
            request.flags,
            request.offset,
            request.payload,
            request.wanted,
        ).encode()
        flights[flight.txid] = flight
        self._order += 1
        flight.first_order = flight.last_order = self._order
        flight.sent, flight.lost = self.transport.now(), False
        flight.due = flight.sent + self._wait_s

    def _again(self, flights: dict[int, _Flight]) -> Iterator[_Flight]:
        """What has to be sent again now; `DeadlineError` if it is too late."""
        now = self.transport.now()
        for flight in flights.values():
            if now - flight.first_sent >= self.timeout_s + flight.request.patience_s:
                raise DeadlineError(self._silence(flight))
        late = [flight for flight in flights.values() if now >= self._due(flight)]
        if any(not flight.lost for flight in late):
            self._wait_s = min(2 * self._wait_s, _SLOWEST * self.transport.reply_s)
        for flight in [flight for flight in flights.values() if flight.lost]:
            self._passed(flight, lost=True)
            del flights[flight.txid]
            self._launch(flight, flights)
            self.retransmissions += 1
            yield flight
        for flight in late:
            if flight.sent == now:
                continue  # it was lost and is on its way again
            if not flight.request.patience_s:
                self._passed(flight, lost=True)
            self._order += 1
            self.retransmissions += 1
            flight.last_order = self._order
            flight.sent, flight.due = now, now + self._wait_s
            yield flight

    def _due(self, flight: _Flight) -> float:
        """When to send again: what waits behind others on a slow line is not late while answers
        come."""
        heard = -math.inf if self._heard_at is None else self._heard_at
        return max(flight.due, heard + self._wait_s)

    def _write(self, data: bytes = b"") -> None:
        """Collect bytes for the port; without any, write what is left."""
        self._outgoing += data
        if self._outgoing and (not data or len(self._outgoing) > _WRITE_BYTES - MAX_PAYLOAD):
            outgoing, self._outgoing = bytes(self._outgoing), bytearray()
            self.transport.write(outgoing)

    def _receive(self, flights: dict[int, _Flight]) -> list[Frame]:
        until = min(
            min(self._due(flight), flight.first_sent + self.timeout_s + flight.request.patience_s)
            for flight in flights.values()
        )
        wait_s = max(0.0, until - self.transport.now())
        frames = self._decoder.feed(self.transport.read(_READ_LIMIT, wait_s))
        other = self._decoder.other_version
        if self._heard_at is None and other is not None:
            raise ProtocolError(other_version(other))
        return frames

    def _passed(self, flight: _Flight, *, lost: bool = False) -> None:
        """Count what went over the line, answer included, or was lost."""
        request = flight.request
        size = len(request.payload) + request.wanted + _OVERHEAD
        self._passed_bytes = _MEMORY * self._passed_bytes + size
        self._lost = _MEMORY * self._lost + lost

    def _learn(self, flight: _Flight) -> None:
        """Adapt the wait before a retransmission to an answer that must be to the first try."""
        self._heard_at = self.transport.now()
        if flight.first_order == flight.last_order and not flight.request.patience_s:
            took = self._heard_at - flight.sent
            shortest = self.transport.reply_s
            self._wait_s = min(max(shortest, 3 * took), _SLOWEST * shortest)

    def _silence(self, flight: _Flight) -> str:
        seconds = self.timeout_s + flight.request.patience_s
        name = flight.request.operation.name
        if self._heard_at is not None:
            return (
                f"the engine stopped answering: no response to {name} for {seconds:g} s; "
                "check power and cable, then start again (a load goes on where it stopped)"
            )
        noise = f"{self.errors} damaged frames came" if self.errors else "nothing readable came"
        return (
            f"no engine answers: no response to {name} for {seconds:g} s, {noise}; check that the "
            "board is on and configured, the port is the right one, and the baud rate"
        )


def other_version(version: int) -> str:
    """What a user is told whose engine is of another version of the link than this host."""
    return (
        f"the engine speaks protocol {version}, this host {VERSION}; use the host software and the "
        "bitstream of one release"
    )


def _reported(response: Frame, flights: dict[int, _Flight]) -> list[_Flight]:
    """The requests on their way that the response's bitmap reports as carried out."""
    return [
        flight
        for txid, flight in flights.items()
        if txid != response.txid
        and (behind := (response.txid - 1 - txid) % 256) < HISTORY
        and response.offset >> behind & 1
    ]


def _mark_lost(flight: _Flight, flights: dict[int, _Flight]) -> None:
    """What was sent before the request just answered and has no answer was lost, or its answer."""
    for other in flights.values():
        if other.last_order < flight.first_order:
            other.lost = True
