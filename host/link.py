"""Requests to an engine over a lossy byte pipe: window, acknowledgement, retransmission, deadline.

Every request can be repeated without harm, so a lost one is simply sent again.  A response tells by
its bitmap which requests before it were carried out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateware.registers import BY_NAME, FIRST, HISTORY, MAX_PAYLOAD, Operation, Status
from host.errors import DeadlineError
from host.frames import Decoder, Frame
from host.request import Request, answers, check
from host.transport import Transport

_READ_LIMIT = 65536
_SLOWEST = 8
"""A time-out grows with every loss up to so many `reply_s`."""
_LEAST_REPLIES, _MOST_REPLIES = 16, 48
"""The default deadline is 3 s, but within so many `reply_s`: simulated seconds are long."""


@dataclass
class _Flight:
    """A request on its way."""

    number: int
    request: Request
    data: bytes
    first_sent: float
    due: float
    first_order: int
    last_order: int
    lost: bool = False
    repeated: bool = False


class Link:
    """Talks frames over `transport`, which it does not own.

    Parameters: `window`, requests on their way at once (1 to 16); `timeout_s`, how long a request
    may stay without its answer before `DeadlineError` (default: 3 s, but at least 16 and at most
    48 of the transport's `reply_s`); `first_txid`, random by default.
    Members: `retransmissions`, `errors` (damaged frames that came).
    """

    def __init__(
        self,
        transport: Transport,
        window: int = 16,
        *,
        timeout_s: float | None = None,
        first_txid: int | None = None,
    ) -> None:
        if not 1 <= window <= HISTORY // 2:
            raise ValueError(f"window must be 1 to {HISTORY // 2}, not {window!r}")
        self.transport = transport
        self.window = window
        reply_s = transport.reply_s
        default_s = min(max(3.0, _LEAST_REPLIES * reply_s), _MOST_REPLIES * reply_s)
        self.timeout_s = timeout_s or default_s
        self.retransmissions = 0
        self._decoder = Decoder()
        # Random, so that answers to a program before this one are rarely taken for ours.
        self._txid = random.randrange(256) if first_txid is None else first_txid
        self._wait_s = transport.reply_s
        self._order = 0
        self._met = False
        self._heard = False

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
        """`size` bytes (a multiple of 4) from byte address `offset`, windowed."""
        requests = (
            Request(Operation.READ, at, wanted=min(MAX_PAYLOAD, offset + size - at))
            for at in range(offset, offset + size, MAX_PAYLOAD)
        )
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
        `flags`: 0, or `gateware.registers.STREAM` for a streamed tile.
        `progress` is called with the number of bytes of each pair as it is acknowledged.
        """
        requests = (
            Request(Operation.WRITE, offset, payload, epoch, flags=flags)
            for offset, payload in writes
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
        # An engine may remember txids of a program before this one: FIRST makes it forget.
        first = Request(Operation.READ, BY_NAME["MAGIC"].offset, wanted=4, flags=FIRST)
        self.transport.write(b"\0\0")
        self._fly(iter([first]), False, (), None)
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

        def finish(txid: int, response: Frame | None) -> None:
            flight = flights.pop(txid)
            responses[flight.number] = response
            if progress is not None:
                progress(len(flight.request.payload))

        while True:
            outgoing = bytearray()
            while more and self._room(flights):
                request = next(source, None)
                if request is None:
                    more = False
                    break
                txid, flight = self._launch(count, request)
                flights[txid] = flight
                outgoing += flight.data
                count += 1
            outgoing += self._again(flights)
            if outgoing:
                self.transport.write(bytes(outgoing))
            if not flights and not more:
                return [responses[number] for number in range(count)]
            for response in self._receive(flights):
                answered = flights.get(response.txid)
                if answered is None or not answers(response, answered.request):
                    continue
                self._learn(answered)
                check(response, answered.request, accept)
                if by_bitmap:
                    for txid in _reported(response, flights):
                        finish(txid, None)
                finish(response.txid, response)
                _mark_lost(answered, flights)

    def _room(self, flights: dict[int, _Flight]) -> bool:
        # Counted from the oldest one on its way, so that the bitmap covers all of them.
        oldest = next(iter(flights), None)
        return oldest is None or (self._txid - oldest) % 256 < self.window

    def _launch(self, number: int, request: Request) -> tuple[int, _Flight]:
        txid = self._txid
        self._txid = (txid + 1) % 256
        data = Frame(
            request.operation, txid, request.epoch, request.flags, request.offset,
            request.payload, request.wanted,
        ).encode()
        now = self.transport.now()
        self._order += 1
        return txid, _Flight(
            number, request, data, now, now + self._wait_s, self._order, self._order
        )

    def _again(self, flights: dict[int, _Flight]) -> bytes:
        """The bytes of all that has to be sent again now; `DeadlineError` if it is too late."""
        now = self.transport.now()
        for flight in flights.values():
            if now - flight.first_sent >= self.timeout_s + flight.request.patience_s:
                raise DeadlineError(self._silence(flight))
        if any(now >= flight.due for flight in flights.values()):
            self._wait_s = min(2 * self._wait_s, _SLOWEST * self.transport.reply_s)
        out = bytearray()
        for flight in flights.values():
            if flight.lost or now >= flight.due:
                self._order += 1
                self.retransmissions += 1
                flight.lost, flight.repeated = False, True
                flight.last_order = self._order
                flight.due = now + self._wait_s
                out += flight.data
        return bytes(out)

    def _receive(self, flights: dict[int, _Flight]) -> list[Frame]:
        until = min(
            min(flight.due, flight.first_sent + self.timeout_s + flight.request.patience_s)
            for flight in flights.values()
        )
        wait_s = max(0.0, until - self.transport.now())
        return self._decoder.feed(self.transport.read(_READ_LIMIT, wait_s))

    def _learn(self, flight: _Flight) -> None:
        """Adapt the wait before a retransmission to an answer that must be to the first try."""
        self._heard = True
        if not flight.repeated and not flight.request.patience_s:
            took = self.transport.now() - flight.first_sent
            shortest = self.transport.reply_s
            self._wait_s = min(max(shortest, 3 * took), _SLOWEST * shortest)

    def _silence(self, flight: _Flight) -> str:
        seconds = self.timeout_s + flight.request.patience_s
        name = flight.request.operation.name
        if self._heard:
            return (
                f"the engine stopped answering: no response to {name} for {seconds:g} s; "
                "check power and cable, then start again (a load goes on where it stopped)"
            )
        noise = f"{self.errors} damaged frames came" if self.errors else "nothing readable came"
        return (
            f"no engine answers: no response to {name} for {seconds:g} s, {noise}; check that the "
            "board is on and configured, the port is the right one, and the baud rate"
        )


def _reported(response: Frame, flights: dict[int, _Flight]) -> list[int]:
    """The txids on their way that the response's bitmap reports as carried out."""
    return [
        txid for txid in flights
        if txid != response.txid
        and (behind := (response.txid - 1 - txid) % 256) < HISTORY
        and response.offset >> behind & 1
    ]


def _mark_lost(flight: _Flight, flights: dict[int, _Flight]) -> None:
    """What was sent before the request just answered and has no answer was lost, or its answer."""
    for other in flights.values():
        if other.last_order < flight.first_order:
            other.lost = True
