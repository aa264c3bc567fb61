"""What was measured of a network until now: kept after every step, believed only where everything
it depends on is the same."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dpnet.model.files import write_json

__all__ = ["Accuracies", "Computed", "Kept"]


@dataclass
class Computed:
    """Pictures that RTL has computed: values compared, what differs (of a map at most four
    values), the first difference in words, and the cycles that pictures took, each once."""

    pictures: int = 0
    outputs: int = 0
    mismatches: int = 0
    first: str = ""
    cycles: list[int] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Accuracies:
    """Samples that were judged, and how many of them each kind of numbers labels right; sums of
    squares of the float network's results, and of what the integers differ from them."""

    samples: int = 0
    floats: int = 0
    codebooks: int = 0
    integers: int = 0
    signal: float = 0.0
    noise: float = 0.0


@dataclass
class Kept:
    """The state of a network in `folder`, called by its name and `key`."""

    folder: Path
    name: str
    key: str
    computed: Computed = field(default_factory=Computed)
    accuracies: Accuracies = field(default_factory=Accuracies)

    def __post_init__(self) -> None:
        if self.path.exists():
            found: dict[str, Any] = json.loads(self.path.read_text())
            self.computed = Computed(**found["computed"])
            self.accuracies = Accuracies(**found["accuracies"])

    @property
    def path(self) -> Path:
        """Where the state is."""
        return self.folder / f"{self.name}-{self.key}.json"

    @property
    def image(self) -> Path:
        """Where the network's image is."""
        return self.folder / f"{self.name}-{self.key}.dpnet"

    def save(self) -> None:
        """Write the state, whole or not at all."""
        state = {"computed": asdict(self.computed), "accuracies": asdict(self.accuracies)}
        write_json(self.path, state, indent=None)
