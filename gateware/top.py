"""Tops: a core behind the link, with bytes, a UART or AXI4-Lite as the front door."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.baselines.paper import BaselineCore
from dpnet.gateware.core import ArrayCore
from dpnet.gateware.doors.axi import AxiLiteDoor
from dpnet.gateware.doors.uart import UartDoor
from dpnet.gateware.emit import place
from dpnet.gateware.link.endpoint import Endpoint
from dpnet.gateware.maps.core import MapCore
from dpnet.gateware.registers import identity
from dpnet.model.engine.baseline import BaselineParameters
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.stores import half_words, store_words

DOORS = ("bytes", "uart", "axi")


class Top(wiring.Component):
    """An engine: `params` (`EngineParameters`, `BaselineParameters` or `MapEngineParameters`)
    behind a front door.

    `clock_hz` is its clock, which the register CLOCK_HZ says.  `door`: "bytes", streams `i` and
    `o`; "uart", pins `rx` and `tx` at `baud`; "axi", an AXI4-Lite subordinate `s_axi_*` (see
    `dpnet.gateware.doors.axi`).  With `status` there are outputs for lamps: `busy`, a run is under
    way; `failed`, one of its errors came, until the next run starts; `lost`, the line lost or
    damaged a byte (only a UART knows); and for a simulation `active`: there is a request without
    its answer.
    """

    def __init__(self, *, params, door="bytes", clock_hz=100_000_000, baud=3_000_000, status=False):
        if not isinstance(params, EngineParameters | BaselineParameters | MapEngineParameters):
            raise TypeError(
                "params must be EngineParameters, BaselineParameters or MapEngineParameters, not "
                f"{params!r}"
            )
        if not isinstance(clock_hz, int) or not 0 < clock_hz < 1 << 32:
            raise ValueError(f"clock_hz must be an integer from 1 to 2^32 - 1, not {clock_hz!r}")
        if door not in DOORS:
            raise ValueError(f"door must be one of {', '.join(DOORS)}, not {door!r}")
        self.params = params
        self._core = _core_of(params)
        self.door = door
        self.clock_hz = clock_hz
        self.baud = baud
        self.status = status
        if door == "bytes":
            ports = {"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))}
        elif door == "uart":
            ports = {"rx": In(1, init=1), "tx": Out(1, init=1)}
        else:
            self._door = AxiLiteDoor()
            members = self._door.signature.members
            ports = {name: members[name] for name in members if name.startswith("s_axi_")}
        if status:
            ports |= {"busy": Out(1), "failed": Out(1), "lost": Out(1), "active": Out(1)}
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        core = place(m, self._core, "core")
        has_halves = isinstance(self.params, MapEngineParameters)
        m.submodules.endpoint = endpoint = Endpoint(
            identity=identity(self.params, clock_hz=self.clock_hz),
            words=store_words(self.params),
            halves=half_words(self.params) if has_halves else None,
        )
        wiring.connect(m, endpoint.core, core.link)
        if self.status:
            m.d.comb += [self.busy.eq(core.link.busy), self.active.eq(endpoint.active)]
            with m.If(core.link.start):
                m.d.sync += self.failed.eq(0)
            with m.Elif(core.link.errors.any()):
                m.d.sync += self.failed.eq(1)
        if self.door == "bytes":
            wiring.connect(m, wiring.flipped(self.i), endpoint.i)
            wiring.connect(m, endpoint.o, wiring.flipped(self.o))
            return m
        if self.door == "uart":
            door = UartDoor(clock_hz=self.clock_hz, baud=self.baud)
            m.d.comb += [door.rx.eq(self.rx), self.tx.eq(door.tx)]
            if self.status:
                m.d.comb += self.lost.eq(door.framing_errors.any() | door.overruns.any())
        else:
            door = self._door
            for path, member, own in self.signature.flatten(self):
                if path[0] not in door.signature.members:
                    continue
                inner = getattr(door, path[0])
                m.d.comb += inner.eq(own) if member.flow == wiring.In else own.eq(inner)
        m.submodules.door = door
        wiring.connect(m, door.o, endpoint.i)
        wiring.connect(m, endpoint.o, door.i)
        return m


def _core_of(params):
    if isinstance(params, MapEngineParameters):
        return MapCore(params=params)
    is_array = isinstance(params, EngineParameters)
    return ArrayCore(engine=params) if is_array else BaselineCore(params=params)
