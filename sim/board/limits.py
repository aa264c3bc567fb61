"""How large an engine may be that is simulated."""

from __future__ import annotations

import gc
import warnings

from amaranth.hdl import UnusedElaboratable

from dpnet.gateware.top import Top
from dpnet.host.session import Parameters
from dpnet.model.engine.baseline import BaselineParameters
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters

__all__ = ["check_size"]

LARGEST_LANES = 4096
LARGEST_STORE_BITS = 1 << 30


def check_size(params: Parameters) -> None:
    """Raise `ValueError` for a board that takes hours to build, or more memory than there is."""
    if isinstance(params, BaselineParameters):
        return
    if isinstance(params, MapEngineParameters):
        _check_maps(params)
        return
    if params.lanes > LARGEST_LANES:
        raise ValueError(
            f"an array of {params.lanes:,} lanes is too large to simulate here; stages × columns × "
            f"segments must be at most {LARGEST_LANES:,}"
        )
    bits = params.stages * params.segments * params.index_depth * params.row_bits
    if bits > LARGEST_STORE_BITS:
        raise ValueError(
            f"index stores of {bits / 8e6:,.0f} MB are too large to simulate here; there may be "
            f"{LARGEST_STORE_BITS / 8e6:,.0f} MB: lower index_depth"
        )


def _check_maps(params: MapEngineParameters) -> None:
    """The same of a map engine, and what `Top` does not build."""
    with warnings.catch_warnings():
        # It is looked at and dropped, and Amaranth warns of that when it is collected.
        warnings.simplefilter("ignore", UnusedElaboratable)
        Top(params=params)
        gc.collect()
    if params.lanes > LARGEST_LANES:
        raise ValueError(
            f"a map engine of {params.lanes:,} lanes is too large to simulate here; "
            f"{LANES} × clusters × stages must be at most {LARGEST_LANES:,}"
        )
    size = params.units * (params.map_depth + params.picture_depth) + 8 * params.index_depth
    if 8 * size > LARGEST_STORE_BITS:
        raise ValueError(
            f"stores of {size / 1e6:,.0f} MB are too large to simulate here; there may be "
            f"{LARGEST_STORE_BITS / 8e6:,.0f} MB: lower map_depth, picture_depth or index_depth"
        )
