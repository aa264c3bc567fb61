"""Transports: pyserial's ports, entry points, and ports that are not there or go away."""

import os
import pty
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from waiting_kit import PROMPT_S

from dpnet.host.driver import Driver
from dpnet.host.errors import DeadlineError, PortError
from dpnet.host.link import Link
from dpnet.host.link import transport as transports
from dpnet.host.link.transport import TAKEN, SerialTransport, open_transport
from dpnet.sim.peers.engine_model import EngineModel


class Board:
    """An engine model on a TCP port of this machine; `close_after` bytes it hangs up."""

    def __init__(self, close_after=None):
        self.engine = EngineModel()
        self.engine.on_start = lambda *_: setattr(self.engine, "busy", False)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._close_after = close_after
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        connection, _ = self._listener.accept()
        taken = 0
        with connection:
            while self._close_after is None or taken < self._close_after:
                data = connection.recv(4096)
                if not data:
                    return
                taken += len(data)
                connection.sendall(self.engine.feed(data))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()


SEGMENTS = [(1 << 28, np.arange(20_000, dtype=np.uint32))]


def test_a_load_over_a_socket():
    with Board() as board:
        port = open_transport(board.url)
        driver = Driver(Link(port))
        assert driver.load(SEGMENTS) is True
        assert board.engine.image_words == 20_000
        assert np.array_equal(driver.read_words(1 << 28, 20_000), SEGMENTS[0][1])
        driver.run(0, 0)
        port.close()
        port.close()


def test_a_socket_that_hangs_up():
    with Board(close_after=30_000) as board:
        port = open_transport(board.url)
        with pytest.raises(PortError) as caught:
            Driver(Link(port)).load(SEGMENTS)
        assert str(caught.value).startswith(f"{board.url} cannot be ")
        assert "\n" not in str(caught.value)
        port.close()


def test_reads_take_what_has_come_and_end_in_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = open_transport(f"socket://127.0.0.1:{listener.getsockname()[1]}")
        far, _ = listener.accept()
        began = time.monotonic()
        assert port.read(100, 0.2) == b""
        assert 0.19 < time.monotonic() - began < PROMPT_S
        far.sendall(bytes(1000))
        time.sleep(0.1)
        began = time.monotonic()
        assert port.read(600, 10 * PROMPT_S) == bytes(600)
        assert port.read(600, 10 * PROMPT_S) == bytes(400)
        assert time.monotonic() - began < PROMPT_S
        port.close()
        far.close()


def test_a_terminal_device():
    near, far = pty.openpty()
    engine = EngineModel()
    port = open_transport(os.ttyname(far) + "?baud=115200")
    assert isinstance(port, SerialTransport)
    assert port.reply_s > 0.3, "16 frames take 0.38 s at 115200 baud"

    def serve():
        while True:
            try:
                os.write(near, engine.feed(os.read(near, 4096)))
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    driver = Driver(Link(port))
    driver.load([(1 << 28, np.arange(2000, dtype=np.uint32))])
    assert engine.image_words == 2000
    os.close(near)
    with pytest.raises(PortError, match=r"cannot be (read|written): .*; check the name, the cable"):
        for _ in range(3):
            driver.read_words(1 << 28, 1000)
    port.close()
    os.close(far)


def test_a_device_is_one_programs():
    """Neither this program nor another opens it again, and the first one's bytes stay its own."""
    near, far = pty.openpty()
    name = os.ttyname(far)
    port = open_transport(name)
    message = f"{name} is in use: another program has it open; end it first"
    with pytest.raises(PortError) as caught:
        open_transport(name + "?baud=115200")
    assert str(caught.value) == message
    call = (
        "from dpnet.host.link.transport import open_transport as o\n"
        "from dpnet.host.errors import PortError\n"
        f"try: o({name!r})\nexcept PortError as error: print(error)"
    )
    other = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    assert other.stdout == message + "\n"
    os.write(near, b"mine")
    assert port.read(4, 5.0) == b"mine"
    port.close()
    again = open_transport(name)
    again.close()
    os.close(near)
    os.close(far)


def test_a_board_that_another_client_has():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"socket://127.0.0.1:{listener.getsockname()[1]}"
        for cut in range(len(TAKEN)):
            port = open_transport(url)
            connection, _ = listener.accept()
            connection.sendall(TAKEN[:cut])
            threading.Timer(0.02, connection.sendall, [TAKEN[cut:]]).start()
            began = time.monotonic()
            with pytest.raises(PortError) as caught:
                Link(port).read(0, 4)
            assert str(caught.value) == (
                f"{url} is in use: another client has this board; end it first"
            )
            assert time.monotonic() - began < 2
            port.close()
            connection.close()


def test_loop_has_no_engine():
    port = open_transport("loop://")
    began = time.monotonic()
    with pytest.raises(DeadlineError, match=r"^no engine answers: no response to HELLO for 0.3 s"):
        Link(port, timeout_s=0.3).read(0, 4)
    assert time.monotonic() - began < PROMPT_S
    port.close()
    with pytest.raises(PortError, match=r"^loop:// cannot be written: "):
        port.write(b"x")


@pytest.mark.parametrize(
    "url",
    ["/dev/there-is-no-such-port", "socket://127.0.0.1:1", "socket://nonsense", "nonsense://x", ""],
)
def test_ports_that_are_not_there(url):
    with pytest.raises(PortError) as caught:
        open_transport(url)
    message = str(caught.value)
    assert message.startswith(f"{url} cannot be opened: ") and "\n" not in message
    assert message.endswith("that no other program has it open")


@pytest.mark.parametrize("query", ["speed=9600", "baud=fast", "baud=0", "baud=9600&x=1"])
def test_a_query_that_is_none(query):
    with pytest.raises(PortError) as caught:
        open_transport(f"/dev/ttyUSB0?{query}")
    assert str(caught.value) == (
        f"/dev/ttyUSB0?{query}: after the device only ?baud=NUMBER is understood, not ?{query}"
    )


def open_board(url):
    return ("the board of", url)


def entry_points_of(value):
    points = EntryPoints([EntryPoint("sim", value, "dpnet.transports")])
    return points.select


def test_other_schemes_are_entry_points(monkeypatch):
    monkeypatch.setattr(transports, "entry_points", entry_points_of(f"{__name__}:open_board"))
    assert open_transport("sim://array?stages=2") == ("the board of", "sim://array?stages=2")


@pytest.mark.parametrize("value", ["no_such_module_here:x", f"{__name__}:no_such_name"])
def test_an_entry_point_that_is_broken(monkeypatch, value):
    monkeypatch.setattr(transports, "entry_points", entry_points_of(value))
    with pytest.raises(PortError, match=f"^sim://: the transport {value} cannot be loaded: "):
        open_transport("sim://")
