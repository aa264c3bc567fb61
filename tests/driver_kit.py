"""A driver in front of an engine's model, and images to load, for the tests of the driver."""

import numpy as np

from dpnet.host.driver import Driver
from dpnet.host.link import Link
from dpnet.sim.peers.engine_model import EngineModel
from dpnet.sim.peers.faulty import ModelTransport

VECTORS, RESULTS = 5 << 28, 6 << 28


def image(seed=1, sizes=(5000, 64, 1)):
    source = np.random.default_rng(seed)
    return [
        ((region + 1) << 28, source.integers(0, 1 << 32, size, dtype=np.uint32))
        for region, size in enumerate(sizes)
    ]


def holds(engine, segments):
    return all(
        engine.memory.get(address // 4 + k) == word
        for address, words in segments
        for k, word in enumerate(words.tolist())
    )


def driver_of(**values):
    line = ModelTransport(EngineModel(**values))
    return Driver(Link(line)), line
