"""Netlists of map engines on the ULX3S, as nextpnr reads them, compute networks for the host that
asks them over the UART: every value of every map is the golden model's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from map_image_kit import image_of
from map_kit import NETWORKS, Builder, convolved
from netlist_line_kit import netlist_on_line

from dpnet.boards.ulx3s.board import BOARD
from dpnet.boards.ulx3s.top import Ulx3sTop
from dpnet.host.driver import Driver
from dpnet.host.link import Link
from dpnet.host.maps.by_pass import run_by_pass
from dpnet.host.maps.session import MapSession, map_parameters
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.maps.golden import compute
from dpnet.model.maps.layers import MapNetwork

pytestmark = [pytest.mark.whole, pytest.mark.long]

ENGINE = MapEngineParameters(
    clusters=2,
    stages=1,
    streams=1,
    max_columns=16,
    index_depth=128,
    row_groups=8,
    taps=32,
    passes=8,
    map_depth=640,
    picture_depth=192,
    result_depth=64,
    multiplier="18x18",
)
MHZ, BAUD = 50, 6_250_000
"""As few cycles for a byte as the door takes: the line is what a simulation waits for."""


def network() -> MapNetwork:
    """DS-CNN in small, with what else an engine does: a convolution, a depthwise one, one of single
    positions with a skip, a maximum, a mean."""
    net = Builder((3, 6, 6), seed=7)
    x = net.conv("conv", "picture", 6, (3, 3), k=5)
    y = net.conv("depthwise", x, 6, (3, 3), groups=6, k=3)
    x = net.conv("pointwise", y, 6, (1, 1), k=6, skip={"tensor": x})
    x = net.maximum("maximum", x, (2, 2))
    return net.made(net.average("mean", x))


def test_the_netlist_computes_a_network_over_its_uart() -> None:
    image = image_of(network(), engine=ENGINE)
    pictures = np.random.default_rng(3).integers(-128, 128, (2, *image.network.input.shape))
    transport = netlist_on_line(Ulx3sTop(engine=ENGINE, mhz=MHZ, baud=BAUD))
    try:
        driver = Driver(Link(transport))
        assert map_parameters(driver, image) == ENGINE
        session = MapSession(driver, image, ENGINE)
        assert session.load() is True
        values, cycles = session.run(pictures[0])
        runs = list(run_by_pass(session, pictures[1]))
    finally:
        transport.close()
    golden = compute(image.network, pictures[:1])[image.network.output]
    np.testing.assert_array_equal(values, golden[0])
    assert cycles == session.cycles
    wanted = convolved(image.network, pictures[1])
    found = {run.name: run.values for run in runs if run.values is not None}
    assert found.keys() == {tensor.name for tensor in image.network.tensors[1:]}
    for name, map_values in found.items():
        np.testing.assert_array_equal(map_values, wanted[name], err_msg=name)
    assert [run.cycles for run in runs] == [run.predicted for run in runs]


@pytest.fixture(scope="module")
def board() -> Iterator[Driver]:
    """The engine of `make bitstream BOARD=ulx3s ENGINE=maps`."""
    transport = netlist_on_line(Ulx3sTop(engine=BOARD.maps, mhz=MHZ, baud=BAUD))
    try:
        yield Driver(Link(transport))
    finally:
        transport.close()


def test_the_boards_netlist_computes_a_picture_of_ds_cnn(board: Driver) -> None:
    image = image_of(NETWORKS["ds-cnn"](), engine=BOARD.maps)
    [picture] = np.random.default_rng(4).integers(-128, 128, (1, *image.network.input.shape))
    session = MapSession(board, image, BOARD.maps)
    assert session.load() is True
    values, cycles = session.run(picture)
    golden = compute(image.network, picture[None])[image.network.output]
    np.testing.assert_array_equal(values, golden[0])
    assert cycles == session.cycles == 264_257
