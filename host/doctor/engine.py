"""The check of the engine at a port; unlike the others it needs the packages of the host."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from dpnet.gateware.registers import CRC_BYTES, GATEWARE, HEADER_BYTES, VERSION, Kind
from dpnet.host.doctor.findings import MISSING, NOTE, OK, Environment, Finding, from_error
from dpnet.host.doctor.ports import forbidden
from dpnet.host.driver import Driver, Identity
from dpnet.host.errors import LinkError
from dpnet.host.link import Link
from dpnet.host.link.frames import FrameError, cobs_decode
from dpnet.host.link.transport import Transport, open_transport

_HEARD = 1 << 16
_REPLIES = 4
"""A mute engine is given up after so many `reply_s` of its transport."""


def engine(environment: Environment, url: str) -> Iterator[Finding]:
    """The engine at a port that was asked for: everything that is wrong with it is `MISSING`."""
    device = environment.root / url.partition("?")[0].lstrip("/")
    if url.startswith("/") and device.exists() and not environment.may_use(device):
        yield forbidden(device, MISSING)
        return
    try:
        port = open_transport(url)
    except LinkError as error:
        yield from_error("port", MISSING, error, "correct the port's URL")
        return
    try:
        yield _identified(url, Listening(port))
    finally:
        port.close()


class Listening:
    """A transport that keeps what it received, the first 64 KB."""

    def __init__(self, transport: Transport) -> None:
        self.reply_s = transport.reply_s
        self.write, self.now = transport.write, transport.now
        self.sleep, self.close = transport.sleep, transport.close
        self.heard = bytearray()
        self._transport = transport

    def read(self, limit: int, timeout_s: float) -> bytes:
        """See `dpnet.host.link.transport.Transport`."""
        data = self._transport.read(limit, timeout_s)
        self.heard += data[: _HEARD - len(self.heard)]
        return data


def other_version(heard: bytes) -> int | None:
    """The version of the first whole frame of another version among these bytes."""
    for piece in heard.split(b"\0"):
        try:
            raw = cobs_decode(piece)
        except FrameError:
            continue
        body, crc = raw[:-CRC_BYTES], int.from_bytes(raw[-CRC_BYTES:], "little")
        if len(body) >= HEADER_BYTES and zlib.crc32(body) == crc and body[0] >> 4 != VERSION:
            return body[0] >> 4
    return None


def _identified(url: str, port: Listening) -> Finding:
    try:
        identity = Driver(Link(port, timeout_s=_REPLIES * port.reply_s)).identify()
    except LinkError as error:
        other = other_version(bytes(port.heard))
        if other is None:
            return from_error("engine", MISSING, error, "load its bitstream again")
        return Finding(
            "engine",
            MISSING,
            f"the engine at {url} speaks protocol {other}, this host {VERSION}",
            "use the host software and the bitstream of one release",
        )
    text = f"{_name(identity)} at {url}, protocol {identity.protocol}"
    if identity.gateware != GATEWARE:
        return Finding(
            "engine",
            NOTE,
            f"{text}: gateware {identity.gateware}, this host's is {GATEWARE}",
            "build the bitstream again (make bitstream), or use the host software of its release",
        )
    return Finding("engine", OK, f"{text}, gateware {identity.gateware}")


def _name(identity: Identity) -> str:
    return f"an array of {identity.lanes} lanes" if identity.kind == Kind.ARRAY else "a baseline"
