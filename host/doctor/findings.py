"""What a check says, and the machine as the checks see it (standard library only)."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

OK, NOTE, MISSING = "ok", "note", "missing"
"""A finding's status: fine; only what needs this is affected; the simulator flow, or the port that
was asked for, does not work."""

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Finding:
    """`found`, about `name`, and what cures it ("" where nothing has to be done)."""

    name: str
    status: str
    found: str
    cure: str = ""


def from_error(name: str, status: str, error: object, cure: str) -> Finding:
    """The finding of an error in one line; behind a semicolon it may have a cure of its own."""
    found, _, own = " ".join(str(error).split()).partition("; ")
    return Finding(name, status, found, own or cure)


def _may_use(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def _transports() -> set[str]:
    return {entry.name for entry in importlib.metadata.entry_points(group="dpnet.transports")}


@dataclass(frozen=True)
class Environment:
    """A machine: variables, release of Python, root of its files (`dev`, `sys`), who may use a
    file, room on a disk, versions and requirements of installed packages, kinds of ports that are
    installed, whether this is a checkout.  No program may take longer than `deadline_s`."""

    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    python: Sequence[int] = tuple(sys.version_info[:3])
    root: Path = Path("/")
    may_use: Callable[[Path], bool] = _may_use
    free_bytes: Callable[[Path], int] = _free_bytes
    version_of: Callable[[str], str] = importlib.metadata.version
    requires: Callable[[str], list[str] | None] = importlib.metadata.requires
    transports: Callable[[], set[str]] = _transports
    deadline_s: float = 60.0
    checkout: bool = (CHECKOUT / "pyproject.toml").exists()

    def install(self, extra: str = "") -> str:
        """How to get the packages of an extra."""
        if self.checkout:
            return "run make setup"
        return f"pip install 'dpnet[{extra}]'" if extra else "pip install dpnet"

    @property
    def simulator_status(self) -> str:
        """What it is where something for the simulator is lacking: a checkout is there to simulate,
        an installed package may be there to quantize, or to talk to a board."""
        return MISSING if self.checkout else NOTE

    def find(self, program: str) -> Path | None:
        """The program on the PATH."""
        found = shutil.which(program, path=self.variables.get("PATH", ""))
        return Path(found) if found else None

    def unusable(self, program: str) -> Path | None:
        """A file of this name on the PATH, if it cannot be run."""
        folders = self.variables.get("PATH", "").split(os.pathsep)
        return next((path for folder in folders if (path := Path(folder, program)).is_file()), None)

    def run(self, command: Sequence[str], given: str = "") -> tuple[int | None, str]:
        """Exit status (None if it had to be killed) and output of a program, errors last."""
        paths = [str(CHECKOUT), *filter(None, [self.variables.get("PYTHONPATH")])]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
                env={**self.variables, "PYTHONPATH": os.pathsep.join(paths)},
            )
        except OSError as error:
            return 127, f"{command[0]}: {error.strerror}"
        try:
            out, errors = process.communicate(given, timeout=self.deadline_s)
        except subprocess.TimeoutExpired:
            # What it started may hold the pipes open.
            os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=1.0)
            return None, ""
        return process.returncode, out + errors


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it prints nothing"


def version_in(text: str) -> tuple[int, ...] | None:
    """The first number with a point in it, as a tuple."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(map(int, found[0].split("."))) if found else None
