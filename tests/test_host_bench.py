"""`dpnet bench` over every kind of port: what load, vector, run and read-back take."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting_kit import PATIENCE_S

from dpnet.host.bench import BenchRow, bench_layer, bench_table, phase_table
from dpnet.host.cli import main
from dpnet.host.session import Session, connect, parameters, segments
from dpnet.model.build_root import build_root
from dpnet.model.compile import compile_fp32
from dpnet.model.engine.layout import result_bytes, vector_store
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.image import Image, write_image
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.board.bytes_board import CLOCK_HZ, SimTransport, open_board
from dpnet.sim.serve import listen, serve

SIZES = "array?stages=2&columns=4&segments=2&index_depth=512"
BASELINE = "sim://baseline?weights=1024&columns=64&rows=32&layers=1"
ENGINE = EngineParameters(stages=2, columns=4, segments=2, index_depth=512)
ROWS, COLUMNS, BITS = 12, 30, 3
ROOT = str(Path(__file__).parents[1])


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated boards that are built already."""
    monkeypatch.setenv("DPNET_BUILD", str(build_root()))


@pytest.fixture
def socket_url() -> Iterator[str]:
    board, listener, ended = open_board(f"sim://{SIZES}"), listen(0), threading.Event()
    thread = threading.Thread(target=serve, args=(board, listener, ended.is_set))
    thread.start()
    yield f"socket://127.0.0.1:{listener.getsockname()[1]}"
    ended.set()
    thread.join(20)
    listener.close()
    board.close()


@pytest.fixture
def terminal() -> Iterator[str]:
    """A device, as /dev/ttyUSB0 is one, with a simulated board behind."""
    near, far = pty.openpty()
    os.set_blocking(near, False)
    board, ended = open_board(f"sim://{SIZES}"), threading.Event()
    thread = threading.Thread(target=_pump, args=(board, near, ended))
    thread.start()
    yield os.ttyname(far)
    ended.set()
    thread.join(20)
    board.close()
    os.close(near)
    os.close(far)


def _pump(board: SimTransport, near: int, ended: threading.Event) -> None:
    waiting = b""
    while not ended.is_set():
        with contextlib.suppress(BlockingIOError):
            board.write(os.read(near, 4096))
        waiting += board.read(4096, 500 / CLOCK_HZ)
        with contextlib.suppress(BlockingIOError):
            waiting = waiting[os.write(near, waiting) :] if waiting else b""


Call = Callable[..., Any]


@pytest.fixture
def bench(capfd: pytest.CaptureFixture[str]) -> Call:
    def call(port: str, *more: str, baseline: str = "none") -> Any:
        arguments = ["--rows", str(ROWS), "--columns", str(COLUMNS), "--bits", str(BITS)]
        assert main(["bench", "--port", port, "--baseline", baseline, *arguments, *more]) == 0
        out, err = capfd.readouterr()
        assert "Error" not in err
        return json.loads(out) if "--json" in more else out

    return call


def image(rows: int = ROWS, columns: int = COLUMNS, k: int = 8) -> Image:
    rng = np.random.default_rng(0)
    return compile_fp32({"w": (quantize(rng.standard_normal((rows, columns)), k), (rows, columns))})


def check_sizes(row: dict[str, Any]) -> None:
    """The bytes are those that the layout says; the matrix is another one, of the same size."""
    words = sum(len(part) for _, part in segments(image(), ENGINE))
    vector = vector_store(ENGINE, np.zeros(COLUMNS, np.uint32))
    assert row["load_bytes"] == 4 * words
    assert row["vector_bytes"] == 4 * len(vector)
    assert row["back_bytes"] == result_bytes(ENGINE, ROWS)
    for phase in ("load_s", "vector_s", "run_s", "back_s"):
        assert 0 < row[phase] < 60


@pytest.mark.whole
def test_the_simulated_board_beside_the_baseline(bench: Call) -> None:
    found = bench(f"sim://{SIZES}", "--json", baseline=BASELINE)
    assert found["ports"] == [BASELINE, f"sim://{SIZES}"]
    slow, fast = found["results"]
    assert (slow["engine"], fast["engine"]) == ("paper-baseline", "array")
    check_sizes(fast)
    # Weights, and a descriptor of as many words as every layer has.
    assert slow["load_bytes"] - 4 * ROWS * COLUMNS in range(4, 128)
    assert (slow["vector_bytes"], slow["back_bytes"]) == (4 * COLUMNS, 4 * ROWS)
    for row in (slow, fast):
        assert row["mismatches"] == 0 and row["cycles"] == row["predicted_cycles"]
        # A byte per cycle each way, the requests around it, and the run as the engine counts it.
        assert row["load_bytes"] <= row["load_s"] * CLOCK_HZ < 2 * row["load_bytes"] + 3000
        assert row["vector_bytes"] <= row["vector_s"] * CLOCK_HZ < 2 * row["vector_bytes"] + 1000
        assert row["back_bytes"] <= row["back_s"] * CLOCK_HZ < 2 * row["back_bytes"] + 1000
        assert row["cycles"] <= row["run_s"] * CLOCK_HZ < 3 * row["cycles"] + 5000


def test_the_text(bench: Call) -> None:
    text = bench(f"sim://{SIZES}", baseline=BASELINE)
    above, below = text.split("\n\n")
    assert above.splitlines()[0].split("  ")[0] == "matrix"
    head, _, slow, fast, note = below.splitlines()
    assert re.split(r"\s{2,}", head) == [
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
    ]
    assert slow.startswith("paper-baseline ") and slow.endswith(f"simulated  {BASELINE}")
    assert fast.startswith("array ") and fast.endswith(f"simulated  sim://{SIZES}")
    assert note.startswith("chip ms: the engine's own count, at its own clock.")


