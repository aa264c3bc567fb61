"""Verilator's runtime compiled once: make's `OBJCACHE` where there is no ccache.

Every simulator that Verilator builds compiles the same files and reads the same headers again,
which takes longer than a small design itself.  make starts each compilation as

    python -I -S object_cache.py FOLDER c++ … -c -o NAME.o SOURCE.cpp

and what belongs to the runtime is taken from FOLDER, or compiled and kept there, by the whole
command, its source and the compiler.  Everything else is compiled each time, with the runtime's
headers precompiled in FOLDER, by the compiler, its options and Verilator's version.  Standard
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
from collections.abc import Iterator
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
HEADERS = ("verilated.h", "verilated_dpi.h", "verilated_vpi.h")
PRECOMPILED = "runtime.h"


def main(folder: Path, command: list[str]) -> int:
    """Run the compiler's `command`, or copy what it made before; its exit code."""
    source, output = _source_and_output(command)
    if source is None or output is None:
        return subprocess.run(command, check=False).returncode
    if source.name not in RUNTIME:
        return subprocess.run(_with_headers(folder, command), check=False).returncode
    kept = folder / f"{_key(command, source.read_bytes())}.o"
    with contextlib.suppress(OSError):
        shutil.copyfile(kept, output)
        return 0
    code = subprocess.run(command, check=False).returncode
    if code == 0:
        # A folder that takes nothing, or a full disk, costs only the time of the next build.
        with contextlib.suppress(OSError), _scratch(kept) as made:
            shutil.copyfile(output, made)
    return code


def _source_and_output(command: list[str]) -> tuple[Path | None, Path | None]:
    """The source that is compiled, and its object; None for anything else."""
    if "-c" not in command[:-3] or command[-3] != "-o":
        return None, None
    return Path(command[-1]), Path(command[-2])


def _with_headers(folder: Path, command: list[str]) -> list[str]:
    """`command` with the precompiled headers first, if they are of its Verilator and can be made;
    a compiler takes one precompiled header, so none is added to another."""
    options = [word for word in command[1:-4] if word != "-MMD"]
    headers = _headers(options)
    if headers is None or "-include" in options:
        return command
    version = b"".join(header.read_bytes() for header in headers)
    # Their order differs from file to file, and means nothing to the headers.
    place = folder / _key([command[0], *sorted(options)], version)
    try:
        if not place.exists():
            with _scratch(place) as made:
                _precompile(made, [command[0], *options], headers)
    except (OSError, subprocess.CalledProcessError):
        return command
    if not place.exists():
        return command
    return [command[0], "-include", str(place / PRECOMPILED), *command[1:]]


def _headers(options: list[str]) -> list[Path] | None:
    """Where the compiler finds the runtime's headers; None if it does not."""
    for option in options:
        headers = [Path(option[2:]) / name for name in HEADERS]
        if option.startswith("-I") and all(header.exists() for header in headers):
            return headers
    return None


def _precompile(folder: Path, compiler: list[str], headers: list[Path]) -> None:
    folder.mkdir()
    header = folder / PRECOMPILED
    header.write_text("".join(f'#include "{path}"\n' for path in headers))
    made = ["-x", "c++-header", "-o", f"{header}.gch", str(header)]
    subprocess.run([*compiler, *made], check=True, stderr=subprocess.DEVNULL)


def _key(command: list[str], content: bytes) -> str:
    compiler = shutil.which(command[0]) or command[0]
    facts = [*command, content, os.path.realpath(compiler), _stamp(compiler)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _scratch(kept: Path) -> Iterator[Path]:
    """A name beside `kept` to make it under, renamed to it at the end: another build may be
    looking for it, or making it."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{kept.stem}-", dir=kept.parent) as folder:
        made = Path(folder) / kept.name
        yield made
        with contextlib.suppress(OSError):
            os.rename(made, kept)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
