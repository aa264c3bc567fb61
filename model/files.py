"""Files: no pipes, written whole or not at all; and JSON that is believed only if it is strict."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any


@contextmanager
def opened(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """A file to read, and its size in bytes; closed when the block ends.

    Pipes, sockets and devices are an `OSError` at once: a pipe would block until somebody writes
    to it, and a device may never end.  Folders are an `IsADirectoryError`.
    """
    _refuse_others(path, os.stat(path).st_mode)
    # What is there may change between the two calls: a pipe does not block even then.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(file, "rb") as opened_file:
        found = os.fstat(file)
        _refuse_others(path, found.st_mode)
        yield opened_file, found.st_size


def _refuse_others(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no file but a pipe, a socket or a device", str(path))


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends.

    Whoever reads `path` sees the old or the new content, whole, also after a power cut. If
    anything raises, the old one stays and nothing is left beside it. Several writers at once do
    not disturb each other, the last one wins. One that is killed leaves ``.NAME-….partial``.
    A device or a pipe at `path` is an `OSError`: it is not replaced by a file.
    """
    if path.exists():
        _refuse_others(path, path.stat().st_mode)
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """`data` as `path`, in the way of `replacing`; its folder is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(data)


def write_json(path: Path, document: Any, *, indent: int | None = 2) -> None:
    """`document` as JSON, in the way of `write_whole`."""
    write_whole(path, f"{json.dumps(document, indent=indent)}\n".encode())


def parse_object(data: bytes, what: str, error: type[ValueError]) -> dict[str, Any]:
    """The JSON object in `data`; `error` where it is none, names a key twice, holds NaN or an
    infinity, or text that is no Unicode (a lone surrogate). `what` begins the message."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise error(f"{what} names something twice")
        return dict(pairs)

    def constant(name: str) -> Any:
        raise error(f"{what} holds {name}")

    try:
        found = json.loads(data, object_pairs_hook=unique, parse_constant=constant)
        text = is_text(found)
    except error:
        raise
    except (ValueError, RecursionError) as cause:
        raise error(f"{what} is no JSON: damaged, or no safetensors file") from cause
    if not isinstance(found, dict):
        raise error(f"{what} must be a JSON object")
    if not text:
        raise error(f"{what} holds text that is no Unicode (a lone surrogate)")
    return found


def is_text(value: object) -> bool:
    """Whether all text in JSON's types can be written: a lone surrogate, which escapes in JSON can
    name, has no bytes in any encoding."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_header(
    data: bytes, largest: int, what: str, error: type[ValueError], *, length: int | None = None
) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file and how many bytes of tensors follow; `error` where its size
    is above `largest` or does not fit, or it is no JSON object. `what` is what the file should be,
    `length` its size where `data` is only its beginning, with a header of at most `largest` bytes.
    """
    length = len(data) if length is None else length
    if length < 8:
        raise error(f"no {what}: it has {length} bytes")
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(largest, len(data) - 8):
        raise error(
            f"no {what}, or a damaged one: the header's size, {size}, does not fit the file"
        )
    return parse_object(data[8 : 8 + size], "the header", error), length - 8 - size
