"""A component under proof: its inside by name, free inputs, properties; RTLIL for SymbiYosys."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from types import FrameType
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import (
    Assert,
    Assume,
    ClockDomain,
    Const,
    Cover,
    Elaboratable,
    Fragment,
    Instance,
    MemoryInstance,
    Module,
    Signal,
    Value,
    ValueCastable,
)

TOP = "top"
PREFIX = "check_"
"""Before the name of a property where it names a cell: signals may have the same name."""

COVERS = "covers"


class Harness:
    """Properties of one component, which is elaborated as it is and never reset again after its
    registers' initial values.

    `m` takes the logic of reference models.  Names of properties are the ones that a report and a
    table of planted bugs use.  A *property* is what a user relies on; an *invariant* is a fact that
    is proved along with the properties and that induction needs to leave out unreachable states.
    With `only`, the name of one property, nothing else is asserted: what a planted bug breaks is
    then this very property.  With `COVERS` nothing is, and only then are there covers.
    """

    def __init__(self, component: Any, *, only: str | None = None) -> None:
        self.m = Module()
        self.m.domains.sync = clock = ClockDomain("sync", reset_less=True)
        self._variables = _Variables()
        with self._variables:
            self._top = Fragment.get(component, None)
        self.m.submodules.dut = held = _Elaborated(self._top)
        # A harness may be built for the names of its properties alone.
        self.m._MustUse__silence = held._MustUse__silence = True
        self.properties: list[str] = []
        self.invariants: list[str] = []
        self.covers: list[str] = []
        self._only = only
        self._ports: list[Any] = [clock.clk]
        self.first = Signal(init=1, name="first_cycle")
        self.m.d.sync += self.first.eq(0)

    def inside(self, path: str) -> Any:
        """What the source of the submodule at `submodule.….` calls `name`: a variable of its
        `elaborate` (or of a method that this calls; `name@method` is that of this one), or a field
        of a data class in one, else an attribute.  `LookupError` if there is not exactly one value
        of this name."""
        *parents, name = path.split(".")
        component = self.component(".".join(parents))
        found = self._variables.of(component, name)
        if not found and name in vars(component):
            found = [vars(component)[name]]
        if len(found) != 1:
            raise LookupError(f"{path} must name one value, not {len(found)}")
        return found[0]

    def component(self, path: str = "") -> Any:
        """The submodule at `path`."""
        origins = self._fragment([part for part in path.split(".") if part]).origins
        return origins[0]

    def state(self, path: str = "", fsm: str = "fsm") -> State:
        """The FSM of the submodule at `path`, by its name if it has one."""
        fragment = self._fragment([part for part in path.split(".") if part])
        (signal,) = _signals(fragment, f"{fsm}_state")
        return State(signal, fragment.find_generated(fsm).encoding)

    def word(self, path: str, address: Any) -> Any:
        """The word that the memory at `path` holds at `address` now, through a read port of the
        harness' own."""
        memory = self._fragment(path.split("."))
        if not isinstance(memory, MemoryInstance):
            raise LookupError(f"{path} must name a memory, not {type(memory).__name__}")
        width = len(memory._write_ports[0]._data)
        bits = len(memory._write_ports[0]._addr)
        looked_at, shown = Signal(bits), Signal(width)
        self.m.d.comb += looked_at.eq(address)
        memory.read_port(
            domain="comb", addr=looked_at, data=shown, en=Const(1, 1), transparent_for=()
        )
        return shown

    def free(self, shape: Any, name: str) -> Any:
        """An input that may be anything in every cycle."""
        signal = Signal(shape, name=name)
        self._ports.append(signal)
        return signal

    def constant(self, shape: Any, name: str) -> Any:
        """A value that may be anything, the same in all cycles."""
        signal = self.free(shape, name)
        self.assume(self.first | (signal == self.past(signal)))
        return signal

    def drive(self, *targets: Any) -> None:
        """Let inputs of the component be anything in every cycle."""
        for number, target in enumerate(targets):
            name = f"free_{len(self._ports)}_{number}"
            self.m.d.comb += target.eq(self.free(len(Value.cast(target)), name))

    def past(self, value: Any, init: int = 0) -> Any:
        """`value` one cycle ago; `init` in the first cycle."""
        value = Value.cast(value)
        before = Signal.like(value, name="past", init=init)
        self.m.d.sync += before.eq(value)
        return before

    def assume(self, fact: Any) -> None:
        """What the environment keeps to."""
        self.m.d.comb += Assume(fact)

    def hint(self, fact: Any, *names: str) -> None:
        """Where to look for counterexamples to the properties of these names (for the covers:
        `COVERS`).  They stay what they are in narrower surroundings; a proof does not get this."""
        if self.looks_for(*names):
            self.assume(fact)

    def looks_for(self, *names: str) -> bool:
        """Whether this harness is for finding one of these."""
        return self._only in names

    def prove(self, name: str, fact: Any) -> None:
        """A property, true in every cycle."""
        self._assert(name, fact, self.properties)

    def invariant(self, name: str, fact: Any) -> None:
        """A helper invariant, true in every cycle and proved like a property."""
        self._assert(name, fact, self.invariants)

    def cover(self, name: str, happening: Any) -> None:
        """Something that must be able to happen."""
        self.covers.append(name)
        if self._only == COVERS:
            self.m.d.comb += Cover(happening, name)

    def hold(self, name: str, valid: Any, ready: Any, payload: Any, *, given: bool) -> None:
        """The rule of streams: what is offered stays, unchanged, until it is taken.  Proved as
        `name`, or assumed if `given`."""
        payload = Value.cast(payload)
        waiting = self.past(valid & ~ready)
        kept = ~waiting | (valid & (payload == self.past(payload)))
        if given:
            self.assume(kept)
        else:
            self.prove(name, kept)

    def rtlil(self) -> str:
        """The whole as RTLIL, its properties as cells of their names."""
        text = rtlil.convert(self.m, name=TOP, ports=self._ports, emit_src=False)
        names = re.compile(r'cell \$check \S+\n(\s*parameter \\FORMAT) "(\w+)"')
        return names.sub(rf'cell $check \\{PREFIX}\2\n\1 ""', text)

    def _assert(self, name: str, fact: Any, names: list[str]) -> None:
        names.append(name)
        if self._only in (None, name):
            self.m.d.comb += Assert(fact, name)

    def _fragment(self, path: list[str]) -> Any:
        fragment = self._top
        for part in path:
            try:
                fragment = fragment.find_subfragment(part)
            except NameError:
                raise LookupError(f"there is no submodule {'.'.join(path)}") from None
        return fragment


