"""The driver's runs: words, registers, runs and their errors, words that change in a store."""

import zlib

import numpy as np
import pytest
from driver_kit import VECTORS, driver_of, holds, image

from dpnet.gateware.registers import BY_NAME
from dpnet.host.driver import Driver, RunReport
from dpnet.host.errors import DeadlineError, EngineError
from dpnet.host.link import Link
from dpnet.sim.peers.engine_model import EMPTY, VALID, EngineModel
from dpnet.sim.peers.faulty import ModelTransport


def test_words_there_and_back():
    driver, line = driver_of()
    words = np.arange(-50, 950, dtype=np.int64)
    driver.write_words(VECTORS + 8, words)
    back = driver.read_words(VECTORS + 8, 1000)
    assert back.dtype == np.uint32
    assert np.array_equal(back.view(np.int32), words)
    assert line.engine.memory[(5 << 26) + 2] == 0xFFFFFFCE
    data = words.astype("<u4").tobytes()
    assert driver.check_words(VECTORS + 8, 1000) == zlib.crc32(data)


def test_runs_are_numbered():
    driver, line = driver_of(run=65534)
    driver.load(image())
    started = []
    inner = line.engine.on_start

    def on_start(*what):
        started.append(what)
        inner(*what)

    line.engine.on_start = on_start
    for _ in range(3):
        assert driver.run(2, 7) == RunReport(4321, ())
    assert started == [(65535, 2, 7, 1), (0, 2, 7, 1), (1, 2, 7, 1)]


def test_vectors_of_a_run_do_not_stay_for_the_next():
    driver, line = driver_of(vectors=200)  # as a program before this one left it
    driver.load(image())
    started = []
    inner = line.engine.on_start

    def on_start(run, *what):
        started.append(what)
        inner(run, *what)

    line.engine.on_start = on_start
    for first, last, vectors in ((3, 3, 1), (3, 3, 256), (3, 3, 256), (3, 4, 1), (5, 5, 2)):
        driver.run(first, last, vectors=vectors)
        assert line.engine.vectors == vectors
    assert started == [(3, 3, 1), (3, 3, 256), (3, 3, 256), (3, 4, 1), (5, 5, 2)]
    driver.run(3, 3)
    assert started[-1] == (3, 3, 1)


@pytest.mark.parametrize(
    "last, vectors, message",
    [
        (0, 0, "vectors must be 1 to 256, not 0"),
        (0, 257, "vectors must be 1 to 256, not 257"),
        (1, 2, "vectors must be 1 for a run of several layers, not 2"),
    ],
)
def test_vectors_have_a_range(last, vectors, message):
    driver, line = driver_of()
    with pytest.raises(ValueError) as caught:
        driver.run(0, last, vectors=vectors)
    assert str(caught.value) == message
    assert not line.traffic


def test_a_register_refuses_a_value():
    driver, line = driver_of()
    with pytest.raises(EngineError) as caught:
        driver._write_register("VECTORS", 257)
    assert str(caught.value) == (
        f"the engine refused WRITE at 0x{BY_NAME['VECTORS'].offset:08x} (BAD_VALUE): it has a "
        "register there that does not take this value"
    )
    assert line.engine.vectors == 1


def test_run_needs_an_image():
    driver, _ = driver_of()
    with pytest.raises(EngineError, match=r"\(NOT_VALID\): it holds no valid image; load one "):
        driver.run(0, 0)


@pytest.mark.parametrize("first, last", [(-1, 0), (0, 256)])
def test_layers_have_a_range(first, last):
    driver, _ = driver_of()
    with pytest.raises(ValueError, match=r"^(first|last) must be 0 to 255, not "):
        driver.run(first, last)


def test_errors_of_a_run():
    driver, line = driver_of()
    driver.load(image())
    inner = line.engine.on_start

    def on_start(*what):
        inner(*what)
        line.engine.errors = 0b0101

    line.engine.on_start = on_start
    with pytest.raises(EngineError) as caught:
        driver.run(0, 3)
    assert str(caught.value) == (
        "layers 0 to 3: nonfinite: a vector holds a NaN or an infinity; sigma: a bucket sum "
        "differs from the sum of the inputs (an upset): run again"
    )
    assert caught.value.report == RunReport(4321, ("nonfinite", "sigma"))


PARITY = 1 << 4


def test_a_stored_word_that_changed_and_the_load_that_repairs_it():
    driver, line = driver_of()
    segments = image()
    driver.load(segments)
    engine, inner = line.engine, line.engine.on_start

    def on_start(*what):
        inner(*what)
        # The parity bit itself, as it were: the word that reads back is right.
        engine.errors = PARITY

    engine.on_start = on_start
    with pytest.raises(EngineError) as caught:
        driver.run(0, 0)
    assert str(caught.value) == (
        "layers 0 to 0: parity: a stored word changed (an upset): load the image again, which "
        "sends all of it"
    )
    assert caught.value.report == RunReport(4321, ("parity",))
    engine.on_start = inner
    line.traffic.clear()
    assert driver.load(segments) is True
    assert len(line.traffic) > 4 * 5065, "not everything was sent"
    assert engine.state == VALID and holds(engine, segments)
    driver.run(0, 0)
    assert driver.load(segments) is False


