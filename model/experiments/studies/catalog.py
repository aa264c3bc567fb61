"""The studies by name."""

from __future__ import annotations

from dpnet.model.experiments.imagenet.table import TABLE4
from dpnet.model.experiments.studies.sweep import FIGURE4
from dpnet.model.experiments.studies.weights import FIGURE2

__all__ = ["STUDIES"]

STUDIES = {study.name: study for study in (TABLE4, FIGURE2, FIGURE4)}
"""All of them."""
