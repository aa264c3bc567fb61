"""Boards on sockets, images and calls, for the tests of the command `dpnet`."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from waiting_kit import without_progress

from dpnet.gateware.registers import identity
from dpnet.host.session import segments
from dpnet.model.compile import DenseLayer, compile_fp32, compile_integer
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.image import Image, write_image
from dpnet.model.networks.digits import digits
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.peers.engine_model import VALID, EngineModel

TINY = "sim://array?stages=2&columns=4&segments=2&index_depth=512"
ENGINE = EngineParameters(stages=2, columns=4, segments=2, index_depth=512)
IDENTITY = identity(ENGINE, clock_hz=100_000_000)
LARGE = identity(EngineParameters(), clock_hz=100_000_000)

TRAIN = ["train", "--bits", "2", "--epochs-float", "4", "--epochs-cluster", "60", "--seed", "3"]


class Board:
    """An engine model on a TCP port, one connection after the other; it computes nothing.

    After `stop_after` bytes it calls `on_stop` once and is mute until the next connection; a share
    of `flip` of the bytes is damaged, both ways.
    """

    def __init__(
        self,
        registers: dict[str, int] = IDENTITY,
        *,
        stop_after: int | None = None,
        on_stop: Callable[[], None] = lambda: None,
        flip: float = 0.0,
    ) -> None:
        self.engine = EngineModel(identity=registers)
        self.engine.on_start = lambda *_: setattr(self.engine, "busy", False)
        self.stop_after, self.on_stop, self.flip = stop_after, on_stop, flip
        self.taken = self.flips = 0
        self._random = random.Random(1)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
                with connection:
                    self._talk(connection)
            except OSError:
                if self._listener.fileno() < 0:
                    return

    def _talk(self, connection: socket.socket) -> None:
        mute = False
        while data := connection.recv(4096):
            self.taken += len(data)
            if self.stop_after is not None and self.taken > self.stop_after:
                self.stop_after, mute = None, True
                self.on_stop()
            if not mute:
                connection.sendall(self._harm(self.engine.feed(self._harm(data))))

    def _harm(self, data: bytes) -> bytes:
        harmed = bytearray(data)
        for n in range(len(harmed)):
            if self._random.random() < self.flip:
                harmed[n] ^= 1 << self._random.randrange(8)
                self.flips += 1
        return bytes(harmed)

    def holds(self, image: Image, engine: EngineParameters = ENGINE) -> bool:
        """Whether every word of the image is in its place."""
        return self.engine.state == VALID and all(
            self.engine.memory.get(address // 4 + k, 0) == word
            for address, words in segments(image, engine)
            for k, word in enumerate(words.tolist())
        )

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def fp32_image(path: str = "m.dpnet", *shapes: tuple[int, int], k: int = 16) -> Image:
    rng = np.random.default_rng(0)
    image = compile_fp32(
        {
            f"m{n}": (quantize(rng.standard_normal(shape), k), shape)
            for n, shape in enumerate(shapes or [(9, 12)])
        }
    )
    write_image(image, Path(path))
    return image


def digits_image(path: str = "digits.dpnet") -> Image:
    """A linear network by least squares, small enough for the tiny engine."""
    data = digits()
    x, y = data.train_x.numpy(), np.eye(10)[data.train_y.numpy()]
    solution = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=1e-3)[0]
    layer = DenseLayer("fc", quantize(solution[:-1].T, 16), solution[-1], relu=False)
    image = compile_integer([layer], x)
    write_image(image, Path(path))
    return image


class Result:
    """What a call in this process printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Call = Callable[..., Result]


def refused(result: Result, code: int, message: str) -> None:
    """One line on stderr, nothing on stdout."""
    assert result.out == ""
    assert without_progress(result.err) == f"dpnet: {message}\n"
    assert result.code == code


def last(errors: str) -> str:
    """The last line: on a loaded machine lines of progress come before it."""
    return errors.splitlines(keepends=True)[-1]


def start(*arguments: object, stdout: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dpnet.host.cli", *map(str, arguments)],
        text=True,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
