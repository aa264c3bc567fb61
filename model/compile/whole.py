"""`dpnet.compile`: any PyTorch network to an image, for the array or for a map engine."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from dpnet.model.compile.errors import CompileError
from dpnet.model.compile.net import compile_net
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import place
from dpnet.model.graph.nodes import AveragePool, Graph, GraphError, Source
from dpnet.model.graph.reading import from_file, from_module, from_program
from dpnet.model.graph.simplify import simplify
from dpnet.model.image import Image, ImageError
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.calibration.pictures import PictureError
from dpnet.model.maps.floats.network import FloatNetwork
from dpnet.model.maps.layers import MapNetwork
from dpnet.model.quantizer.quantized import is_masked, is_tensor

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from dpnet.model.maps.compile import Compiled
    from dpnet.model.maps.profile.records import Profile

__all__ = ["ENGINES", "check_holds", "compile_graph", "compile_network", "graph_of", "on_array"]

Net: TypeAlias = "nn.Module | ExportedProgram | str | Path"
Progress = Callable[[int, int], None]

ENGINES = ("auto", "array", "maps")
"""`auto` is the array for a chain of Linear, BatchNorm1d and ReLU on rows of values, else maps."""

LARGEST_PROFILE = 1 << 19
"""Characters: half of what an image's description may take, some 300 layers."""
LONGEST_LINE = 200
"""Characters of a line of source that an image keeps."""


def compile_network(
    net: Net,
    example_inputs: Any = None,
    calibration: Any = None,
    *,
    bits: int | Mapping[str, int] = 4,
    bits_of: Mapping[str, int] | None = None,
    engine: str | MapEngineParameters = "auto",
    about: Mapping[str, Any] | None = None,
    labels: Any = None,
    profiled: bool = True,
    progress: Progress | None = None,
    **of_array: int,
) -> Image | MapImage:
    """An image of a network: a `MapImage` for a map engine, an `Image` for the array.

    image = dpnet.compile(net, example_inputs, calibration=pictures, bits=4, bits_of={"fc": 2})
    image.save("net.dpnet")

    The net is compiled as it is in evaluation mode, and stays as it is.  Every layer's weights are
    put on at most 2^bits values per output channel, the best ones; a layer that has no more already
    (after `compress_`, or `ClusterRegularizer.finalize`) keeps its values and which weight has
    which: nothing is solved again, codebooks stay shared, zeros of pruned weights stay zeros.

    Parameters
    ----------
    net : an `nn.Module`, what `torch.export.export` gives, or a file of it (`.pt2`) or of ONNX
    example_inputs : a tensor, or a tuple of one, with a batch in front; without it the calibration
        shows the shape.  Rows of values (n, features) alone, `dpnet.compile(net, rows)`, are the
        calibration
    calibration : array or tensor (n, …) of real inputs such as the net will see
    bits : 1 to 4, for all layers, or by the layer's name ("*": all others)
    bits_of : 1 to 4 by name, for layers that differ from `bits`
    engine : one of `ENGINES`, or the parameters of a map engine, which must hold the network
        ("maps": `MapEngineParameters()`)
    about : notes for people (JSON types); without them the network's name, the bits of its layers
        and which of them were `kept` as they were
    labels : the calibration's classes (n,): the image's profile then has accuracies too; of a map
        engine only
    profiled : whether a map engine's image carries a profile, which a report shows: errors of the
        layers, histograms, 1 to 2 KB a layer
    progress : is called with the steps that are done, and all; then with those of the profile
    of_array : `activation_bits`, `entry_bits`, `output_bits` of `compile_net`, for the array alone

    Raises `CompileError` for what no engine can run exactly as it is meant, with the user's source
    line; for a calibration that is none, constant, of another shape or not finite; for layers of
    nothing but zeros; for names that the net does not have, and bits that the engine has not; and
    for a network that `engine` does not hold (its cause is a `NetworkTooLarge`).
    """
    _check_engine(engine)
    if calibration is None:
        example_inputs, calibration = None, _rows(example_inputs)
    pictures = _array(calibration)
    if pictures.ndim < 2:
        raise CompileError(
            f"the calibration must have the shape (n, …), a batch in front, not {pictures.shape}"
        )
    wanted: dict[str, Any] = {"bits": bits, "bits_of": bits_of, "about": about}
    if engine in ("auto", "array"):
        image = on_array(net, pictures, engine == "array", wanted | of_array)
        if image is not None:
            if labels is not None:
                raise CompileError("labels are for a map engine's image; leave them out")
            return image
    if of_array:
        raise CompileError(f"{next(iter(of_array))} is for the array; a map engine has no choice")
    size = engine if isinstance(engine, MapEngineParameters) else MapEngineParameters()
    graph = graph_of(net, pictures[:1] if example_inputs is None else example_inputs)
    found = compile_graph(
        graph, pictures, size, labels=labels, profiled=profiled, progress=progress, **wanted
    )
    check_holds(size, found.network)
    return found


def graph_of(net: Net, example_inputs: Any = None) -> Graph:
    """The graph of a network, as read; `CompileError` for what cannot be."""
    try:
        if isinstance(net, (str, Path)):
            return from_file(net)
        if type(net).__name__ == "ExportedProgram":
            return from_program(cast("ExportedProgram", net))
        return from_module(cast("nn.Module", net), example_inputs)
    except GraphError as error:
        raise CompileError(str(error)) from error


