"""The transport over the door's registers: bytes, deadlines, errors; and the RTL of the door."""

from importlib.metadata import entry_points

import numpy as np
import pytest

from dpnet.gateware.doors import axi as door
from dpnet.gateware.registers import MAGIC
from dpnet.host.cli import main
from dpnet.host.errors import PortError
from dpnet.host.link import axi_door
from dpnet.host.link.axi import open_axi
from dpnet.host.link.axi_door import AxiTransport
from dpnet.host.link.transport import GROUP
from dpnet.host.session import Session, connect
from dpnet.model.compile import compile_fp32
from dpnet.model.engine.layout import Region
from dpnet.model.golden.network import fp32_layer
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.board.axi_board import BusError, SimulatedWords, build_axi_board, open_axi_board
from dpnet.sim.board.bytes_board import parse_url
from dpnet.sim.simulator import SimulatorError

pytestmark = pytest.mark.whole

TINY = "sim-axi://array?stages=2&columns=4&segments=2&index_depth=512"


class Door:
    """`Words` and `Clock` of a door with FIFOs of `depth` bytes, strict as a bus is.

    `engine(byte)` gives the answer to a byte of TX.  While an answer finds no room in RX, nothing
    is taken from TX.  A store that finds no room in TX, which would stop the bus, a read of TX and
    any other use of the wrong word are errors.
    """

    def __init__(self, engine=lambda byte: b"", *, depth=512, magic=MAGIC):
        self.engine, self.depth, self.magic = engine, depth, magic
        self.tx, self.rx, self.answer, self.sent = bytearray(), bytearray(), bytearray(), b""
        self.time, self.accesses, self.released, self.status = 0.0, 0, 0, None

    def __getitem__(self, index):
        self.accesses += 1
        assert self.released == 0
        self._step()
        if index == door.MAGIC_OFFSET // 4:
            return self.magic
        if index == door.RX_OFFSET // 4:
            return 1 << 31 | self.rx.pop(0) if self.rx else 0
        assert index == door.STATUS_OFFSET // 4
        room = self.depth - len(self.tx)
        return room << 16 | len(self.rx) if self.status is None else self.status

    def __setitem__(self, index, value):
        self.accesses += 1
        assert index == door.TX_OFFSET // 4 and self.released == 0
        assert len(self.tx) + 4 <= self.depth, "the bus stops"
        self.tx += value.to_bytes(4, "little")
        self._step()

    def _step(self):
        while True:
            room = self.depth - len(self.rx)
            self.rx += self.answer[:room]
            del self.answer[:room]
            if self.answer or not self.tx or self.engine is None:
                return
            byte = self.tx.pop(0)
            self.sent += bytes([byte])
            self.answer += self.engine(byte)

    def now(self):
        return self.time

    def sleep(self, seconds):
        assert seconds > 0
        self.time += seconds

    def release(self):
        self.released += 1


def transport(words):
    return AxiTransport("axi:test", words, words)


# The byte pipe


def test_the_words_are_those_of_the_door():
    offsets = (door.MAGIC_OFFSET, door.STATUS_OFFSET, door.TX_OFFSET, door.RX_OFFSET)
    words = (axi_door.MAGIC_WORD, axi_door.STATUS_WORD, axi_door.TX_WORD, axi_door.RX_WORD)
    assert [4 * word for word in words] == list(offsets)
    assert axi_door.BYTES == 1 << door.ADDRESS_BITS


@pytest.mark.parametrize("sizes", [(5,), (8,), (1, 1, 1, 1, 2), (3, 2), (600, 601, 7), (2, 2)])
def test_bytes_go_out_whole_and_in_order(rng_bytes, sizes):
    words = Door()
    port, data = transport(words), [rng_bytes(size) for size in sizes]
    for part in data[:-1]:
        port.write(part)
    port.write(data[-1] + b"\0")
    whole = b"".join(data) + b"\0"
    assert words.sent == whole + bytes(-len(whole) % 4)


