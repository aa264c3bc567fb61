"""The simulated board: its URLs, its clock, and its socket for unmodified pyserial code."""

import gc
import subprocess
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
import serial
from waiting_kit import PATIENCE_S, PROMPT_S

from dpnet.gateware.array.adder_tree import AdderTree
from dpnet.gateware.emit import emit
from dpnet.host.errors import PortError
from dpnet.host.session import Session, connect
from dpnet.model.compile import compile_fp32
from dpnet.model.engine.baseline import BaselineParameters, InterleavedParameters
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.golden.network import fp32_layer
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.board.bytes_board import open_board, parse_url
from dpnet.sim.serve import listen, serve

SMALL = "sim://array?stages=2&columns=4&segments=2&index_depth=512"


def test_urls_name_boards_and_sizes():
    assert parse_url("sim://")[0] == EngineParameters()
    assert parse_url("sim://array?stages=3&storage=distributed")[0] == EngineParameters(
        stages=3, storage="distributed"
    )
    assert parse_url("sim://?edges=fp32&result_slots=512&row_beats=32&bank=8&dsp_columns=3")[
        0
    ] == EngineParameters(edges="fp32", result_slots=512, row_beats=32, bank=8, dsp_columns=3)
    assert parse_url("sim://lane")[0].lanes == 1
    assert parse_url("sim://baseline?rows=5")[0] == BaselineParameters(rows=5)
    assert parse_url("sim://interleaved?rows=5")[0] == InterleavedParameters(rows=5)


@pytest.mark.parametrize(
    "url, message",
    [
        (
            "sim://board",
            "no such simulated board; use sim:// with array, lane, maps, baseline, interleaved",
        ),
        ("sim://array?lanes=7", "unknown size 'lanes'"),
        ("sim://array?stages=many", "stages must be a whole number, not 'many'"),
        ("sim://array?stages=0", "stages must be an integer from 1 to 1024, not 0"),
        ("sim://array?stages=1024", "an array of 32,768 lanes is too large to simulate here"),
        ("sim://array?index_depth=16777216", "index stores of 2,147 MB are too large"),
        ("sim://array?storage=tape", "storage must be 'block' or 'distributed', not 'tape'"),
        ("sim://array?edges=none", "edges must be one of both, fp32, integer, not 'none'"),
        ("sim://array?dsp_columns=17", "dsp_columns must be an integer from 0 to 16, not 17"),
        ("sim://array?max_columns=99999", "max_columns must be an integer from 1 to 4096"),
    ],
)
def test_wrong_urls_are_one_line(url, message):
    with pytest.raises(PortError) as caught:
        parse_url(url)
    assert str(caught.value).startswith(url)
    assert message in str(caught.value)


def test_a_board_that_is_asked_for_its_size_warns_of_nothing():
    """Amaranth warns of what is dropped once anything has been elaborated."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parse_url("sim://maps?clusters=2&stages=1")
        emit(AdderTree(inputs=2, bits=4))
        gc.collect()
    assert not caught


def test_time_passes_only_when_asked():
    board = open_board(SMALL)
    before = board.cycles
    board.write(b"\0")
    assert board.cycles == before
    board.sleep(1e-5)
    assert board.cycles == before + 1000
    assert board.read(10, 1e-6) == b""
    assert board.cycles == before + 1100
    board.close()
    board.close()
    with pytest.raises(PortError, match="the simulator stopped answering"):
        board.sleep(1e-6)


@pytest.fixture
def port():
    """A board that listens; the test may connect as often as it likes, one client at a time."""
    board, listener, ended = open_board(SMALL), listen(0), threading.Event()
    thread = threading.Thread(target=serve, args=(board, listener, ended.is_set))
    thread.start()
    yield listener.getsockname()[1]
    ended.set()
    thread.join(20)
    listener.close()
    board.close()
    assert not thread.is_alive()


def test_plain_pyserial_reads_the_magic_register(port):
    # A READ of four bytes at 0, built by hand: header, CRC-32, COBS between zeros.
    header = bytes([0x61, 7, 0, 1]) + (0).to_bytes(4, "little") + (4).to_bytes(2, "little")
    raw = header + zlib.crc32(header).to_bytes(4, "little")
    blocks = raw.split(b"\0")
    line = b"\0" + b"".join(bytes([len(block) + 1]) + block for block in blocks) + b"\0"
    with serial.serial_for_url(f"socket://127.0.0.1:{port}", timeout=PROMPT_S) as device:
        device.write(line)
        assert device.read(1) == b"\0"
        answer = device.read_until(b"\0")[:-1]
    decoded, at = b"", 0
    while at < len(answer):
        code = answer[at]
        decoded += answer[at + 1 : at + code] + (b"\0" if code < 255 else b"")
        at += code
    decoded = decoded[:-1]
    assert decoded[:2] == bytes([0xE1, 7])
    assert decoded[10:14] == (0x44504E54).to_bytes(4, "little")
    assert zlib.crc32(decoded[:-4]) == int.from_bytes(decoded[-4:], "little")


def test_the_driver_works_over_the_socket_and_the_image_stays(port):
    rng = np.random.default_rng(3)
    image = compile_fp32({"w": (quantize(rng.standard_normal((11, 40)), 16), (11, 40))})
    x = rng.standard_normal(40).astype(np.float32)
    for first in (True, False):
        driver = connect(f"socket://127.0.0.1:{port}")
        session = Session(driver, image)
        assert session.load() is first
        y, cycles = session.run_layer(0, x)
        np.testing.assert_array_equal(y, fp32_layer(image.layers[0], x))
        assert cycles == session.predicted_cycles(0, 0)
        driver.link.transport.close()


@pytest.mark.whole
def test_a_taken_port_is_one_line_and_exit_code_3():
    taken = listen(0)
    number = str(taken.getsockname()[1])
    done = subprocess.run(
        [sys.executable, "-m", "dpnet.sim.serve", SMALL, "--port", number],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    taken.close()
    assert done.returncode == 3
    assert done.stderr.startswith(f"dpnet.sim.serve: 127.0.0.1:{number} cannot be listened on")
    assert done.stderr.count("\n") == 1
