"""What a bench expects against what it receives, in order, to the last piece."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

CONTEXT = 3
"""Pieces shown before the first that differs."""


class Scoreboard:
    """Compares two sequences as they come, whichever is ahead.

    `name` says in every message what is compared, `show` turns a piece into text.  The first
    difference raises `AssertionError` with its number, its note and the pieces before it;
    `finish()` must end every test.
    """

    def __init__(self, name: str, *, show: Callable[[Any], str] = repr) -> None:
        self.name = name
        self.compared = 0
        self._show = show
        self._expected: deque[tuple[Any, str]] = deque()
        self._received: deque[Any] = deque()
        self._passed: deque[str] = deque(maxlen=CONTEXT)

    def expect(self, value: Any, note: str = "") -> None:
        """The next piece must be `value`; `note` helps whoever reads that it was not."""
        self._expected.append((value, note))
        self._compare()

    def receive(self, value: Any) -> None:
        """A piece came."""
        self._received.append(value)
        self._compare()

    def finish(self) -> int:
        """How many pieces were compared; fails if none was, or if one is missing or surplus."""
        if self._expected:
            value, note = self._expected[0]
            raise AssertionError(
                f"{self.name}: {len(self._expected)} missing after {self.compared}, the first "
                f"{self._show(value)}{_noted(note)}{self._context()}"
            )
        if self._received:
            raise AssertionError(
                f"{self.name}: {len(self._received)} surplus after {self.compared}, the first "
                f"{self._show(self._received[0])}{self._context()}"
            )
        if not self.compared:
            raise AssertionError(f"{self.name}: nothing was compared")
        return self.compared

    def _compare(self) -> None:
        while self._expected and self._received:
            (wanted, note), got = self._expected.popleft(), self._received.popleft()
            if got != wanted:
                raise AssertionError(
                    f"{self.name}: number {self.compared} is {self._show(got)}, expected "
                    f"{self._show(wanted)}{_noted(note)}{self._context()}"
                )
            self.compared += 1
            self._passed.append(self._show(got) + _noted(note))

    def _context(self) -> str:
        return f"; before it: {', '.join(self._passed)}" if self._passed else ""


def _noted(note: str) -> str:
    return f" ({note})" if note else ""
