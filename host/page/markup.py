"""Elements of HTML and SVG whose texts and attributes are escaped, whatever is in them.

    element("p", "at most ", element("b", name), class_="note")

What comes out is well-formed XML too, so that any parser can check it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from dpnet.plain import visible

__all__ = ["Child", "Html", "element", "raw"]

EMPTY = frozenset({"br", "meta", "rect", "line", "path", "circle"})
"""Elements that have no content."""


@dataclass(frozen=True)
class Html:
    """Text that is HTML already."""

    text: str


Child: TypeAlias = Html | str | int | Iterable["Child"] | None
"""Text is escaped; None is nothing."""


def element(tag: str, *children: Child, **attributes: object) -> Html:
    """An element; attributes are named as in Python (`class_`, `stroke_width`), those that are None
    are left out."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_escaped(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in EMPTY and not children:
        return Html(f"<{tag}{given}/>")
    return Html(f"<{tag}{given}>{_inner(children)}</{tag}>")


def raw(text: str) -> Html:
    """Text of our own that is no HTML but stands where nothing is escaped: a style sheet.  Raises
    `ValueError` for what could end it."""
    if "<" in text or "&" in text:
        raise ValueError("text that is not escaped must have no < and no &")
    return Html(text)


def _inner(children: Child) -> str:
    match children:
        case None:
            return ""
        case Html():
            return children.text
        case str() | int():
            return _escaped(str(children))
        case _:
            return "".join(_inner(child) for child in children)


def _escaped(text: str) -> str:
    """Without control characters and marks of direction, which a name may hold."""
    return escape(visible(text), quote=True)
