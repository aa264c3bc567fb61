"""The driver against the engine model, over good and bad lines."""

import copy
import zlib

import numpy as np
import pytest
from driver_kit import driver_of, holds, image

from dpnet.gateware.registers import IDENTITY, REGISTERS
from dpnet.host.driver import Driver
from dpnet.host.errors import EngineError, PortError, ProtocolError
from dpnet.host.link import Link
from dpnet.sim.peers.engine_model import EMPTY, LOADING, VALID, EngineModel
from dpnet.sim.peers.faulty import FaultyTransport, ModelTransport


def test_identity():
    """Every constant register is an attribute; another name is none."""
    values = {name: 3 * number + 5 for number, name in enumerate(IDENTITY)}
    driver, _ = driver_of(identity=values)
    found = driver.identify()
    assert {name: getattr(found, name.lower()) for name in IDENTITY} == values
    assert (found.protocol, found.gateware) == (6, 7)
    assert found.lanes == values["STAGES"] * values["COLUMNS"] * values["SEGMENTS"]
    for name in ("stage", "STAGES", "status", "__deepcopy__"):
        with pytest.raises(AttributeError) as caught:
            getattr(found, name)
        assert str(caught.value) == f"an engine's identity has no {name!r}"
    assert copy.deepcopy(found) == found


def test_registers_by_name():
    driver, line = driver_of(nonce=77, cycles=5 << 32 | 6)
    values = driver.registers()
    assert list(values) == [register.name for register in REGISTERS]
    assert values["MAGIC"] == 0x44504E54
    assert (values["BOOT_NONCE"], values["CYCLES_LO"], values["CYCLES_HI"]) == (77, 6, 5)
    assert values["STATUS"] == line.engine.state == EMPTY


def test_register_addresses_have_no_holes():
    assert [register.offset for register in REGISTERS] == list(range(0, 4 * len(REGISTERS), 4))
    assert len({register.name for register in REGISTERS}) == len(REGISTERS)
    assert len(REGISTERS) <= 64, "all registers are one READ"


@pytest.mark.parametrize(
    "name, value, message",
    [
        (
            "MAGIC",
            0xDEAD,
            "the device is no DP-Net engine: its magic is 0x0000dead instead of "
            "0x44504e54; check the port and the bitstream",
        ),
        (
            "PROTOCOL",
            1,
            "the engine speaks protocol 1, this host 6; use the host software and the bitstream "
            "of one release",
        ),
    ],
)
def test_another_device(name, value, message):
    with pytest.raises(ProtocolError) as caught:
        driver_of(identity={name: value})[0].identify()
    assert str(caught.value) == message


def test_load_then_nothing_to_do():
    driver, line = driver_of()
    segments = image()
    steps = []
    assert driver.load(segments, lambda done, total: steps.append((done, total))) is True
    engine = line.engine
    assert holds(engine, segments) and engine.state == VALID
    data = b"".join(words.tobytes() for _, words in segments)
    assert (engine.image_crc, engine.image_words) == (zlib.crc32(data), 5065)
    assert steps[-1] == (5065, 5065)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    sent = len(line.traffic)
    assert driver.load(segments) is False
    assert Driver(Link(line)).load(list(reversed(segments))) is False
    assert len(line.traffic) - sent < 200


def test_another_image_replaces_it():
    driver, line = driver_of()
    driver.load(image(1))
    first = line.engine.epoch
    for seed in range(2, 40):
        assert driver.load(image(seed, (40, 3))) is True
        assert holds(line.engine, image(seed, (40, 3))) and line.engine.epoch != first
        first = line.engine.epoch


def test_another_image_that_has_the_same_epoch():
    driver, line = driver_of()
    driver.load(image(1))
    used = line.engine.epoch
    # As if an image with another CRC had come to the same one of 255 epochs.
    line.engine.image_crc ^= 1
    line.engine.memory = dict.fromkeys(line.engine.memory, 0)
    assert driver.load(image(1)) is True
    assert holds(line.engine, image(1))
    assert line.engine.epoch not in (0, used)


def test_same_words_elsewhere_are_another_image():
    driver, line = driver_of()
    (address, words), *_ = image(1, (40,))
    driver.load([(address, words)])
    assert driver.load([(address + 64, words)]) is True
    assert holds(line.engine, [(address + 64, words)])