@pytest.mark.whole
def test_every_port_gives_the_same_count(bench: Call, socket_url: str, terminal: str) -> None:
    ports = [f"sim://{SIZES}", socket_url, terminal, f"sim-axi://{SIZES}"]
    rows = {port: bench(port, "--json")["results"][0] for port in ports}
    for port, row in rows.items():
        check_sizes(row)
        assert (row["mismatches"], row["compared"]) == (0, ROWS + 8 * ROWS), port
    counts = {(row["cycles"], row["interval_cycles"], row["max_error"]) for row in rows.values()}
    assert len(counts) == 1
    times = [bench(port).splitlines()[-2].split()[-2] for port in ports]
    assert times == ["simulated", "real", "real", "simulated"]


def test_an_engine_that_holds_the_image_is_loaded_again() -> None:
    driver, layer = connect(f"sim://{SIZES}"), image().layers[0]
    x = np.linspace(-1, 1, COLUMNS, dtype=np.float32)
    rows = [bench_layer(driver, layer, x) for _ in range(2)]
    Session(driver, image()).load()
    rows.append(bench_layer(driver, layer, x))
    # The third begins a load that nobody ends: of an interrupted one, only the rest would be sent.
    driver.link.request(3, epoch=next(e for e in range(1, 256) if e != driver.registers()["EPOCH"]))
    rows.append(bench_layer(driver, layer, x))
    first = rows[0].load_s
    assert all(0.8 * first < row.load_s < 1.25 * first for row in rows)
    assert {row.load_bytes for row in rows} == {rows[0].load_bytes}
    driver.link.transport.close()


def test_streamed_tiles_belong_to_the_run() -> None:
    driver = connect(f"sim://{SIZES}")
    assert parameters(driver.identify()) == ENGINE
    layer = image(248, 200, 16).layers[0]
    row = bench_layer(driver, layer, np.linspace(-1, 1, 200, dtype=np.float32))
    assert row.sent_bytes > 4 * row.load_bytes and row.mismatches == 0
    assert row.run_s * CLOCK_HZ > max(row.sent_bytes, row.cycles)
    driver.link.transport.close()


BARE = """
import importlib.abc, sys
sys.path.insert(0, sys.argv.pop(1))

ABSENT = {"torch", "numba", "sklearn", "matplotlib", "amaranth", "cocotb", "filelock",
          "threadpoolctl", "packaging"}

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from dpnet.host.start import main
sys.exit(main())
"""


@pytest.mark.whole
def test_a_host_without_the_large_packages(tmp_path: Path, socket_url: str) -> None:
    """As the Linux of a Zynq is: NumPy, pyserial and safetensors only."""
    write_image(image(), tmp_path / "m.dpnet")
    bench = ["bench", "--port", socket_url, "--baseline", "none"]

    def dpnet(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", BARE, ROOT, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            cwd=tmp_path,
        )

    done = dpnet(*bench, "--image", "m.dpnet", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = json.loads(done.stdout)["results"]
    assert (row["mismatches"], row["cycles"]) == (0, row["predicted_cycles"])
    done = dpnet(*bench)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "dpnet: random weights cannot be quantized here: No module named 'numba'; give an image "
        "with --image\n"
    )
    assert dpnet("info", "--port", socket_url).returncode == 0


def test_the_papers_figures_are_beside() -> None:
    common = {
        "name": "fc",
        "rows": 1000,
        "columns": 1024,
        "bits": 4,
        "predicted_cycles": 0,
        "interval_cycles": None,
        "predicted_interval": None,
        "compared": 1000,
        "mismatches": 0,
        "max_error": 0.0,
        "rms_error": 0.0,
        "max_error_fp32": 0.0,
        "rms_error_fp32": 0.0,
        "within_bound": True,
    }
    rows = [
        BenchRow(
            engine="paper-baseline",
            lanes=1,
            cycles=6_144_019,
            clock_hz=100_000_000,
            ms=61.44019,
            ms_at_100_mhz=61.44019,
            paper_ms=61.5,
            load_bytes=4_096_032,
            load_s=1.5,
            vector_bytes=4096,
            vector_s=0.0015,
            run_s=0.0645,
            back_bytes=4000,
            back_s=0.00125,
            **common,
        ),
        BenchRow(
            engine="array",
            lanes=256,
            cycles=4457,
            clock_hz=50_000_000,
            ms=0.08914,
            ms_at_100_mhz=0.04457,
            paper_ms=11.9,
            **common,
        ),
    ]
    head, _, slow, fast = phase_table(rows, ["/dev/ttyUSB0", "sim://array"]).splitlines()
    assert slow.split() == [
        "paper-baseline",
        "4,096,032",
        "1,500.000",
        "2.731",
        "1.500",
        "64.500",
        "61.440",
        "61.50",
        "1.250",
        "67.250",
        "real",
        "/dev/ttyUSB0",
    ]
    assert fast.split() == [
        "array",
        "0",
        "0.000",
        "–",
        "0.000",
        "0.000",
        "0.089",
        "11.90",
        "0.000",
        "0.000",
        "simulated",
        "sim://array",
    ]
    columns = [re.split(r"\s{2,}", line) for line in bench_table(rows).splitlines()]
    assert columns[0][5] == "ms"
    assert [line[5] for line in columns[-2:]] == ["61.4402 @ 100 MHz", "0.0891 @ 50 MHz"]
    assert "ms @ 50 MHz" in bench_table(rows[1:]).splitlines()[0]
    assert head.index("paper ms") + len("paper ms") == slow.index("61.50") + len("61.50")
