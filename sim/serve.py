"""A simulated board on a socket, for unmodified pyserial code.

    python -m dpnet.sim.serve sim://array --port 4000
    dpnet info --port socket://127.0.0.1:4000

One client at a time, a second one is told so; the board keeps its image from one to the next.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.serve", "sim"))

import contextlib
import select
import socket
import time
from collections.abc import Callable, Sequence

import click

from dpnet.host.arguments import Command, run_module, whole
from dpnet.host.errors import PortError
from dpnet.host.link.transport import TAKEN
from dpnet.host.report import Progress
from dpnet.sim.board.bytes_board import SimTransport, open_board

_STEP_CYCLES = 2_000
_IDLE_S = 0.05
_WATCHED_STEPS = 2_000
"""Steps (4 million cycles) that a board goes on by itself after the last byte."""
_GRACE_S = 0.2
"""A client that comes while another one leaves gets the board."""
_PATIENCE_S = 10.0
"""A client that does not take its bytes, or was refused and does not go, is hung up on."""


def serve(
    transport: SimTransport, listener: socket.socket, stop: Callable[[], bool] = lambda: False
) -> None:
    """Give clients of `listener` the bytes of `transport`, until `stop()` or Ctrl-C.

    One client at a time; any other is told `TAKEN`.  Time passes while bytes come, for 4 million
    cycles after the last one, and as long as there is a request to answer, or a run while a client
    is there.  What the board says to a client that went away goes nowhere: the next one gets the
    board when it has said all.
    """
    seat = _Seat(transport)
    with _Others(listener) as others:
        while not stop():
            if seat.free:
                seat.client = others.first()
            if others.wait(seat.client, 0 if seat.awake else _IDLE_S):
                seat.hear()
            if seat.awake:
                seat.step()
        seat.leave()


class _Seat:
    """The place at the board.

    Members: `client`, who has it; `awake`, steps that the board goes on by itself.
    """

    def __init__(self, transport: SimTransport) -> None:
        self.client: socket.socket | None = None
        self.awake = 0
        self._transport = transport
        self._leaving = False

    @property
    def free(self) -> bool:
        """Whether somebody may have the board: there is nobody, and it has nothing more to say."""
        return self.client is None and not self._leaving

    def hear(self) -> None:
        """Take what the client said to the board, or that it went away."""
        assert self.client is not None
        data = _received(self.client)
        # The rest of a frame must not be the beginning of another's.
        self._transport.write(data or b"\0")
        self.awake = _WATCHED_STEPS
        if not data:
            self.leave()

    def step(self) -> None:
        """Let a little time pass, and hand on what the board says."""
        board = self._transport
        answer = board.read(65536, _STEP_CYCLES / board.clock_hz)
        if self.client is not None and answer and not _send(self.client, answer):
            self.leave()
        self._leaving = self._leaving and (board.answers or bool(answer))
        works = board.answers or self._leaving or (board.runs and self.client is not None)
        self.awake = max(self.awake - 1, int(works))

    def leave(self) -> None:
        """The client has no board any more."""
        if self.client is not None:
            self.client.close()
            self.client, self._leaving = None, True


class _Others:
    """The clients of `listener` that have no board: those that wait for a moment, and those that
    are refused, each with the time when that ends."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._waiting: dict[socket.socket, float] = {}
        self._refused: dict[socket.socket, float] = {}

    def __enter__(self) -> _Others:
        self._listener.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        for client in (*self._waiting, *self._refused):
            client.close()

    def first(self) -> socket.socket | None:
        """The client that gets the board, if one waits."""
        client = next(iter(self._waiting), None)
        if client is not None:
            del self._waiting[client]
        return client

    def wait(self, client: socket.socket | None, seconds: float) -> bool:
        """Wait for bytes of `client` (True), or for others, who are refused if it stays."""
        mine = [] if client is None else [client]
        seconds = min(seconds, _GRACE_S / 4) if self._waiting else seconds
        ready, _, _ = select.select([self._listener, *mine, *self._refused], [], [], seconds)
        now = time.monotonic()
        if self._listener in ready:
            self._accept(now + _GRACE_S)
        for other, until in list(self._waiting.items()):
            if client is not None and now >= until:
                del self._waiting[other]
                # Not hung up on: a closed connection would say that it is broken.
                if _send(other, TAKEN):
                    self._refused[other] = now + _PATIENCE_S
        for other, until in list(self._refused.items()):
            # Again: pyserial throws away what came before its port was open.
            stays = other not in ready or (_received(other) and _send(other, TAKEN))
            if not stays or now >= until:
                other.close()
                del self._refused[other]
        return client in ready

    def _accept(self, until: float) -> None:
        # One that hung up already cannot be accepted any more.
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.settimeout(_PATIENCE_S)
            self._waiting[client] = until


def _received(client: socket.socket) -> bytes:
    try:
        return client.recv(65536)
    except OSError:
        return b""


def _send(client: socket.socket, data: bytes) -> bool:
    """Whether the client took it."""
    try:
        client.sendall(data)
    except OSError:
        return False
    return True


def listen(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1; `PortError` if the port is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise PortError(
            f"127.0.0.1:{port} cannot be listened on: {error}; choose another --port"
        ) from error
    return listener


@click.command(
    cls=Command,
    help="A simulated board on a socket, for unmodified pyserial code.  One client at a time, a "
    "second one is told so; the board keeps its image from one to the next.",
    exit_codes={0: "ended by Ctrl-C", 2: "wrong usage", 3: "the board or the port failed"},
    example="python -m dpnet.sim.serve sim://array --port 4000\n"
    "dpnet info --port socket://127.0.0.1:4000",
)
@click.argument("url", default="sim://array", help="the board (default sim://array)")
@click.option(
    "--port",
    type=whole(0, 65535),
    default=4000,
    metavar="N",
    help="TCP port on 127.0.0.1, 0 for any that is free (default 4000)",
)
def _command(url: str, port: int) -> int:
    try:
        with Progress(f"opening {url}"):
            transport = open_board(url)
        listener = listen(port)
    except PortError as error:
        print(f"dpnet.sim.serve: {error}", file=sys.stderr)
        return 3
    number = listener.getsockname()[1]
    print(f"{url} listens on socket://127.0.0.1:{number} (Ctrl-C ends it)", flush=True)
    try:
        serve(transport, listener)
    except KeyboardInterrupt:
        pass
    except PortError as error:
        print(f"dpnet.sim.serve: {error}", file=sys.stderr)
        return 3
    finally:
        listener.close()
        transport.close()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 after Ctrl-C, 2 for wrong usage, 3 if board or port failed."""
    return run_module(_command, "sim.serve", arguments)
