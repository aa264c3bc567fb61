"""Ports that die, say nothing, babble or close: every operation ends in time, with one clear line,
and leaves no thread and no file behind."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import select
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from waiting_kit import PROMPT_S

from dpnet.gateware.registers import identity
from dpnet.host.cli import main
from dpnet.host.driver import Driver
from dpnet.host.errors import DeadlineError, LinkError, PortError
from dpnet.host.link import AHEAD_BYTES, Link
from dpnet.host.link.transport import open_transport
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.peers.engine_model import EngineModel

TIMEOUT_S = 0.25
"""A port that takes nothing more is given up after 2 s; the rest is for a busy machine."""
ENGINE = EngineParameters(stages=2, columns=4, segments=2, index_depth=512)
IMAGE = [(1 << 28, np.arange(6000, dtype=np.uint32))]


class FarEnd:
    """An engine on the other end of a port, in a thread, that turns bad when it is told to.

    Modes: "good"; "mute" reads and says nothing; "deaf" does not even read; "babbling" sends random
    bytes; "closing" hangs up; each from `after` bytes of the host on.
    """

    def __init__(self) -> None:
        self.engine = EngineModel(identity=identity(ENGINE, clock_hz=100_000_000))
        self.engine.on_start = self._started
        self.runs_end = True
        self._mode, self._after = "good", 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self.url = self._open()
        self._thread.start()

    def _open(self) -> str:
        """A pseudo terminal, which is what a USB adapter looks like."""
        self._file, self._held = os.openpty()
        tty.setraw(self._held)
        os.set_blocking(self._file, False)
        return os.ttyname(self._held)

    def _accept(self) -> None:
        """Wait for the host."""

    def _hang_up(self) -> None:
        os.close(self._file)
        os.close(self._held)

    def turn(self, mode: str, after: int = 0) -> None:
        """Become bad in this way after so many bytes more."""
        self._after, self._mode = after, mode

    def end(self) -> None:
        """Hang up, and leave nothing behind."""
        self._ended.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _started(self, *_: int) -> None:
        self.engine.busy = not self.runs_end

    def _serve(self) -> None:
        noise = random.Random(1)
        with contextlib.suppress(OSError):
            self._accept()
            while not self._ended.is_set():
                bad = self._mode != "good" and self._after <= 0
                if bad and self._mode == "closing":
                    break
                if bad and self._mode == "babbling":
                    self._send(noise.randbytes(512))
                self._listen(bad)
        self._hang_up()

    def _listen(self, bad: bool) -> None:
        if bad and self._mode == "deaf":
            time.sleep(0.01)
            return
        wait_s = 0 if bad and self._mode == "babbling" else 0.01
        if not select.select([self._file], [], [], wait_s)[0]:
            return
        data = os.read(self._file, 1024)
        if not data:
            raise OSError("the host hung up")
        self._after -= len(data)
        if not bad:
            self._send(self.engine.feed(data))

    def _send(self, data: bytes) -> None:
        while data and not self._ended.is_set():
            if select.select([], [self._file], [], 0.01)[1]:
                data = data[os.write(self._file, data) :]


class TcpFarEnd(FarEnd):
    """The same behind a socket, as of a simulated board or a serial server."""

    def _open(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connection: socket.socket | None = None
        return f"socket://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while not self._ended.is_set():
            if select.select([self._listener], [], [], 0.01)[0]:
                self._connection, _ = self._listener.accept()
                self._connection.setblocking(False)
                self._file = self._connection.fileno()
                return

    def _hang_up(self) -> None:
        self._listener.close()
        if self._connection is not None:
            self._connection.close()


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """As many threads and open files afterwards as before."""
    files, threads = set(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    gc.collect()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == len(files)


@contextlib.contextmanager
def ends_in_time(*errors: type[LinkError], seconds: float = TIMEOUT_S) -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises(errors) as caught:
        yield
    assert time.monotonic() - began < seconds + PROMPT_S
    message = str(caught.value)
    assert "\n" not in message and ";" in message, "what, why, and what to do, on one line"


OPERATIONS: dict[str, Callable[[Driver], object]] = {
    "identify": lambda driver: driver.identify(),
    "load": lambda driver: driver.load(IMAGE),
    "run": lambda driver: driver.run(0, 0, TIMEOUT_S),
    "read": lambda driver: driver.read_words(1 << 28, 2000),
    "check": lambda driver: driver.check_words(1 << 28, 5),
}
ERRORS = {
    "mute": (DeadlineError,),
    "deaf": (DeadlineError, PortError),
    "babbling": (DeadlineError,),
    "closing": (PortError, DeadlineError),
}


@pytest.mark.whole
@pytest.mark.parametrize(
    "name, kind", [*((name, FarEnd) for name in OPERATIONS), ("load", TcpFarEnd)]
)
@pytest.mark.parametrize("mode", ERRORS)
def test_a_bad_port_from_the_start(name, mode, kind):
    with nothing_left():
        far = kind()
        far.turn(mode)
        port = open_transport(far.url)
        with ends_in_time(*ERRORS[mode]):
            OPERATIONS[name](Driver(Link(port, ahead_bytes=AHEAD_BYTES, timeout_s=TIMEOUT_S)))
        port.close()
        far.end()


@pytest.mark.whole
@pytest.mark.parametrize("mode", ERRORS)
@pytest.mark.parametrize("name, after", [("load", 3000), ("run", 0), ("run", 20), ("read", 60)])
def test_a_port_that_turns_bad(name, after, mode):
    with nothing_left():
        far = FarEnd()
        port = open_transport(far.url)
        driver = Driver(Link(port, ahead_bytes=AHEAD_BYTES))
        driver.identify()
        if name != "load":
            assert driver.load(IMAGE)
        far.turn(mode, after)
        driver.link.timeout_s = TIMEOUT_S
        with ends_in_time(*ERRORS[mode]):
            OPERATIONS[name](driver)
        port.close()
        far.end()


def test_a_run_that_never_ends():
    with nothing_left():
        far = FarEnd()
        far.runs_end = False
        port = open_transport(far.url)
        driver = Driver(Link(port))
        driver.load(IMAGE)
        with ends_in_time(DeadlineError):
            driver.run(0, 0, TIMEOUT_S)
        port.close()
        far.end()


def test_a_dead_port():
    with nothing_left():
        for kind in (FarEnd, TcpFarEnd):
            far = kind()
            far.end()
            with ends_in_time(PortError):
                open_transport(far.url)


@pytest.mark.parametrize("mode, after", [("mute", 0), ("babbling", 400), ("closing", 600)])
def test_bench_ends_with_exit_code_3(mode, after, capsys):
    quantize(np.eye(2), 2)  # is compiled once
    with nothing_left():
        far = FarEnd()
        far.turn(mode, after)
        began = time.monotonic()
        code = main(
            [
                "bench",
                "--port",
                far.url,
                "--baseline",
                "none",
                "--rows",
                "8",
                "--columns",
                "16",
                "--bits",
                "2",
            ]
        )
        assert time.monotonic() - began < PROMPT_S
        error = capsys.readouterr().err
        assert code == 3 and error.count("\n") == 1 and ";" in error
        far.end()


def test_a_good_port_leaves_nothing_behind_either():
    with nothing_left():
        far = FarEnd()
        port = open_transport(far.url)
        driver = Driver(Link(port, ahead_bytes=AHEAD_BYTES))
        assert driver.load(IMAGE) is True
        assert np.array_equal(driver.read_words(1 << 28, 6000), IMAGE[0][1])
        assert driver.run(0, 0).errors == ()
        port.close()
        far.end()
