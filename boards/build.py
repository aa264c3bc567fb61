"""Where boards' results go: one folder, kept by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpnet.model.build_root import build_root
from dpnet.model.files import write_json


def synthesis_folder() -> Path:
    """The folder of kept results, scratch folders and logs; created if it is not there."""
    folder = build_root() / "synthesis"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def kept(parts: tuple[str, ...], compute: Callable[[], Any]) -> tuple[Any, bool]:
    """(the result, whether it was kept from an earlier run) of `compute` for these inputs.

    `parts` are all inputs that the result depends on: texts, versions, options.  The result must
    be made of what JSON has.  A `compute` that raises leaves nothing behind.
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    path = synthesis_folder() / f"{digest}.json"
    try:
        return json.loads(path.read_text()), True
    except (FileNotFoundError, ValueError):
        result = compute()
    write_json(path, result)
    return result, False
