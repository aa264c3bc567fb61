"""Whole networks on an engine behind the link: the step model of the map engine on a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from image_kit import fp32_layer
from map_board_kit import CLOCK_HZ, board
from map_image_kit import every_fact, image_of, small_network
from map_kit import convolved

from dpnet.gateware.registers import identity
from dpnet.host.driver import Driver
from dpnet.host.errors import DeadlineError, EngineError
from dpnet.host.link import Link
from dpnet.host.maps.engines import engine_sizes, engine_url, parse_engine
from dpnet.host.maps.halves import picture_address, result_address
from dpnet.host.maps.loaded import LoadedNetwork
from dpnet.host.maps.session import MapSession, map_parameters, placed
from dpnet.host.maps.throughput import Throughput
from dpnet.host.session import BaselineSession, CapacityError, Session, parameters
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.plan import cycles
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.image import Image, ImageError
from dpnet.model.image.maps import MapImage
from dpnet.sim.peers.engine_model import EngineModel
from dpnet.sim.peers.faulty import ModelTransport

ENGINE = MapEngineParameters(
    clusters=3,
    stages=2,
    index_depth=2048,
    row_groups=16,
    map_depth=2048,
    picture_depth=1024,
    result_depth=512,
)
IMAGES: dict[str, Callable[[], MapImage]] = {
    "small": lambda: image_of(small_network(host=("softmax",))),
    "every fact": every_fact,
}


def integers(image: MapImage, count: int, seed: int = 0) -> np.ndarray:
    first = image.network.input
    rng = np.random.default_rng(seed)
    return rng.integers(first.low, first.high + 1, (count, *first.shape))


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_gives_what_plain_convolutions_give(name: str, count: int) -> None:
    image = IMAGES[name]()
    driver, model, _ = board(ENGINE)
    session = MapSession(driver, image, ENGINE)
    assert session.load() is True and session.load() is False
    pictures = integers(image, count)
    steps: list[tuple[int, int]] = []
    values, taken = session.run_batch(pictures, lambda done, total: steps.append((done, total)))
    wanted = [convolved(image.network, picture)[image.network.output] for picture in pictures]
    np.testing.assert_array_equal(values, wanted)
    assert taken.tolist() == [cycles(ENGINE, image.network)] * count == [session.cycles] * count
    assert steps == [(n, count) for n in range(1, count + 1)]
    one, its = session.run(pictures[0])
    np.testing.assert_array_equal(one, wanted[0])
    assert its == session.cycles and session.clock_hz == CLOCK_HZ
    assert model.rejected == 0


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_pictures_in_flight(name: str, count: int) -> None:
    """Two at once, the last one alone where they are odd."""
    image = IMAGES[name]()
    driver, model, _ = board(ENGINE)
    session = MapSession(driver, image, ENGINE, in_flight=True)
    assert session.load() is True and session.load() is False
    pictures = integers(image, count)
    steps: list[tuple[int, int]] = []
    values, taken = session.run_batch(pictures, lambda done, total: steps.append((done, total)))
    wanted = [convolved(image.network, picture)[image.network.output] for picture in pictures]
    np.testing.assert_array_equal(values, wanted)
    full = cycles(ENGINE, image.network, True)
    assert session.most == 2 and session.cycles == full
    sizes = [2] * (count // 2) + [1] * (count % 2)
    assert [(run.count, run.cycles) for run in session.runs] == [
        (size, full - 16 * (2 - size)) for size in sizes
    ]
    assert all(run.cycles == run.predicted for run in session.runs)
    assert taken.tolist() == [run.cycles for run in session.runs for _ in range(run.count)]
    assert steps == [(min(n + 2, count), count) for n in range(0, count, 2)]
    assert model.rejected == 0
    speed = session.throughput
    assert speed is not None and speed.pictures == count
    assert speed.computing_s == pytest.approx(sum(run.cycles for run in session.runs) / CLOCK_HZ)


def test_pictures_in_flight_on_an_engine_of_before() -> None:
    image = next(iter(IMAGES.values()))()
    driver, model, _ = board(ENGINE)
    model.identity = {**model.identity, "GATEWARE": 6}
    message = "need an engine of gateware 7 or later, not of 6: build its bitstream anew, or run"
    with pytest.raises(CapacityError, match=message):
        MapSession(driver, image, ENGINE, in_flight=True)
    assert not MapSession(driver, image, ENGINE).in_flight


def test_pictures_in_flight_that_do_not_fit() -> None:
    image = image_of(small_network())
    small = replace(ENGINE, result_depth=8)
    assert placed(image, small)
    with pytest.raises(CapacityError) as caught:
        placed(image, small, True)
    told, url = str(caught.value).split("; an engine that holds it: ")
    assert told == "the network in flight is larger than the engine: result_depth 8 (it needs 16)"
    url, cure = url.split(", ")
    assert cure == "or run one picture at a time"
    larger = parse_engine(url)
    assert isinstance(larger, MapEngineParameters) and placed(image, larger, True)


def test_the_next_picture_is_written_while_one_is_computed() -> None:
    image = image_of(small_network())
    # A line that is quick beside the run.
    driver, model, line = board(ENGINE, run_s=0.2, delay_s=0.0005)
    session = MapSession(driver, image, ENGINE)
    session.load()
    model.log.clear()
    began = line.now()
    session.run_batch(integers(image, 4))
    took = line.now() - began
    assert 4 * 0.2 <= took < 1.1 * 4 * 0.2
    starts = [half for what, half, _ in model.log if what == "start"]
    assert starts == [0, 1, 0, 1]
    first = model.log.index(("start", 0, False))
    assert {(what, busy) for what, _, busy in model.log[:first]} == {("picture", False)}
    written = [(half, busy) for what, half, busy in model.log[first:] if what == "picture"]
    assert written and all(busy for _, busy in written)
    read = [busy for what, _, busy in model.log if what == "results"]
    # All but the last picture's results.
    assert 0 < read.count(False) <= len(read) / 4


def test_halves_lie_beside_each_other() -> None:
    wide = MapEngineParameters(clusters=5, picture_depth=64, result_depth=16)
    assert [picture_address(wide, half) for half in (0, 1)] == [5 << 28, (5 << 28) + 4 * 8 * 8]
    own = [picture_address(wide, half, stage) for half, stage in ((0, 0), (1, 0), (1, 2))]
    assert own == [(5 << 28) + 4 * words for words in (128, 128 + 64, 3 * 128 + 64)]
    assert [result_address(wide, half) for half in (0, 1)] == [6 << 28, (6 << 28) + 4 * 2 * 8]


def test_an_engine_that_holds_another_image_by_now() -> None:
    image = image_of(small_network())
    driver, model, _ = board(ENGINE)
    session = MapSession(driver, image, ENGINE)
    session.load()
    model.image_crc ^= 1
    with pytest.raises(EngineError, match=r"^the engine holds another image by now: "):
        session.run_batch(integers(image, 2))


def test_a_run_that_does_not_end() -> None:
    image = image_of(small_network())
    driver, _, _ = board(ENGINE, run_s=1e6)
    session = MapSession(driver, image, ENGINE)
    session.load()
    with pytest.raises(DeadlineError, match=r"^run 1 \(picture 0\) is not done after 1\.0"):
        session.run_batch(integers(image, 2))


def test_pictures_that_are_none() -> None:
    image = image_of(small_network())
    session = MapSession(board(ENGINE)[0], image, ENGINE)
    good = integers(image, 2)
    for bad, message in (
        (good[:, :2], r"pictures must be integers \(n, 3, 8, 8\), not int64 \(2, 2, 8, 8\)"),
        (good[:0], r"pictures must be integers \(n, 3, 8, 8\), not int64 \(0, 3, 8, 8\)"),
        (good * 1.0, r"pictures must be integers \(n, 3, 8, 8\), not float64 \(2, 3, 8, 8\)"),
        (good + 128, "pictures must be integers from -128 to 127"),
    ):
        with pytest.raises(ImageError, match=f"^{message}$"):
            session.run_batch(bad)


def test_a_network_larger_than_the_engine_names_one_that_holds_it() -> None:
    small = MapEngineParameters(map_depth=64, row_groups=2)
    image = image_of(small_network())
    with pytest.raises(CapacityError) as caught:
        placed(image, small)
    told, url = str(caught.value).split("; an engine that holds it: ")
    assert told.startswith("the network is larger than the engine: row_groups 2 (it needs ")
    larger = parse_engine(url)
    assert isinstance(larger, MapEngineParameters)
    assert placed(image, larger).params == larger


def test_parameters_come_from_the_registers() -> None:
    driver, _, _ = board(ENGINE)
    assert map_parameters(driver, image_of(small_network())) == ENGINE
    assert parameters(driver.identify()) == ENGINE
    assert driver.identify().lanes == ENGINE.lanes == 96


def test_another_kind_of_engine_runs_no_whole_networks() -> None:
    array = identity(EngineParameters(), clock_hz=CLOCK_HZ)
    driver = Driver(Link(ModelTransport(EngineModel(identity=array))))
    with pytest.raises(CapacityError) as caught:
        map_parameters(driver, image_of(small_network(), engine=ENGINE))
    assert str(caught.value) == (
        "the engine at the port is no map engine, and runs no whole networks; one that holds it: "
        + engine_url(ENGINE)
    )


def test_a_map_engine_runs_no_images_of_arrays() -> None:
    image = Image(layers=(fp32_layer(np.random.default_rng(0), "w", (4, 4), 2),))
    with pytest.raises(CapacityError) as caught:
        Session(board(ENGINE)[0], image)
    assert str(caught.value) == (
        "the engine is a map engine, which runs whole networks, and this image is for an array of "
        "lanes; an engine that holds it: sim://array"
    )
    with pytest.raises(
        CapacityError, match=r"is a map engine, not the fp32 baseline; swap the ports$"
    ):
        BaselineSession(board(ENGINE)[0], np.eye(4, dtype=np.float32))


def test_a_slow_line_is_the_bound() -> None:
    image = image_of(small_network())
    driver, _, _ = board(ENGINE, run_s=1e-5, delay_s=0.01)
    session = MapSession(driver, image, ENGINE)
    session.load()
    session.run_batch(integers(image, 3))
    speed = session.throughput
    assert speed is not None and speed.pictures == 3
    assert speed.written_bytes == 4 * len(session.placement.picture_words(integers(image, 1)[0]))
    assert speed.share < 0.5
    assert speed.text == (
        f"{speed.per_s:,.1f} pictures a second, {speed.computing_per_s:,.1f} by computing alone: "
        f"the link is the bound ({speed.written_bytes:,} bytes a picture, "
        f"{speed.read_bytes:,} of results, and the requests between two runs)"
    )


def test_a_quick_line_is_not() -> None:
    speed = Throughput(pictures=9, seconds=3.2, computing_s=3.0, written_bytes=3072, read_bytes=24)
    assert speed.text == "2.8 pictures a second, 3.0 by computing alone"


@pytest.mark.parametrize("half, vectors", [(2, 1), (-1, 1), (1, 2)])
def test_halves_that_there_are_not(half: int, vectors: int) -> None:
    driver, _, _ = board(ENGINE)
    with pytest.raises(ValueError, match="half must be 0 or 1, and vectors 1 with it, not "):
        driver.start(0, 0, vectors=vectors, half=half)


@pytest.mark.parametrize("pictures, vectors", [(0, 1), (129, 1), (2, 2)])
def test_pictures_that_there_are_not(pictures: int, vectors: int) -> None:
    driver, _, _ = board(ENGINE)
    with pytest.raises(ValueError, match="pictures must be 1 to 128, and vectors 1 with them, not"):
        driver.start(0, 0, vectors=vectors, pictures=pictures)


def test_real_pictures() -> None:
    image = image_of(small_network(host=("softmax",)), output_shape=(4,))
    session = MapSession(board(ENGINE)[0], image, ENGINE)
    session.load()
    loaded = LoadedNetwork(session)
    x = np.random.default_rng(3).normal(0, 60, (2, 3, 8, 8))
    found = loaded.run(x)
    rounded = np.clip(np.rint(x), -128, 127).astype(int)
    fc = np.array([convolved(image.network, one)["fc"][:, 0, 0] for one in rounded], float)
    exponents = np.exp(fc - fc.max(1, keepdims=True))
    np.testing.assert_allclose(found, exponents / exponents.sum(1, keepdims=True))
    result = loaded.result
    assert result is not None and result.classes is not None
    assert result.classes.tolist() == fc.argmax(1).tolist()
    assert result.saturated_inputs == pytest.approx(((x > 127.5) | (x < -128.5)).mean())
    assert result.cycles.tolist() == [result.predicted_cycles] * 2
    with pytest.raises(ImageError, match=r"^the pictures must be finite, not nan at "):
        loaded.run(x * np.nan)


def test_engines_by_their_names() -> None:
    assert parse_engine("maps") == parse_engine("sim://maps") == MapEngineParameters()
    found = parse_engine("maps?clusters=4&multiplier=18x18")
    assert found == MapEngineParameters(clusters=4, multiplier="18x18")
    assert isinstance(found, MapEngineParameters)
    assert engine_url(found) == "sim://maps?clusters=4&multiplier=18x18"
    assert engine_sizes(found) == {"clusters": 4, "multiplier": "18x18"}
    assert parse_engine(engine_url(found)) == found
    assert (parse_engine("auto"), parse_engine("array")) == ("auto", "array")
    for text, message in (
        ("tables", "auto, array, maps or maps?NAME=N&NAME=N, not 'tables'"),
        ("array?stages=2", "auto, array, maps or maps?NAME=N&NAME=N, not 'array?stages=2'"),
        ("maps?clusters=x", "maps with whole numbers, not clusters='x'"),
        ("maps?clusters=99", "an engine that can be built: clusters must be an integer from 1 to "),
        ("maps?lanes=9", "maps with sizes of clusters, stages, "),
    ):
        with pytest.raises(ValueError) as caught:
            parse_engine(text)
        assert str(caught.value).startswith(message)
