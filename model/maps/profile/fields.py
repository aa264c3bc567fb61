"""Frozen data classes as JSON and back, believed only if every field has its type and bounds."""

from __future__ import annotations

import functools
import math
import reprlib
import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any

from dpnet.model.files import is_text

__all__ = ["ProfileError", "from_plain", "plain", "six_digits"]

LARGEST_LIST = 1 << 10
"""Layers of a network: nothing else in a profile is longer."""
LARGEST_TEXT = 1 << 16
LARGEST_WHOLE = 1 << 53
LONGEST_SHOWN = 80
LARGEST_NUMBER = 1e250


class ProfileError(ValueError):
    """What is no profile, or one of another network; the message says what and where."""


def six_digits(value: float) -> float:
    """The number as a profile holds it: six digits, and no magnitude that squares or ratios of it
    could not have."""
    return float(f"{min(max(float(value), -LARGEST_NUMBER), LARGEST_NUMBER):.6g}")


def plain(value: Any) -> Any:
    """A data class of data classes, tuples, texts and numbers in JSON's types."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return [plain(one) for one in value] if isinstance(value, tuple) else value


def from_plain(kind: Any, value: object, what: str) -> Any:
    """`value`, which JSON gave, as the type that `plain` made it of; `ProfileError` for others."""
    if is_dataclass(kind):
        return _record(kind, value, what)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        _require(isinstance(value, list) and len(value) <= LARGEST_LIST, what, kind, value)
        return tuple(from_plain(arguments[0], one, what) for one in typing.cast("list[Any]", value))
    if origin is types.UnionType:
        inner = next(one for one in arguments if one is not types.NoneType)
        return None if value is None else from_plain(inner, value, what)
    return _scalar(kind, value, what)


def _record(kind: Any, value: object, what: str) -> Any:
    kinds = _kinds(kind)
    found = value if isinstance(value, dict) and set(value) == set(kinds) else None
    if found is None:
        raise ProfileError(f"{what} must have {', '.join(kinds)}, not {_shown(value)}")
    try:
        return kind(**{name: from_plain(one, found[name], name) for name, one in kinds.items()})
    except ProfileError as error:
        raise ProfileError(f"{what}: {error}") from None


@functools.cache
def _kinds(kind: Any) -> dict[str, Any]:
    """The types of a data class's fields, by name."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _scalar(kind: Any, value: object, what: str) -> Any:
    if kind is float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        _require(number, what, kind, value)
        assert isinstance(value, (int, float))
        _require(-LARGEST_NUMBER <= value <= LARGEST_NUMBER, what, kind, value)
        _require(math.isfinite(value), what, kind, value)
        return float(value)
    _require(type(value) is kind, what, kind, value)
    if kind is int:
        _require(0 <= typing.cast("int", value) < LARGEST_WHOLE, what, kind, value)
    if kind is str:
        text = typing.cast("str", value)
        _require(len(text) <= LARGEST_TEXT and is_text(text), what, kind, value)
    return value


_SAID = {
    float: f"a finite number up to {LARGEST_NUMBER:g}",
    int: f"a whole number from 0 to {LARGEST_WHOLE - 1}",
    str: f"text of at most {LARGEST_TEXT} characters",
    bool: "true or false",
}


def _require(condition: bool, what: str, kind: Any, value: object) -> None:
    if not condition:
        said = _SAID.get(kind, f"a list of at most {LARGEST_LIST}")
        raise ProfileError(f"{what} must be {said}, not {_shown(value)}")


def _shown(value: object) -> str:
    """What a file gave, however long it is, in a message."""
    text = reprlib.repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
