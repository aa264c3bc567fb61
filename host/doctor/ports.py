"""Checks of ports: permissions, adapters, and the logic of the chip that runs this."""

from __future__ import annotations

import grp
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dpnet.host.doctor.findings import NOTE, OK, Environment, Finding

FASTEST_MS = 1
"""The shortest time that an FTDI's driver takes."""


def serial_ports(environment: Environment) -> Iterator[Finding]:
    """Serial devices, and whether this user may use them."""
    dev = environment.root / "dev"
    devices = sorted(path for kind in ("ttyUSB*", "ttyACM*") for path in dev.glob(kind))
    if not devices:
        yield Finding("serial ports", OK, "none is connected")
    for device in devices:
        if environment.may_use(device):
            yield Finding("serial port", OK, str(device))
        else:
            yield forbidden(device, NOTE)
    timers = sorted((environment.root / "sys/bus/usb-serial/devices").glob("*/latency_timer"))
    for timer in timers:
        yield from _latency(timer)


def logic(environment: Environment) -> Iterator[Finding]:
    """The programmable logic of a chip that runs this Linux, if it has some."""
    for state in sorted((environment.root / "sys/class/fpga_manager").glob("*/state")):
        found = state.read_text().strip()
        name = state.parent.name
        if found == "operating":
            yield Finding("logic", OK, f"{name} is operating")
        else:
            yield Finding(
                "logic",
                NOTE,
                f"{name} is in state {found!r}: no bitstream is loaded",
                "load one before axi: ports are used (boards/zc706/README.md)",
            )
    for device in sorted((environment.root / "dev").glob("uio*")):
        if environment.may_use(device):
            yield Finding("UIO device", OK, str(device))
        else:
            yield forbidden(device, NOTE)


def forbidden(device: Path, status: str) -> Finding:
    """A device that this user may not use."""
    number = device.stat().st_gid
    group = str(number)
    with suppress(KeyError):
        group = grp.getgrgid(number).gr_name
    cure = f"sudo usermod -aG {group} $USER, then log in again"
    if number == 0:
        cure = f"a udev rule that gives {device.name} to a group of yours, or run as root"
    return Finding("permission", status, f"you may not use {device} (group {group})", cure)


def _latency(timer: Path) -> Iterator[Finding]:
    name, text = timer.parent.name, timer.read_text().strip()
    if text.isdigit() and int(text) > FASTEST_MS:
        yield Finding(
            "adapter",
            NOTE,
            f"{name} waits {text} ms for more bytes, so short requests are slow",
            f"echo {FASTEST_MS} | sudo tee {timer}",
        )
    else:
        yield Finding("adapter", OK, f"{name} waits {text} ms for more bytes")
