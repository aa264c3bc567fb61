"""External tools: found in one place, run in a scratch folder, failing with one line."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from dpnet.boards.build import synthesis_folder

CURE = "run make setup-synthesis, or pip install 'dpnet[boards]'"


class ToolError(RuntimeError):
    """A tool is missing or failed; the message, one line, says what to do."""


@dataclass(frozen=True)
class Tool:
    """A tool that was found: how it is called, its version and where it is from."""

    name: str
    command: tuple[str, ...]
    version: str
    origin: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.origin})"

    def run(self, arguments: Sequence[str], folder: Path) -> str:
        """Run it in `folder`; return what it printed.

        Files must be named relative to `folder`: the tools from PyPI do not see the machine's
        /tmp.  Raises `ToolError` with the tool's own error; an interrupt stops the tool too.
        """
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            log = synthesis_folder() / f"failed-{self.name.lower()}.log"
            log.write_text(done.stdout)
            raise ToolError(f"{self.name} failed: {_reason(done)}; the log is {log}")
        return done.stdout


@dataclass(frozen=True)
class Source:
    """Where a tool may come from: a variable of the environment, a package that has the function
    `function(arguments)`, a program on the PATH.  `oldest` is the release that the project was
    tried with."""

    name: str
    variable: str
    package: str
    function: str
    program: str
    oldest: tuple[int, int]
    version_option: str = "-V"

    def find(self) -> Tool:
        """The tool to use: the variable's if it is set, else the package's, else the PATH's.
        Raises `ToolError` if there is none, or if it is too old."""
        command, origin = self._command()
        # A tool from PyPI compiles itself in its first run, into a cache of the user's that a
        # second one must not read half-written.
        with FileLock(synthesis_folder() / "first-run.lock"):
            text = _output([*command, self.version_option])
        numbers = re.search(r"(\d+)\.(\d+)(?:[.+][\w.]+)?", text)
        if numbers is None:
            raise ToolError(f"no {self.name}: {' '.join(command)} prints no version; {CURE}")
        if (int(numbers[1]), int(numbers[2])) < self.oldest:
            oldest = ".".join(map(str, self.oldest))
            raise ToolError(
                f"no {self.name}: {origin} is {numbers[0]}, and {oldest} is needed; {CURE}"
            )
        return Tool(self.name, command, numbers[0], origin)

    def _command(self) -> tuple[tuple[str, ...], str]:
        named = os.environ.get(self.variable)
        if named:
            found = shutil.which(named)
            if found is None:
                raise ToolError(
                    f"no {self.name}: {self.variable} is {named!r}, and there is no such program; "
                    "correct it or unset it"
                )
            return (found,), f"from {self.variable}"
        if importlib.util.find_spec(self.package) is not None:
            code = f"import sys, {self.package} as p; sys.exit(p.{self.function}(sys.argv[1:]))"
            return (sys.executable, "-c", code), "from PyPI"
        found = shutil.which(self.program)
        if found is None:
            package = self.package.replace("_", "-")
            raise ToolError(
                f"no {self.name}: neither the package {package} nor a {self.program} on the PATH; "
                f"{CURE}"
            )
        return (found,), "on the PATH"


def find_program(name: str, command: str, cure: str) -> Tool:
    """The tool `name` that is the program `command`, a path or a name on the PATH; raises
    `ToolError`, which ends with `cure`."""
    found = shutil.which(command)
    if found is None:
        raise ToolError(f"no {name}: there is no program {command!r}; {cure}")
    return Tool(name, (found,), "", f"from {found}")


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError:
        return ""
    return done.stdout + done.stderr


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    errors = [line.partition("ERROR: ")[2] for line in lines if "ERROR: " in line]
    return errors[0] if errors else lines[-1] if lines else f"exit status {done.returncode}"
