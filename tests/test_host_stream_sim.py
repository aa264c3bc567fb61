"""Layers larger than the stores on a simulated board: equal to golden, every cycle explained."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dpnet.host.bench import BenchRow, bench_table
from dpnet.host.cli import main
from dpnet.host.driver import Driver
from dpnet.host.errors import EngineError, PortError
from dpnet.host.link import Link
from dpnet.host.placement import LayerTiles
from dpnet.host.session import Session, connect
from dpnet.host.stream import run_streamed
from dpnet.model.compile import DenseLayer, compile_fp32, compile_integer
from dpnet.model.engine.layout import Region, vector_store
from dpnet.model.golden.network import fp32_layer, integer_layer, integer_network
from dpnet.model.image import Image, write_image
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.kit.bench import seed
from dpnet.sim.peers.faulty import FaultyTransport

PACKING = "sim://array?stages=2&columns=5&segments=1&index_depth=48&slots=16&vector_words=512"
"""10 rows a tile; indices of 1, 2 and 3 bits lie packed."""

FOLDING = "sim://array?stages=2&columns=4&segments=2&index_depth=512"
"""8 rows a tile; two index rows share a word."""


@pytest.fixture
def rng() -> np.random.Generator:
    print(f"seed {seed()}")
    return np.random.default_rng(seed())


@pytest.fixture(scope="module")
def packing() -> Iterator[Driver]:
    driver = connect(PACKING)
    yield driver
    driver.link.transport.close()


def matrix(rng: np.random.Generator, rows: int, columns: int, k: int) -> Image:
    weights = rng.standard_normal((rows, columns))
    return compile_fp32({"m": (quantize(weights, k), (rows, columns))})


def network(rng: np.random.Generator, k: int, *sizes: int) -> Image:
    layers = [
        DenseLayer(
            f"fc{n}",
            quantize(rng.standard_normal((rows, columns)), k),
            rng.standard_normal(rows),
            relu=n < len(sizes) - 2,
        )
        for n, (columns, rows) in enumerate(pairwise(sizes))
    ]
    return compile_integer(layers, rng.standard_normal((30, sizes[0])))


def rings(session: Session) -> list[tuple[int, int]]:
    """(all tiles of a streamed layer or 0, tiles in the stores) of every layer."""
    found = [placement.descriptor for placement in session.placements]
    return [(d.stream, d.tiles) for d in found]


def check(session: Session, number: int, x: np.ndarray) -> None:
    """One product, its results and its cycles."""
    found, cycles = session.run_layer(number, x)
    golden = fp32_layer(session.image.layers[number], x)
    assert found.view(np.uint32).tolist() == golden.view(np.uint32).tolist()
    report = session.report
    assert cycles == report.cycles == session.predicted_cycles(number, number) + report.stalled
    assert (report.stalled > 0) == (report.sent_bytes > 0) == session.placements[number].streamed


@pytest.mark.whole
@pytest.mark.parametrize(
    "k, columns, ring",
    # 48 index rows: a tile takes a row a column at K = 16, half of it at K = 4.
    [
        (16, 48, 1),
        (16, 25, 1),
        (16, 24, 2),
        (16, 16, 3),
        (4, 96, 1),
        (4, 47, 2),
        (4, 3, 8),
        (8, 63, 1),
        (8, 30, 2),
        (2, 96, 2),
    ],
)
def test_fp32_matrices(
    rng: np.random.Generator, packing: Driver, k: int, columns: int, ring: int
) -> None:
    session = Session(packing, matrix(rng, 87, columns, k))
    assert rings(session) == [(9, ring)]
    session.load()
    for scale in (1.0, 1e20):
        check(session, 0, (scale * rng.standard_normal(columns)).astype(np.float32))
    vectors = rng.standard_normal((2, columns)).astype(np.float32)
    found, cycles = session.run_batch(0, vectors)
    assert found.tolist() == [fp32_layer(session.image.layers[0], x).tolist() for x in vectors]
    assert cycles == session.predicted_cycles(0, 0, 2) + session.report.stalled
    assert session.report.sent_bytes == 2 * 9 * tile_bytes(session)


def tile_bytes(session: Session) -> int:
    """Two stages: an index word a row each, 16 entries of 5 rows, and 4 parameters of 5 rows with 3
    rows between them."""
    layer = session.placements[0].layer
    rows = session.engine.index_rows(layer.columns, layer.k)
    return 4 * (2 * rows + 2 * 5 * 16 + (5 + 3 + 5) * 4)


@pytest.mark.parametrize(
    "k, sizes, expected",
    [
        # Of 48 index rows and 16 slots the first and last layer leave 36 and 12: 3 · 10, and 36.
        (16, (6, 10, 36, 6, 4), [(0, 1), (4, 3), (1, 1), (0, 1)]),
        # 39 and 12: 6 · 5, and 39.
        (4, (6, 10, 78, 12, 4), [(0, 1), (8, 6), (2, 1), (0, 1)]),
        (16, (20, 36, 5), [(4, 2), (1, 1)]),
        (4, (32, 36, 90), [(4, 3), (9, 2)]),
    ],
)
def test_a_chain_in_several_runs(
    rng: np.random.Generator,
    packing: Driver,
    k: int,
    sizes: tuple[int, ...],
    expected: list[tuple[int, int]],
) -> None:
    """Resident and streamed layers hand their results on from run to run."""
    image, last = network(rng, k, *sizes), len(sizes) - 2
    session = Session(packing, image)
    assert rings(session) == expected
    session.load()
    for x in rng.integers(-128, 128, (3, sizes[0])):
        outputs, cycles = session.run_network(x)
        assert [y.tolist() for y in outputs] == [y.tolist() for y in integer_network(image, x)]
        assert cycles == session.predicted_cycles(0, last) + session.report.stalled
    for number, layer in enumerate(image.layers):
        x = rng.integers(-128, 128, layer.columns)
        found, cycles = session.run_layer(number, x)
        assert found.tolist() == integer_layer(layer, x).tolist()
        assert cycles == session.predicted_cycles(number, number) + session.report.stalled
    assert session.load() is False
    assert packing.registers()["IMAGE_ERRORS"] == 0


def test_rows_that_share_a_word(rng: np.random.Generator) -> None:
    """Places that begin and end inside a word; a ring that nearly holds the layer."""
    driver = connect(FOLDING)
    for columns, expected in ((1000, (7, 1)), (511, (7, 2)), (338, (7, 3)), (170, (7, 6))):
        session = Session(driver, matrix(rng, 51, columns, 16))
        assert rings(session) == [expected]
        session.load()
        check(session, 0, rng.standard_normal(columns).astype(np.float32))
    driver.link.transport.close()


def test_a_bad_line(rng: np.random.Generator, packing: Driver) -> None:
    line = FaultyTransport(packing.link.transport, seed(), flip=1e-3)
    session = Session(Driver(Link(line)), matrix(rng, 87, 24, 16))
    session.load()
    for _ in range(3):
        check(session, 0, rng.standard_normal(24).astype(np.float32))
    assert line.faults > 5 and session.driver.link.retransmissions > 0


@pytest.mark.parametrize("columns", [24, 48])
def test_an_interrupted_run_and_a_lost_host(
    rng: np.random.Generator, packing: Driver, columns: int
) -> None:
    image, line = matrix(rng, 87, columns, 16), packing.link.transport
    x = rng.standard_normal(columns).astype(np.float32)

    def stop(done: int, total: int) -> None:
        assert total == 9
        if done == 4:
            raise KeyboardInterrupt

    session = Session(packing, image)
    session.load()
    with pytest.raises(KeyboardInterrupt):
        session.run_layer(0, x, stop)
    check(session, 0, x)
    # A host that can say nothing any more leaves an engine that waits.
    for size in (600, 3000, 7000):
        lost = Session(Driver(Link(FaultyTransport(line, 1, close_after=size))), image)
        with pytest.raises(PortError):
            lost.run_layer(0, x)
        session = Session(Driver(Link(line)), image)
        assert session.load() is False
        check(session, 0, x)


@pytest.mark.parametrize("columns", [16, 24, 48])
def test_a_vector_that_is_refused_ends_the_run(
    rng: np.random.Generator, packing: Driver, columns: int
) -> None:
    session = Session(packing, matrix(rng, 87, columns, 16))
    session.load()
    words = np.full(columns, 0x7FC00000, np.uint32)
    packing.write_words(Region.VECTOR.base, vector_store(session.engine, words))
    with pytest.raises(EngineError, match=r"^layer 0: nonfinite: a vector holds a NaN or an inf"):
        run_streamed(packing, 0, LayerTiles(session.placements[0], session.engine), 1.0)
    check(session, 0, rng.standard_normal(columns).astype(np.float32))


def test_commands_show_what_was_streamed(
    rng: np.random.Generator, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_image(network(rng, 16, 6, 10, 36, 6, 4), tmp_path / "net.dpnet")
    np.save(tmp_path / "x.npy", rng.standard_normal((2, 6)))
    run = [
        "run",
        str(tmp_path / "net.dpnet"),
        "--port",
        PACKING,
        "--input",
        str(tmp_path / "x.npy"),
    ]
    assert main(run) == 0
    printed = capfd.readouterr().out
    assert "\n0 of 112 outputs differ from the golden model\n" in printed
    cycles, formula, sent, stalled = (
        int(number.replace(",", ""))
        for number in re.findall(
            r"^(\S+) cycles each, (\S+) by the formula: .*\n(?:saturated: .*\n)?"
            r"streamed: fc1, fc2; (\S+) bytes each, (\S+) cycles stalled for them ",
            printed,
            re.MULTILINE,
        )[0]
    )
    assert cycles == formula + stalled
    # Four tiles of 10 index rows and one of 36.
    assert sent == 4 * (2 * (4 * 10 + 36) + 5 * (2 * 5 * 16 + 13 * 4))
    bench = ["bench", "--port", PACKING, "--baseline", "none", "--rows", "87", "--columns", "24"]
    assert main([*bench, "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)["results"]
    assert row["cycles"] == row["predicted_cycles"] + row["stalled_cycles"]
    assert (row["mismatches"], row["interval_cycles"]) == (0, None)
    head, _, line = bench_table([BenchRow(**row)]).splitlines()
    assert head.endswith("stalled  bytes sent")
    assert line.split()[-2:] == [f"{row['stalled_cycles']:,}", f"{row['sent_bytes']:,}"]
