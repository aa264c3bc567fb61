"""What a board is to `python -m dpnet.boards.bitstream`, and how the boards are found."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from dpnet.model.engine.devices import Device
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EngineParameters

FOLDER = Path(__file__).resolve().parent
"""Board NAME is NAME/board.py in here, with `BOARD`; hyphens of a name are underscores there."""

Engine: TypeAlias = EngineParameters | MapEngineParameters
"""What a board is built around: an array, or a map engine."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What a build may be told besides engine and toolchain.

    `seed` of the placement; `door`, which of the board's ways in (None: its usual one); `mhz`, the
    engine's clock (None: the board's default); `baud` of a UART door; `revision` of the board
    (None: the first one).  A board raises `ValueError` for what it cannot do.
    """

    seed: int = 1
    door: str | None = None
    mhz: float | None = None
    baud: int = 3_000_000
    revision: str | None = None

    def __post_init__(self) -> None:
        for name in ("seed", "baud"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if self.mhz is not None and not self.mhz > 0:
            raise ValueError(f"mhz must be a positive number, not {self.mhz!r}")


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build has written, and what it reached.

    `bitstream` and `files` (all others, in an order worth reading) are below the folder that
    `Board.build` was given.  `clock_hz` is the clock that the engine gets, `mhz` the one that the
    tool's timing analysis allows it (None if place and route did not run); `used` counts sites by
    kind, `available` has how many the chip has.  `missing` says, in one line, which tool is missing
    and how to get it; then there is no bitstream.
    """

    bitstream: Path | None
    files: tuple[Path, ...]
    clock_hz: float
    mhz: float | None = None
    used: Mapping[str, int] = field(default_factory=dict)
    available: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    missing: str | None = None

    def __post_init__(self) -> None:
        if (self.bitstream is None) != (self.missing is not None):
            raise ValueError(
                "a build must have either a bitstream or what is missing, not "
                f"{self.bitstream!r} and {self.missing!r}"
            )


@runtime_checkable
class Board(Protocol):
    """A board: `name` as in commands, `title` for people, `device` its chip (that of the name in
    `dpnet.model.engine.devices.BOARDS`), `toolchains` by preference, `doors` its ways in (the usual
    one first), `revisions` whose pins differ (the usual one first; none where all are alike),
    `engine` the array that it gets when nothing is said, `maps` the map engine when only its kind
    is."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def device(self) -> Device: ...
    @property
    def toolchains(self) -> tuple[str, ...]: ...
    @property
    def doors(self) -> tuple[str, ...]: ...
    @property
    def revisions(self) -> tuple[str, ...]: ...
    @property
    def engine(self) -> EngineParameters: ...
    @property
    def maps(self) -> MapEngineParameters: ...

    def build(
        self,
        *,
        engine: Engine,
        toolchain: str | None,
        folder: Path,
        options: BuildOptions,
    ) -> Built:
        """Build in `folder`, which is there, empty and handed over only if this returns.

        `toolchain` is one of `toolchains`, or None: the first one that is installed.  Scripts that
        are written name files relative to `folder`, which moves.  Raises `ToolError` (a tool named
        but missing, or failed, or timing not met) and `ValueError` (sizes, options).
        """
        ...


def board_names() -> list[str]:
    """All boards."""
    return sorted(path.parent.name.replace("_", "-") for path in FOLDER.glob("*/board.py"))


def find_board(name: str) -> Board:
    """The board of this name; raises `ValueError` if there is none."""
    if name.replace("_", "-") not in board_names():
        raise ValueError(f"BOARD must be one of {', '.join(board_names())}, not {name!r}")
    module = importlib.import_module(f"dpnet.boards.{name.replace('-', '_')}.board")
    board = getattr(module, "BOARD", None)
    if not isinstance(board, Board):
        raise TypeError(f"BOARD of {module.__name__} must be a Board, not {board!r}")
    return board
