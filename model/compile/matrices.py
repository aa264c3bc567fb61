"""Quantized matrices to an image for fp32 vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dpnet.model.compile.checks import check_quantized
from dpnet.model.compile.errors import CompileError
from dpnet.model.image import Image, ImageError, ImageLayer
from dpnet.model.quantizer.quantized import Quantized


def compile_fp32(
    quantized: Mapping[str, tuple[Quantized, tuple[int, ...]]],
    about: Mapping[str, Any] | None = None,
) -> Image:
    """An image of matrices for fp32 vectors: name -> (quantized rows, the weight's own shape).

    Codebooks are rounded to fp32.  Raises `CompileError`.
    """
    if not quantized:
        raise CompileError("there must be at least one matrix to compile")
    layers = tuple(_matrix(name, *given) for name, given in quantized.items())
    return Image(layers=layers, about=about or {})


def _matrix(name: str, given: Quantized, shape: tuple[int, ...]) -> ImageLayer:
    rows = check_quantized(name, given)
    with np.errstate(over="ignore"):
        codebook = rows.codebook.astype(np.float32)
    if not np.isfinite(codebook).all():
        raise CompileError(f"layer {name}: its codebook holds values that fp32 has not")
    try:
        return ImageLayer(
            name=name, shape=tuple(shape), indices=rows.indices, k=rows.k, codebook=codebook
        )
    except ImageError as error:
        raise CompileError(f"layer {name}: {error}") from error
