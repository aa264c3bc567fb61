"""A compressed network in memory: its layers, and what makes them one network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.files import is_text
from dpnet.model.image.header import LARGEST_LAYERS, ImageError, check_scale, require
from dpnet.model.image.inputs import finite
from dpnet.model.image.layers import ImageLayer
from dpnet.model.image.writing import write_layers


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """A compiled network: `layers`, each fed by the one before (integer networks), or matrices on
    their own (fp32).  An integer network takes round(x / `input_scale`) of `input_bits` bits and
    its last layer's integers times `output_scale` are the logits.  `about` is for people (JSON
    types).

    Raises `ImageError` where there are no layers, or too many, where layers are of both kinds,
    where an integer layer does not take what the one before gives, and for scales that are not
    positive and finite.
    """

    layers: tuple[ImageLayer, ...]
    input_scale: float = 1.0
    input_bits: int = 8
    output_scale: float = 1.0
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.layers)
        require(1 <= count <= LARGEST_LAYERS, f"layers must be 1 to {LARGEST_LAYERS}, not {count}")
        self._check_chain()
        check_scale("input_scale", self.input_scale)
        check_scale("output_scale", self.output_scale)
        bits = self.input_bits
        whole = isinstance(bits, int) and not isinstance(bits, bool)
        require(whole and 2 <= bits <= 25, f"input_bits must be 2 to 25, not {bits!r}")
        self._check_about()

    def _check_chain(self) -> None:
        for before, layer in pairwise(self.layers):
            require(
                layer.is_fp32 == before.is_fp32,
                f"layers must be all fp32 or all integer, not {before.name} the one and "
                f"{layer.name} the other",
            )
            require(
                layer.is_fp32 or layer.columns == before.rows,
                f"layer {layer.name} takes {layer.columns} values, but {before.name} before it "
                f"gives {before.rows}",
            )

    def _check_about(self) -> None:
        try:
            json.dumps(dict(self.about), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ImageError(f"about must hold JSON's types only: {error}") from error
        require(is_text(dict(self.about)), "about holds text that is no Unicode (a lone surrogate)")

    @property
    def is_fp32(self) -> bool:
        return self.layers[0].is_fp32

    @property
    def largest_input(self) -> float:
        """The largest magnitude that the network was calibrated for; beyond it inputs saturate."""
        return float(self.input_scale * ((1 << self.input_bits - 1) - 1))

    def save(self, path: str | Path) -> int:
        """Write the image to `path`, whole or not at all; return the file's size in bytes.

        `ImageError` for an image that is too large to be read again, `OSError` where the file
        cannot be written.
        """
        about = {
            "input_scale": self.input_scale,
            "input_bits": self.input_bits,
            "output_scale": self.output_scale,
            "about": dict(self.about),
        }
        return write_layers(self.layers, about, Path(path))

    def quantize_input(self, x: Any) -> NDArray[np.int64]:
        """Real inputs to activations: round to nearest even, saturated; refuses what is no array
        of finite numbers (`ImageError`).
        """
        high = (1 << self.input_bits - 1) - 1
        return np.clip(self._steps(x), -high - 1, high).astype(np.int64)

    def saturated_inputs(self, x: Any) -> float:
        """The share of the values of `x` that `quantize_input` cuts off, 0 to 1."""
        steps, half = self._steps(x), 1 << self.input_bits - 1
        return float(((steps < -half) | (steps > half - 1)).mean()) if steps.size else 0.0

    def _steps(self, x: Any) -> NDArray[np.float64]:
        """x / `input_scale`, rounded; what is beyond float64 stays an infinity."""
        with np.errstate(over="ignore"):
            return np.rint(finite(x, "the input") / self.input_scale)
