"""Waiting on a loaded machine: limits that only what hangs reaches, and output without progress."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from subprocess import Popen
from typing import Any

PATIENCE_S = 900.0
"""A process that has not done it by then hangs; tools of WebAssembly compile themselves first."""

PROMPT_S = 60.0
"""What ends by a deadline of a few seconds has ended by then, however loaded the machine is; what
the tests plant to be waited for instead takes longer."""

_PROGRESS = re.compile(r"^\r?[^\n]*: +\d+ %[^\n]*\n", re.MULTILINE)


def without_progress(errors: str) -> str:
    """What a command said, without the lines that it adds where it takes long."""
    return _PROGRESS.sub("", errors)


def wait_until(happened: Callable[[], Any], process: Popen[str] | None = None) -> Any:
    """What `happened` says, as soon as that is true; `process` must run until then."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := happened()):
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode}: {process.communicate()}")
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found
