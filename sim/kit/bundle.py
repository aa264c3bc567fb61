"""Several components in one simulation, because building a simulation takes seconds."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.emit import place


class Bundle(wiring.Component):
    """Components side by side: ports of `parts[name]` are `name__…`, clock and reset are shared."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts
        super().__init__({name: Out(part.signature) for name, part in parts.items()})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for name, part in self.parts.items():
            inner = place(m, part, f"part_{name}")
            pairs = zip(
                part.signature.flatten(getattr(self, name)),
                part.signature.flatten(inner),
                strict=True,
            )
            for (_, member, own), (_, _, port) in pairs:
                m.d.comb += port.eq(own) if member.flow == In else own.eq(port)
        return m


class Part:
    """One component of a `Bundle` in a bench: its ports under their own names, `clk` and `rst`."""

    def __init__(self, dut: Any, name: str) -> None:
        self._dut = dut
        self._name = name

    def __getattr__(self, port: str) -> Any:
        found = getattr(self._dut, port if port in ("clk", "rst") else f"{self._name}__{port}")
        # The next time it is there, and this is not called.
        setattr(self, port, found)
        return found
