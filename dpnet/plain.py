"""Output that every terminal and every reader can take (standard library only)."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata

_HANDLER = "dpnet.plain"
_PLAIN = {
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "─": "-",
    "━": "-",
    "│": "|",
    "█": "#",
    "·": ".",
    "…": "...",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "∞": "inf",
    "µ": "u",
    "μ": "u",
    "λ": "lambda",
    "ρ": "rho",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}


def prepare_output() -> None:
    """Let stdout and stderr write what their encoding lacks in its plain form (x for ×), and a
    stream that is closed swallow everything.  LANG=C is ASCII, though Python takes it for UTF-8.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif hasattr(stream, "reconfigure"):
            encoding = "ascii" if _is_ascii_locale() else None
            stream.reconfigure(encoding=encoding, errors=_HANDLER)


def encodable(text: str) -> str:
    """`text` as stdout's encoding can take it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, _HANDLER).decode(encoding)


def plain(text: str) -> str:
    """`text` in ASCII: × as x, letters without their accents, ? for what has no plain form."""
    return "".join(character if character.isascii() else _plain(character) for character in text)


def visible(text: str) -> str:
    """`text` with control characters and marks of direction, save line ends, as they are escaped
    in Python: what a name holds must not command the terminal."""
    return "".join(
        repr(character)[1:-1] if _is_control(character) else character for character in text
    )


def _is_control(character: str) -> bool:
    return character != "\n" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _plain(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    bare = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return bare or "?"


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


def _is_ascii_locale() -> bool:
    """Whether the user chose the C locale and no encoding of Python's own."""
    given = os.environ
    if given.get("PYTHONIOENCODING") or given.get("PYTHONUTF8"):
        return False
    # Python itself sets LC_CTYPE to C.UTF-8 where LANG is C.
    kind = given.get("LC_CTYPE", "")
    chosen = given.get("LC_ALL") or (kind if kind != "C.UTF-8" else "") or given.get("LANG")
    return chosen in ("C", "POSIX")


codecs.register_error(_HANDLER, _replace)
