"""Files that are written whole or not at all, and JSON that is believed only if it is strict."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends.

    Whoever reads `path` sees the old or the new content, whole, also after a power cut. If
    anything raises, the old one stays and nothing is left beside it. Several writers at once do
    not disturb each other, the last one wins. One that is killed leaves ``.NAME-….partial``.
    """
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
    """The JSON object in `data`; `error` where it is none, names a key twice or holds NaN or an
    infinity. `what` begins the message."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise error(f"{what} names something twice")
        return dict(pairs)

    def constant(name: str) -> Any:
        raise error(f"{what} holds {name}")

    try:
        found = json.loads(data, object_pairs_hook=unique, parse_constant=constant)
    except error:
        raise
    except (ValueError, RecursionError) as cause:
        raise error(f"{what} is no JSON: damaged, or no safetensors file") from cause
    if not isinstance(found, dict):
        raise error(f"{what} must be a JSON object")
    return found


def parse_header(
    data: bytes, largest: int, what: str, error: type[ValueError]
) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file and how many bytes of tensors follow; `error` where its size
    is above `largest` or does not fit, or it is no JSON object. `what` is what the file should be.
    """
    if len(data) < 8:
        raise error(f"{len(data)} bytes are no {what}")
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(largest, len(data) - 8):
        raise error(
            f"the header's size, {size}, does not fit the file: damaged, or no safetensors file"
        )
    return parse_object(data[8 : 8 + size], "the header", error), len(data) - 8 - size
