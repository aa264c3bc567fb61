"""A network on a map engine: its passes, the forms of its maps, and when each pass begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dpnet.model.engine.maps.dispatch import Dispatch
from dpnet.model.engine.maps.layout.choice import Choice
from dpnet.model.engine.maps.layout.forms import Form
from dpnet.model.engine.maps.layout.steps import Key, Step
from dpnet.model.engine.maps.parameters import LANES, START_CYCLES, MapEngineParameters
from dpnet.model.engine.maps.passes import Pass, layer_passes
from dpnet.model.engine.maps.timing import Schedule, Timed, wait_cycles
from dpnet.model.maps.layers import MapLayer, MapNetwork

PLAIN = (1, 1)


@dataclass(frozen=True)
class PlannedPass:
    """A pass with the forms that it reads and writes; `start` and `written`, cycles from the start
    of a run to its first command and to its last result (included)."""

    work: Pass
    dispatch: Dispatch
    schedule: Schedule
    wait: int
    start: int
    read: Key
    skip: Key | None
    write: Key

    @property
    def cycles(self) -> int:
        """Cycles that the pass adds to a run."""
        return self.wait + self.schedule.cycles

    @property
    def written(self) -> int:
        return self.start + self.schedule.written

    def writes(self, tensor: str) -> bool:
        """Whether it is the tensor that it computes, not a copy in another form."""
        return self.write[0] == tensor and self.read[0] != tensor

    @property
    def timed(self) -> Timed:
        return Timed(self.work, self.dispatch, self.schedule)


@dataclass(frozen=True)
class Plan:
    """The passes of a network in order, and the forms of its tensors.  `apart`: a run computes a
    picture in each stage, else one in all of them."""

    params: MapEngineParameters
    network: MapNetwork
    passes: tuple[PlannedPass, ...]
    forms: dict[Key, Form]
    apart: bool = False

    @property
    def pictures(self) -> int:
        """Pictures of a run, at most."""
        return self.params.stages if self.apart else 1

    @property
    def cycles(self) -> int:
        """Cycles of a run of all `pictures`: from its start to the last result, both included."""
        return self.passes[-1].written

    def cycles_of(self, pictures: int) -> int:
        """Those of a run of fewer pictures, whose last result is one of an earlier stage."""
        return self.cycles - self.fewer(pictures)

    def fewer(self, pictures: int) -> int:
        """Cycles that any run is shorter by where it has only so many pictures."""
        return LANES * (self.pictures - pictures)

    def layer_cycles(self) -> dict[str, int]:
        """Cycles by layer (copies by the name of what is copied); they add up to `cycles` with the
        last pass's results on their way, which the last layer has, and the start, which the first
        one has."""
        found: dict[str, int] = {}
        for one in self.passes:
            name = one.work.layer.name
            found[name] = found.get(name, 0) + one.cycles
        first, last = self.passes[0], self.passes[-1]
        found[first.work.layer.name] += first.start - first.wait
        found[last.work.layer.name] += self.cycles - last.start - last.schedule.cycles
        return found


def cycles(params: MapEngineParameters, network: MapNetwork, apart: bool = False) -> int:
    """Cycles from the start of a run to its last result, both included, exactly:

        START_CYCLES + Σ over the passes of (wait + (tiles - 1) · tile + last tile)
            - last tile + adds + 16 · stages + WRITE_CYCLES + 15, of the last pass

    adds = taps · channels; tile = max(adds + 16, 16 · stages), of the last tile those that have
    work; tiles = row groups · groups of positions / stages, rounded up, more only where a tile
    would hold more row groups than `streams` (`Schedule.firsts`); wait: `wait_cycles`.  With a
    picture `apart` in each stage there are row groups · groups of positions tiles, of all stages;
    a run of n pictures takes 16 · (stages - n) less."""
    return plan(params, network, apart).cycles


def plan(params: MapEngineParameters, network: MapNetwork, apart: bool = False) -> Plan:
    """Passes, forms and times of a network, with a picture in all stages or pictures `apart`, one
    in each.  Raises `ValueError` for a network without layers, and for what contradicts itself,
    naming the layer."""
    works = [list(layer_passes(params, layer, network, apart)) for layer in network.layers]
    steps = list(_steps(params, network, works, apart))
    if not steps:
        raise ValueError("the network has no layers")
    chosen, forms = Choice(params, network, steps).made()
    passes: list[PlannedPass] = []
    for step, dispatch in zip(steps, chosen, strict=True):
        schedule = Schedule.of(params, step.work, dispatch)
        wait, start = 0, START_CYCLES
        if passes:
            before = passes[-1]
            timed = Timed(step.work, dispatch, schedule)
            wait = wait_cycles(before.timed, timed, reads_it=before.write == step.read)
            start = before.start + before.schedule.cycles + wait
        passes.append(
            PlannedPass(
                step.work, dispatch, schedule, wait, start, step.read, step.skip, step.write
            )
        )
    return Plan(params, network, tuple(passes), forms, apart)


def _strides(
    network: MapNetwork, works: Sequence[Sequence[Pass]]
) -> dict[str, list[tuple[int, int]]]:
    """The strides that each tensor is read with, the one that its layers write first.  A map that
    needs several is written plainly and copied; the host writes a picture in each."""
    found: dict[str, list[tuple[int, int]]] = {tensor.name: [] for tensor in network.tensors}
    for layer, passes in zip(network.layers, works, strict=True):
        found[layer.input].append(passes[0].window.stride)
        if layer.skip is not None and passes[0].skip_window is not None:
            found[layer.skip.tensor].append(passes[0].skip_window.stride)
    for name, strides in found.items():
        several = len(set(strides)) > 1 and name != network.input.name
        found[name] = list(dict.fromkeys([*([PLAIN] if several else []), *strides])) or [PLAIN]
    return found


def _steps(
    params: MapEngineParameters,
    network: MapNetwork,
    works: Sequence[Sequence[Pass]],
    apart: bool,
) -> Iterator[Step]:
    """The passes of all layers, and copies behind the last layer that writes what is copied."""
    strides = _strides(network, works)
    last = {layer.output: n for n, layer in enumerate(network.layers)}
    for n, (layer, passes) in enumerate(zip(network.layers, works, strict=True)):
        for one in passes:
            skip = None
            if layer.skip is not None and one.skip_window is not None:
                skip = layer.skip.tensor, one.skip_window.stride
            read, write = one.window.stride, strides[layer.output][0]
            yield Step(one, (layer.input, read), skip, (layer.output, write))
        for stride in strides[layer.output][1:] if last[layer.output] == n else ():
            for one in layer_passes(params, copy_layer(network, layer.output), network, apart):
                yield Step(one, (layer.output, PLAIN), None, (layer.output, stride))


def copy_layer(network: MapNetwork, name: str) -> MapLayer:
    """A layer that writes a tensor as it is: the maximum of one position."""
    tensor = network.tensor(name)
    ones = np.ones(tensor.shape[0], np.int64)
    return MapLayer(
        name=f"copy of {name}",
        input=name,
        output=name,
        bias=0 * ones,
        multiplier=ones,
        shift=0 * ones,
        low=tensor.low,
        high=tensor.high,
    )
