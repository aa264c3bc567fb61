"""Loads beside power cuts, ports that go, hosts that are killed, noise, and other programs."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dpnet.gateware.registers import BY_NAME, Operation, State, Status
from dpnet.host.driver import Driver, register_word
from dpnet.host.errors import LinkError
from dpnet.host.link import AHEAD_BYTES, Link
from dpnet.host.link.transport import Transport
from dpnet.host.session import Session, segments
from dpnet.model.compile import DenseLayer, compile_integer
from dpnet.model.golden.network import integer_network
from dpnet.model.image import Image
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.peers.faulty import FaultyTransport
from dpnet.sim.soak.board import (
    ENGINE,
    Accident,
    FragileLine,
    HostGone,
    PowerBoard,
    board_program,
)
from dpnet.sim.soak.cells import Cell, Counts, host_digest

IMAGES = 12
CHUNK = 500
"""Loads of a cell: some 20 seconds."""
PROMISES = ("wrong_loads", "wrong_runs", "stuck")
"""Counts that must be 0: loads that reported success and are not exact; results of a partial or
another image; loads without any accident that failed."""

_KINDS = ("power", "unplugged", "port", "host")
_POLLS = 500
"""Reads of all registers, some 500 cycles each; the longest run takes 2,000."""


@dataclass(frozen=True)
class Known:
    """An image, its words as they belong into the stores, inputs, and what golden says of them."""

    image: Image
    parts: list[tuple[int, NDArray[np.uint32]]]
    inputs: list[NDArray[np.int64]]
    golden: list[list[NDArray[np.int64]]]

    @property
    def count(self) -> int:
        return sum(len(words) for _, words in self.parts)

    @property
    def crc(self) -> int:
        return zlib.crc32(b"".join(words.tobytes() for _, words in self.parts))


def random_network(rng: np.random.Generator) -> Known:
    """One to three layers for `ENGINE`."""
    sizes = rng.integers(3, 40, rng.integers(2, 5))
    layers = [
        DenseLayer(
            f"layer{n}",
            quantize(rng.standard_normal((rows, columns)), int(rng.integers(2, 17))),
            rng.standard_normal(rows),
            relu=n < len(sizes) - 2,
        )
        for n, (columns, rows) in enumerate(pairwise(sizes.tolist()))
    ]
    image = compile_integer(layers, rng.standard_normal((20, int(sizes[0]))))
    inputs = list(image.quantize_input(rng.standard_normal((3, int(sizes[0])))))
    parts = sorted(segments(image, ENGINE), key=lambda part: part[0])
    return Known(image, parts, inputs, [integer_network(image, x) for x in inputs])


class Storm:
    """Loads of random images into one board, one after the other; `counts` of what became of them.

    After each of them the board is looked at through a line that nothing befalls.
    """

    def __init__(self, board: PowerBoard, seed: int) -> None:
        self.board = board
        self.rng = np.random.default_rng([seed, 4])
        self.known = [random_network(self.rng) for _ in range(IMAGES)]
        self.counts: Counter[str] = Counter(
            dict.fromkeys(
                (
                    "loads",
                    "loads_done",
                    "loads_broken",
                    "runs",
                    "runs_broken",
                    "starts_refused",
                    "starts_accepted",
                    "noisy",
                    *_KINDS,
                    *PROMISES,
                ),
                0,
            )
        )
        self._last = self.known[0]

    def load(self) -> None:
        """One load, and what follows from how it ends."""
        rng = self.rng
        known = self._last if rng.random() < 0.3 else self.known[rng.integers(IMAGES)]
        self._last = known
        calm = rng.random() < 0.4
        accident = None if calm else self._accident(6 * known.count)
        line = FragileLine(self.board, accident)
        noisy = rng.random() < 0.2
        session, done = None, False
        self.counts["loads"] += 1
        self.counts["noisy"] += noisy
        try:
            session = Session(_driver(self._noise(line) if noisy else line), known.image)
            session.load()
            done = True
        except (LinkError, HostGone):
            self.counts["stuck"] += not line.happened
        self._count(accident, line)
        line.arm(None)
        self.counts["loads_done" if done else "loads_broken"] += 1
        if not done or session is None:
            self._probe()
        elif line.happened and not line.gone:
            # The power went while the load ended, or after it: what it said holds for before.
            self._probe()
        else:
            self.counts["wrong_loads"] += not self._holds(known)
            if rng.random() < 0.4 and not line.gone:
                self._run(session, known, line)

    def _run(self, session: Session, known: Known, line: FragileLine) -> None:
        """A run in the session that loaded, while things happen."""
        rng, n = self.rng, int(self.rng.integers(len(known.inputs)))
        self.counts["runs"] += 1
        accident, other = None, None
        if rng.random() < 0.25:
            other = self.known[rng.integers(IMAGES)]
            Session(_driver(FragileLine(self.board)), other.image).load()
            self._last = other
        else:
            accident = self._accident(2000)
            line.arm(accident)
        try:
            found, _ = session.run_network(known.inputs[n])
        except (LinkError, HostGone):
            self.counts["runs_broken"] += 1
            self.counts["stuck"] += not line.happened and other is None
        else:
            right = all(map(np.array_equal, found, known.golden[n]))
            self.counts["wrong_runs"] += not right
        self._count(accident, line)
        line.arm(None)
        self._probe()

    def _probe(self) -> None:
        """Start a run without asking: refused, or the engine holds all of an image."""
        driver = _driver(FragileLine(self.board))
        values = self._when_idle(driver)
        state = BY_NAME["STATUS"].field("state").of(values["STATUS"])
        word = register_word("START", run=(values["RUN"] + 1) & 0xFFFF, first=0, last=0)
        answer = driver.link.request(
            Operation.WRITE,
            BY_NAME["START"].offset,
            word.to_bytes(4, "little"),
            accept=(Status.NOT_VALID,),
        )
        if answer.flags == Status.NOT_VALID:
            self.counts["starts_refused"] += 1
            self.counts["wrong_runs"] += state == State.VALID
            return
        self.counts["starts_accepted"] += 1
        self._when_idle(driver)
        held = [known for known in self.known if known.crc == values["IMAGE_CRC"]]
        self.counts["wrong_runs"] += not held or not self._holds(held[0])

    def _holds(self, known: Known) -> bool:
        """Whether the engine holds exactly this image: CRC, every word, a product."""
        driver = _driver(FragileLine(self.board))
        values = driver.registers()
        state = BY_NAME["STATUS"].field("state").of(values["STATUS"])
        if (state, values["IMAGE_CRC"], values["IMAGE_WORDS"]) != (
            State.VALID,
            known.crc,
            known.count,
        ):
            return False
        for address, words in known.parts:
            if not np.array_equal(driver.read_words(address, len(words)), words):
                return False
        n = int(self.rng.integers(len(known.inputs)))
        try:
            found, _ = Session(driver, known.image).run_network(known.inputs[n])
        except LinkError:
            return False
        return all(map(np.array_equal, found, known.golden[n]))

    def _when_idle(self, driver: Driver) -> dict[str, int]:
        """All registers after the end of a run; one that does not end is cut off and counted."""
        for _ in range(_POLLS):
            values = driver.registers()
            if not BY_NAME["STATUS"].field("busy").of(values["STATUS"]):
                return values
        self.counts["wrong_runs"] += 1
        self.board.power_cut(forget=False)
        return _driver(FragileLine(self.board)).registers()

    def _accident(self, cycles: int) -> Accident:
        rng = self.rng
        return Accident(
            str(rng.choice(_KINDS)),
            int(rng.integers(0, cycles)),
            forget=bool(rng.random() < 0.3),
            seed=int(rng.integers(1 << 24)),
        )

    def _count(self, accident: Accident | None, line: FragileLine) -> None:
        if accident is not None and line.happened:
            self.counts[accident.kind] += 1

    def _noise(self, line: FragileLine) -> Transport:
        return FaultyTransport(
            line, int(self.rng.integers(1 << 30)), flip=5e-4, drop=3e-4, double=2e-4, swap=0.05
        )


def _driver(line: Transport) -> Driver:
    return Driver(Link(line, ahead_bytes=AHEAD_BYTES))


def storm(loads: int, seed: int) -> Counts:
    """The counts of so many loads into a fresh board."""
    board = PowerBoard()
    try:
        weather = Storm(board, seed)
        for _ in range(loads):
            weather.load()
        return dict(weather.counts)
    finally:
        board.close()


def cells(loads: int, seed: int) -> list[Cell]:
    """`loads` in cells of `CHUNK`."""
    key = (board_program().parent.name, host_digest(), str(seed))
    sizes = [min(CHUNK, loads - at) for at in range(0, loads, CHUNK)]
    return [
        Cell(
            "loads",
            f"{n * CHUNK:,} to {n * CHUNK + size:,}",
            (*key, str(size)),
            partial(storm, size, 1000 * seed + n),
        )
        for n, size in enumerate(sizes)
    ]
