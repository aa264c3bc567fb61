"""How the sizes of an engine become the values of its constant registers, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EngineParameters


class Number:
    """How an attribute is a register's number: as it is.  `decode` raises `ValueError`."""

    def encode(self, value: Any) -> int:
        """The register's value."""
        return int(value)

    def decode(self, number: int) -> Any:
        """The attribute's value."""
        return number


class Flag(Number):
    """True or False as 1 or 0."""

    def decode(self, number: int) -> bool:
        """See `Number`."""
        if number > 1:
            raise ValueError(f"a flag must be 0 or 1, not {number}")
        return bool(number)


@dataclass(frozen=True)
class Choice(Number):
    """One of `names`, as its place among them."""

    names: tuple[str, ...]

    def encode(self, value: Any) -> int:
        """See `Number`."""
        return self.names.index(value)

    def decode(self, number: int) -> str:
        """See `Number`."""
        if number >= len(self.names):
            raise ValueError(f"{', '.join(self.names)} have no number {number}")
        return self.names[number]


class Factors(Number):
    """`"AxB"`, two numbers up to 255 in bits 7:0 and 15:8."""

    def encode(self, value: Any) -> int:
        """See `Number`."""
        a, b = map(int, value.split("x"))
        return a | b << 8

    def decode(self, number: int) -> str:
        """See `Number`."""
        return f"{number & 0xFF}x{number >> 8}"


NUMBER = Number()
CLOCK = "clock_hz"
"""The source of what is the top's, and not its engine's: the clock."""


@dataclass(frozen=True)
class Constant:
    """Where a constant register's value comes from: the name of an attribute of the engine's
    parameters, coded as `code` says, or the value itself.  `array` is for `EngineParameters`,
    `baseline` for `BaselineParameters`, `maps` for `MapEngineParameters`; `CLOCK` is the top's
    clock.
    """

    array: str | int
    baseline: str | int
    maps: str | int
    code: Number = NUMBER

    def of(self, params: Any, clock_hz: int) -> int:
        """The register's value in an engine of `params`."""
        source = self.source(family_of(params))
        if isinstance(source, int):
            return int(source)
        return self.code.encode(clock_hz if source == CLOCK else getattr(params, source))

    def source(self, family: str) -> str | int:
        """What the value is in engines of this family: `array`, `baseline` or `maps`."""
        found: str | int = getattr(self, family)
        return found


def family_of(params: Any) -> str:
    """The family of engines that these parameters are of."""
    if isinstance(params, MapEngineParameters):
        return "maps"
    return "array" if isinstance(params, EngineParameters) else "baseline"
