"""Files written whole or not at all; JSON that is refused unless it is strict."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from dpnet.model.files import parse_object, replacing


class Refused(ValueError):
    """What the reader of a file raises."""


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("before", [b"old", None])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_fails_leaves_everything_as_it_was(
    tmp_path: Path, before: bytes | None, error: type[BaseException]
) -> None:
    path = tmp_path / "x"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half of it")
        raise error
    assert os.listdir(tmp_path) == (["x"] if before else [])
    assert before is None or path.read_bytes() == before


def test_two_writers_at_once_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with replacing(path) as one:
        one.write(b"first")
        with replacing(path) as other:
            other.write(b"second, longer")
        assert path.read_bytes() == b"second, longer"
    assert path.read_bytes() == b"first" and os.listdir(tmp_path) == ["x"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with replacing(tmp_path / "x") as file:
        file.write(b"new")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_object() -> None:
    found: dict[str, Any] = parse_object(b'{"a": [1, {"b": null}], "c": 0.5}', "it", Refused)
    assert found == {"a": [1, {"b": None}], "c": 0.5}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[1]", "the header must be a JSON object"),
        (b"1", "the header must be a JSON object"),
        (b'{"a": 1, "a": 1}', "the header names something twice"),
        (b'[{"b": {"a": 1, "a": 2}}]', "the header names something twice"),
        (b'{"a": NaN}', "the header holds NaN"),
        (b'{"a": [-Infinity]}', "the header holds -Infinity"),
        (b"{", "the header is no JSON: damaged, or no safetensors file"),
        (b"", "the header is no JSON: damaged, or no safetensors file"),
        (b"\xff\xfe!!", "the header is no JSON: damaged, or no safetensors file"),
        (b"[" * 200_000, "the header is no JSON: damaged, or no safetensors file"),
    ],
)
def test_what_is_no_strict_object(data: bytes, message: str) -> None:
    with pytest.raises(Refused, match=f"^{re.escape(message)}$"):
        parse_object(data, "the header", Refused)
