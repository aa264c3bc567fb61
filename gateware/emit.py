"""Component to Verilog, each distinct component written once.

Amaranth writes every submodule out again, even identical ones (12 s against 100 s for 1,000 lanes),
so repeated components are converted once and placed by `Instance`, and conversions are kept in the
build root by their content.  The text that comes out is the same for simulation, synthesis and
boards.
"""

import contextlib
import functools
import hashlib
import re
from contextvars import ContextVar
from dataclasses import dataclass

from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Instance, ResetSignal
from amaranth.lib import wiring

from dpnet.gateware.conversion import run_script
from dpnet.model.build_root import build_root
from dpnet.model.files import write_whole

_modules: ContextVar[dict[str, str]] = ContextVar("_modules")
_cache: dict[str, "_Converted"] = {}


def emit(component, name="top"):
    """Verilog text of `component` and of everything that it places, as one self-contained file.

    Parameters: `component`, a `wiring.Component`; `name`, the name of the top module.
    Port names are the member paths joined by `__`, with `clk` and `rst` where the component uses
    them.  Raises `ValueError` if two different texts would have one module's name.
    """
    text, modules = _with_modules(component, name)
    _add(modules, {name: text})
    return "\n".join(modules.values())


def place(m, component, name, *, reset=None):
    """Add `component` to `m` as an `Instance` named `name`; return its ports.

    The object returned has the component's members, so that it is wired like a submodule.  A
    component with a `verilog(name)` method supplies its own text.  Components are the same module
    if their `component_key` is equal; `ValueError` if they are not of one class then, or do not
    have the same ports.  `reset` takes the place of the domain's.
    """
    module = _module_name(component)
    converted = _converted(component, module)
    component._MustUse__silence = (
        True  # placed by name: this object itself is never elaborated twice
    )
    modules = _modules.get(None)
    if modules is not None:
        _add(modules, converted.modules | {module: converted.text})
    ports = component.signature.create(path=(name,))
    arguments = {}
    for path, member, value in component.signature.flatten(ports):
        direction = "i" if member.flow == wiring.In else "o"
        arguments[f"{direction}_{'__'.join(map(str, path))}"] = value
    if re.search(r"^\s*input clk;", converted.text, re.MULTILINE):
        arguments["i_clk"] = ClockSignal()
    if re.search(r"^\s*input rst;", converted.text, re.MULTILINE):
        arguments["i_rst"] = ResetSignal() if reset is None else reset
    m.submodules[name] = Instance(module, **arguments)
    return ports


def component_key(component):
    """What makes two components the same module: where its class is defined, and every parameter
    that can be read.  Raises `TypeError` for a parameter without a value of its own (a list, an
    array), whose text need not tell it from another."""
    kind = type(component)
    parameters = {
        name: value
        for name, value in vars(component).items()
        if not name.startswith("_") and name not in component.signature.members
    }
    for name, value in parameters.items():
        if type(value).__hash__ in (None, object.__hash__):
            raise TypeError(
                f"{name} of {kind.__qualname__} must be a value that can be hashed, not {value!r}"
            )
    return f"{kind.__module__}.{kind.__qualname__}{sorted(parameters.items())!r}"


@dataclass(frozen=True)
class _Converted:
    """A component's text and that of all modules in it, by name."""

    kind: type
    ports: list[tuple[tuple, object, object]]
    text: str
    modules: dict[str, str]


def _module_name(component):
    base = re.sub(r"(?<!^)(?=[A-Z])", "_", type(component).__name__).lower()
    return f"{base}_{hashlib.sha256(component_key(component).encode()).hexdigest()[:8]}"


def _converted(component, module):
    key = component_key(component)
    if key not in _cache:
        text, modules = _convert(component, module)
        _cache[key] = _Converted(type(component), _ports(component), text, modules)
    found = _cache[key]
    if (found.kind, found.ports) != (type(component), _ports(component)):
        raise ValueError(f"two different components have the key {key}")
    return found


def _ports(component):
    members = component.signature.flatten(component)
    return [(path, member.flow, member.shape) for path, member, _ in members]


def _convert(component, module):
    if hasattr(component, "verilog"):
        return component.verilog(module), {}
    # Amaranth names submodules after their path below the top, so two conversions do not collide.
    return _with_modules(component, module)


def _with_modules(component, name):
    """(text of `component`, texts of the modules in it by name)."""
    modules: dict[str, str] = {}
    token = _modules.set(modules)
    try:
        return _verilog(component, name), modules
    finally:
        _modules.reset(token)


def _add(modules, more):
    """Add `more` to `modules`; `ValueError` where a name has another text already."""
    for name, text in more.items():
        if modules.setdefault(name, text) != text:
            raise ValueError(f"two different modules have the name {name}")


def _verilog(component, name):
    """One conversion.  Unlike `amaranth.back.verilog` it turns combinational processes into
    assignments: Icarus 11 leaves X at time 0 under `always @*`, and loops for ever in an
    `always_comb` that reads and writes parts of one vector."""
    yosys = find_yosys(lambda version: version >= (0, 40))
    text = rtlil.convert(component, name=name, emit_src=False)
    attributes = "-remove generator -remove top -remove src -remove amaranth.hierarchy"
    script = f"""
read_rtlil <<rtlil
{text}
rtlil
proc -norom
memory_collect
attrmap {attributes} -remove amaranth.decoding
attrmap -modattr {attributes} -remove amaranth.decoding
write_verilog
"""
    return _kept(script, yosys)


def _kept(script, yosys):
    """What Yosys makes of `script`, which holds the whole component: from the build root, if this
    version made it before."""
    content = f"{yosys.__name__} {_version(yosys)}\n{script}"
    path = build_root() / "verilog" / f"{hashlib.sha256(content.encode()).hexdigest()}.v"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    text = run_script(yosys, script)
    # A folder that takes nothing costs only the time of the next conversion.
    with contextlib.suppress(OSError):
        write_whole(path, text.encode())
    return text


@functools.cache
def _version(yosys):
    return yosys.version()
