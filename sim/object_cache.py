"""Verilator's runtime compiled once: make's `OBJCACHE` where there is no ccache.

Every simulator that Verilator builds compiles the same files again, which takes longer than a small
design itself.  make starts each compilation as

    python -I -S object_cache.py FOLDER c++ … -c -o NAME.o SOURCE.cpp

and what belongs to the runtime is taken from FOLDER, or compiled and kept there, by the whole
command, its source and the compiler.  Everything else is compiled as it would be without.  Standard
library only: it runs beside any Python packages.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RUNTIME = frozenset(
    f"{name}.cpp"
    for name in (
        "verilated",
        "verilated_dpi",
        "verilated_threads",
        "verilated_timing",
        "verilated_vcd_c",
        "verilated_vpi",
    )
)


def main(folder: Path, command: list[str]) -> int:
    """Run the compiler's `command`, or copy what it made before; its exit code."""
    source, output = _source_and_output(command)
    if source is None or output is None:
        return subprocess.run(command, check=False).returncode
    kept = folder / f"{_key(command, source)}.o"
    with contextlib.suppress(OSError):
        shutil.copyfile(kept, output)
        return 0
    code = subprocess.run(command, check=False).returncode
    if code == 0:
        # A folder that takes nothing, or a full disk, costs only the time of the next build.
        with contextlib.suppress(OSError):
            _keep(output, kept)
    return code


def _source_and_output(command: list[str]) -> tuple[Path | None, Path | None]:
    """The runtime's source that is compiled, and its object; None for anything else."""
    if "-c" not in command[:-3] or command[-3] != "-o" or Path(command[-1]).name not in RUNTIME:
        return None, None
    return Path(command[-1]), Path(command[-2])


def _key(command: list[str], source: Path) -> str:
    compiler = shutil.which(command[0]) or command[0]
    facts = [*command, source.read_bytes(), os.path.realpath(compiler), _stamp(compiler)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _keep(made: Path, kept: Path) -> None:
    """Copy and rename: another build may be looking for it."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{kept.stem}-", dir=kept.parent)
    os.close(handle)
    try:
        shutil.copyfile(made, name)
        os.replace(name, kept)
    except OSError:
        os.unlink(name)
        raise


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
