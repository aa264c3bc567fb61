"""Cells of a soak run: each counts something, which is kept when the run is interrupted."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpnet.model.build_root import build_root
from dpnet.model.files import write_json
from dpnet.sim.board.harness import HarnessError

Counts = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """A piece of a part; `key` says what its counts depend on, the programs' contents included."""

    part: str
    name: str
    key: tuple[str, ...]
    count: Callable[[], Counts]

    @property
    def kept_at(self) -> Path:
        """Where its counts are kept."""
        digest = hashlib.sha256("\n".join([self.part, self.name, *self.key]).encode())
        return build_root() / "soak" / "kept" / f"{self.part}-{digest.hexdigest()[:16]}.json"

    def run(self) -> Counts:
        """What it counts, or counted in a run that was interrupted, and the `seconds` it took."""
        path = self.kept_at
        if path.exists():
            kept: Counts = json.loads(path.read_text())
            return kept
        began = time.monotonic()
        counts = self.count()
        counts["seconds"] = round(time.monotonic() - began, 2)
        write_json(path, counts, indent=None)
        return counts


def program_cell(part: str, name: str, program: Path, arguments: tuple[str, ...]) -> Cell:
    """A run of a program that prints a line of JSON; `HarnessError` if it ends in another way."""

    def count() -> Counts:
        command = [str(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HarnessError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
        counts: Counts = json.loads(done.stdout)
        return counts

    return Cell(part, name, (program.parent.name, *arguments), count)


def totals(all_counts: Iterable[Mapping[str, Any]]) -> Counts:
    """The counts of several cells together."""
    sums: Counts = {}
    for counts in all_counts:
        for name, value in counts.items():
            sums[name] = sums.get(name, 0) + value
    return sums


def host_digest() -> str:
    """A hash of what loads depend on besides the board: the host's files for it, and these."""
    root = Path(__file__).resolve().parents[2]
    names = ("driver", "segments", "session", "stream")
    files = [root / "host" / f"{name}.py" for name in names]
    files += sorted((root / "host" / "link").glob("*.py"))
    files += [Path(__file__).parent / f"{name}.py" for name in ("board", "line", "loads", "rates")]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]