def test_a_result_that_changed_before_it_was_read():
    driver, line = driver_of()
    driver.load(image())
    driver.run(0, 0)
    sent = len(line.traffic)
    driver.check_results()
    assert len(line.traffic) - sent < 20, "more than one register"
    for errors in (0b01111, 1 << 5):
        line.engine.errors = errors
        driver.check_results()
    line.engine.errors = PARITY
    with pytest.raises(EngineError) as caught:
        driver.check_results()
    assert str(caught.value) == (
        "results: parity: a word changed after it was stored (an upset): run again"
    )
    assert caught.value.report == RunReport(4321, ("parity",))


CHANGED = (
    "the image in the engine changed (an upset): load it again, which sends what changed, and run "
    "again"
)


def upset(engine, address):
    """A bit of the image turns over, and the engine's check finds it."""
    engine.memory[address] ^= 1 << 7
    engine.check_image()


def test_an_image_that_changed_is_no_image_until_it_is_loaded_again():
    driver, line = driver_of()
    segments = image(1, (5000, 64, 1))
    driver.load(segments)
    engine = line.engine
    for _ in range(3):
        engine.check_image()
    assert driver.run(0, 0) == RunReport(4321)
    assert driver.registers()["CHECKS"] == 3
    upset(engine, (1 << 26) + 3000)
    for call in (lambda: driver.run(0, 0), driver.check_results):
        with pytest.raises(EngineError) as caught:
            call()
        assert str(caught.value) == CHANGED
    values = driver.registers()
    assert (values["IMAGE_ERRORS"], values["CHECKS"], values["IMAGE_CRC"]) == (1, 4, 0)
    assert engine.run == 1
    line.traffic.clear()
    assert driver.load(segments) is True
    assert 4096 < len(line.traffic) < 6000, "more or less than the part of 1024 words that changed"
    assert engine.state == VALID and holds(engine, segments)
    assert driver.run(0, 0) == RunReport(4321)
    assert driver.load(segments) is False


def test_an_image_found_changed_during_the_wait_for_a_run():
    driver, line = driver_of()
    driver.load(image())
    inner = line.engine.on_start

    def on_start(*what):
        inner(*what)
        upset(line.engine, 1 << 26)

    line.engine.on_start = on_start
    with pytest.raises(EngineError) as caught:
        driver.run(0, 0)
    assert str(caught.value) == CHANGED


def test_another_image_after_one_that_changed():
    driver, line = driver_of()
    driver.load(image(1))
    upset(line.engine, 1 << 26)
    driver.load(image(2))
    assert holds(line.engine, image(2)) and not line.engine.changed
    driver.run(0, 0)


def test_after_a_wrong_parity_an_image_that_changed_is_sent_whole():
    driver, line = driver_of()
    segments = image()
    driver.load(segments)
    line.engine.errors = PARITY
    upset(line.engine, 1 << 26)
    line.traffic.clear()
    driver.load(segments)
    assert len(line.traffic) > 4 * 5065, "not everything was sent"
    assert holds(line.engine, segments)


def test_a_run_that_does_not_end():
    driver, line = driver_of()
    driver.load(image())
    line.run_s = 1e9
    began = line.now()
    with pytest.raises(
        DeadlineError, match=r"^run 1 \(layers 0 to 3\) is not done after 2 s and was "
    ):
        driver.run(0, 3, timeout_s=2)
    assert 2 <= line.now() - began < 2.2
    # The engine is free for the next one.
    assert not line.engine.busy and line.engine.aborted
    line.run_s = 0.01
    assert driver.run(0, 3).cycles == 4321 and not line.engine.aborted


@pytest.mark.whole
def test_a_run_is_given_the_time_that_its_clock_has():
    """What counts goes on for as long as its own clock says, however slow that is to us."""

    class Slow(ModelTransport):
        """A simulated board: a tenth of a second of its clock takes one of ours."""

        def _tick(self):
            self.engine.cycles = round((self._now - self._busy_until + self.run_s) * 5_000_000)
            super()._tick()

    for run_s, ends in ((15.0, True), (25.0, False)):
        line = Slow(EngineModel(identity={"CLOCK_HZ": 50_000_000}))
        driver = Driver(Link(line))
        driver.load(image())
        line.run_s = run_s
        began = line.now()
        if ends:
            assert driver.run(0, 3, timeout_s=2).cycles == 4321
        else:
            with pytest.raises(DeadlineError, match=r"is not done after 2 s and was told to end"):
                driver.run(0, 3, timeout_s=2)
            assert 20 <= line.now() - began < 20.2


def test_a_run_that_somebody_else_ended():
    driver, line = driver_of()
    driver.load(image())
    number = driver.start(0, 3)
    assert Driver(Link(line)).abort() is True
    with pytest.raises(EngineError, match=r"^run 1 \(x\) was ended by another program; "):
        driver.finish(number, "x", 1.0)


def test_an_engine_that_does_not_end_its_run():
    driver, line = driver_of(on_abort=lambda: None)
    driver.load(image())
    line.run_s = 1e9
    driver.start(0, 0)
    began = line.now()
    with pytest.raises(DeadlineError) as caught:
        driver.abort()
    assert str(caught.value) == ("run 1 was told to end and does not after 5 s; reset the engine")
    assert 5 <= line.now() - began < 5.1


def test_an_engine_that_is_reset_during_a_run():
    driver, line = driver_of()
    driver.load(image())
    line.engine.on_start = lambda *_: setattr(line.engine, "state", EMPTY)
    with pytest.raises(EngineError, match=r"^run 1 \(layers 0 to 0\) was lost: the engine was"):
        driver.run(0, 0)