def test_an_interrupted_load_goes_on():
    segments = image(3, (20_000, 500))
    size = 4 * 20_500
    line = ModelTransport()
    with pytest.raises(PortError):
        Driver(Link(FaultyTransport(line, 1, close_after=size * 3 // 4))).load(segments)
    assert line.engine.state == LOADING
    line.traffic.clear()
    steps = []
    Driver(Link(line)).load(segments, lambda done, total: steps.append((done, total)))
    assert line.engine.state == VALID and holds(line.engine, segments)
    assert len(line.traffic) < size // 2
    assert steps[-1] == (20_500, 20_500)


def test_an_interrupted_load_of_another_image_starts_again():
    line = ModelTransport()
    with pytest.raises(PortError):
        Driver(Link(FaultyTransport(line, 1, close_after=9000))).load(image(3))
    Driver(Link(line)).load(image(4))
    assert holds(line.engine, image(4)) and line.engine.state == VALID


@pytest.mark.parametrize(
    "faults",
    [
        {"flip": 1e-3},
        {"drop": 1e-3},
        {"double": 2e-3},
        {"swap": 0.3},
        {"flip": 5e-4, "drop": 5e-4, "double": 5e-4, "swap": 0.2},
    ],
    ids="-".join,
)
def test_a_load_over_a_bad_line_is_exact(faults):
    for seed in range(3):
        line = FaultyTransport(ModelTransport(), seed, **faults)
        driver = Driver(Link(line))
        driver.load(image(seed, (9000, 700)))
        assert holds(line.inner.engine, image(seed, (9000, 700)))
        assert line.inner.engine.state == VALID
        assert driver.run(0, 1).cycles == 4321
        assert line.inner.engine.run == 1, "a repeated start was a second run"
        assert line.faults > 5


def test_a_store_that_forgets_is_repaired():
    class Forgetful(EngineModel):
        """The first COMMIT finds a word upset."""

        upset = False

        def _commit(self, payload, own):
            if not self.upset:
                self.upset = True
                self.memory[(1 << 26) + 1234] ^= 1
            return super()._commit(payload, own)

    line = ModelTransport(Forgetful())
    Driver(Link(line)).load(image())
    assert line.engine.state == VALID and holds(line.engine, image())


def test_an_image_larger_than_the_engine():
    driver, line = driver_of(words={1: 4096, 2: 64, 3: 1, 4: 0, 5: 0, 6: 0})
    with pytest.raises(EngineError) as caught:
        driver.load(image())
    assert str(caught.value) == (
        "the engine refused WRITE at 0x10004000 (BAD_ADDRESS): it has nothing at this address, or "
        "not of this size; is the image for a larger one?"
    )
    assert line.engine.state == LOADING


def test_a_store_that_is_faulty():
    class Faulty(EngineModel):
        """A word that always reads as another."""

        def _crc(self, pairs, last_region):
            self.memory[(1 << 26) + 77] = 1
            return super()._crc(pairs, last_region)

    with pytest.raises(EngineError) as caught:
        Driver(Link(ModelTransport(Faulty()))).load(image())
    assert str(caught.value) == (
        "the engine does not hold what was sent (CHECK_FAILED): a store is faulty; load its "
        "bitstream again"
    )


def test_a_reset_during_a_load():
    class Reset(ModelTransport):
        """The engine loses everything after 8 KB."""

        def write(self, data):
            super().write(data)
            if len(self.traffic) > 8192 and self.engine.epoch:
                self.engine.epoch, self.engine.state = 0, EMPTY

    with pytest.raises(EngineError) as caught:
        Driver(Link(Reset())).load(image())
    assert "(STALE): it is not loading this image; was it reset" in str(caught.value)


BAD_IMAGES = [
    ([], "an image must have 1 to 31 ranges of words, not 0"),
    (
        [((1 << 28) + 8 * k, np.ones(1, np.uint32)) for k in range(32)],
        "an image must have 1 to 31 ranges of words, not 32",
    ),
    ([(5 << 28, np.ones(1, np.uint32))], "a segment must lie in regions 1 to 4, not at 0x50000000"),
    (
        [((1 << 28) + 2, np.ones(1, np.uint32))],
        "a segment must lie in regions 1 to 4, not at 0x10000002",
    ),
    (
        [(1 << 28, np.ones(4, np.uint32)), ((1 << 28) + 12, np.ones(1, np.uint32))],
        "segments must not overlap, as they do at 0x1000000c",
    ),
    (
        [((2 << 28) - 4, np.ones(2, np.uint32))],
        "a segment must end inside its region, not at 0x20000004",
    ),
    ([(1 << 28, np.ones(4))], "words must be one row of integers, not 1-d float64"),
    ([(1 << 28, np.ones((2, 2), np.uint32))], "words must be one row of integers, not 2-d uint32"),
]


@pytest.mark.parametrize("segments, message", BAD_IMAGES)
def test_images_that_are_none(segments, message):
    driver, line = driver_of()
    with pytest.raises(ValueError) as caught:
        driver.load(segments)
    assert str(caught.value) == message
    assert not line.traffic


def test_neighboring_segments_are_one_range():
    driver, line = driver_of()
    segments = [((1 << 28) + 4 * k, np.array([k], np.uint32)) for k in range(100)]
    driver.load(segments)
    assert holds(line.engine, segments) and line.engine.image_words == 100
