"""The folder of everything that is built (standard library only)."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

_PLAIN = re.compile(r"[\w./+@,~-]+")
"""What make, compilers and simulators take in a path; letters of any language are among it."""


class PathError(RuntimeError):
    """No folder has a path that make and compilers take: what, why, what to do, in one line."""


def build_root() -> Path:
    """Where everything that is built goes, wherever the command was called: `DPNET_BUILD`, else
    `build/` of the checkout, else (installed without one) `~/.cache/dpnet`."""
    if "DPNET_BUILD" in os.environ:
        return Path(os.environ["DPNET_BUILD"]).resolve()
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").exists():
        return checkout / "build"
    return _cache()


def tool_root() -> Path:
    """Where simulators are built: `build_root()`, or, as make takes no spaces, a folder of the
    user's cache that belongs to it alone.  Raises `PathError` if that has some too.
    """
    root = build_root()
    if is_plain(root):
        return root
    other = _cache() / f"build-{_digest(root)}"
    if not is_plain(other):
        raise PathError(
            f"simulators cannot be built in {root} nor in {other}: make takes no spaces or signs "
            "in a path; let DPNET_BUILD name a folder without"
        )
    return other


def plain_path(path: Path) -> Path:
    """`path`, or a symbolic link to it, in `tool_root()`, that make and compilers take."""
    if is_plain(path):
        return path
    link = tool_root() / "links" / f"{_digest(path)}-{re.sub(r'[^A-Za-z0-9.]', '_', path.name)}"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        scratch = link.with_name(f"{link.name}-{os.getpid()}")
        scratch.symlink_to(path)
        scratch.replace(link)
    return link


def is_plain(path: Path) -> bool:
    """Whether make and compilers take this path."""
    return _PLAIN.fullmatch(str(path)) is not None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "dpnet"


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
