"""What the commands of this folder share: candidates by name, progress, exit codes."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from amaranth.hdl import UnusedElaboratable
from amaranth.lib import wiring

from dpnet.boards.build import build_root
from dpnet.boards.tool import ToolError


class Candidate(NamedTuple):
    """Something to measure: its name in tables, its lanes (0 where that means nothing), and the
    component."""

    name: str
    lanes: int
    component: wiring.Component


def parser(prog: str, description: str, known: Mapping[str, Any]) -> argparse.ArgumentParser:
    """A parser with NAME… (of `known`) and --json."""
    result = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; without any, all"
    )
    result.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    return result


def chosen(names: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """The names to measure: those given, or all; raises `ValueError` for one that is not known."""
    for name in names:
        if name not in known:
            raise ValueError(f"NAME must be one of {', '.join(known)}, not {name!r}")
    return list(names or known)


@contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """A line on stderr: `text`, then how it ended (whatever the block says) and the seconds."""
    started = time.monotonic()
    ended = ["interrupted or failed"]
    print(f"{text} … ", end="", file=sys.stderr, flush=True)
    try:
        yield lambda result: ended.__setitem__(0, result)
    finally:
        print(f"{ended[0]}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def run(prog: str, work: Callable[[], None]) -> int:
    """Exit code of `work`: 0, 2 for wrong usage, 3 for a tool, 130 when interrupted or ended from
    outside; errors are one line."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Conversions are kept by content: what a component is made of is then never elaborated.
    warnings.simplefilter("ignore", UnusedElaboratable)
    try:
        work()
    except (ValueError, OSError) as error:
        code, text = 2, str(error)
    except ToolError as error:
        code, text = 3, str(error)
    except KeyboardInterrupt:
        code, text = 130, "interrupted; the same command goes on where it was"
    else:
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)
    print(f"{prog}: {text}", file=sys.stderr)
    return code


def result_path(name: str) -> str:
    """`build/NAME`, relative where that is shorter, for messages."""
    path = build_root() / name
    return min(str(path), os.path.relpath(path), key=len)
