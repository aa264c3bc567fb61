"""From a graph to integers: fused, calibrated, clustered, rounded.

compiled = compile_maps(graph, pictures, bits=4, bits_of={"conv1": 3})
compiled.network                                # what engines and the golden model compute
print(*compiled.scales.values(), sep="\\n")      # how every tensor's scale was chosen
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.graph.nodes import Graph, GraphError
from dpnet.model.maps.calibration.input import counted_from_least, padded_outside
from dpnet.model.maps.calibration.observed import Observed
from dpnet.model.maps.calibration.pictures import check_pictures
from dpnet.model.maps.calibration.scales import TensorScale, calibrate, observe
from dpnet.model.maps.codebooks import LARGEST_BITS, Codebook, clustered, find_codebook
from dpnet.model.maps.floats.fuse import fuse
from dpnet.model.maps.floats.network import FloatLayer, FloatNetwork
from dpnet.model.maps.layers import MapNetwork
from dpnet.model.maps.rounding import rounded

__all__ = ["Compiled", "bits_by_layer", "compile_maps"]

Floats = NDArray[np.float64]
ALIKE = 0.5
"""Of the mean energy is added to each channel's: pictures may have what calibration hardly had."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Compiled:
    """A network in integers, and what it came from: `floats` as the user has it, `clustered` with
    weights on codebooks, both in real numbers; the choice of every tensor's scale; codebooks and
    bits by layer."""

    network: MapNetwork
    floats: FloatNetwork
    clustered: FloatNetwork
    scales: dict[str, TensorScale]
    codebooks: dict[str, Codebook]
    bits: dict[str, int]


def compile_maps(
    graph: Graph,
    calibration: object,
    *,
    bits: int | Mapping[str, int] = 4,
    bits_of: Mapping[str, int] | None = None,
    weighted: bool = True,
    progress: Progress | None = None,
) -> Compiled:
    """The integers of a graph that `simplify` has made.

    Parameters
    ----------
    calibration : (n, C, H, W), pictures such as the network will see; uint8 and int8 pictures are
        taken for the integers of the first tensor
    bits : 1 to 4, for all layers, or by the layer's name ("*": all others)
    bits_of : 1 to 4 by name, for layers that differ from `bits`
    weighted : whether a weight counts by the mean square of what it is multiplied with; if not,
        all count alike
    progress : is called with the steps that are done, and all: a step for each picture of the
        calibration, each layer's codebooks, and each picture once more

    Raises `GraphError` with the node's source for what the engine has not, and for bits that it
    has not; `PictureError` for calibration pictures that are none.
    """
    floats = fuse(graph)
    chosen = bits_by_layer(floats, bits, bits_of or {})
    pictures = check_pictures("the calibration", calibration, floats.picture)
    counted = counted_from_least(floats, pictures)
    floats = (padded_outside(floats) if counted else None) or floats
    own = [layer for layer in floats.layers if layer.weight is not None]
    first = len(pictures) if weighted else 0
    tell = _Steps(progress, first + len(own) + len(pictures))
    seen = observe(floats, pictures, tell.after(0)) if weighted else {}
    codebooks = {}
    for n, layer in enumerate(own):
        counts = _counts(layer, seen) if weighted else None
        found = find_codebook(layer, chosen.get(layer.name, LARGEST_BITS), counts)
        codebooks[layer.name] = found
        tell.after(first)(n + 1, len(own))
    with_codebooks = clustered(floats, codebooks)
    rest = tell.after(first + len(own))
    scales = calibrate(with_codebooks, pictures, counted, progress=rest)
    network = rounded(with_codebooks, scales, codebooks)
    return Compiled(network, floats, with_codebooks, scales, codebooks, chosen)


@dataclass(frozen=True)
class _Steps:
    """Progress of parts that follow each other, `total` steps in all."""

    progress: Progress | None
    total: int

    def after(self, before: int) -> Progress:
        """That of a part with `before` steps before it."""
        tell = self.progress or (lambda done, total: None)
        return lambda done, _: tell(before + done, self.total)


def _counts(layer: FloatLayer, seen: Mapping[str, Observed]) -> Floats | None:
    """How much each weight (R, n) of a learned layer counts."""
    if not layer.learned:
        return None
    energy = seen[layer.input].energy.reshape(layer.groups, 1, -1, 1)
    counts = energy + ALIKE * energy.mean(axis=2, keepdims=True)
    taps = layer.kernel[0] * layer.kernel[1]
    rows = layer.rows // layer.groups
    whole = np.broadcast_to(counts, (layer.groups, rows, counts.shape[2], taps))
    return whole.reshape(layer.rows, -1)


def bits_by_layer(
    network: FloatNetwork, bits: int | Mapping[str, int], bits_of: Mapping[str, int]
) -> dict[str, int]:
    """The bits of each layer with learned weights, by its name, in order; `GraphError` for names
    that the network does not have, and for what is not from 1 to 4."""
    learned = [layer for layer in network.layers if layer.learned]
    by_name = {**(bits if isinstance(bits, Mapping) else {"*": bits}), **bits_of}
    known = {name for layer in learned for name in (layer.name, *layer.names)}
    for name, count in by_name.items():
        if name not in known and name != "*":
            there = ", ".join(layer.name for layer in learned)
            raise GraphError(f"the network has no layer {name!r}; there are {there}")
        _check_bits("bits" if name == "*" else f"bits of {name}", count)
    found = {}
    for layer in learned:
        names = [name for name in (layer.name, *layer.names, "*") if name in by_name]
        if not names:
            raise GraphError(f"bits must name every layer, or '*' for the others: {layer.name}")
        found[layer.name] = int(by_name[names[0]])
    return found


def _check_bits(what: str, count: object) -> None:
    whole = not isinstance(count, bool) and isinstance(count, (int, np.integer))
    if not whole or not 1 <= int(str(count)) <= LARGEST_BITS:
        raise GraphError(
            f"{what} must be a whole number from 1 to {LARGEST_BITS}, not {count!r}: the engine "
            f"holds {1 << LARGEST_BITS} values a row"
        )
