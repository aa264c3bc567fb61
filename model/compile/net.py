"""`dpnet.compile`: a PyTorch net to an image that an engine runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpnet.model.compile.checks import check_bits, real
from dpnet.model.compile.errors import CompileError
from dpnet.model.compile.integer import compile_integer
from dpnet.model.compile.steps import Linear, Step, evaluate, stages
from dpnet.model.image import Image
from dpnet.model.quantizer.quantized import QuantizeError

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float64]

LARGEST_BITS = 4
CHECKED_ROWS = 64
"""Calibration rows for which the chain that was read must give what the net gives."""

_TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
"""Of results, relative to the largest one; of other types:"""
_NARROW_TOLERANCE = 5e-2


def compile_net(
    net: nn.Module,
    calibration: ArrayLike,
    *,
    bits: int | Mapping[str, int] = 4,
    bits_of: Mapping[str, int] | None = None,
    activation_bits: int = 8,
    entry_bits: int = 16,
    output_bits: int = 16,
    about: Mapping[str, Any] | None = None,
) -> Image:
    """An image of a net that is a chain of Linear, BatchNorm1d and ReLU: an `nn.Sequential`, or
    any module whose forward computes such a chain.

    image = dpnet.compile(net, pictures, bits=4, bits_of={"fc3": 2})
    image.save("net.dpnet")

    The net is compiled as it is in evaluation mode, and stays as it is.  Every weight matrix is
    put on at most 2^bits values per row, the best ones; one that has no more already (after
    `compress_`, or `ClusterRegularizer.finalize`) keeps its values and which weight has which, and
    zeros of pruned weights stay zeros.  Batch norms are folded.  Dropout and Identity are nothing.

    Parameters
    ----------
    net : floating point, of any type, on any device that has values
    calibration : (n, features) array or tensor of real inputs such as the net will see; the
        largest magnitudes that they cause are the largest that the image's integers hold
    bits : 1 to 4, for all layers, or by the layer's name ("*": all others)
    bits_of : 1 to 4 by name, for layers that differ from `bits`
    activation_bits, entry_bits, output_bits, about : as for `compile_integer`

    Raises `CompileError`: for any other operation, with the name and class of its module; for a
    calibration without rows, of another shape, with NaN or infinities, or all of one value; for
    names that the net does not have, and bits that the engine has not.
    """
    rows = _calibration(calibration)
    # The quantizer needs packages that the host of an engine may lack.
    clusters = importlib.import_module("dpnet.model.compile.clusters")
    steps = _steps(net, rows)
    linears = [step for step in steps if isinstance(step, Linear)]
    chosen = _bits(linears, bits, bits_of or {})
    notes = {"network": type(net).__name__, "bits": dict(chosen)}
    try:
        layers = clusters.dense_layers(stages(steps), [1 << count for count in chosen.values()])
    except QuantizeError as error:
        raise CompileError(f"the weights cannot be quantized: {error}") from error
    return compile_integer(
        layers,
        rows,
        activation_bits=activation_bits,
        entry_bits=entry_bits,
        output_bits=output_bits,
        about=notes if about is None else about,
    )


def _calibration(given: ArrayLike) -> Floats:
    rows = real("the calibration", given)
    if rows.ndim != 2 or not rows.shape[1]:
        raise CompileError(f"the calibration must have the shape (n, features), not {rows.shape}")
    if not len(rows):
        raise CompileError("the calibration must have at least one row, it has none")
    if rows.min() == rows.max():
        raise CompileError(
            f"the calibration holds {rows.min():g} and nothing else; give inputs such as the "
            "network will see"
        )
    return rows


def _steps(net: nn.Module, rows: Floats) -> list[Step]:
    """The net's steps, which give what the net gives."""
    # PyTorch takes seconds to import, and an engine's host needs none.
    torch = importlib.import_module("torch")
    chain = importlib.import_module("dpnet.model.compile.chain")
    like = next(iter(net.parameters()), None) if isinstance(net, torch.nn.Module) else None
    kind = torch.float32 if like is None or not like.is_floating_point() else like.dtype
    given = torch.from_numpy(rows[:CHECKED_ROWS]).to(kind).to(getattr(like, "device", "cpu"))
    steps: list[Step]
    steps, output = chain.read_chain(net, given)
    wanted = output.detach().double().cpu().numpy()
    found = evaluate(steps, given.double().cpu().numpy())
    if not np.isfinite(wanted).all():
        raise CompileError("the network gives a NaN or an infinity for the calibration")
    limit = _TOLERANCE.get(str(kind).partition(".")[2], _NARROW_TOLERANCE)
    if np.abs(found - wanted).max() > limit * max(float(np.abs(wanted).max()), 1e-30):
        raise CompileError(
            "the network gives other results than its layers one after the other; "
            f"{chain.SUPPORTED}"
        )
    return steps


def _bits(
    linears: Sequence[Linear], bits: int | Mapping[str, int], bits_of: Mapping[str, int]
) -> dict[str, int]:
    """Bits by layer, in the order of the chain."""
    by_name = {**(bits if isinstance(bits, Mapping) else {"*": bits}), **bits_of}
    known = {name for layer in linears for name in layer.names}
    if unknown := sorted(str(name) for name in by_name if name not in known and name != "*"):
        raise CompileError(
            f"the network has no layer {unknown[0]!r}; there are "
            f"{', '.join(layer.name for layer in linears)}"
        )
    found: dict[str, int] = {}
    for layer in linears:
        name = next((one for one in (*layer.names, "*") if one in bits_of), None)
        name = name or next((one for one in (*layer.names, "*") if one in by_name), None)
        if name is None:
            raise CompileError(f"bits must name every layer, or '*' for the others: {layer.name}")
        what = "bits" if name == "*" else f"bits of {name}"
        found[layer.name] = check_bits(what, by_name[name], 1, LARGEST_BITS)
    return found
