"""An engine that holds an image, and how to ask for it, where the one at hand does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from dpnet.model.engine.parameters import EngineParameters, ceil_div, ceil_log2
from dpnet.model.image import Image, ImageLayer


def fitting(image: Image, engine: EngineParameters) -> EngineParameters | None:
    """`engine`, as much larger as `image` needs it; None where no engine holds the image.

    Only what is too small grows: lanes stay, so layers that its stores do not hold are streamed.
    """
    layers = image.layers
    try:
        wide = replace(engine, **_widths(image, engine))
        return replace(wide, **_stores(layers, wide))
    except ValueError:  # the limits of all engines
        return None


def _widths(image: Image, engine: EngineParameters) -> dict[str, Any]:
    """Bits, longest row and number of layers."""
    layers = image.layers
    served = engine.fp32 if image.is_fp32 else engine.integer
    return {
        "edges": engine.edges if served else "both",
        "index_bits": max(engine.index_bits, *(ceil_log2(layer.k) for layer in layers)),
        "activation_bits": max(engine.activation_bits, *activation_bits(image)),
        "entry_bits": max(engine.entry_bits, *(entry_bits(layer) for layer in layers)),
        "max_columns": max(engine.max_columns, *(layer.columns for layer in layers)),
        "layers": max(engine.layers, len(layers)),
    }


def _stores(layers: Sequence[ImageLayer], engine: EngineParameters) -> dict[str, Any]:
    """A tile of each layer, and vectors and results: of a chain all, of matrices the largest."""
    rows = [ceil_div(engine.beats(layer.columns), engine.row_beats) for layer in layers]
    results = [engine.tiles(layer.rows) * engine.stages for layer in layers]
    together = max if layers[0].is_fp32 else sum
    words = together(rows) * engine.row_beats * engine.segments
    return {
        "index_depth": max(
            engine.index_depth, *(engine.index_rows(layer.columns, layer.k) for layer in layers)
        ),
        "slots": max(engine.slots, engine.stages),
        "result_slots": max(engine.result_slots, together(results)),
        "vector_words": max(engine.vector_words, words),
    }


def activation_bits(image: Image) -> list[int]:
    """Bits of what every layer of an integer image takes; of fp32 layers 2, for all will do."""
    if image.is_fp32:
        return [2] * len(image.layers)
    return [image.input_bits, *(layer.out_bits for layer in image.layers[:-1])]


def entry_bits(layer: ImageLayer) -> int:
    """Bits of entries that an engine must have for a layer; for fp32 ones 2, for all will do."""
    return 2 if layer.is_fp32 else layer.entry_bits


def engine_url(engine: EngineParameters) -> str:
    """The URL of `engine` as a simulated board: what differs from the one that sim://array is."""
    usual = asdict(EngineParameters())
    sizes = [
        f"{name}={int(value) if isinstance(value, bool) else value}"
        for name, value in asdict(engine).items()
        if value != usual[name]
    ]
    return "sim://array" + ("?" + "&".join(sizes) if sizes else "")


def remedy(image: Image, engine: EngineParameters) -> str:
    """What to do where `engine` does not hold `image`."""
    larger = fitting(image, engine)
    if larger is None:
        return "no engine holds it: split the layer, or give it fewer columns"
    return f"an engine that holds it: {engine_url(larger)}"
