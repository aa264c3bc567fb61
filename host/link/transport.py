"""Ways to reach an engine: bytes out, bytes in, a clock."""

from __future__ import annotations

import contextlib
import errno
import select
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any, Protocol
from urllib.parse import parse_qs

import serial

from dpnet.extras import cure
from dpnet.host.errors import LinkError, PortError

TAKEN = b"\0 taken \0"
"""What a port on a socket says, instead of answers, to a second client; no frame can be it."""

GROUP = "dpnet.transports"
"""Entry points that open a URL: the name is the scheme, the object is called with the URL."""

DEFAULT_BAUD = 3_000_000

_SLICE_S = 0.002
_WRITE_TIMEOUT_S = 2.0
_ADAPTER_S = 0.016  # latency timer of common USB adapters
_WINDOW_BITS = 16 * 274 * 10


class Transport(Protocol):
    """A byte pipe to an engine.

    `reply_s` is a time after which an answer to a short request may be taken for lost.  Times are
    the transport's own: `now()` may count simulated seconds.  Everything raises `PortError` when
    the port fails.
    """

    reply_s: float

    def write(self, data: bytes) -> None:
        """Send all of `data`."""

    def read(self, limit: int, timeout_s: float) -> bytes:
        """What has come, at most `limit` bytes: as soon as there is any, b"" after `timeout_s`."""

    def now(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def close(self) -> None:
        """Give the port back; twice is harmless."""


def open_transport(url: str, *, baud: int = DEFAULT_BAUD) -> Transport:
    """The transport that `url` names; `PortError` if it cannot be opened.

    A URL whose scheme is an entry point of `dpnet.transports` (`sim://array`, `axi:uio0`) is opened
    by it.  All others are pyserial's: a device (`/dev/ttyUSB0`, `COM3`; `?baud=115200` may follow)
    or a URL (`socket://host:port`, `rfc2217://`, `loop://`, ...).
    """
    scheme, colon, _ = url.partition(":")
    if colon:
        for entry in entry_points(group=GROUP, name=scheme):
            return _from_entry_point(entry, url)
    device, _, query = url.partition("?")
    if "://" not in url and query:
        return SerialTransport(device, baud=_baud(url, query))
    return SerialTransport(url, baud=baud)


def _from_entry_point(entry: Any, url: str) -> Transport:
    try:
        transport: Transport = entry.load()(url)
    except LinkError:
        raise
    except (ImportError, AttributeError) as error:
        lacking = cure(error, url, "sim") if isinstance(error, ImportError) else None
        raise PortError(
            lacking
            or f"{url}: the transport {entry.value} cannot be loaded: {error}; install dpnet again"
        ) from error
    return transport


def _baud(url: str, query: str) -> int:
    values = parse_qs(query)
    text = values.get("baud", [""])[0]
    if set(values) != {"baud"} or not text.isdigit() or int(text) == 0:
        raise PortError(f"{url}: after the device only ?baud=NUMBER is understood, not ?{query}")
    return int(text)


class SerialTransport:
    """A port of pyserial, which is nobody else's while it is open: a second program that opens the
    device gets a `PortError`, and so does one that is told `TAKEN` by the other end of a socket.

    A read never asks the port how much is there (`in_waiting` is 0 or 1 on sockets): it waits for
    the first byte and takes what has come with it.
    """

    def __init__(self, url: str, *, baud: int = DEFAULT_BAUD) -> None:
        self.url = url
        self.reply_s = 2 * _ADAPTER_S + 2 * _WINDOW_BITS / baud
        if url.startswith("socket://"):
            # Behind a socket may be a simulated board, whose seconds are long.
            self.reply_s = 0.5
        self._seen = b""
        with _port_errors(url, "cannot be opened"):
            self._port = serial.serial_for_url(
                url, baudrate=baud, timeout=0, write_timeout=_WRITE_TIMEOUT_S, exclusive=True
            )
            self._file = _selectable(self._port)
            if self._file is None:
                # Set once: on rfc2217:// a change of the time-out is a negotiation.
                self._port.timeout = _SLICE_S

    def write(self, data: bytes) -> None:
        """See `Transport`; `PortError` if the port takes nothing for two seconds."""
        with _port_errors(self.url, "cannot be written"):
            self._port.write(data)

    def read(self, limit: int, timeout_s: float) -> bytes:
        """See `Transport`; `PortError` if another client has the board behind a socket."""
        with _port_errors(self.url, "cannot be read"):
            data = self._read(limit, timeout_s)
        if self.url.startswith("socket://"):
            self._seen += data
            if TAKEN in self._seen:
                raise PortError(
                    f"{self.url} is in use: another client has this board; end it first"
                )
            self._seen = self._seen[1 - len(TAKEN) :]
        return data

    def _read(self, limit: int, timeout_s: float) -> bytes:
        end = self.now() + timeout_s
        if self._file is not None:
            select.select([self._file], [], [], max(0.0, timeout_s))
            return bytes(self._port.read(limit))
        while True:
            data = bytes(self._port.read(limit))
            if data or self.now() >= end:
                return data

    def now(self) -> float:
        """See `Transport`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `Transport`."""
        time.sleep(max(0.0, seconds))

    def close(self) -> None:
        """See `Transport`."""
        with contextlib.suppress(Exception):
            self._port.close()


def _selectable(port: Any) -> int | None:
    """The port's file descriptor if the system can wait for it."""
    try:
        file: int = port.fileno()
        select.select([file], [], [], 0)
    except (AttributeError, OSError, ValueError, TypeError):
        return None
    return file


@contextlib.contextmanager
def _port_errors(url: str, what: str) -> Iterator[None]:
    # Ports that go away raise SerialException, OSError, termios.error or TypeError (pyserial
    # on a closed file); to a caller they are all the same.
    try:
        yield
    except Exception as error:
        if _is_in_use(error):
            raise PortError(
                f"{url} is in use: another program has it open; end it first"
            ) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PortError(
            f"{url} {what}: {reason}; check the name, the cable and your permission, and that no "
            "other program has it open"
        ) from error


def _is_in_use(error: Exception) -> bool:
    """Whether the device is somebody else's: locked by a program like this one, or (EBUSY) opened
    by any that shares it with nobody."""
    number = getattr(error, "errno", None)
    return number == errno.EBUSY or (number in _LOCKED and "exclusively lock" in str(error))


_LOCKED = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
