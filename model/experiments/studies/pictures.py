"""The pictures of studies, from their documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dpnet.model.experiments.results.drawings import draw_sweep, draw_weights
from dpnet.model.experiments.studies.weights import histogram_of

__all__ = ["PICTURES", "draw"]


def _weights(document: Mapping[str, Any], path: Path) -> None:
    draw_weights(histogram_of(document), path)


PICTURES: Mapping[str, Callable[[Mapping[str, Any], Path], None]] = {
    "figure2": _weights,
    "figure4": draw_sweep,
}
"""How the document of each study that has a picture is drawn, as PNG."""


def draw(name: str, document: Mapping[str, Any], path: Path) -> None:
    """Write the picture of a study.  Raises ImportError without matplotlib."""
    PICTURES[name](document, path)