class State:
    """The state of an FSM."""

    def __init__(self, signal: Any, encoding: dict[str, int]) -> None:
        self.signal = signal
        self.names = tuple(encoding)
        self._encoding = encoding

    def __call__(self, *names: str) -> Any:
        """Whether it is in one of these; `LookupError` for a name that the FSM has not."""
        unknown = [name for name in names if name not in self._encoding]
        if unknown:
            raise LookupError(f"the FSM has no state {', '.join(unknown)}")
        there = Const(0, 1)
        for name in names:
            there = there | (self.signal == self._encoding[name])
        return there

    @property
    def legal(self) -> Any:
        """That it is in one of its states, not in a code without a name."""
        return self.signal < len(self._encoding)


class Together(Elaboratable):
    """Components side by side, submodules of these names."""

    def __init__(self, **components: Any) -> None:
        self._components = components

    def elaborate(self, platform: Any) -> Any:
        m = Module()
        for name, component in self._components.items():
            m.submodules[name] = component
        return m


class _Variables:
    """Values that components have in variables while they are elaborated."""

    def __init__(self) -> None:
        self._found: dict[int, dict[str, list[Any]]] = {}
        self._alive: list[Any] = []

    def of(self, component: Any, name: str) -> list[Any]:
        return self._found.get(id(component), {}).get(name, [])

    def __enter__(self) -> None:
        self._before = sys.getprofile()
        sys.setprofile(self._look)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)

    def _look(self, frame: FrameType, event: str, _: object) -> None:
        component = frame.f_locals.get("self")
        if event != "return" or not isinstance(component, Elaboratable):
            return
        self._alive.append(component)
        names = self._found.setdefault(id(component), {})
        for name, value in _with_fields(frame.f_locals):
            if isinstance(value, Value | ValueCastable | list):
                for key in (name, f"{name}@{frame.f_code.co_name}"):
                    values = names.setdefault(key, [])
                    if not any(value is other for other in values):
                        values.append(value)


def _with_fields(variables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The variables by name, and the fields of those that are data classes."""
    for name, value in variables.items():
        yield name, value
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from ((field.name, getattr(value, field.name)) for field in fields(value))


class _Elaborated(Elaboratable):
    """A fragment as a submodule."""

    def __init__(self, fragment: Any) -> None:
        self.fragment = fragment

    def elaborate(self, platform: Any) -> Any:
        return self.fragment


def implies(condition: Any, fact: Any) -> Any:
    """`fact`, wherever `condition` holds."""
    return ~Value.cast(condition).bool() | Value.cast(fact).bool()


def _signals(fragment: Any, name: str) -> list[Any]:
    if isinstance(fragment, Instance | MemoryInstance):
        return []
    found: dict[int, Any] = {}
    for statements in fragment.statements.values():
        for statement in statements:
            for signal in [*statement._lhs_signals(), *statement._rhs_signals()]:
                if signal.name == name:
                    found[id(signal)] = signal
    return list(found.values())
