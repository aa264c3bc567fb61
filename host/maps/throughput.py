"""How fast pictures went through an engine, and what bounds that: computing, or the link."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NEAR", "Throughput"]

NEAR = 0.9
"""Of the pictures a second that computing alone gives: with fewer the link is the bound."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Of a batch: `seconds` on the transport's clock from the first run's start to the last one's
    end, in `computing_s` of which the engine ran, and the bytes of words that a picture takes and
    that its results are."""

    pictures: int
    seconds: float
    computing_s: float
    written_bytes: int
    read_bytes: int

    @property
    def per_s(self) -> float:
        """Pictures a second; 0 where no time passed."""
        return self.pictures / self.seconds if self.seconds > 0 else 0.0

    @property
    def computing_per_s(self) -> float:
        """Those of an engine that never waits for the link."""
        return self.pictures / self.computing_s if self.computing_s > 0 else 0.0

    @property
    def share(self) -> float:
        """What is reached of them, 0 to 1."""
        return self.computing_s / self.seconds if self.seconds > 0 else 0.0

    @property
    def text(self) -> str:
        """A line."""
        line = (
            f"{self.per_s:,.1f} pictures a second, {self.computing_per_s:,.1f} by computing alone"
        )
        if self.share >= NEAR:
            return line
        return (
            f"{line}: the link is the bound ({self.written_bytes:,} bytes a picture, "
            f"{self.read_bytes:,} of results, and the requests between two runs)"
        )
