"""Random networks of PyTorch: each is read as what PyTorch computes, or refused by its source."""

from __future__ import annotations

import os
import re

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nets_kit import RandomNet

from dpnet.model.graph.evaluate import evaluate
from dpnet.model.graph.nodes import GraphError
from dpnet.model.graph.reading import from_module
from dpnet.model.graph.simplify import LEFT, simplify

NETS = int(os.environ.get("DPNET_RANDOM_NETS", "25"))
"""How many are tried; each takes PyTorch a second to export."""


def outcome(seed: int) -> str:
    """ "read" or "refused", or "refused by simplify"; fails where neither is exact."""
    net = RandomNet(seed, steps=3 + seed % 8)
    pictures = net.example.clone()
    with torch.no_grad():
        wanted = net(pictures.clone()).numpy()
    try:
        graph = from_module(net, pictures)
    except GraphError as error:
        assert re.match(r"nets_kit\.py:\d+, `.+`( \(.*\))?: ", str(error)), str(error)
        return "refused"
    same(graph, pictures, wanted)
    try:
        simple = simplify(graph)
    except GraphError as error:
        assert re.match(r"nets_kit\.py:\d+, `.+`( \(.*\))?: ", str(error)), str(error)
        return "refused by simplify"
    assert all(isinstance(node.operator, LEFT) for node in simple)
    same(simple, pictures, wanted)
    return "read"


def same(graph, pictures, wanted) -> None:
    found = evaluate(graph, pictures.numpy())[graph.output.name]
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-9, atol=1e-9)


@settings(
    max_examples=NETS,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.integers(0, 2**31 - 1))
def test_random_networks_are_read_exactly_or_refused(seed: int) -> None:
    outcome(seed)
