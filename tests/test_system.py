"""The system over `sim://`: compile, load over the framed link, run, equal the golden model."""

from itertools import pairwise

import numpy as np
import pytest

from dpnet.host.bench import bench_layer
from dpnet.host.driver import Driver
from dpnet.host.errors import EngineError
from dpnet.host.link import Link
from dpnet.host.session import Session, connect
from dpnet.model.compile import DenseLayer, compile_fp32, compile_integer
from dpnet.model.engine.layout import Region, vector_store
from dpnet.model.golden.network import integer_network
from dpnet.model.image import read_image, write_image
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.kit.bench import seed
from dpnet.sim.peers.faulty import FaultyTransport

pytestmark = pytest.mark.whole

SMALL = "sim://array?stages=2&columns=4&segments=2&index_depth=512"
BASELINE = "sim://baseline?weights=4096&columns=128&rows=64"
INTERLEAVED = "sim://interleaved?weights=4096&columns=128&rows=64"


@pytest.fixture(scope="module")
def rng():
    print(f"seed {seed()}")
    return np.random.default_rng(seed())


@pytest.fixture
def driver():
    driver = connect(SMALL)
    yield driver
    driver.link.transport.close()


def network(rng, k):
    sizes = (30, 17, 9)
    layers = [
        DenseLayer(
            name=f"fc{n}",
            quantized=quantize(rng.standard_normal((rows, columns)), k),
            bias=rng.standard_normal(rows),
            relu=n == 0,
        )
        for n, (columns, rows) in enumerate(pairwise(sizes))
    ]
    return compile_integer(layers, rng.standard_normal((50, 30)))


@pytest.mark.parametrize("k", [2, 4, 8, 16])
def test_a_network_through_the_file_and_the_link_equals_golden(rng, driver, tmp_path, k):
    write_image(network(rng, k), tmp_path / "net.dpnet")
    image = read_image(tmp_path / "net.dpnet")
    session = Session(driver, image)
    assert session.load()
    for x in image.quantize_input(rng.standard_normal((20, 30))):
        outputs, cycles = session.run_network(x)
        for mine, golden in zip(outputs, integer_network(image, x), strict=True):
            np.testing.assert_array_equal(mine, golden)
        assert cycles == session.predicted_cycles(0, 1)


@pytest.mark.parametrize(
    "url, engine",
    [(SMALL, "array"), (BASELINE, "paper-baseline"), (INTERLEAVED, "interleaved-baseline")],
)
def test_a_bench_row_is_exact_in_bits_and_cycles(rng, url, engine):
    layer = compile_fp32({"w": (quantize(rng.standard_normal((37, 101)), 16), (37, 101))}).layers[0]
    driver = connect(url)
    row = bench_layer(driver, layer, rng.standard_normal(101).astype(np.float32))
    driver.link.transport.close()
    assert (row.mismatches, row.within_bound) == (0, True)
    assert row.cycles == row.predicted_cycles
    assert row.engine == engine


def test_an_engine_without_a_committed_image_refuses_to_compute(driver):
    with pytest.raises(EngineError, match="NOT_VALID"):
        driver.run(0, 0)


def test_a_half_loaded_image_does_not_compute_and_the_load_goes_on(rng, driver):
    image = network(rng, 16)
    session = Session(driver, image)

    class Stopped(Exception):
        pass

    def stop(done, total):
        if done > total // 3:
            raise Stopped

    with pytest.raises(Stopped):
        session.load(stop)
    again = Driver(Link(driver.link.transport))
    with pytest.raises(EngineError, match="NOT_VALID"):
        again.run(0, 0)
    session = Session(again, image)
    assert session.load()
    x = image.quantize_input(rng.standard_normal((1, 30)))[0]
    np.testing.assert_array_equal(session.run_network(x)[0][-1], integer_network(image, x)[-1])


def test_a_nan_in_the_store_becomes_an_error_never_a_number(rng, driver):
    image = compile_fp32({"w": (quantize(rng.standard_normal((8, 12)), 4), (8, 12))})
    session = Session(driver, image)
    session.load()
    before = session._read(session.placements[0]).copy()
    words = rng.standard_normal(12).astype(np.float32)
    words[7] = np.nan
    driver.write_words(Region.VECTOR.base, vector_store(session.engine, words.view(np.uint32)))
    with pytest.raises(EngineError, match="NaN"):
        driver.run(0, 0)
    np.testing.assert_array_equal(session._read(session.placements[0]), before)


def test_a_line_that_flips_bits_still_loads_exactly(rng, driver):
    image = network(rng, 16)
    line = FaultyTransport(driver.link.transport, seed=seed(), flip=1e-3)
    session = Session(Driver(Link(line)), image)
    assert session.load()
    x = image.quantize_input(rng.standard_normal((1, 30)))[0]
    np.testing.assert_array_equal(session.run_network(x)[0][-1], integer_network(image, x)[-1])
    assert session.driver.link.retransmissions > 0
