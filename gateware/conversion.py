"""Yosys as Amaranth brings it, in this process: a core has some twenty components, and a start of
its own for each takes twenty times as long as their conversion."""

import functools
import importlib.resources
import tempfile
from pathlib import Path

import wasmtime
from amaranth._toolchain.yosys import YosysError


def run_script(yosys, script):
    """What `yosys`, of Amaranth's `find_yosys`, prints for `script`; `YosysError` if it fails.

    The one of PyPI, which is WebAssembly, is loaded once; any other is started.
    """
    package = getattr(yosys, "YOSYS_PACKAGE", None)
    if package is None:
        return yosys.run(["-q", "-"], script, ignore_warnings=True)
    with tempfile.TemporaryDirectory(prefix="dpnet-yosys-") as folder:
        given, printed, errors = (Path(folder) / name for name in ("script", "text", "errors"))
        given.write_text(script, encoding="utf-8")
        code = _run(package, given, printed, errors)
        if code:
            raise YosysError(errors.read_text(encoding="utf-8").strip())
        return printed.read_text(encoding="utf-8")


def _run(package, given, printed, errors):
    """The exit code."""
    linker, module = _loaded(package)
    config = wasmtime.WasiConfig()
    config.argv = (package, "-q", "-")
    config.stdin_file, config.stdout_file, config.stderr_file = map(str, (given, printed, errors))
    store = wasmtime.Store(linker.engine)
    store.set_wasi(config)
    try:
        linker.instantiate(store, module).exports(store)["_start"](store)
    except wasmtime.ExitTrap as trap:
        return trap.code
    return 0


@functools.cache
def _loaded(package):
    """What links a module to files, and the module of `package`; compiled once for a machine."""
    config = wasmtime.Config()
    config.cache = True
    linker = wasmtime.Linker(wasmtime.Engine(config))
    linker.define_wasi()
    program = importlib.resources.files(package) / "yosys.wasm"
    return linker, wasmtime.Module(linker.engine, program.read_bytes())
