"""The socket of a simulated board: one client at a time, a clock that goes on, no leftovers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import pytest

from dpnet.host.errors import PortError
from dpnet.host.link import Link
from dpnet.host.link.transport import TAKEN, Transport, open_transport
from dpnet.sim import serve as served
from dpnet.sim.peers.engine_model import EngineModel, stuff
from dpnet.sim.serve import listen, serve

MAGIC = b"TNPD"


class Board:
    """What `serve` asks of a simulated board: an engine model whose answers take `steps` steps, and
    do not come while it is `held`."""

    clock_hz = 100_000_000

    def __init__(self, steps: int = 1) -> None:
        self.engine = EngineModel()
        self.steps, self.held = steps, False
        self.answers = self.runs = False
        self.taken = bytearray()
        self.ran = 0
        self._answer, self._left = b"", 0

    def write(self, data: bytes) -> None:
        self.taken += data
        answer = self.engine.feed(data)
        if answer:
            self._answer += answer
            self._left = self.steps

    def read(self, limit: int, timeout_s: float) -> bytes:
        self.ran += 1
        if not self.held:
            self._left = max(0, self._left - 1)
        self.answers = self._left > 0
        if self.answers:
            return b""
        answer, self._answer = self._answer, b""
        return answer


@contextlib.contextmanager
def serving(board: Board) -> Iterator[str]:
    listener, ended = listen(0), threading.Event()
    thread = threading.Thread(target=serve, args=(board, listener, ended.is_set))
    thread.start()
    try:
        yield f"socket://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


def connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("socket://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def heard(client: socket.socket, wanted: bytes) -> bytes:
    """What comes until `wanted` did, or nothing more."""
    data = b""
    while wanted not in data:
        more = client.recv(4096)
        if not more:
            break
        data += more
    return data


def until(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.005)


def test_a_second_client_is_told_at_once_and_the_first_goes_on() -> None:
    with serving(Board()) as url:
        first = open_transport(url)
        link = Link(first)
        assert link.read(0, 4) == MAGIC
        for _ in range(3):
            second = open_transport(url)
            began = time.monotonic()
            with pytest.raises(PortError) as caught:
                Link(second).read(0, 4)
            assert str(caught.value) == (
                f"{url} is in use: another client has this board; end it first"
            )
            assert time.monotonic() - began < 5
            assert link.read(0, 4) == MAGIC
            second.close()
        # One that does not even listen is in nobody's way.
        silent = connected(url)
        assert heard(silent, TAKEN) == TAKEN
        assert link.read(0, 4) == MAGIC
        silent.close()
        first.close()
        third = open_transport(url)
        until(lambda: _reads_magic(third))
        third.close()


def _reads_magic(port: Transport) -> bool:
    return Link(port).read(0, 4) == MAGIC


def test_the_command_says_it_in_one_line() -> None:
    with serving(Board()) as url:
        first = open_transport(url)
        assert Link(first).read(0, 4) == MAGIC
        done = subprocess.run(
            [sys.executable, "-m", "dpnet.host.cli", "info", "--port", url],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 3
        assert done.stderr == (
            f"dpnet: {url} is in use: another client has this board; end it first\n"
        )
        assert Link(first).read(0, 4) == MAGIC
        first.close()


def test_the_clock_goes_on_until_a_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "_WATCHED_STEPS", 50)
    board = Board(steps=400)
    with serving(board) as url:
        client = connected(url)
        client.sendall(_request())
        assert MAGIC in heard(client, MAGIC)
        assert board.ran >= 400
        client.close()


def test_the_clock_goes_on_while_a_run_is_on_and_somebody_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(served, "_WATCHED_STEPS", 50)
    monkeypatch.setattr(served, "_IDLE_S", 0.01)
    board = Board()
    with serving(board) as url:
        client = connected(url)
        board.runs = True
        client.sendall(_request())
        assert MAGIC in heard(client, MAGIC)
        until(lambda: board.ran > 1000)
        client.close()
        until(lambda: _rests(board))
        board.runs = False


def _rests(board: Board) -> bool:
    before = board.ran
    time.sleep(0.05)
    return board.ran == before


def test_what_was_for_one_client_never_reaches_the_next() -> None:
    """It leaves in the middle of a request, and of its answer."""
    board = Board()
    with serving(board) as url:
        for _ in range(5):
            board.held = True
            client = connected(url)
            client.sendall(_request() + _request()[:9])
            until(lambda: board.answers)
            client.close()
            # At once, before the board has said all.
            following = connected(url)
            following.sendall(b"\0" + _request(txid=77))
            board.held = False
            answer = heard(following, MAGIC)
            assert answer.count(MAGIC) == 1 and answer.startswith(b"\0\x03\xe1\x4d")
            following.close()
        assert board.engine.frame_errors == 5, "what was cut off is no frame of the next"


def _request(txid: int = 5) -> bytes:
    """A READ of MAGIC, by hand."""
    head = bytes([0x61, txid, 0, 0, 0, 0, 0, 0, 4, 0])
    return b"\0" + stuff(head + zlib.crc32(head).to_bytes(4, "little")) + b"\0"
