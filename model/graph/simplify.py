"""A graph as the engine computes it, exact in real arithmetic (NumPy only)."""

from __future__ import annotations

from dpnet.model.graph.folding import fold_averages, fold_batch_norms, fold_clamps
from dpnet.model.graph.layouts import without_layouts
from dpnet.model.graph.nodes import (
    Add,
    AveragePool,
    Clamp,
    Concatenate,
    Convolution,
    Graph,
    HostOperator,
    Input,
    MaxPool,
    Pad,
    Select,
)

__all__ = ["LEFT", "simplify"]

LEFT = (
    Input,
    Convolution,
    MaxPool,
    AveragePool,
    Add,
    Concatenate,
    Clamp,
    Select,
    Pad,
    HostOperator,
)
"""The operators of a simplified graph."""


def simplify(graph: Graph) -> Graph:
    """The same function with fewer kinds of operators, those of `LEFT`, and maps (C, H, W) alone.

    * Linear is a convolution whose kernel is the whole map (of one tap for a vector), its columns
      in the map's order.
    * Batch norms are folded into the convolution before them where nothing else reads it; others
      are depthwise convolutions of one tap.
    * Average pooling with one divisor is a depthwise convolution of equal weights.  With several
      divisors (ceil_mode, count_include_pad=False) it stays AveragePool.
    * Padding in space goes into a convolution's or an average pooling's; clamps that follow each
      other are one; Reshape and Permute are gone.
    * Select, and Pad of channels, are left where an addition reads them (a shortcut without
      weights); elsewhere they are convolutions with weights 0 and 1.
    * Host operators are last.  The input and the output have the same values in the same order,
      though perhaps as a map (C, 1, 1) or (C, 1, L).

    Names, sources and parameters stay those of the node whose operation it is.  Raises
    `GraphError`, with the source, where values come in an order that no map has.
    """
    made = fold_clamps(fold_batch_norms(fold_averages(without_layouts(graph))))
    for node in made:
        assert isinstance(node.operator, LEFT) and len(node.shape) in (2, 3), node
    return made
