"""Vectors back to back, engines of one kind of numbers, stored words that change: on a simulated
board."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from dpnet.gateware.emit import emit
from dpnet.gateware.registers import identity
from dpnet.gateware.top import Top
from dpnet.host.bench import bench_layer
from dpnet.host.driver import Driver
from dpnet.host.errors import EngineError, ProtocolError
from dpnet.host.link import Link
from dpnet.host.session import CapacityError, Session, connect, parameters
from dpnet.model.compile import DenseLayer, compile_fp32, compile_integer
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.golden.network import fp32_layer, integer_layer, integer_network
from dpnet.model.image import Image, ImageError
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.board.bytes_board import SimTransport
from dpnet.sim.board.harness import build
from dpnet.sim.peers.engine_model import EngineModel
from dpnet.sim.peers.faulty import ModelTransport
from dpnet.sim.simulator import find_simulator

TINY = "sim://array?stages=2&columns=4&segments=2&index_depth=512"
ENGINE = EngineParameters(stages=2, columns=4, segments=2, index_depth=512)
ARRAY = identity(ENGINE, clock_hz=100_000_000)


def network(sizes: tuple[int, ...] = (14, 27, 13, 10)) -> Image:
    rng = np.random.default_rng(0)
    layers = [
        DenseLayer(
            f"fc{n}",
            quantize(rng.standard_normal((rows, columns)), 5),
            rng.standard_normal(rows),
            relu=n < len(sizes) - 2,
        )
        for n, (columns, rows) in enumerate(pairwise(sizes))
    ]
    return compile_integer(layers, rng.standard_normal((50, sizes[0])))


def matrices(*shapes: tuple[int, int]) -> Image:
    rng = np.random.default_rng(0)
    return compile_fp32(
        {
            f"m{n}": (quantize(rng.standard_normal(shape), 16), shape)
            for n, shape in enumerate(shapes)
        }
    )


def model_of(**changed: int) -> Driver:
    return Driver(Link(ModelTransport(EngineModel(identity=ARRAY | changed))))


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = connect(TINY)
    yield driver
    driver.link.transport.close()


def test_fp32_vectors_equal_the_golden_model(driver: Driver) -> None:
    image = matrices((11, 20), (1, 1), (17, 33))
    session = Session(driver, image)
    session.load()
    rng = np.random.default_rng(6)
    for number, layer in enumerate(image.layers):
        for count in (1, 2, 7, session.most_vectors(number)):
            # Each vector of its own size: its exponent is not that of the vector before it.
            sizes = 2.0 ** rng.integers(-30, 30, (count, 1))
            vectors = (rng.standard_normal((count, layer.columns)) * sizes).astype(np.float32)
            found, cycles = session.run_batch(number, vectors)
            golden = np.stack([fp32_layer(layer, x) for x in vectors])
            assert found.view(np.uint32).tolist() == golden.view(np.uint32).tolist()
            assert cycles == session.predicted_cycles(number, number, count)
            assert driver.registers()["VECTORS"] == count
        # One vector again, and only one.
        y, cycles = session.run_layer(number, vectors[1])
        assert y.view(np.uint32).tolist() == golden[1].view(np.uint32).tolist()
        assert cycles == session.predicted_cycles(number, number)
        assert driver.registers()["VECTORS"] == 1


def test_integer_vectors_equal_the_golden_model(driver: Driver) -> None:
    image = network()
    session = Session(driver, image)
    session.load()
    rng = np.random.default_rng(7)
    for number, layer in enumerate(image.layers):
        most = session.most_vectors(number)
        vectors = rng.integers(-128, 128, (most, layer.columns))
        found, cycles = session.run_batch(number, vectors)
        assert found.tolist() == [integer_layer(layer, x).tolist() for x in vectors]
        assert cycles == session.predicted_cycles(number, number, most)
        assert driver.registers()["VECTORS"] == most > 1
    # What a batch left where the other layers have their vectors and results is written anew.
    x = rng.integers(-128, 128, 14)
    outputs, cycles = session.run_network(x)
    assert [y.tolist() for y in outputs] == [y.tolist() for y in integer_network(image, x)]
    assert cycles == session.predicted_cycles(0, 2)


def test_a_run_of_several_layers_ignores_vectors(driver: Driver) -> None:
    image = network()
    session = Session(driver, image)
    session.load()
    session.run_network(np.arange(-7, 7))
    driver._write_register("VECTORS", 5)
    number = driver.registers()["RUN"] + 1
    driver._write_register("START", number | 0 << 16 | 2 << 24)
    values = driver._wait(number, "run", 1.0)
    assert values["VECTORS"] == 5
    assert values["CYCLES_LO"] == session.predicted_cycles(0, 2)


def test_how_many_vectors_fit() -> None:
    # 64 result slots: the 5 tiles of 33 rows take 2 each.  256 rows of activations: 900 take 57.
    session = Session(model_of(), matrices((33, 20), (1, 900), (3, 3)))
    assert [session.most_vectors(n) for n in range(3)] == [6, 4, 32]
    for count in (7, 200):
        with pytest.raises(CapacityError) as caught:
            session.run_batch(0, np.ones((count, 20), np.float32))
        assert str(caught.value) == (
            f"layer m0 takes at most 6 vectors in one run on this engine, not {count}; run them in "
            "parts, or use an engine with more vector_words and result_slots"
        )
    # 256 vectors are the most, however large the stores.
    roomy = model_of(RESULT_SLOTS=60_000, VECTOR_WORDS=1 << 20)
    assert Session(roomy, matrices((3, 3))).most_vectors(0) == 256


def test_batches_that_are_refused() -> None:
    session = Session(model_of(), matrices((33, 20)))
    for shape in ((20,), (0, 20), (2, 3, 20)):
        with pytest.raises(ImageError) as caught:
            session.run_batch(0, np.ones(shape, np.float32))
        assert str(caught.value) == f"layer m0 takes vectors of shape (n, 20), not {shape}"
    with pytest.raises(ImageError, match=r"^layer m0 takes a vector of shape \(20,\), not \(19,\)"):
        session.run_batch(0, np.ones((2, 19), np.float32))
    bad = np.ones((3, 20), np.float32)
    bad[2, 4] = np.inf
    with pytest.raises(
        ImageError, match=r"^the vector must be finite, it holds a NaN or an infinity$"
    ):
        session.run_batch(0, bad)


def test_a_bench_row_has_the_interval(driver: Driver) -> None:
    x = np.random.default_rng(8).standard_normal(40).astype(np.float32)
    layer = matrices((20, 40)).layers[0]  # 3 tiles of 2 slots: 10 vectors fit
    row = bench_layer(driver, layer, x)
    assert row.interval_cycles == row.predicted_interval
    assert row.interval_cycles == 3 * max(20 + 16, 16 + 16)
    assert (row.compared, row.mismatches) == (9 * 20, 0)
    # 20 tiles take 40 of 64 result slots: there is no room for a second vector.
    row = bench_layer(driver, matrices((160, 6)).layers[0], x[:6])
    assert (row.interval_cycles, row.predicted_interval, row.compared) == (None, None, 160)


@pytest.mark.whole
@pytest.mark.parametrize("edges", ["fp32", "integer"])
def test_an_engine_of_one_kind_of_numbers(edges: str) -> None:
    images = {"fp32": matrices((11, 20)), "integer": network()}
    driver = connect(f"{TINY}&edges={edges}&result_slots=32&row_beats=4&bank=2&packed=0")
    engine = replace(ENGINE, edges=edges, result_slots=32, row_beats=4, bank=2, packed=False)
    assert parameters(driver.identify()) == engine
    session = Session(driver, images.pop(edges))
    session.load()
    layer = session.image.layers[0]
    x = np.arange(3 * layer.columns).reshape(3, layer.columns) - 30
    if edges == "fp32":
        x = x.astype(np.float32)
    found, cycles = session.run_batch(0, x)
    golden = fp32_layer if edges == "fp32" else integer_layer
    assert found.tolist() == [golden(layer, vector).tolist() for vector in x]
    assert cycles == session.predicted_cycles(0, 0, 3)
    (other,) = images.values()
    with pytest.raises(CapacityError, match=rf"the engine only with .* \(edges {edges}\); an "):
        Session(driver, other)
    driver.link.transport.close()


@pytest.mark.long
def test_an_engine_of_other_multipliers_at_another_clock() -> None:
    """An entry takes two multipliers of 18 × 18, and a cycle more: the registers say so, and what
    the clock makes of the cycles."""
    driver = connect(f"{TINY}&max_columns=64&multiplier=18x18&clock_hz=50000000")
    engine = replace(ENGINE, max_columns=64, multiplier="18x18")
    identity = driver.identify()
    assert parameters(identity) == engine and identity.clock_hz == 50_000_000
    session = Session(driver, matrices((11, 40), (3, 64)))
    session.load()
    assert session.clock_hz == 50_000_000
    x = np.random.default_rng(1).standard_normal(40).astype(np.float32)
    began = driver.link.transport.now()
    found, cycles = session.run_layer(0, x)
    assert found.tolist() == fp32_layer(session.image.layers[0], x).tolist()
    # 1 + 2 + (3 + 3 + 3) + 8 + (36 + 20 + 16 + 16 + 2 + 4 + 7 + 2) + 2 + 12
    assert cycles == session.predicted_cycles(0, 0) == 137
    assert driver.link.transport.now() - began >= 137 / 50e6
    found, cycles = session.run_batch(1, np.ones((3, 64), np.float32))
    assert cycles == session.predicted_cycles(1, 1, 3)
    row = bench_layer(driver, session.image.layers[0], x)
    assert (row.cycles, row.predicted_cycles, row.mismatches) == (137, 137, 0)
    assert (row.clock_hz, row.ms) == (50_000_000, pytest.approx(0.00274))
    driver.link.transport.close()


def test_an_engine_that_no_host_knows() -> None:
    for changed, reason in (
        ({"EDGES": 3}, "EDGES is 3: both, fp32, integer have no number 3"),
        ({"PACKED": 2}, "PACKED is 2: a flag must be 0 or 1, not 2"),
        ({"KIND": 4}, "KIND is 4: array, baseline, interleaved, maps have no number 4"),
        ({"MULTIPLIER": 27 | 18 << 8}, "multiplier must be one of 25x18, 18x18, not '27x18'"),
        ({"STAGES": 0}, "stages must be an integer from 1 to 1024, not 0"),
        ({"CLOCK_HZ": 0}, "CLOCK_HZ is 0"),
    ):
        with pytest.raises(ProtocolError) as caught:
            parameters(model_of(**changed).identify())
        assert str(caught.value) == (
            f"the engine's registers describe an engine that this host does not know ({reason}); "
            "use the host software and the bitstream of one release"
        )


CHANGED = 1.75
"""What the stores of `upset_board` read with its lowest bit changed."""


@pytest.fixture(scope="module")
def upset_board() -> Iterator[Driver]:
    """A board whose vector store and result buffer change a word, if it is `CHANGED`."""
    pattern = int(np.float32(CHANGED).view(np.uint32))
    text, count = re.subn(
        r"(reg \[(?:32:0\] mem \[0:255|65:0\] mem \[0:2047)\];.*?r_data <= mem\[r_address\]);",
        rf"\1 ^ (mem[r_address][31:0] == 32'h{pattern:08x});",
        emit(Top(params=ENGINE, status=True)),
        flags=re.DOTALL,
    )
    assert count == 2, "the stores are not where they were"
    driver = Driver(Link(SimTransport("sim://upset", build(text, find_simulator()))))
    yield driver
    driver.link.transport.close()


def test_stored_words_that_change_become_errors_never_numbers(upset_board: Driver) -> None:
    driver, shape = upset_board, (1, 1)
    image = compile_fp32({"w": (quantize(np.array([[0.5]]), 1), shape)})
    session = Session(driver, image)
    assert session.load() is True

    def product(x: float) -> list[float]:
        found: list[float] = session.run_layer(0, np.array([x], np.float32))[0].tolist()
        return found

    assert product(3) == [1.5]
    assert driver.registers()["PARITY"] == 0
    with pytest.raises(EngineError) as caught:
        product(CHANGED)
    assert str(caught.value).startswith("layers 0 to 0: parity: a stored word changed (an upset)")
    counted = driver.registers()["PARITY"]
    assert counted > 0
    # The next run is good; this one's result is not.
    assert product(3) == [1.5]
    with pytest.raises(EngineError) as caught:
        product(2 * CHANGED)
    assert str(caught.value).startswith("results: parity: a word changed after it was stored")
    assert driver.registers()["PARITY"] == counted + 1
    assert session.load() is True, "after a parity error the image is sent again"
    assert product(-8) == [-4]
    assert session.load() is False
    with pytest.raises(EngineError, match=r"^results: parity: "):
        session.run_batch(0, np.array([[1], [2 * CHANGED], [3]], np.float32))
