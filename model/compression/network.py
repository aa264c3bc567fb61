"""Compress the weights of a whole PyTorch network in place.

config = CompressConfig(bits=4, exclude="^fc$")
print(compress_(net, config, dry_run=True))     # bytes per layer, nothing is changed
plan = compress_(net, config)                   # every weight is on its centroid now
plan.total.ratio, plan["conv1.weight"].relative_error, plan.quantized["conv1.weight"]
write_image(compile_fp32(plan.matrices), path)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dpnet.model.compression.allocate import BudgetError
from dpnet.model.compression.layout import (
    FLOAT_BYTES,
    Layout,
    choose,
    fixed_layouts,
    options_of,
)
from dpnet.model.compression.plan import CompressConfig, LayerPlan, Plan
from dpnet.model.compression.ratios import StoredBytes, fp32_bytes
from dpnet.model.compression.solver import Solved, Solver
from dpnet.model.compression.weights import LeftOut, Weight, rebuild, weights_of


def compress_(
    net: nn.Module,
    config: CompressConfig | None = None,
    *,
    dry_run: bool = False,
    executor: Executor | None = None,
) -> Plan:
    """Put the weights of `net` on codebooks, in place, and say what that takes.

    The weights that `dpnet.model.compression.weights` finds are solved exactly, each once however
    many layers share it, and rounded to their own type; frozen ones as well. Under a pruning mask
    what is masked stays 0. Biases, norms and weights that are computed from others (weight norm
    and the like) stay as they are, and the plan says why. A row is what one output, or output
    channel, is computed from. `executor`: as for `quantize`.

    With `dry_run` nothing is changed, and nothing is solved unless K depends on a budget: the
    plan has no errors, and the net may be on the meta device. If anything raises, the net is as
    it was.

    Raises `ExpansionError`, `dpnet.model.compression.allocate.BudgetError`, and for NaN and the
    like a `QuantizeError` that names the weight; ValueError for names that the net does not have.
    """
    config = CompressConfig() if config is None else config
    weights, others = weights_of(net)
    _check_names(config, weights)
    left = {w.name: reason for w in weights if (reason := config.left_out(w.names))}
    chosen = [weight for weight in weights if weight.name not in left]
    solver, budget = Solver(config, executor), config.byte_budget
    found = (
        fixed_layouts(chosen, config)
        if budget is None
        else _within(budget, fp32_bytes(net), chosen, solver)
    )
    layouts = {layout.weight.name: layout for layout in found}
    solved: dict[str, Solved] = {}
    if not dry_run or budget is not None:
        solved = {name: solver.solve(layout) for name, layout in layouts.items() if len(layout.k)}
    lines = [
        _line(layouts[w.name], solved.get(w.name))
        if w.name in layouts
        else _as_it_is(LeftOut(w.name, w.form.shape, left[w.name]), w.names)
        for w in weights
    ] + [_as_it_is(other) for other in others]
    plan = Plan(tuple(lines), _total(net, lines))
    if dry_run:
        return plan
    _write(net, weights, solved)
    return replace(
        plan,
        quantized={name: one.quantized for name, one in solved.items()},
        matrices={
            w.name: (solved[w.name].by_row, w.form.outputs_first)
            for w in weights
            if w.name in solved
        },
    )


def _within(budget: int, whole: int, chosen: Sequence[Weight], solver: Solver) -> list[Layout]:
    """The layouts with the least total error that fit the budget with all else of the net."""
    options = [options_of(weight, solver.config) for weight in chosen]
    open_ones = [layouts for layouts in options if len(layouts[0].k)]
    spent = whole - sum(layouts[0].fp32_bytes for layouts in open_ones)
    costs = [
        [np.asarray(solver.uniform(o.weight, int(o.k[0]), o.every).cost) for o in layouts]
        for layouts in open_ones
    ]
    if not open_ones and spent > budget:
        raise BudgetError(budget, spent)
    try:
        found = choose(open_ones, costs, budget - spent) if open_ones else []
    except BudgetError as error:
        raise BudgetError(budget, error.least + spent) from None
    return found + [layouts[0] for layouts in options if not len(layouts[0].k)]


def _write(net: nn.Module, weights: Sequence[Weight], solved: Mapping[str, Solved]) -> None:
    """All weights, or none if one cannot be written."""
    written: list[tuple[Weight, Tensor]] = []
    try:
        for weight in (weight for weight in weights if weight.name in solved):
            values = torch.from_numpy(solved[weight.name].by_row.dequantized)
            old = weight.tensor.detach().clone()
            _put(weight.tensor, weight.from_rows(values))
            written.append((weight, old))
            rebuild(net, weight)
    except BaseException:
        for weight, old in written:
            _put(weight.tensor, old)
            rebuild(net, weight)
        raise


def _put(parameter: Tensor, values: Tensor) -> None:
    """Change what it holds; its type, place and memory format stay."""
    with torch.inference_mode() if parameter.is_inference() else torch.no_grad():
        parameter.copy_(values)


def _line(layout: Layout, solved: Solved | None) -> LayerPlan:
    """What the plan says of a weight that was looked at."""
    weight, k = layout.weight, layout.k
    zeros = f"0 kept in {solved.zeros:,} codebooks" if solved and solved.zeros else ""
    said = [layout.describe(), zeros, weight.describe()]
    return LayerPlan(
        weight.name,
        weight.form.shape,
        weight.rows,
        weight.n,
        k=int(k.max(initial=0)),
        least_k=int(k.min()) if len(k) else 0,
        codebooks=len(k),
        index_bytes=layout.index_bytes,
        codebook_bytes=layout.codebook_bytes,
        fp32_bytes=layout.fp32_bytes,
        relative_error=solved.relative_error if solved else None,
        decision="; ".join(filter(None, said)),
        names=weight.names,
    )


def _as_it_is(matrix: LeftOut, names: tuple[str, ...] = ()) -> LayerPlan:
    """What the plan says of a matrix that was not."""
    values, rows = math.prod(matrix.shape), matrix.shape[0]
    return LayerPlan(
        matrix.name,
        matrix.shape,
        rows,
        values // rows if rows else 0,
        0,
        0,
        0,
        0,
        0,
        FLOAT_BYTES * values,
        None,
        f"left as it is: {matrix.reason}",
        names or (matrix.name,),
    )


def _total(net: nn.Module, lines: Sequence[LayerPlan]) -> StoredBytes:
    """As `dpnet.model.compression.ratios.stored_bytes` counts it."""
    whole, packed = fp32_bytes(net), [line for line in lines if line.k]
    return StoredBytes(
        indices=sum(line.index_bytes for line in packed),
        codebooks=sum(line.codebook_bytes for line in packed),
        scales=0,
        other=whole - sum(line.fp32_bytes for line in packed),
        fp32=whole,
    )


def _check_names(config: CompressConfig, weights: Sequence[Weight]) -> None:
    """Every name must be one of the net's, and no weight may be named twice with two answers."""
    known = {name for weight in weights for name in weight.names}
    given: Mapping[str, Any]
    for what, given in (("k", config.by_name), ("sensitivity", config.sensitivity or {})):
        unknown = sorted(set(given) - {"*"} - known)
        if unknown:
            raise ValueError(f"{what} must name layers of the net, not {unknown!r}")
        for weight in weights:
            named = [name for name in weight.names if name in given]
            if any(given[name] is not given[named[0]] for name in named):
                raise ValueError(f"{what} must name {weight.name} once, not as {named!r}")
