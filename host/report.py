"""What commands print: tables and JSON on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from io import StringIO
from types import TracebackType
from typing import IO, Any

from rich.box import Box
from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
)
from rich.progress import Progress as Bar
from rich.table import Column, Table
from rich.text import Text

from dpnet.plain import visible

PLAIN_SECONDS = 10.0
"""Where stderr is no terminal, a line of progress comes no more often than that."""

_WIDE = 10_000
_RULED = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
_BAR = 24
_NARROWEST_CELL = 16


def on_a_line(text: object) -> str:
    """A name, or a note of a file, as a part of a line."""
    return visible(str(text).replace("\n", "\\n"))


def emit(document: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Print `document` as the one JSON document of a command, or `text` for people."""
    if as_json:
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        say(text)


def say(text: str, file: IO[str] | None = None) -> None:
    """Print `text` on `file` (stdout); on a terminal lines are broken between words."""
    stream = sys.stdout if file is None else file
    if stream.isatty():
        Console(file=stream, highlight=False, soft_wrap=False).print(Text(visible(text)))
    else:
        print(visible(text), file=stream, flush=stream is sys.stderr)


def complain(program: str, text: str) -> None:
    """Print on stderr what went wrong, in one line, which only a terminal breaks."""
    line = visible(" ".join(text.split()))
    if sys.stderr.isatty():
        console = Console(file=sys.stderr, highlight=False)
        console.print(Text.assemble((f"{program}:", "bold red"), f" {line}"))
    else:
        print(f"{program}: {line}", file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they need, numbers to the right: what is no number or the first column
    is left-aligned.

    On a terminal that is narrower, texts are broken between words; where that does not help, each
    row is a list of lines.
    """
    cells = [[visible(str(cell)) for cell in row] for row in rows]
    width = terminal_width()
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    if _narrowest(head, cells) > width:
        return _records(head, cells)
    right = [n > 0 and all(_is_figure(row[n]) for row in cells) for n in range(len(head))]
    result = Table(box=_RULED, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title, to_right, wide in zip(head, right, widths, strict=True):
        result.add_column(
            Text(title),
            justify="right" if to_right else "left",
            min_width=min(wide, _NARROWEST_CELL),
            no_wrap=to_right,
        )
    for row in cells:
        result.add_row(*map(Text, row))
    drawn = StringIO()
    Console(file=drawn, width=width, highlight=False, color_system=None).print(result)
    return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines())


def _records(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Each row as lines of a title and a value."""
    wide = max(map(len, head))
    return "\n\n".join(
        "\n".join(
            f"{title.ljust(wide)}  {value}".rstrip() for title, value in zip(head, row, strict=True)
        )
        for row in cells
    )


def _narrowest(head: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """The least width at which the table can be read."""
    columns = zip(head, *cells, strict=True)
    return sum(min(max(map(len, column)), _NARROWEST_CELL) for column in columns) + 2 * (
        len(head) - 1
    )


def table_width(head: Sequence[str], rows: Sequence[Sequence[object]]) -> int:
    """Columns that `table` takes where nothing has to be broken."""
    cells = [[visible(str(cell)) for cell in row] for row in rows]
    columns = zip(head, *cells, strict=True)
    return sum(max(map(len, column)) for column in columns) + 2 * (len(head) - 1)


def terminal_width() -> int:
    """Columns of the terminal; what is read by a program is not broken."""
    return Console(file=sys.stdout).width if sys.stdout.isatty() else _WIDE


def _is_figure(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in "-–+∞"


class Progress:
    """How far a command is, on stderr: a bar on a terminal, elsewhere a line now and then.

    As a context it leaves a clean line behind, whatever happens.  It is called as training does
    (done, total, text) and as a load does (done, total).  Meanwhile messages of the package's own
    log (a simulator is built) are shown above it.  Several at once, of several threads, are lines
    of one display.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._next = time.monotonic() + PLAIN_SECONDS
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        self._bar = _DISPLAY.join()
        if self._bar is not None:
            self._task = self._bar.add_task(visible(self.what), total=None, text="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _DISPLAY.leave(self._task)

    def __call__(self, done: int, total: int, text: str = "") -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=max(total, 1), text=visible(text))
            return
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PLAIN_SECONDS
            share = done / total if total else 1.0
            self.note(f"{self.what}: {100 * share:3.0f} % {text}".rstrip())

    def note(self, text: str) -> None:
        """Print a line of its own, above the bar."""
        _note(self._bar, text)


def _note(bar: Bar | None, text: str) -> None:
    if bar is not None:
        bar.console.print(Text(visible(text)))
    else:
        say(text, sys.stderr)


class _Display:
    """What all that is under way shows on stderr: one bar with a line each, if it is a terminal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._bar: Bar | None = None
        self._log = _Messages()

    def join(self) -> Bar | None:
        """One more is under way: the bar, None where there is no terminal."""
        with self._lock:
            if not self._users:
                console = Console(file=sys.stderr, highlight=False)
                self._bar = None
                if console.is_terminal and not console.is_dumb_terminal:
                    self._bar = _bar(console)
                    self._bar.start()
                self._log.start(self._bar)
            self._users += 1
            return self._bar

    def leave(self, task: TaskID | None) -> None:
        """One of them has ended, whose line is `task`."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._log.stop()
                if self._bar is not None:
                    self._bar.stop()
            elif self._bar is not None and task is not None:
                self._bar.remove_task(task)


def _bar(console: Console) -> Bar:
    """A bar that leaves nothing behind; a narrow terminal has its title, cut, and the share."""
    narrow = console.width < 60
    columns: list[ProgressColumn] = [
        SpinnerColumn("line"),
        TextColumn(
            "{task.description}",
            table_column=Column(no_wrap=True, overflow="ellipsis"),
            markup=False,
        ),
        BarColumn(bar_width=min(_BAR, console.width // 5)),
        TaskProgressColumn(
            text_format_no_percentage="", table_column=Column(no_wrap=True, min_width=4)
        ),
    ]
    if not narrow:
        text = Column(no_wrap=True, overflow="ellipsis")
        columns.append(TextColumn("{task.fields[text]}", table_column=text, markup=False))
    # Results that are printed meanwhile go above it, unless they go to a file or a pipe.
    to_terminal = sys.stdout.isatty()
    return Bar(*columns, console=console, transient=True, redirect_stdout=to_terminal)


class _Messages(logging.Handler):
    """Messages of the package's log as lines above a bar, or on stderr."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._bar: Bar | None = None
        self._logger = logging.getLogger("dpnet")

    def start(self, bar: Bar | None) -> None:
        """Take messages."""
        self._bar = bar
        self._before = self._logger.level
        self._logger.setLevel(logging.INFO)
        self._logger.addHandler(self)

    def stop(self) -> None:
        """Take no more."""
        self._logger.removeHandler(self)
        self._logger.setLevel(self._before)

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        _note(self._bar, record.getMessage())


_DISPLAY = _Display()
