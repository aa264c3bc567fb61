"""A simulated board on a socket, for unmodified pyserial code.

    python -m dpnet.sim.serve sim://array --port 4000
    dpnet info --port socket://127.0.0.1:4000

One client at a time; the board keeps its image from one to the next.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.serve", "sim"))

import select
import socket
from collections.abc import Callable, Sequence

import click

from dpnet.host.arguments import Command, run_module, whole
from dpnet.host.errors import PortError
from dpnet.host.report import Progress
from dpnet.sim.board.bytes_board import CLOCK_HZ, SimTransport, open_board

_STEP_CYCLES = 2_000
_IDLE_S = 0.05
_WATCHED_STEPS = 2_000
"""Steps (4 million cycles) that a board goes on by itself after the last byte, to end a run."""


def serve(
    transport: SimTransport, listener: socket.socket, stop: Callable[[], bool] = lambda: False
) -> None:
    """Give clients of `listener` the bytes of `transport`, until `stop()` or Ctrl-C.

    Time passes while bytes come, and for 4 million cycles after the last one; then the board sleeps
    until there is something to do.
    """
    listener.settimeout(_IDLE_S)
    while not stop():
        try:
            client, _ = listener.accept()
        except TimeoutError:
            continue
        with client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _serve_client(transport, client, stop)


def _serve_client(transport: SimTransport, client: socket.socket, stop: Callable[[], bool]) -> None:
    awake = 0
    while not stop():
        ready, _, _ = select.select([client], [], [], 0 if awake else _IDLE_S)
        try:
            if ready:
                data = client.recv(65536)
                if not data:
                    return
                transport.write(data)
                awake = _WATCHED_STEPS
            if awake:
                awake -= 1
                answer = transport.read(65536, _STEP_CYCLES / CLOCK_HZ)
                if answer:
                    client.sendall(answer)
        except (ConnectionError, TimeoutError):
            return


def listen(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1; `PortError` if the port is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(1)
    except (OSError, OverflowError) as error:
        listener.close()
        raise PortError(
            f"127.0.0.1:{port} cannot be listened on: {error}; choose another --port"
        ) from error
    return listener


@click.command(
    cls=Command,
    help="A simulated board on a socket, for unmodified pyserial code.  One client at a time; the "
    "board keeps its image from one to the next.",
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
