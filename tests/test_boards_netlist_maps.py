"""The netlist of the ULX3S with its map engine, as nextpnr reads it: networks over its UART."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch
from netlist_line_kit import netlist_on_line

from dpnet.boards.ulx3s.board import BOARD, MHZ
from dpnet.boards.ulx3s.top import Ulx3sTop
from dpnet.host.driver import Driver
from dpnet.host.link import Link
from dpnet.host.maps.by_pass import run_by_pass
from dpnet.host.maps.session import MapSession, map_parameters
from dpnet.model.compile.whole import compile_network
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.calibration.pictures import to_integers
from dpnet.model.maps.golden import compute
from dpnet.model.networks.catalog import find
from dpnet.model.training.recipe import build_net
from dpnet.sim.measure.networks.sources import NETWORKS, missing

pytestmark = pytest.mark.long

REPLY_S = 0.02
"""A frame of 1 KB takes 3.4 ms on the line, and so does its answer."""
SEED = 9


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    transport = netlist_on_line(Ulx3sTop(engine=BOARD.maps, mhz=MHZ))
    transport.reply_s = REPLY_S
    yield Driver(Link(transport))
    transport.close()


def image_of(name: str) -> MapImage:
    """A network of the catalog with weights by chance, in the board's integers."""
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(20, *find(name).shape, generator=generator)
    net = build_net(find(name).make, SEED).eval()
    return compile_network(net, x[:1], calibration=x, engine=BOARD.maps, bits=4)


def trained_image() -> tuple[MapImage, np.ndarray]:
    """MLPerf Tiny's keyword spotter and a spoken word of its test set, in the board's integers."""
    source = NETWORKS["ds-cnn"]
    if lacking := missing(source):
        pytest.skip("; ".join(lacking))
    material = source.make(0)
    calibration = torch.from_numpy(material.calibration)
    image = compile_network(
        material.net, calibration[:1], calibration=calibration, engine=BOARD.maps, bits=4
    )
    assert isinstance(image, MapImage)
    words, _ = to_integers(material.x[:1].reshape(-1, *image.network.picture), image.network)
    return image, words[0]


def picture_for(image: MapImage) -> np.ndarray:
    first = image.network.input
    return np.random.default_rng(SEED).integers(first.low, first.high + 1, first.shape)


@pytest.mark.parametrize("weights", ["by chance", "trained"])
def test_a_keyword_spotter_computes_what_the_golden_model_does(
    driver: Driver, weights: str
) -> None:
    if weights == "trained":
        image, picture = trained_image()
    else:
        image = image_of("ds-cnn")
        picture = picture_for(image)
    session = MapSession(driver, image, map_parameters(driver, image))
    assert session.engine == BOARD.maps
    session.load()
    values, cycles = session.run(picture)
    wanted = compute(image.network, picture[None])[image.network.output][0]
    assert np.array_equal(values, wanted) and len(np.unique(wanted)) > 3
    assert cycles == session.cycles


def test_the_first_layers_of_resnet_8_are_the_golden_models(driver: Driver) -> None:
    image = image_of("resnet-8")
    session = MapSession(driver, image, map_parameters(driver, image))
    session.load()
    picture = picture_for(image)
    wanted = compute(image.network, picture[None])
    compared = 0
    for found in islice(run_by_pass(session, picture), 2):
        assert found.cycles == found.predicted
        if found.values is not None:
            assert np.array_equal(found.values, wanted[found.name][0]), found.name
            compared += found.values.size
    assert compared >= 2 * 32 * 32 * 16