@pytest.fixture
def rng_bytes():
    rng = np.random.default_rng(7)
    return lambda size: rng.integers(1, 256, size, np.uint8).tobytes()


def test_zeros_are_added_behind_a_zero_only():
    words = Door()
    port = transport(words)
    port.write(b"\1\2\3\4\5")
    assert words.sent == b"\1\2\3\4", "the fifth waits: a zero here would cut a frame"
    port.write(b"\6\0")
    assert words.sent == b"\1\2\3\4\5\6\0\0"
    port.write(b"\0\0")
    assert words.sent == b"\1\2\3\4\5\6\0\0\0\0\0\0"


def test_an_engine_that_answers_more_than_fits_does_not_stop_the_writing(rng_bytes):
    words = Door(lambda byte: bytes([byte]) * 9, depth=64)
    port, data = transport(words), rng_bytes(4096)
    port.write(data)
    received = b""
    while part := port.read(1000, 1e-3):
        assert len(part) <= 1000
        received += part
    assert received == b"".join(bytes([byte]) * 9 for byte in data)


def test_a_door_that_takes_nothing():
    words = Door(None, depth=16)
    port = transport(words)
    with pytest.raises(PortError) as caught:
        port.write(bytes(20))
    assert str(caught.value) == (
        "axi:test cannot be written: the door has taken nothing for 2 s; is the engine in reset? "
        "load its bitstream again"
    )
    assert 2.0 <= words.time < 2.1, "the deadline is that of progress"
    assert words.accesses < 50_000, "it sleeps between two looks"


def test_a_slow_door_is_no_dead_one():
    words = Door(None, depth=16)
    sleep = words.sleep

    def slow(seconds):
        sleep(seconds + 1.5)
        words.tx.clear()

    words.sleep = slow
    transport(words).write(bytes(64))
    assert words.time > 4


def test_a_read_ends_in_time():
    words = Door()
    port = transport(words)
    assert port.read(10, 0.25) == b""
    assert 0.25 <= words.time < 0.2502
    assert words.accesses < 10_000
    words.rx += b"abc"
    assert (port.read(2, 1.0), port.read(2, 0.0), port.read(2, 0.0)) == (b"ab", b"c", b"")
    assert words.time < 0.2502, "what is there is not waited for"


@pytest.mark.parametrize("status", [0xFFFFFFFF, 0x0200FFFF, 0xFFFF0000])
def test_a_status_that_is_none(status):
    words = Door()
    port = transport(words)
    words.status = status
    for use in (lambda: port.read(1, 1.0), lambda: port.write(b"\0")):
        with pytest.raises(PortError) as caught:
            use()
        assert str(caught.value) == (
            "axi:test is no door of an engine any more: its status is "
            f"0x{status:08x}; load the bitstream again"
        )


def test_bytes_that_another_program_took():
    words = Door()
    port = transport(words)
    words.status = 512 << 16 | 5
    assert port.read(10, 1e-4) == b""


def test_a_closed_port():
    words = Door()
    port = transport(words)
    port.close()
    port.close()
    assert words.released == 1
    for use in (lambda: port.read(1, 1.0), lambda: port.write(b"\0")):
        with pytest.raises(PortError, match=r"^axi:test is closed; open it again$"):
            use()


# The door in RTL


def program():
    return build_axi_board(parse_url(TINY.replace("sim-axi", "sim"))[0])


