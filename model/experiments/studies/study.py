"""What every study is given and gives, what it keeps between two calls, and its time left."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dpnet.model.experiments.plans import Plan
from dpnet.model.files import write_json
from dpnet.model.training.checkpoint import fingerprint
from dpnet.model.training.run import Progress

__all__ = ["Call", "Epochs", "Found", "Kept", "Study", "kept_of"]


@dataclass(frozen=True)
class Found:
    """Rows as JSON has them, the machines that trained what they are of, in words, and what the
    document says besides, by name."""

    rows: tuple[Mapping[str, Any], ...]
    machine: str
    besides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One seed of a study: everything lies below `folder`; `code` is the digest of the sources;
    `on_rows` is given the rows so far after each new one."""

    plan: Plan
    seed: int
    folder: Path
    code: str
    device: str = "cpu"
    on_progress: Progress | None = None
    on_rows: Callable[[Found], None] = lambda _: None


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study by its `name`: its shortened `plan`, the `methods` that may be chosen, how one seed
    of it is `run`, and the epochs that a plan of it takes in all (`count`).

    `run` raises `DataError`, `WeightsError` for what is missing, and the errors of `fit`; what was
    interrupted goes on with the same call.  `rho`: whether the term's gradient may be chosen.
    `one`: whether it is of one seed alone.  `picture`: whether there is one to draw.
    `folders`: whether it reads pictures and weights from places that the caller names.
    """

    name: str
    plan: Plan
    methods: tuple[str, ...]
    run: Callable[[Call], Found]
    count: Callable[[Plan], int]
    rho: bool = True
    one: bool = False
    picture: bool = True
    folders: bool = False


@dataclass(frozen=True)
class Kept:
    """Values as JSON files in a `folder`, believed where they are `of` the same origin."""

    folder: Path
    of: str

    def get(self, name: str) -> Any:
        """The value, None where there is none."""
        try:
            found = json.loads((self.folder / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return None
        return found["is"] if isinstance(found, dict) and found.get("of") == self.of else None

    def put(self, name: str, value: Any) -> None:
        """Keep a value in place of the old one."""
        write_json(self.folder / f"{name}.json", {"of": self.of, "is": value})

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """The value that is there, else the one that is made now."""
        value = self.get(name)
        if value is None:
            value = make()
            self.put(name, value)
        return value


def kept_of(call: Call, plan: Plan, folder: Path) -> Kept:
    """What a plan's rows are of: all of it but what is chosen among, the seed and the code."""
    same = replace(plan, bits=(), methods=(), paper=(), engine=False)
    return Kept(folder, fingerprint(f"{same!r} {call.seed} {call.code}", ()))


class Epochs:
    """Epochs of several phases as `total` epochs, with the time that is left of all."""

    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self.total, self.done, self.fresh = total, 0, 0
        self._on_progress, self._began = on_progress, time.monotonic()

    def phase(self, name: str) -> Progress:
        """Of a phase that begins now."""
        before = self.done

        def told(done: int, total: int, text: str) -> None:
            whole = not text.startswith(("seed ", "epoch "))  # before the first, or within one
            self.fresh += whole
            left = f"; about {self._left(before + done)} left in all" if whole else ""
            self.tell(f"{name}: {text}{left}", before + done)

        return told

    def passed(self, epochs: int) -> None:
        """A phase of so many epochs is over."""
        self.done += epochs

    def tell(self, text: str, done: int | None = None) -> None:
        """What is under way."""
        if self._on_progress is not None:
            self._on_progress(self.done if done is None else done, self.total, text)

    def _left(self, done: int) -> str:
        seconds = (time.monotonic() - self._began) / self.fresh * (self.total - done)
        minutes = round(seconds / 60)
        return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
