"""A small network with a layer of each kind, and what PyTorch's own operators make of it, step by
step, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dpnet.model.graph.reading import from_module
from dpnet.model.graph.simplify import simplify
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.compile import Compiled, compile_maps
from dpnet.model.maps.profile.measuring import profile
from dpnet.model.maps.profile.records import Profile

SHAPE, CLASSES = (3, 8, 8), 4


class SmallNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.deep = nn.Conv2d(6, 6, 3, groups=6)
        self.last = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.first(x))
        b = F.relu(self.second(a) + a)
        c = F.relu6(self.deep(F.max_pool2d(b, 2)))
        logits: Tensor = self.last(F.avg_pool2d(c, 2).flatten(1))
        return logits


@dataclass(frozen=True)
class Case:
    net: SmallNet
    calibration: np.ndarray
    pictures: np.ndarray
    labels: np.ndarray
    compiled: Compiled
    profile: Profile

    @property
    def weights(self) -> list[Tensor]:
        """Of the four layers that have learned some, as they were."""
        layers = (self.net.first, self.net.second, self.net.deep, self.net.last)
        return [layer.weight.detach().double() for layer in layers]

    @property
    def codebooks(self) -> list[Tensor]:
        """The same, each on the nearest value of its row's codebook."""
        found, names = [], ["first", "second", "deep", "last"]
        for name, weight in zip(names, self.weights, strict=True):
            values = torch.from_numpy(self.compiled.codebooks[name].values)
            rows = weight.reshape(len(weight), -1)
            nearest = (rows[:, :, None] - values[:, None]).abs().argmin(2)
            found.append(values.gather(1, nearest).reshape(weight.shape))
        return found

    def steps(
        self,
        x: np.ndarray,
        weights: list[Tensor],
        replaced: Mapping[int, np.ndarray] | None = None,
    ) -> list[Tensor]:
        """What the six layers give for pictures, in order; those in `replaced` give that."""
        found: list[Tensor] = []

        def put(value: Tensor) -> Tensor:
            given = (replaced or {}).get(len(found))
            found.append(value if given is None else torch.from_numpy(given))
            return found[-1]

        net, (w1, w2, w3, w4) = self.net, weights
        bias = [m.bias.detach().double() for m in (net.first, net.second, net.deep, net.last)]
        a = put(F.relu(F.conv2d(torch.from_numpy(x).double(), w1, bias[0], padding=1)))
        b = put(F.relu(F.conv2d(a, w2, bias[1], padding=1) + a))
        c = put(F.max_pool2d(b, 2))
        d = put(F.conv2d(c, w3, bias[2], groups=6).clamp(0, 6))
        e = put(F.avg_pool2d(d, 2))
        put((e.flatten(1) @ w4.T + bias[3])[:, :, None, None])
        return found


@cache
def small_case() -> Case:
    torch.manual_seed(5)
    net = SmallNet().eval()
    rng = np.random.default_rng(6)
    calibration = rng.normal(size=(20, *SHAPE)).astype(np.float32)
    pictures = rng.normal(size=(30, *SHAPE)).astype(np.float32)
    graph = simplify(from_module(net, (torch.from_numpy(calibration[:1]),)))
    compiled = compile_maps(graph, calibration, bits=3)
    labels = rng.integers(0, CLASSES, 30)
    found = profile(compiled, calibration, labeled=(pictures, labels))
    return Case(net, calibration, pictures, labels, compiled, found)


def image_of(case: Case) -> MapImage:
    """The case's image."""
    network = case.compiled.network
    return MapImage(
        network=network,
        input_shape=SHAPE,
        output_shape=(CLASSES,),
        calibration=case.compiled.scales,
        sources={layer.name: layer.source for layer in case.compiled.floats.layers},
        about={"made by": "the tests"},
    )
