"""Matrix-vector products timed in the engine's own cycles: the paper's Table VI, and any other
matrix.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpnet.host.driver import Driver, Progress
from dpnet.host.phases import Phases, TimedDriver
from dpnet.host.report import table
from dpnet.host.session import BaselineSession, Parameters, Session, parameters
from dpnet.model.engine.baseline import BaselineParameters, InterleavedParameters
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.golden.bound import error_bound
from dpnet.model.golden.fp32 import SequentialFp32
from dpnet.model.golden.network import fp32_layer
from dpnet.model.image import Image, ImageLayer
from dpnet.model.indices import index_bits

PAPER_MS = {
    (1000, 1024): (61.5, 11.9),
    (384, 1728): (39.8, 7.60),
}
"""Table VI at `PAPER_HZ`: (baseline, DP-Net) in milliseconds, behavioral simulation of an
XC7Z045."""

PAPER_HZ = 100_000_000

VECTORS = 8
"""Vectors back to back, at most."""

ENGINES = ("paper-baseline", "interleaved-baseline", "lane", "array")


@dataclass(frozen=True, kw_only=True)
class BenchRow(Phases):
    """One product on one engine, and what its parts took over the link (`Phases`; of `run_s`, the
    engine computed for `cycles`).

    `cycles` as the engine counted them, `predicted_cycles` by formula.  `interval_cycles` are those
    of each further vector of a run that takes several back to back, `predicted_interval` by
    formula; None where no second vector fits the engine, or the matrix does not.  That is streamed,
    `sent_bytes` of tiles, and `stalled_cycles` of `cycles` passed waiting for them, which the
    formula leaves out.  `ms` are `cycles` at the engine's clock, `clock_hz`, `ms_at_100_mhz` those
    at the paper's.  `mismatches` counts results that differ
    from the golden model in any bit, of `compared`, those of further vectors among them; errors are
    the first vector's against float64 with the same fp32 weights, `*_fp32` those of a sequential
    fp32 dot product; `within_bound`, whether no error is above `error_bound`. `paper_ms` is the
    paper's figure for this kind of engine, where it has one.
    """

    name: str
    rows: int
    columns: int
    bits: int
    engine: str
    lanes: int
    cycles: int
    predicted_cycles: int
    interval_cycles: float | None
    predicted_interval: int | None
    clock_hz: int
    ms: float
    ms_at_100_mhz: float
    paper_ms: float | None
    compared: int
    mismatches: int
    max_error: float
    rms_error: float
    max_error_fp32: float
    rms_error_fp32: float
    within_bound: bool
    stalled_cycles: int = 0
    sent_bytes: int = 0


def dense(layer: ImageLayer) -> NDArray[np.float32]:
    """The matrix (R, C) that an fp32 layer stands for."""
    assert layer.codebook is not None
    return np.take_along_axis(layer.codebook, layer.indices.astype(np.intp), 1)


def bench_layer(
    driver: Driver,
    layer: ImageLayer,
    x: NDArray[np.float32],
    *,
    progress: Progress | None = None,
) -> BenchRow:
    """Load all of the fp32 `layer` into the engine behind `driver`, whatever it holds, run x (C,)
    once, then as many as fit of `VECTORS` vectors back to back, and compare.

    On the baseline the layer's dense matrix runs, so that both compute the same product.
    """
    driver = TimedDriver(driver)
    engine = parameters(driver.identify())
    weights = dense(layer)
    if isinstance(engine, BaselineParameters):
        baseline = BaselineSession(driver, weights)
        baseline.load(progress)
        y, cycles = baseline.run(x)
        golden = engine.compute(weights, x)
        predicted = engine.cycles(layer.rows, layer.columns)
        row = _row(driver, layer, x, y, golden, cycles=cycles, predicted=predicted)
        return replace(row, **asdict(driver.phases))
    session = Session(driver, Image(layers=(layer,)))
    session.load(progress)
    y, cycles = session.run_layer(0, x, progress)
    golden = _golden(layer, x, session.engine)
    row = _row(driver, layer, x, y, golden, cycles=cycles, predicted=session.predicted_cycles(0, 0))
    row = replace(row, **asdict(driver.phases))
    if session.streamed:
        report = session.report
        return replace(row, stalled_cycles=report.stalled, sent_bytes=report.sent_bytes)
    return _back_to_back(session, layer, x, row)


def _golden(
    layer: ImageLayer, x: NDArray[np.float32], engine: EngineParameters
) -> NDArray[np.float32]:
    return fp32_layer(layer, x, bits=engine.activation_bits, entry_bits=engine.entry_bits)


def _back_to_back(
    session: Session, layer: ImageLayer, x: NDArray[np.float32], row: BenchRow
) -> BenchRow:
    """The row with the interval of vectors back to back: x, and x turned by 1, 2, …"""
    engine, count = session.engine, min(VECTORS, session.most_vectors(0))
    if count < 2:
        return row
    vectors = np.stack([np.roll(x, n) for n in range(count)])
    found, cycles = session.run_batch(0, vectors)
    golden = np.stack([_golden(layer, vector, engine) for vector in vectors])
    return replace(
        row,
        interval_cycles=(cycles - row.cycles) / (count - 1),
        predicted_interval=engine.interval_cycles(layer.rows, layer.columns, layer.k, fp32_in=True),
        compared=row.compared + found.size,
        mismatches=row.mismatches + _differing(found, golden),
    )


def _differing(found: NDArray[np.float32], golden: NDArray[np.float32]) -> int:
    return int((found.view(np.uint32) != golden.view(np.uint32)).sum())


def _row(
    driver: Driver,
    layer: ImageLayer,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    golden: NDArray[np.float32],
    *,
    cycles: int,
    predicted: int,
) -> BenchRow:
    identity = driver.identify()
    engine: Parameters = parameters(identity)
    weights = dense(layer)
    exact = weights.astype(np.float64) @ x.astype(np.float64)
    error = y.astype(np.float64) - exact
    sequential = SequentialFp32().compute(weights, x).astype(np.float64) - exact
    interleaved = isinstance(engine, InterleavedParameters)
    name, lanes, within = "interleaved-baseline" if interleaved else "paper-baseline", 1, True
    if isinstance(engine, EngineParameters):
        name, lanes = "lane" if engine.lanes == 1 else "array", engine.lanes
        assert layer.codebook is not None
        bound = error_bound(
            layer.codebook,
            layer.indices,
            x,
            bits=engine.activation_bits,
            entry_bits=engine.entry_bits,
        )
        within = bool((np.abs(error) <= bound).all())
    paper = PAPER_MS.get((layer.rows, layer.columns))
    return BenchRow(
        name=layer.name,
        rows=layer.rows,
        columns=layer.columns,
        bits=index_bits(layer.k),
        engine=name,
        lanes=lanes,
        cycles=cycles,
        predicted_cycles=predicted,
        interval_cycles=None,
        predicted_interval=None,
        clock_hz=identity.clock_hz,
        ms=cycles / identity.clock_hz * 1000,
        ms_at_100_mhz=cycles / PAPER_HZ * 1000,
        paper_ms=None if paper is None or interleaved else paper[name != "paper-baseline"],
        compared=y.size,
        mismatches=_differing(y, golden),
        max_error=float(np.abs(error).max()),
        rms_error=float(np.sqrt((error**2).mean())),
        max_error_fp32=float(np.abs(sequential).max()),
        rms_error_fp32=float(np.sqrt((sequential**2).mean())),
        within_bound=within,
    )


def bench_table(rows: list[BenchRow]) -> str:
    """The rows as a table for the terminal, times at each engine's clock, speed-ups in cycles over
    the first baseline of the same matrix."""
    clocks = {row.clock_hz for row in rows}
    one_clock = len(clocks) == 1
    head = (
        "matrix",
        "engine",
        "lanes",
        "cycles",
        "next vector",
        f"ms @ {clocks.pop() / 1e6:g} MHz" if one_clock else "ms",
        "speed-up",
        "paper ms",
        "differ",
        "max error",
        "fp32's",
        "rms error",
        "fp32's",
    )
    slow = {(r.rows, r.columns): r.cycles for r in reversed(rows) if r.engine.endswith("baseline")}

    def speed_up(row: BenchRow) -> str:
        base = slow.get((row.rows, row.columns))
        return f"{base / row.cycles:,.1f} ×" if base else "–"

    def streaming(row: BenchRow) -> tuple[str, ...]:
        cells = f"{row.stalled_cycles:,}", f"{row.sent_bytes:,}"
        return (cells if row.sent_bytes else ("–", "–")) if streamed else ()

    streamed = any(row.sent_bytes for row in rows)
    return table(
        (*head, *(("stalled", "bytes sent") if streamed else ())),
        [
            (
                f"{r.name} {r.rows} × {r.columns}",
                r.engine,
                r.lanes,
                f"{r.cycles:,}",
                "–" if r.interval_cycles is None else f"{r.interval_cycles:,.0f}",
                f"{r.ms:.4f}" + ("" if one_clock else f" @ {r.clock_hz / 1e6:g} MHz"),
                speed_up(r),
                "–" if r.paper_ms is None else f"{r.paper_ms:.2f}",
                r.mismatches,
                f"{r.max_error:.2e}",
                f"{r.max_error_fp32:.2e}",
                f"{r.rms_error:.2e}",
                f"{r.rms_error_fp32:.2e}",
                *streaming(r),
            )
            for r in rows
        ],
    )


SIMULATED = ("sim://", "sim-axi://")
"""Ports whose clock is the simulation's."""


def phase_table(rows: list[BenchRow], ports: list[str]) -> str:
    """What load, vector, run and read-back took over each row's port, in milliseconds of its clock;
    `chip ms`: of the run, what the engine computed, by its own count at its own clock."""
    head = (
        "engine",
        "load bytes",
        "load ms",
        "MB/s",
        "vector ms",
        "run ms",
        "chip ms",
        "paper ms",
        "read-back ms",
        "all but load ms",
        "time",
        "port",
    )

    def ms(seconds: float) -> str:
        return f"{1000 * seconds:,.3f}"

    return table(
        head,
        [
            (
                r.engine,
                f"{r.load_bytes:,}",
                ms(r.load_s),
                f"{r.load_bytes / r.load_s / 1e6:.3f}" if r.load_s else "–",
                ms(r.vector_s),
                ms(r.run_s),
                f"{r.ms:,.3f}",
                "–" if r.paper_ms is None else f"{r.paper_ms:.2f}",
                ms(r.back_s),
                ms(r.vector_s + r.run_s + r.back_s),
                "simulated" if port.startswith(SIMULATED) else "real",
                port,
            )
            for r, port in zip(rows, ports, strict=True)
        ],
    )
