"""The folder of everything that is built (standard library only)."""

from __future__ import annotations

import os
from pathlib import Path


def build_root() -> Path:
    """Where everything that is built goes, wherever the command was called: `DPNET_BUILD`, else
    `build/` of the checkout, else (installed without one) `~/.cache/dpnet`."""
    if "DPNET_BUILD" in os.environ:
        return Path(os.environ["DPNET_BUILD"]).resolve()
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").exists():
        return checkout / "build"
    return Path.home() / ".cache" / "dpnet"
