"""Random networks of PyTorch, all the way to integers: exact, or refused by the user's line.

    DPNET_RANDOM_NETS=1000 pytest tests/test_maps_random_nets.py      # half an hour

Four steps hold each other: the layers in real numbers are what PyTorch computes; with codebooks
they are the same layers on other weights; every integer layer is its real result, rounded once; and
PyTorch, in float64 with the same roundings, has the golden model's integers.
"""

from __future__ import annotations

import os
import re

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maps_kit import assert_rounded, pictures_for, torch_layers
from nets_kit import RandomNet

from dpnet.model.graph.nodes import GraphError
from dpnet.model.graph.reading import from_module
from dpnet.model.graph.simplify import simplify
from dpnet.model.maps.compile import compile_maps
from dpnet.model.maps.floats.evaluate import evaluate
from dpnet.model.maps.golden import compute
from dpnet.model.maps.outputs import finished

NETS = int(os.environ.get("DPNET_RANDOM_NETS", "12"))

SOURCE = re.compile(
    r"nets_kit\.py:\d+, `.+`( \(.*\))?: |.*: one step of layer |"
    r"node x: there is nothing for the engine to compute$"
)
"""A refusal names the user's line; one for the scale of a layer, the layer; one of a net without
any layer, its input."""


def outcome(seed: int) -> str:
    """ "integers" or "refused"; fails where neither is exact."""
    net = RandomNet(seed, steps=3 + seed % 8)
    rng = np.random.default_rng(seed)
    batch = len(net.example)
    calibration = rng.normal(size=(-(-4 // batch) * batch, *net.example.shape[1:]))
    # Some nets take batches of the example's size alone.
    parts = torch.split(torch.from_numpy(calibration).to(net.example.dtype), batch)
    with torch.no_grad():
        wanted = np.stack([net(part.clone()).numpy() for part in parts])
    try:
        graph = from_module(net, net.example.clone())
        simple = simplify(graph)
        maps = calibration.reshape(-1, *simple.input.shape)
        made = compile_maps(simple, maps, bits=1 + seed % 4)
    except GraphError as error:
        assert SOURCE.match(str(error)), str(error)
        return "refused"
    reals = evaluate(made.floats, maps)[made.floats.output]
    vector = reals[:, :, 0, 0] if reals.shape[2:] == (1, 1) else reals
    found = finished(made.network, vector).reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    for before, after in zip(made.floats.layers, made.clustered.layers, strict=True):
        same = vars(before).keys() - {"weight"}
        assert all(np.array_equal(getattr(before, n), getattr(after, n)) for n in same)
    drawn = pictures_for(made.network.input, 2, rng)
    tensors = compute(made.network, drawn)
    for name, values in torch_layers(made.network, drawn).items():
        np.testing.assert_array_equal(tensors[name], values, err_msg=name)
    for n in range(len(made.network.layers)):
        assert_rounded(made, tensors, n)
    return "integers"


@settings(
    max_examples=NETS,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.integers(0, 2**31 - 1))
def test_random_networks_are_exact_in_integers_or_refused(seed: int) -> None:
    outcome(seed)
