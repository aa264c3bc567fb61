"""How much of a serial line's rate a load uses, behind an adapter of 16 ms, in simulated time."""

from __future__ import annotations

from functools import partial

import numpy as np

from dpnet.gateware.registers import Region
from dpnet.host.driver import Driver
from dpnet.host.link import AHEAD_BYTES, Link
from dpnet.sim.soak.board import PowerBoard, board_program
from dpnet.sim.soak.cells import Cell, Counts, host_digest
from dpnet.sim.soak.line import SlowLine

BAUD = 3_000_000
LATENCY_S = 0.016
WORDS = 122_880
"""480 KB of the 512 KB of the board's index stores."""
RATES = (0.0, 1e-3)
LEAST = {0.0: 0.85, 1e-3: 0.70}
"""What the host promises, as a share of the line's bytes."""
ROUNDS = 3


def line_rate(board: PowerBoard, error_rate: float, ticks: bool, seed: int, words: int) -> float:
    """Bytes of the image over the bytes that the line could carry during the whole load, from its
    first request to the answer to its COMMIT."""
    rng = np.random.default_rng([seed, 3])
    image = rng.integers(0, 1 << 32, words, dtype=np.uint32)
    board.power_cut(forget=False)
    line = SlowLine(
        board, baud=BAUD, latency_s=LATENCY_S, ticks=ticks, error_rate=error_rate, seed=seed
    )
    driver = Driver(Link(line, ahead_bytes=AHEAD_BYTES))
    driver.identify()
    began = line.now()
    if not driver.load([(Region.INDEX.base, image)]):
        raise AssertionError("an engine after a reset holds no image")
    return image.nbytes * line.byte_s / (line.now() - began)


def _cell(error_rate: float, ticks: bool, seed: int) -> Counts:
    board = PowerBoard()
    try:
        return {"line_rate": line_rate(board, error_rate, ticks, seed, WORDS)}
    finally:
        board.close()


def cells(seed: int) -> list[Cell]:
    """Each rate of errors behind an adapter that holds every byte for 16 ms, and behind one that
    hands on all 16 ms what it has; `ROUNDS` times."""
    key = (board_program().parent.name, host_digest(), str(seed), str(WORDS))
    return [
        Cell(
            "rates",
            f"{rate:g} {'ticks' if ticks else 'delay'} {n}",
            key,
            partial(_cell, rate, ticks, 1000 * seed + n),
        )
        for rate in RATES
        for ticks in (False, True)
        for n in range(ROUNDS)
    ]
