"""Run a cocotb bench on a component: emit, build once per content, run, report.

A bench is a module `dpnet.sim.benches.<name>` of cocotb tests.  Its parameters reach it through
`parameters()`, its seed through `DPNET_SEED` (printed; the default is fixed so that a failure
repeats).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cocotb_tools.config
from cocotb_tools.runner import get_runner
from filelock import FileLock

from dpnet.model.build_root import plain_path
from dpnet.sim.simulator import (
    Simulator,
    build_environment,
    compile_options,
    find_simulator,
    simulator_folder,
)

DEFAULT_SEED = 20201122


class BenchError(AssertionError):
    """A bench failed or did not run; the message has the failing tests and where the log is."""


def seed() -> int:
    """The seed of all random benches: `DPNET_SEED`, else `DEFAULT_SEED`."""
    return int(os.environ.get("DPNET_SEED", DEFAULT_SEED))


def parameters() -> dict[str, Any]:
    """Inside a bench: the parameters that `run_bench` was given."""
    values: dict[str, Any] = json.loads(os.environ.get("DPNET_BENCH", "{}"))
    return values


def thorough() -> bool:
    """Whether `DPNET_THOROUGH` is set, as `make test-long` does: benches at their full length."""
    return bool(os.environ.get("DPNET_THOROUGH"))


def rounds(number: int, share: int = 8) -> int:
    """How often a bench repeats something random: `number` times if it is to be `thorough`,
    otherwise the `share`-th part of that."""
    return number if thorough() else -(-number // share)


def kinds(*names: str) -> tuple[str, ...]:
    """Ways to pause streams that a bench goes through: all of them if it is to be `thorough`,
    otherwise the first and the last."""
    return names if thorough() else (names[0], names[-1])


def run_bench(
    verilog: str,
    bench: str,
    *,
    more: Sequence[str] = (),
    top: str = "top",
    values: Mapping[str, Any] | None = None,
    tests: str | None = None,
    plusargs: Sequence[str] = (),
) -> int:
    """Run every cocotb test of `dpnet.sim.benches.<bench>` (and `more` of them) on `verilog`;
    return how many passed.

    `values` is handed to the bench (JSON types), `tests` is a regular expression that selects
    tests, `plusargs` are what the design asks for by $value$plusargs; with some, the run ends with
    the first test that fails.  Raises `BenchError` if one fails, or if none ran.  The build is
    reused while text, simulator and its version stay the same.
    """
    simulator = find_simulator()
    directory = _build(simulator, verilog, top)
    # Benches and parameter sets of one design share its simulator.
    what = json.dumps([bench, *more, values, tests, *plusargs], sort_keys=True)
    job = f"{bench}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"
    results = directory / f"results-{job}.xml"
    results.unlink(missing_ok=True)
    runner = get_runner(simulator.kind)
    runner.build_dir = directory
    # The runner raises SystemExit when a test fails; the results file says which, `_check` reads
    # it.
    with _environment(simulator), contextlib.suppress(SystemExit):
        runner.test(
            test_module=[f"dpnet.sim.benches.{name}" for name in (bench, *more)],
            hdl_toplevel=top,
            hdl_toplevel_lang="verilog",
            build_dir=directory,
            test_dir=directory,
            results_xml=str(results),
            seed=seed(),
            test_filter=tests,
            timescale=("1ns", "1ps"),
            log_file=str(directory / f"run-{job}.log"),
            plusargs=list(plusargs),
            extra_env={
                **({"COCOTB_MAX_FAILURES": "1"} if plusargs else {}),
                "DPNET_BENCH": json.dumps(values or {}),
                "DPNET_SEED": str(seed()),
                "COCOTB_ANSI_OUTPUT": "0",
            },
        )
    return _check(results, directory / f"run-{job}.log", bench)


def _build(simulator: Simulator, verilog: str, top: str) -> Path:
    content = f"{simulator.kind} {simulator.version}\n{top}\n{verilog}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    directory = simulator_folder("benches") / digest
    directory.mkdir(parents=True, exist_ok=True)
    stamp = directory / "built"
    with FileLock(str(directory) + ".lock"):
        if stamp.exists():
            return directory
        source = directory / f"{top}.sv"
        source.write_text(verilog)
        build = _build_verilator if simulator.kind == "verilator" else _build_icarus
        build(simulator, source, top)
        stamp.touch()
    return directory


def _build_verilator(simulator: Simulator, source: Path, top: str) -> None:
    """cocotb's own build makes every signal public, whose constructors take minutes to compile for
    an array; the ports of the top module are all that a bench needs."""
    libraries = plain_path(Path(cocotb_tools.config.libs_dir))
    shares = plain_path(Path(cocotb_tools.config.share_dir))
    command = [
        str(simulator.path),
        "--cc",
        "--exe",
        "--build",
        "-j",
        "2",
        "--vpi",
        "--public-depth",
        "1",
        "--prefix",
        "Vtop",
        "--top-module",
        top,
        "-o",
        top,
        "-Mdir",
        str(source.parent),
        "-Wno-fatal",
        "-Wno-lint",
        "-Wno-style",
        "--x-assign",
        "fast",
        "--x-initial",
        "fast",
        "--timescale",
        "1ns/1ps",
        *compile_options(),
        "-LDFLAGS",
        f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator",
        str(shares / "lib" / "verilator" / "verilator.cpp"),
        str(source),
    ]
    log = source.parent / "build.log"
    with log.open("w") as output:
        done = subprocess.run(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            env=build_environment(simulator),
            cwd=source.parent,
        )
    if done.returncode:
        raise BenchError(f"the simulator could not build {source}; its log is {log}")


def _build_icarus(simulator: Simulator, source: Path, top: str) -> None:
    with _environment(simulator):
        get_runner("icarus").build(
            sources=[source],
            hdl_toplevel=top,
            build_dir=source.parent,
            build_args=["-g2012"],
            timescale=("1ns", "1ps"),
            always=True,
            log_file=str(source.parent / "build.log"),
        )


class _environment:
    """The process environment replaced by the simulator's while cocotb's runner works."""

    def __init__(self, simulator: Simulator) -> None:
        self._wanted = build_environment(simulator)

    def __enter__(self) -> None:
        self._saved = dict(os.environ)
        os.environ.clear()
        os.environ.update(self._wanted)

    def __exit__(self, *_: object) -> None:
        os.environ.clear()
        os.environ.update(self._saved)


def _check(results: Path, log: Path, bench: str) -> int:
    if not results.exists():
        raise BenchError(f"bench {bench} wrote no results; its log is {log}")
    cases = ElementTree.parse(results).getroot().findall(".//testcase")
    failed = [
        f"{case.get('name')}: "
        + " ".join(str(found.get("error_msg") or found.get("message")).split())
        for case in cases
        for found in [*case.findall("failure"), *case.findall("error")]
    ]
    if failed:
        raise BenchError(f"bench {bench}, seed {seed()}: {'; '.join(failed)}; its log is {log}")
    passed = [case for case in cases if case.find("skipped") is None]
    if not passed:
        raise BenchError(f"bench {bench} ran no test; its log is {log}")
    return len(passed)
