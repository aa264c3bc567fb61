"""What commands print: tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

PLAIN_SECONDS = 10.0
"""Where stderr is no terminal, a line of progress comes no more often than that."""

_TERMINAL_SECONDS = 0.1
_BAR = 24


def printable(text: str) -> str:
    """`text` without what a terminal would obey: control characters, but for ends of lines, and
    marks that turn the direction of text, as escapes."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in _OBEYED
        else character.encode("unicode_escape").decode()
        for character in text
    )


def on_a_line(text: object) -> str:
    """A name, or a note of a file, as a part of a line."""
    return printable(str(text)).replace("\n", "\\n")


_OBEYED = ("Cc", "Cf", "Cs", "Zl", "Zp")


def emit(document: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Print `document` as the one JSON document of a command, or `text` for people."""
    print(json.dumps(document, indent=2, allow_nan=False) if as_json else printable(text))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they need, numbers to the right: what is no number or the first column
    is left-aligned.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    right = [n > 0 and all(_is_figure(row[n]) for row in cells) for n in range(len(head))]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(head), "─" * (sum(widths) + 2 * (len(widths) - 1)), *map(line, cells)])


def _is_figure(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in "-–+∞"


class Progress:
    """How far a command is, on stderr: one line that changes on a terminal, else now and then one.

    As a context it leaves a clean line behind, whatever happens.  It is called as training does
    (done, total, text) and as a load does (done, total).
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + (0 if self._terminal else PLAIN_SECONDS)
        self._width = 0

    def __enter__(self) -> Progress:
        if self._terminal:
            self._show(self.what)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._terminal:
            self._show("")

    def __call__(self, done: int, total: int, text: str = "") -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (_TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS)
        share = done / total if total else 1.0
        line = f"{100 * share:3.0f} % {text}".rstrip()
        if self._terminal:
            full = round(_BAR * share)
            self._show(f"{self.what} [{'█' * full}{'·' * (_BAR - full)}] {line}")
        else:
            print(printable(f"{self.what}: {line}"), file=sys.stderr, flush=True)

    def _show(self, line: str) -> None:
        """Replace the line on the terminal; nothing stays of a longer one before it."""
        visible = printable(line)[:100]
        padding = " " * max(0, self._width - len(visible))
        sys.stderr.write(f"\r{visible}{padding}" + ("" if line else "\r"))
        sys.stderr.flush()
        self._width = len(visible)