def test_the_bus_is_strict():
    words = SimulatedWords(TINY, program())
    assert words[0] == MAGIC and words[1] == 512 << 16
    for index in (slice(0, 2), 1.0, "0", True, None):
        with pytest.raises(TypeError, match=r"^an access must be of one aligned 32-bit word, not "):
            words[index]
        with pytest.raises(TypeError):
            words[index] = 0
    for index in (-1, 1024):
        with pytest.raises(ValueError, match=rf"^words of the door are 0 to 1023, not {index}$"):
            words[index]
    for value in (-1, 1 << 32, 1.5, b"abcd"):
        with pytest.raises(ValueError, match=r"^a word must be 0 to 0xffffffff, not "):
            words[2] = value
    for index in (2, 4, 1023):
        with pytest.raises(BusError, match=rf"^a read of word {index} was answered with 0x2, not "):
            words[index]
    for index in (0, 1, 3, 4, 1023):
        with pytest.raises(BusError, match=rf"^a write of word {index} was answered with 0x2, not"):
            words[index] = 1
    before = words.cycles
    assert words[1] == 512 << 16 and 2 <= words.cycles - before <= 4
    before = words.cycles
    words.sleep(1e-6)
    assert words.cycles == before + 100
    words.release()
    words.release()
    with pytest.raises(PortError, match="the simulator stopped answering"):
        words[0]


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(3)
    return compile_fp32({"w": (quantize(rng.standard_normal((11, 40)), 16), (11, 40))})


def test_the_whole_conversation(image):
    driver = connect(TINY)
    port = driver.link.transport
    assert isinstance(port, AxiTransport)
    session = Session(driver, image)
    assert (session.engine.lanes, session.engine.columns) == (16, 4)
    assert session.load() is True and session.load() is False
    rng = np.random.default_rng(4)
    for _ in range(3):
        x = rng.standard_normal(40).astype(np.float32)
        y, cycles = session.run_layer(0, x)
        np.testing.assert_array_equal(
            y.view(np.uint32), fp32_layer(image.layers[0], x).view(np.uint32)
        )
        assert cycles == session.predicted_cycles(0, 0)
    # 16 answers of 256 bytes are eight times what RX holds.
    words = rng.integers(0, 1 << 32, 4096, np.uint32)
    driver.write_words(Region.VECTOR.base, words)
    np.testing.assert_array_equal(driver.read_words(Region.VECTOR.base, 4096), words)
    assert (driver.link.retransmissions, driver.link.errors) == (0, 0)
    port.close()
    with pytest.raises(PortError, match="is closed"):
        driver.registers()


def test_a_load_that_damage_interrupts(image):
    """Bytes that are lost on the way in cost a repetition, nothing else."""
    driver = connect(TINY)
    port, lost = driver.link.transport, [0]
    write = port.write

    def lossy(data):
        if len(data) > 60 and lost[0] < 4:
            lost[0] += 1
            data = data[:50] + data[57:]
        write(data)

    port.write = lossy
    session = Session(driver, image)
    assert session.load() is True and lost[0] == 4
    assert driver.link.retransmissions >= 4
    x = np.linspace(-1, 1, 40, dtype=np.float32)
    y, _ = session.run_layer(0, x)
    np.testing.assert_array_equal(y, fp32_layer(image.layers[0], x))
    port.close()


def test_the_command_line(capfd):
    assert main(["info", "--port", TINY, "--json"]) == 0
    assert '"lanes": 16' in capfd.readouterr().out


def test_boards_that_are_none(monkeypatch):
    for url, message in {
        "sim-axi://board": "no such simulated board; use sim:// with array, lane, maps, baseline, "
        "interleaved",
        "sim-axi://array?stages=0": "stages must be an integer from 1 to 1024, not 0",
        "sim-axi://array?waves=x.vcd": "waves is for sim:// only; leave it out",
    }.items():
        with pytest.raises(PortError) as caught:
            open_axi_board(url)
        assert str(caught.value) == f"{url}: {message}"

    def nothing():
        raise SimulatorError("no simulator: none; get one")

    monkeypatch.setattr("dpnet.sim.board.axi_board.find_simulator", nothing)
    with pytest.raises(PortError, match=r"^sim-axi://: no simulator: none; get one$"):
        open_axi_board("sim-axi://")


def test_the_transports_are_installed():
    found = {entry.name: entry.load() for entry in entry_points(group=GROUP)}
    assert found["axi"] is open_axi and found["sim-axi"] is open_axi_board
