"""Component to Verilog, each distinct component written once.

Amaranth writes every submodule out again, even identical ones (12 s against 100 s for 1,000 lanes),
so repeated components are converted once and placed by `Instance`.  The text that comes out is the
same for simulation, synthesis and boards.
"""

import hashlib
import re
from contextvars import ContextVar

from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Instance, ResetSignal
from amaranth.lib import wiring

_modules: ContextVar[dict[str, str]] = ContextVar("_modules")
_cache: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}


def emit(component, name="top"):
    """Verilog text of `component` and of everything that it places, as one self-contained file.

    Parameters: `component`, a `wiring.Component`; `name`, the name of the top module.
    Port names are the member paths joined by `__`, with `clk` and `rst` where the component uses
    them.
    """
    modules: dict[str, str] = {}
    token = _modules.set(modules)
    try:
        text = _verilog(component, name)
    finally:
        _modules.reset(token)
    return "\n".join([*modules.values(), text])


def place(m, component, name, *, reset=None):
    """Add `component` to `m` as an `Instance` named `name`; return its ports.

    The object returned has the component's members, so that it is wired like a submodule.  A
    component with a `verilog(name)` method supplies its own text.  Components are the same module
    if `key` is equal: by default the class and the constructor's readable parameters.  `reset`
    takes the place of the domain's.
    """
    key = component_key(component)
    base = re.sub(r"(?<!^)(?=[A-Z])", "_", type(component).__name__).lower()
    module = f"{base}_{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    if (module, key) not in _cache:
        _cache[module, key] = _convert(component, module)
    text, dependencies = _cache[module, key]
    component._MustUse__silence = (
        True  # placed by name: this object itself is never elaborated twice
    )
    modules = _modules.get(None)
    if modules is not None:
        modules.update(dependencies)
        modules[module] = text
    ports = component.signature.create(path=(name,))
    arguments = {}
    for path, member, value in component.signature.flatten(ports):
        direction = "i" if member.flow == wiring.In else "o"
        arguments[f"{direction}_{'__'.join(map(str, path))}"] = value
    if re.search(r"^\s*input clk;", text, re.MULTILINE):
        arguments["i_clk"] = ClockSignal()
    if re.search(r"^\s*input rst;", text, re.MULTILINE):
        arguments["i_rst"] = ResetSignal() if reset is None else reset
    m.submodules[name] = Instance(module, **arguments)
    return ports


def component_key(component):
    """What makes two components the same module: the class and every parameter that can be read."""
    parameters = {
        name: value
        for name, value in vars(component).items()
        if not name.startswith("_") and name not in component.signature.members
    }
    return f"{type(component).__qualname__}{sorted(parameters.items())!r}"


def _convert(component, module):
    if hasattr(component, "verilog"):
        return component.verilog(module), {}
    modules: dict[str, str] = {}
    token = _modules.set(modules)
    try:
        text = _verilog(component, module)
    finally:
        _modules.reset(token)
    # Amaranth names submodules after their path below the top, so two conversions do not collide.
    return text, modules


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
    return yosys.run(["-q", "-"], script, ignore_warnings=True)
