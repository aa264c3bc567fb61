"""What cannot be compiled."""

from __future__ import annotations


class CompileError(ValueError):
    """A network that the engine's arithmetic cannot hold; the message says which layer and why."""
