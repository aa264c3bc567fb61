"""Map engines by their names: what `--engine` takes, and what a URL of one says."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qsl

from dpnet.model.compile.whole import ENGINES
from dpnet.model.engine.maps.parameters import MapEngineParameters

__all__ = ["engine_sizes", "engine_url", "parse_engine"]

SCHEME = "sim://"
NAME = "maps"


def parse_engine(text: str) -> str | MapEngineParameters:
    """`auto`, `array`, or the parameters that `maps`, `maps?clusters=4&stages=8` or `sim://maps?…`
    name; `ValueError` for others, saying what it must be."""
    name, _, query = text.removeprefix(SCHEME).rstrip("/").partition("?")
    if name != NAME:
        if query or text not in ENGINES:
            raise ValueError(f"auto, array, maps or maps?NAME=N&NAME=N, not {text!r}")
        return name
    sizes: dict[str, Any] = asdict(MapEngineParameters())
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in sizes:
            raise ValueError(f"maps with sizes of {', '.join(sizes)}, not {key!r}")
        is_text = isinstance(sizes[key], str)
        if not is_text and not value.isdecimal():
            raise ValueError(f"maps with whole numbers, not {key}={value!r}")
        sizes[key] = value if is_text else int(value)
    try:
        return MapEngineParameters(**sizes)
    except ValueError as error:
        raise ValueError(f"an engine that can be built: {error}") from None


def engine_url(engine: MapEngineParameters) -> str:
    """The URL of an engine as a simulated board: what differs from the one that sim://maps is."""
    sizes = "&".join(f"{name}={size}" for name, size in engine_sizes(engine).items())
    return f"{SCHEME}{NAME}" + (f"?{sizes}" if sizes else "")


def engine_sizes(engine: MapEngineParameters) -> dict[str, Any]:
    """The sizes in which an engine differs from the usual one, by name."""
    usual = asdict(MapEngineParameters())
    return {name: size for name, size in asdict(engine).items() if size != usual[name]}
