"""Constraints: pins and clocks, for Vivado and for nextpnr-xilinx."""

from __future__ import annotations

from dpnet.boards.series7.design import Clock, Design, Pin


def vivado_xdc(design: Design) -> str:
    """Pins and clock for Vivado; pins other than a clock's are asynchronous."""
    pins = [
        f"set_property -dict {{PACKAGE_PIN {pin.pad.site} IOSTANDARD {pin.pad.standard}}} "
        f"[get_ports {pin.port}]"
        for pin in design.pins
    ]
    period = f"{1000 / design.clock.mhz:.3f}"
    clock = f"create_clock -name board -period {period} {_source(design.clock)}"
    paths = [
        f"set_false_path {'-to' if pin.output else '-from'} [get_ports {pin.port}]"
        for pin in design.pins
        if not _is_clock(pin, design.clock)
    ]
    return "\n".join([*pins, clock, *paths, ""])


def openxc7_xdc(design: Design) -> str:
    """The same for nextpnr-xilinx, which reads no more than this of the language: older ones know
    no `-dict`, and look for a net whose name has the braces in it."""
    pins = [
        f"set_property {name} {value} [get_ports {pin.port}]"
        for pin in design.pins
        for name, value in (("PACKAGE_PIN", pin.pad.site), ("IOSTANDARD", pin.pad.standard))
    ]
    clock = f"create_clock -period {1000 / design.mhz:.3f} [get_nets {design.clock.net}]"
    return "\n".join([*pins, clock, ""])


def _source(clock: Clock) -> str:
    if clock.pin is not None:
        # The brackets of a bit are Tcl's own.
        return f"[get_pins {{{clock.pin}}}]"
    return f"[get_ports {clock.port}]"


def _is_clock(pin: Pin, clock: Clock) -> bool:
    return pin.port == clock.port or pin.pad.standard.startswith("LVDS")
