"""Tiles that are sent while the engine computes: in time, in their places, whatever happens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dpnet.host.driver import Driver, RunReport
from dpnet.host.errors import DeadlineError, EngineError, PortError
from dpnet.host.link import Link
from dpnet.host.placement import LayerTiles, place_layers, segments
from dpnet.host.stream import run_streamed
from dpnet.model.compile import compile_fp32
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.kit.streaming import CYCLES_PER_S, StreamingTransport
from dpnet.sim.peers.engine_model import EngineModel
from dpnet.sim.peers.faulty import FaultyTransport

ENGINE = EngineParameters(stages=2, columns=4, segments=2)
TILES = 7
TILE_BYTES = 4 * (25 * 4 + 2 * 4 * 16 + 2 * 4 * 4)
"""Of indices, codebooks and row parameters: 25 words of two beats in 2 stages and 2 segments."""


def tiles_of(ring: int) -> tuple[list[tuple[int, np.ndarray]], LayerTiles]:
    """What an engine holds of a matrix whose tiles of 50 index rows are streamed, and its tiles."""
    shape = (8 * TILES - 3, 100)
    weights = np.random.default_rng(0).standard_normal(shape)
    image = compile_fp32({"m": (quantize(weights, 16), shape)})
    engine = replace(ENGINE, index_depth=50 * ring)
    (placement,) = place_layers(image, engine)
    assert (placement.tiles, placement.descriptor.tiles) == (TILES, ring)
    return segments(image, engine), LayerTiles(placement, engine)


def line_of(ring: int, **options: float) -> tuple[StreamingTransport, LayerTiles]:
    """An engine that holds the matrix; it looks whether every tile is what it should be."""
    held, tiles = tiles_of(ring)
    line = StreamingTransport(EngineModel(), count=TILES, expected=tiles.words, **options)
    Driver(Link(line)).load(held)
    return line, tiles


def check(line: StreamingTransport, report: RunReport, run: int = -1) -> None:
    assert line.runs[run] == list(range(TILES)) and not line.wrong
    assert (report.sent_bytes, report.errors) == (TILES * TILE_BYTES, ())
    computing = TILES * line.tile_s * CYCLES_PER_S
    assert report.cycles - report.stalled == pytest.approx(computing, abs=2)


@pytest.mark.parametrize("tile_s", [1e-5, 0.004, 0.3])
@pytest.mark.parametrize("ring", [1, 2, 3, TILES - 1])
def test_every_tile_is_there_while_it_is_computed(ring: int, tile_s: float) -> None:
    line, tiles = line_of(ring, tile_s=tile_s, byte_s=1e-5, reply_s=0.1)
    driver = Driver(Link(line))
    steps: list[tuple[int, int]] = []
    report = run_streamed(driver, 0, tiles, 5.0, lambda done, total: steps.append((done, total)))
    check(line, report)
    assert steps == [(n + 1, TILES) for n in range(TILES)]
    check(line, run_streamed(driver, 0, tiles, 5.0))
    assert len(line.runs) == line.engine.run == 2


def test_tiles_travel_while_others_are_computed() -> None:
    """Two places: the longer of transfer and computing, not their sum."""
    transfer_s, stalled = 1e-5 * TILE_BYTES, {}
    for ring in (1, 2):
        line, tiles = line_of(ring, tile_s=1.5 * transfer_s, byte_s=1e-5, reply_s=0.1)
        report = run_streamed(Driver(Link(line)), 0, tiles, 1.0)
        stalled[ring] = report.stalled / CYCLES_PER_S / transfer_s
    # With one place there are also the looks at whether it is free.
    assert TILES < stalled[1] < 2.5 * TILES
    assert 1 < stalled[2] < 1.5


def test_the_window_stays_full_from_tile_to_tile() -> None:
    """Answers take long: a tile of 6 frames costs as much as one, the release of the tile before it
    and the look at the places included."""
    line, tiles = line_of(2, tile_s=1e-6, byte_s=1e-8, delay_s=0.01, reply_s=0.1)
    began = line.now()
    check(line, run_streamed(Driver(Link(line)), 0, tiles, 1.0))
    # The first request of a link, registers twice, start; the tiles; the last release, the end.
    assert 13 <= (line.now() - began) / 0.01 < 13.1
    assert TILES == 7


@pytest.mark.parametrize(
    "faults",
    [
        {"flip": 1e-3},
        {"drop": 1e-3},
        {"double": 2e-3},
        {"swap": 0.3},
        {"flip": 5e-4, "drop": 5e-4, "double": 5e-4, "swap": 0.2},
    ],
    ids="-".join,
)
@pytest.mark.parametrize("ring", [1, 2, 3])
def test_a_bad_line_changes_nothing(ring: int, faults: dict[str, float]) -> None:
    for seed in range(3):
        line, tiles = line_of(ring, tile_s=0.002, byte_s=1e-6)
        bad = FaultyTransport(line, seed, **faults)
        check(line, run_streamed(Driver(Link(bad)), 0, tiles, 1.0))
        assert bad.faults > 5 and line.engine.run == 1


@pytest.mark.parametrize("at", [0, 1, 3, TILES - 1])
@pytest.mark.parametrize("ring", [1, 3])
def test_an_interrupted_run_leaves_an_engine_that_runs(ring: int, at: int) -> None:
    line, tiles = line_of(ring, tile_s=0.01, byte_s=1e-6)
    driver = Driver(Link(line))

    def stop(done: int, total: int) -> None:
        if done == at + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_streamed(driver, 0, tiles, 1.0, stop)
    assert not line.engine.busy
    line.wrong.clear()
    check(line, run_streamed(driver, 0, tiles, 1.0))


@pytest.mark.parametrize("after", [200, 900, 3000, 5000])
@pytest.mark.parametrize("ring", [1, 2])
def test_a_port_that_closes_leaves_an_engine_for_the_next_session(ring: int, after: int) -> None:
    line, tiles = line_of(ring, tile_s=0.001, byte_s=1e-6)
    with pytest.raises(PortError):
        run_streamed(Driver(Link(FaultyTransport(line, 1, close_after=after))), 0, tiles, 1.0)
    assert line.engine.busy and line.engine.tiles < TILES
    driver, began = Driver(Link(line)), line.now()
    driver.abort()
    assert not line.engine.busy and line.now() - began < 1.0
    line.wrong.clear()
    check(line, run_streamed(driver, 0, tiles, 1.0))


@pytest.mark.parametrize("later_s", [0.0, 0.7])
def test_a_load_ends_the_run_that_is_on(later_s: float) -> None:
    """One that computes, and one that waits for tiles which nobody sends."""
    line, tiles = line_of(2, tile_s=0.6)
    driver = Driver(Link(line))
    assert driver.abort() is False
    number = driver.start(0, 0)
    for at, words in tiles.words(0):
        data = words.tobytes()
        parts = [(at + n, data[n : n + 256]) for n in range(0, len(data), 256)]
        driver.link.write_many(parts, epoch=line.engine.epoch, flags=2)
    driver.release(number, 1)
    line.sleep(later_s)
    driver = Driver(Link(line))
    assert driver.load(tiles_of(2)[0]) is False
    assert not line.engine.busy and line.engine.aborted
    with pytest.raises(EngineError, match=r"^run 1 \(layer 0\) was ended by another program"):
        driver.finish(number, "layer 0", 1.0)
    line.wrong.clear()
    line.tile_s = 0.01
    check(line, run_streamed(driver, 0, tiles, 1.0))
    assert not line.engine.aborted


def test_a_tile_that_does_not_end() -> None:
    line, tiles = line_of(2, tile_s=100.0)
    began = line.now()
    with pytest.raises(DeadlineError) as caught:
        run_streamed(Driver(Link(line)), 0, tiles, 0.5)
    assert str(caught.value) == (
        "run 1: tile 0 is not done after 0.5 s; allow more, or reset the engine"
    )
    assert line.now() - began < 7.0


def test_an_engine_that_is_reset() -> None:
    line, tiles = line_of(1, tile_s=0.001)

    def reset(done: int, total: int) -> None:
        if done == 3:
            line.engine.state = line.engine.epoch = line.engine.run = 0
            line.engine.busy = False

    with pytest.raises(EngineError) as caught:
        run_streamed(Driver(Link(line)), 0, tiles, 1.0, reset)
    assert "run 1 (layer 0) was lost: the engine was reset or used by another program" in str(
        caught.value
    )


def test_a_run_that_ends_early_says_why() -> None:
    """A NaN in the vector: no tile is computed, and the host stops sending."""
    line, tiles = line_of(1, tile_s=0.001)

    def refuse(done: int, total: int) -> None:
        line.engine.busy, line.engine.errors = False, 1

    with pytest.raises(EngineError, match=r"^layer 0: nonfinite: a vector holds a NaN"):
        run_streamed(Driver(Link(line)), 0, tiles, 1.0, refuse)
    assert line.runs == [[]]
