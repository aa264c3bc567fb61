"""The check of the engine at a port; unlike the others it needs the packages of the host."""

from __future__ import annotations

from collections.abc import Iterator

from dpnet.gateware.registers import GATEWARE, Kind
from dpnet.host.doctor.findings import MISSING, NOTE, OK, Environment, Finding, from_error
from dpnet.host.doctor.ports import forbidden
from dpnet.host.driver import Driver, Identity
from dpnet.host.errors import LinkError
from dpnet.host.link import Link
from dpnet.host.link.transport import Transport, open_transport

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
        yield _identified(url, port)
    finally:
        port.close()


def _identified(url: str, port: Transport) -> Finding:
    try:
        identity = Driver(Link(port, timeout_s=_REPLIES * port.reply_s)).identify()
    except LinkError as error:
        return from_error("engine", MISSING, error, "load its bitstream again")
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
    kinds: dict[int, str] = {
        Kind.ARRAY: f"an array of {identity.lanes} lanes",
        Kind.MAPS: f"a map engine of {identity.lanes} lanes",
    }
    return kinds.get(identity.kind, "a baseline")
