"""Whole networks on the map engine in RTL behind the link: the board `sim://maps`.

Expected values are plain convolutions; cycles are the plan's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_kit import Call
from map_board_kit import SIMULATED
from map_image_kit import image_of, small_network
from map_kit import Builder, convolved

from dpnet.gateware.registers import BY_NAME, STREAM, Operation, Region, State, Status
from dpnet.host.driver import Driver
from dpnet.host.engine import connect
from dpnet.host.errors import EngineError, PortError
from dpnet.host.maps.by_pass import run_by_pass
from dpnet.host.maps.comparing import compare
from dpnet.host.maps.engines import engine_url, parse_engine
from dpnet.host.maps.halves import picture_address, result_address
from dpnet.host.maps.session import MapSession
from dpnet.host.session import CapacityError
from dpnet.host.session import connect as connect_driver
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import place
from dpnet.model.engine.maps.plan import cycles
from dpnet.model.engine.stores import half_words
from dpnet.model.image import ImageError
from dpnet.model.maps.golden import compute
from dpnet.model.maps.layers import MapNetwork
from dpnet.sim.board.bytes_board import parse_url

pytestmark = pytest.mark.whole

ENGINE = SIMULATED
URL = engine_url(ENGINE)
IMAGE = image_of(small_network(), engine=ENGINE)


def integers(count: int, seed: int = 0) -> np.ndarray:
    first = IMAGE.network.input
    rng = np.random.default_rng(seed)
    return rng.integers(first.low, first.high + 1, (count, *first.shape))


def expected(pictures: np.ndarray) -> np.ndarray:
    return np.array([convolved(IMAGE.network, one)[IMAGE.network.output] for one in pictures])


def residual() -> MapNetwork:
    """A ResNet in small: an identity and a strided shortcut, an average, a linear layer."""
    net = Builder((3, 8, 8), seed=6)
    x = net.conv("conv1", "picture", 16, (3, 3))
    y = net.conv("conv2", x, 16, (3, 3))
    x = net.conv("conv3", y, 16, (3, 3), skip={"tensor": x})
    y = net.conv("down", x, 32, (3, 3), stride=(2, 2), padding=(0, 1, 0, 1))
    z = net.conv("short", x, 32, (1, 1), stride=(2, 2), padding=(0, 0, 0, 0), signed=True)
    x = net.conv("conv4", y, 32, (3, 3), skip={"tensor": z})
    x = net.average("pool", x)
    return net.made(net.conv("fc", x, 10, (1, 1), signed=True))


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    found = connect_driver(URL)
    yield found
    found.link.transport.close()


@pytest.fixture
def session(driver: Driver) -> MapSession:
    found = MapSession(driver, IMAGE, ENGINE)
    found.load()
    return found


def test_a_network_equals_plain_convolutions_and_its_cycles_the_plan() -> None:
    with connect(URL) as engine:
        assert engine.parameters == ENGINE
        pictures = integers(5)
        loaded = engine.load(IMAGE)
        assert loaded.session.load() is False
        values, taken = loaded.session.run_batch(pictures)
        registers = engine.driver.registers()
    np.testing.assert_array_equal(values, expected(pictures))
    assert taken.tolist() == [cycles(ENGINE, IMAGE.network)] * 5
    assert registers["REJECTED"] == 0 and registers["RUN"] == 5
    assert registers["TILES"] == len(loaded.session.placement.plan.passes)


def test_a_small_resnet_equals_golden(driver: Driver) -> None:
    network = residual()
    session = MapSession(driver, image_of(network, engine=ENGINE), ENGINE)
    assert session.load() is True
    rng = np.random.default_rng(8)
    pictures = rng.integers(-128, 128, (4, 3, 8, 8))
    pictures[0], pictures[1] = -128, 127
    values, taken = session.run_batch(pictures)
    np.testing.assert_array_equal(values, compute(network, pictures)[network.output])
    assert taken.tolist() == [cycles(ENGINE, network)] * 4


@pytest.mark.parametrize("count", [1, 2, 5])
def test_pictures_in_flight(driver: Driver, count: int) -> None:
    """Two at once, the last one alone where they are odd; the network of the runs before is placed
    anew."""
    network = residual()
    session = MapSession(driver, image_of(network, engine=ENGINE), ENGINE, in_flight=True)
    session.load()
    rng = np.random.default_rng(count)
    pictures = rng.integers(-128, 128, (count, 3, 8, 8))
    values, _ = session.run_batch(pictures)
    np.testing.assert_array_equal(values, compute(network, pictures)[network.output])
    assert sum(run.count for run in session.runs) == count
    full = cycles(ENGINE, network, True)
    for run in session.runs:
        assert run.cycles == run.predicted == full - 16 * (ENGINE.stages - run.count)
    found = compare(session, pictures[:2])
    assert (found.mismatches, found.late) == (0, 0)


def test_the_command_in_flight(dpnet: Call, folder: Path) -> None:
    pictures = integers(3, seed=5)
    image_of(small_network(), engine=ENGINE, output_shape=(4,)).save(folder / "net.dpnet")
    np.save(folder / "x.npy", pictures.astype(float))
    arguments = ("run", "net.dpnet", "--input", "x.npy", "--in-flight")
    result = dpnet(*arguments, "--port", URL, "--json")
    assert result.code == 0, result.err
    document = result.json
    np.testing.assert_array_equal(document["outputs"], expected(pictures)[:, :, 0, 0])
    full = cycles(ENGINE, IMAGE.network, True)
    taken = [(run["pictures"], run["cycles"]) for run in document["runs"]]
    assert taken == [(2, full), (1, full - 16)]
    assert document["mismatches"] == 0 and document["in_flight"] == 2
    assert document["cycles_per_input"] == document["predicted_cycles"] == (2 * full - 16) / 3
    assert document["cycles_largest"] == full
    text = dpnet(*arguments, "--port", URL).out
    assert f"2 in flight in {full:,} cycles, the last 1 in {full - 16:,}: " in text
    text = dpnet(*arguments, "--golden").out
    assert f"{full / 2:,.1f} cycles each, 2 in flight, by the formula: nothing ran" in text


def test_maps_between_are_read_back(session: MapSession, driver: Driver) -> None:
    """Whatever a pass has written and nothing else since: the maps of the last pass before the
    results."""
    (picture,) = integers(1, seed=3)
    session.run(picture)
    placed = session.placement
    words = driver.read_words(Region.MAPS.base, placed.map_words)
    last = placed.plan.passes[-1].read
    np.testing.assert_array_equal(
        placed.map(last, words), convolved(IMAGE.network, picture)[last[0]]
    )


@pytest.mark.parametrize("half", [0, 1])
def test_the_other_half_is_free_during_a_run(
    session: MapSession, driver: Driver, half: int
) -> None:
    others = 1 - half
    pictures = integers(2, seed=half + 7)
    address = [picture_address(ENGINE, n) for n in (half, others)]
    results = [result_address(ENGINE, n) for n in (half, others)]
    words = [session.placement.picture_words(picture) for picture in pictures]
    # What the other half holds: the second picture's results.
    driver.write_words(address[1], words[1])
    driver.finish(driver.start(0, len(session.placement.plan.passes) - 1, half=others), "all", 1.0)
    driver.write_words(address[0], words[0])
    number = driver.start(0, len(session.placement.plan.passes) - 1, half=half)
    kept = driver.read_words(results[1], session.placement.result_words)
    driver.write_words(address[1], words[0])
    across = half_words(ENGINE)[Region.RESULT] * 4 - 4 + Region.RESULT.base
    refused = [
        (Operation.READ, results[0], b"", 4),
        (Operation.READ, across, b"", 8),
        (Operation.READ, address[1], b"", 4),
        (Operation.READ, Region.MAPS.base, b"", 4),
        (Operation.READ, Region.LAYERS.base, b"", 4),
        (Operation.WRITE, address[0], bytes(4), 0),
    ]
    for operation, offset, payload, wanted in refused:
        answer = driver.link.request(
            operation, offset, payload, wanted=wanted, accept=(Status.BUSY,)
        )
        assert answer.flags == Status.BUSY, (operation, hex(offset))
    busy = BY_NAME["STATUS"].field("busy").of(driver.registers()["STATUS"])
    assert busy == 1, "all of that happened during the run"
    assert driver.finish(number, "all", 1.0).cycles == session.cycles
    np.testing.assert_array_equal(session.placement.results(kept), expected(pictures[1:])[0])
    found = driver.read_words(results[0], session.placement.result_words)
    np.testing.assert_array_equal(session.placement.results(found), expected(pictures[:1])[0])
    # The other half now holds the first picture, written during the run.
    driver.finish(driver.start(0, len(session.placement.plan.passes) - 1, half=others), "all", 1.0)
    found = driver.read_words(results[1], session.placement.result_words)
    np.testing.assert_array_equal(session.placement.results(found), expected(pictures[:1])[0])


def test_nothing_is_streamed_and_maps_are_not_written(session: MapSession, driver: Driver) -> None:
    epoch = driver.registers()["EPOCH"]
    with pytest.raises(EngineError, match=r"refused WRITE at 0x10000000 \(STALE\)"):
        driver.link.write_many([(Region.INDEX.base, bytes(4))], epoch=epoch, flags=STREAM)
    with pytest.raises(EngineError, match=r"refused WRITE at 0x70000000 \(BAD_ADDRESS\)"):
        driver.write_words(Region.MAPS.base, np.zeros(1, np.uint32))
    assert BY_NAME["STATUS"].field("state").of(driver.registers()["STATUS"]) == State.VALID


def test_passes_that_there_are_not(session: MapSession, driver: Driver) -> None:
    with pytest.raises(EngineError, match="range: "):
        driver.run(0, ENGINE.passes)
    with pytest.raises(EngineError, match="range: "):
        driver.run(0, 0, vectors=1 + 2 * ENGINE.stages)
    (picture,) = integers(1, seed=9)
    values, taken = session.run(picture)
    np.testing.assert_array_equal(values, expected(picture[None])[0])
    assert taken == session.cycles


def test_the_image_is_watched(session: MapSession, driver: Driver) -> None:
    before = driver.registers()
    words = sum(len(words) for words in session.placement.words.values())
    assert before["IMAGE_WORDS"] == words
    driver.link.transport.sleep(3 * (words + 20) / session.clock_hz)
    after = driver.registers()
    assert (after["CHECKS"] - before["CHECKS"]) % 65536 >= 2
    assert after["IMAGE_ERRORS"] == 0 and after["IMAGE_CRC"] == before["IMAGE_CRC"]


def test_the_next_picture_costs_no_time(session: MapSession) -> None:
    session.run_batch(integers(4))
    speed = session.throughput
    assert speed is not None
    # A small network on a byte a cycle: what is between two runs is a few turns of a request.
    gap = (speed.seconds - speed.computing_s) / speed.pictures * session.clock_hz
    assert gap < 3000 + session.cycles


def test_the_command(dpnet: Call, folder: Path) -> None:
    pictures = integers(3, seed=5)
    wanted = expected(pictures)[:, :, 0, 0]
    image_of(small_network(), engine=ENGINE, output_shape=(4,)).save(folder / "net.dpnet")
    np.save(folder / "x.npy", pictures.astype(float))
    np.save(folder / "y.npy", wanted.argmax(1))
    result = dpnet(
        "run", "net.dpnet", "--port", URL, "--input", "x.npy", "--labels", "y.npy", "--json"
    )
    assert result.code == 0, result.err
    document = result.json
    assert document["mismatches"] == 0 and document["accuracy"] == 100
    assert document["cycles_per_input"] == document["predicted_cycles"]
    assert document["pictures_per_s"] > 0


def test_a_report_of_what_ran(dpnet: Call, folder: Path) -> None:
    image_of(small_network(), engine=ENGINE, output_shape=(4,)).save(folder / "net.dpnet")
    np.save(folder / "x.npy", integers(5, seed=6).astype(float))
    result = dpnet("report", "net.dpnet", "--port", URL, "--input", "x.npy", "--json")
    assert result.code == 0, result.err
    ran = result.json["ran"]
    network = IMAGE.network
    # Every tensor but the picture in each of its forms, and the results of the whole run.
    forms = {one.write for one in place(ENGINE, network).plan.passes}
    sizes = {tensor.name: int(np.prod(tensor.shape)) for tensor in network.tensors}
    each = sum(sizes[name] for name, _ in forms) + sizes[network.output]
    assert (ran["pictures"], ran["values"], ran["mismatches"], ran["late"]) == (3, 3 * each, 0, 0)
    assert ran["cycles"] == ran["predicted"] == result.json["cycles_per_picture"]
    text = (folder / "net.html").read_text()
    assert f"of {3 * each:,} values of all maps and results 0 differ" in text


def test_an_engine_with_another_network_differs(session: MapSession, driver: Driver) -> None:
    """Words of other weights, and nobody who would notice but the comparison."""
    layers = list(IMAGE.network.layers)
    entries = layers[0].entries
    assert entries is not None
    layers[0] = replace(layers[0], entries=entries + 1)
    other = image_of(replace(IMAGE.network, layers=tuple(layers)), engine=ENGINE)
    found = compare(MapSession(driver, other, ENGINE), integers(1, seed=4))
    assert found.mismatches > 0 and found.late == 0
    assert compare(session, integers(1, seed=4)).mismatches == 0


def test_the_board_by_its_url() -> None:
    params, options = parse_url("sim://maps?clusters=4&stages=3&clock_hz=5")
    assert params == MapEngineParameters(clusters=4, stages=3)
    assert options == {"clock_hz": "5"}
    assert parse_engine(URL) == ENGINE == parse_url(URL)[0]
    for query, message in (
        ("clusters=65", "clusters must be an integer from 1 to 64, not 65"),
        ("passes=300", "passes must be at most 256, not 300"),
        ("stages=0", "stages must be an integer from 1 to 64, not 0"),
        ("columns=4", "unknown size 'columns'; there are clusters, stages, streams, "),
        ("clusters=16&stages=64", "a map engine of 16,384 lanes is too large to simulate here"),
    ):
        with pytest.raises(PortError, match=message):
            parse_url(f"sim://maps?{query}")


def test_networks_larger_than_the_board(driver: Driver) -> None:
    small = MapEngineParameters(row_groups=2)
    message = r"row_groups 2 .*; an engine that holds it: sim://maps"
    with pytest.raises(CapacityError, match=message):
        MapSession(driver, IMAGE, small)


def test_every_pass_by_itself(session: MapSession) -> None:
    (picture,) = integers(1, seed=11)
    wanted = convolved(IMAGE.network, picture)
    runs = list(run_by_pass(session, picture))
    found = {run.name: run.values for run in runs if run.values is not None}
    assert found.keys() == {tensor.name for tensor in IMAGE.network.tensors[1:]}
    for name, values in found.items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)
    assert [run.cycles for run in runs] == [run.predicted for run in runs]
    with pytest.raises(ImageError, match="a picture must have shape"):
        next(run_by_pass(session, picture[:, 1:]))