def compile_graph(
    graph: Graph,
    pictures: NDArray[Any],
    engine: MapEngineParameters,
    *,
    bits: int | Mapping[str, int] = 4,
    bits_of: Mapping[str, int] | None = None,
    about: Mapping[str, Any] | None = None,
    labels: Any = None,
    profiled: bool = False,
    progress: Progress | None = None,
) -> MapImage:
    """The map image of a graph, as `compile_network` makes it, whether `engine` holds it or not;
    with a profile only if it is to be `profiled`."""
    # The quantizer needs packages that the host of an engine may lack.
    compile_maps = importlib.import_module("dpnet.model.maps.compile").compile_maps
    try:
        simple = simplify(graph)
        given = _shaped(pictures, graph, simple)
        made: Compiled = compile_maps(simple, given, bits=bits, bits_of=bits_of, progress=progress)
        _check_weights(made.floats)
        # Averages are convolutions by now.
        means = {node.source for node in graph if isinstance(node.operator, AveragePool)}
        sources = {layer.name: layer.source for layer in made.floats.layers}
        own = [name for name in made.bits if sources[name] not in means]
        notes = {
            "network": graph.name,
            "bits": {name: made.bits[name] for name in own},
            "kept": [name for name in own if made.codebooks[name].kept],
        }
        return MapImage(
            network=made.network,
            input_shape=graph.input.shape,
            output_shape=graph.output.shape,
            engine=engine,
            calibration=made.scales,
            sources=_sources(made.floats),
            about=notes if about is None else about,
            profile=_profile(made, given, labels, progress) if profiled else None,
        )
    except (GraphError, PictureError, ImageError) as error:
        raise CompileError(str(error)) from error


def _profile(
    made: Compiled, pictures: NDArray[Any], labels: Any, progress: Progress | None
) -> Profile | None:
    """What is measured for a report; None where the image would have no room for it."""
    measure = importlib.import_module("dpnet.model.maps.profile.measuring").profile
    labeled = None if labels is None else (pictures, labels)
    found: Profile = measure(made, pictures, labeled=labeled, progress=progress)
    return found if len(json.dumps(found.to_json())) <= LARGEST_PROFILE else None


def _shaped(pictures: NDArray[Any], graph: Graph, simple: Graph) -> NDArray[Any]:
    """Pictures of the user's shape as the maps (C, H, W) of the simplified graph."""
    shape = graph.input.shape
    if pictures.shape[1:] != shape:
        wanted = ", ".join(map(str, shape))
        raise CompileError(
            f"the calibration must have the shape (n, {wanted}), not {pictures.shape}"
        )
    return pictures.reshape(len(pictures), *simple.input.shape)


def check_holds(engine: MapEngineParameters, network: MapNetwork) -> None:
    """`CompileError` unless an engine holds a network; its cause is a `NetworkTooLarge`."""
    try:
        place(engine, network)
    except ValueError as error:  # NetworkTooLarge, or a number that a word has no room for
        raise CompileError(str(error)) from error


def _check_engine(engine: object) -> None:
    known = isinstance(engine, MapEngineParameters) or engine in ENGINES
    if not known:
        listed = ", ".join(map(repr, ENGINES))
        raise CompileError(f"engine must be {listed} or MapEngineParameters, not {engine!r}")


def _rows(given: Any) -> Any:
    """What is given in place of a calibration, if it is rows of values."""
    shape = getattr(given, "shape", None)
    if given is None or (shape is not None and len(shape) > 2):
        raise CompileError(
            "calibration must be given: inputs such as the network will see, calibration=pictures"
        )
    return given


def _array(calibration: Any) -> NDArray[Any]:
    """The calibration as an array of its own type; of tensors the values."""
    if is_masked(calibration):
        raise CompileError("the calibration must have no masked entries: leave these rows out")
    if is_tensor(calibration):
        values = calibration.detach().cpu()
        calibration = (values.double() if values.is_floating_point() else values).numpy()
    try:
        return np.asarray(calibration)
    except ValueError:
        raise CompileError(
            "the calibration must be an array, not lists of different lengths"
        ) from None


def on_array(net: Net, pictures: NDArray[Any], only: bool, given: dict[str, Any]) -> Image | None:
    """The image for the array; None for what is no chain of rows, unless there is `only` that."""
    is_module = not isinstance(net, (str, Path)) and type(net).__name__ != "ExportedProgram"
    if not only and (pictures.ndim != 2 or not is_module):
        return None
    if not is_module:
        raise CompileError("the array takes an nn.Module; files are for map engines")
    chain = importlib.import_module("dpnet.model.compile.chain")
    try:
        return compile_net(cast("nn.Module", net), pictures, **given)
    except chain.NoChainError:
        if only:
            raise
        return None


def _check_weights(network: FloatNetwork) -> None:
    """`CompileError` for layers whose weights are all 0: they compute nothing."""
    for layer in network.layers:
        if layer.learned and layer.weight is not None and not layer.weight.any():
            raise CompileError(
                f"{layer.source}: all weights of layer {layer.name} are 0, so it gives the same "
                "for every picture; load the trained weights, or leave the layer out"
            )


def _sources(network: FloatNetwork) -> dict[str, Source]:
    return {
        layer.name: replace(layer.source, text=layer.source.text[:LONGEST_LINE])
        for layer in network.layers
    }
