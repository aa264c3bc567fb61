"""A network's layers in figures, as people read them: operators, shapes, cycles, lanes at work."""

from __future__ import annotations

from dataclasses import dataclass

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.plan import Plan, plan
from dpnet.model.maps.layers import MapLayer, MapNetwork, MapTensor

__all__ = ["LayerFigures", "NetworkFigures", "network_figures", "operator_text"]

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class LayerFigures:
    """A layer, or a copy of a map that the engine makes for readers of another stride (`layer` is
    None then).  `adds` of weights for a picture; `utilization` is their share, times the pictures
    of a run, 0 to 1, of what all lanes could have added in the layer's `cycles`."""

    name: str
    operator: str
    layer: MapLayer | None
    input: Shape
    output: Shape
    k: int | None
    adds: int
    cycles: int
    utilization: float


@dataclass(frozen=True)
class NetworkFigures:
    """All layers, and the whole network on an engine: cycles of a run, from its start to its last
    result, and its `pictures`."""

    engine: MapEngineParameters
    layers: tuple[LayerFigures, ...]
    cycles: int
    utilization: float
    pictures: int = 1

    @property
    def adds(self) -> int:
        return sum(layer.adds for layer in self.layers)


def network_figures(
    engine: MapEngineParameters, network: MapNetwork, apart: bool = False
) -> NetworkFigures:
    """The figures of a network on an engine, whether that holds it or not; with a picture in all
    stages or pictures `apart`, one in each."""
    made = plan(engine, network, apart)
    layers = {layer.name: layer for layer in network.layers}
    rows = [
        _figures(made, name, layers.get(name), cycles)
        for name, cycles in made.layer_cycles().items()
    ]
    adds = made.pictures * sum(row.adds for row in rows)
    share = adds / (engine.lanes * made.cycles)
    return NetworkFigures(engine, tuple(rows), made.cycles, share, made.pictures)


def _figures(made: Plan, name: str, layer: MapLayer | None, cycles: int) -> LayerFigures:
    network = made.network
    work = next(one.work.layer for one in made.passes if one.work.layer.name == name)
    x, y = network.tensor(work.input), network.tensor(work.output)
    adds = 0 if layer is None else _adds(layer, y)
    return LayerFigures(
        name=name,
        operator="copy" if layer is None else operator_text(layer, x),
        layer=layer,
        input=x.shape,
        output=(work.rows, *y.shape[1:]),
        k=None if work.entries is None else work.entries.shape[1],
        adds=adds,
        cycles=cycles,
        utilization=made.pictures * adds / (made.params.lanes * cycles) if cycles else 0.0,
    )


def _adds(layer: MapLayer, output: MapTensor) -> int:
    """Weights times positions; a maximum adds none."""
    if layer.indices is None:
        return 0
    window = layer.window
    positions = output.shape[1] * output.shape[2]
    if window is not None:
        positions = (window.bottom - window.top) * (window.right - window.left)
    return layer.indices.size * positions


def operator_text(layer: MapLayer, input: MapTensor) -> str:
    """What a layer is, in a few words: `conv 3×3 /2`, `depthwise 3×3`, `linear`, `max 2×2 /2`."""
    (kh, kw), (sy, sx), (dy, dx) = layer.kernel, layer.stride, layer.dilation
    parts = [_kind(layer, input)]
    if parts != ["linear"]:
        parts.append(f"{kh}×{kw}")
    if (sy, sx) != (1, 1):
        parts.append(f"/{sy}" if sy == sx else f"/{sy}×{sx}")
    if (dy, dx) != (1, 1):
        parts.append(f"dilated {dy}" if dy == dx else f"dilated {dy}×{dx}")
    if layer.skip is not None:
        parts.append(f"+ {layer.skip.tensor}")
    return " ".join(parts)


def _kind(layer: MapLayer, input: MapTensor) -> str:
    channels = input.shape[0]
    if layer.indices is None or layer.entries is None:
        return "max"
    if layer.groups == channels == layer.rows and layer.entries.shape[1] == 1:
        return "mean"
    if layer.groups == channels > 1:
        return "depthwise"
    if layer.groups > 1:
        return f"conv in {layer.groups} groups"
    whole = layer.kernel == input.shape[1:] and not any(layer.padding)
    return "linear" if whole else "conv"
