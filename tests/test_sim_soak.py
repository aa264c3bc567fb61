"""Small versions of the soak runs; what judges them, and what they notice."""

from __future__ import annotations

import json
import subprocess
import zlib

import numpy as np
import pytest

from dpnet.gateware.emit import emit
from dpnet.gateware.link.receiver import FrameReceiver
from dpnet.host.driver import Driver
from dpnet.host.errors import EngineError
from dpnet.host.link import Link
from dpnet.host.session import Session
from dpnet.sim.peers.engine_model import stuff
from dpnet.sim.soak import __main__ as command
from dpnet.sim.soak import cells, loads, rates, receiver, uart
from dpnet.sim.soak.board import ENGINE, FragileLine, PowerBoard
from dpnet.sim.soak.build import build_program
from dpnet.sim.soak.line import SlowLine

pytestmark = pytest.mark.whole

SEED = 7


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Reports and kept counts of these tests; programs stay where they are."""
    for module in (cells, command):
        monkeypatch.setattr(module, "build_root", lambda: tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def board():
    board = PowerBoard()
    yield board
    board.close()


# The judges


def test_the_frames_of_the_judge_are_frames():
    program = build_program(emit(FrameReceiver()), "receiver")
    shown = subprocess.run(
        [program, "show", "-", "600", str(SEED)], capture_output=True, text=True, check=True
    )
    good, sizes = [], set()
    for text in shown.stdout.splitlines():
        flag, raw, line = (bytes.fromhex(part) for part in f"0{text}".split())
        body = raw + zlib.crc32(raw).to_bytes(4, "little")
        assert line == b"\0" + stuff(body) + b"\0"
        size, wanted = len(raw) - 10, int.from_bytes(raw[8:10], "little")
        is_read, is_response = raw[0] & 15 == 1, raw[0] & 0x80
        fits = size == 0 if is_read else size == wanted and size <= 256
        assert flag == bytes([fits and not is_response])
        good.append(flag[0])
        sizes.add(size)
    assert len(good) == 600 and 30 < good.count(0) < 100 and max(sizes) > 250 and min(sizes) == 0


def test_damaged_frames():
    found = {cell.name: cell.run() for cell in receiver.cells(20 * 1600, SEED)}
    assert len(found) == 20
    for name, counts in found.items():
        assert counts["frames"] == 1600 and not any(counts[p] for p in receiver.PROMISES), name
        assert counts["accepted"] >= counts["whole"]
        kind, rate = name.split()
        # The damage is there: of short frames most survive little of it, and few a lot.
        share = counts["whole"] / 1600
        assert share > 0.9 if float(rate) < 1e-3 else share < 0.5 if float(rate) > 0.05 else True
        if kind in ("flip", "insert"):
            assert counts["changed_bytes"] > 0.4 * float(rate) * counts["bytes"]


def test_frames_through_the_uart():
    tried = uart.cells(18 * 20, SEED)
    for cell in tried:
        counts = cell.run()
        assert counts["frames"] == counts["returned"] == 20, cell.name
        assert not any(counts[promise] for promise in uart.PROMISES), cell.name
    program = build_program(emit(uart.UartReceiver(baud=uart.BAUDS[0])), "uart")
    far_off = cells.program_cell("uart", "7 %", program, ("33.333333", "0.07", "20", "1")).run()
    assert far_off["lost"] > 10 and far_off["wrong"] == 0


# Loads


@pytest.mark.long
def test_loads_in_a_storm(board):
    weather = loads.Storm(board, SEED)
    for _ in range(80):
        weather.load()
    counts = weather.counts
    assert counts["loads"] == 80 == counts["loads_done"] + counts["loads_broken"]
    assert not any(counts[promise] for promise in loads.PROMISES), dict(counts)
    for name in ("power", "unplugged", "port", "host", "noisy", "runs_broken", "starts_accepted"):
        assert counts[name], name
    assert counts["loads_broken"] > 10 and counts["starts_refused"] > 10


def test_a_load_that_is_not_exact_is_noticed(board, monkeypatch):
    board.power_cut(forget=True, seed=1)
    monkeypatch.setattr(Driver, "_commit", lambda *_: True)
    weather = loads.Storm(board, SEED)
    for _ in range(12):
        weather.load()
    assert weather.counts["wrong_loads"] > 2


def test_results_of_another_image_are_noticed(board, monkeypatch):
    monkeypatch.setattr(Session, "_check_results", lambda session: session.driver.check_results())
    weather = loads.Storm(board, SEED)
    for _ in range(60):
        weather.load()
    assert weather.counts["wrong_runs"] and not weather.counts["wrong_loads"]


def test_a_session_whose_image_was_replaced_says_so(board):
    rng = np.random.default_rng(SEED)
    mine, other = loads.random_network(rng), loads.random_network(rng)
    driver = Driver(Link(FragileLine(board)))
    session = Session(driver, mine.image)
    session.load()
    assert np.array_equal(session.run_network(mine.inputs[0])[0][-1], mine.golden[0][-1])
    Session(driver, other.image).load()
    with pytest.raises(EngineError, match=r"^the engine holds another image by now: .*; load and"):
        session.run_network(mine.inputs[0])
    session.load()
    assert np.array_equal(session.run_network(mine.inputs[1])[0][-1], mine.golden[1][-1])


def test_stores_after_a_power_cut(board):
    words = np.arange(1, 9, dtype=np.uint32)
    driver = Driver(Link(FragileLine(board)))
    driver.load([(1 << 28, words)])
    board.power_cut(forget=False)
    driver = Driver(Link(FragileLine(board)))
    assert driver.registers()["EPOCH"] == 0
    assert np.array_equal(driver.read_words(1 << 28, 8), words)
    random = []
    for seed in (1, 2):
        board.power_cut(forget=True, seed=seed)
        random.append(Driver(Link(FragileLine(board))).read_words(1 << 28, 8))
    assert not any(np.array_equal(*pair) for pair in ((words, random[0]), random))


# Rates


def test_the_slow_line_takes_its_time(board):
    board.power_cut(forget=False)
    for ticks in (False, True):
        line = SlowLine(board, baud=3_000_000, latency_s=0.016, ticks=ticks)
        Link(line, first_txid=1).read(0, 4)
        # A HELLO and a READ of MAGIC: 2 + 21 and 17 bytes there, twice 21 back, besides two
        # latencies and a microsecond or two in the engine.
        wanted = 0.032 if ticks else 0.032 + 82 * line.byte_s
        assert line.now() == pytest.approx(wanted, abs=5e-6)
        assert line.line_bytes == 40


@pytest.mark.parametrize("ticks", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_load_at_line_rate(board, ticks):
    # 128 KB, a quarter of a full load: some round trips of 16 ms are 13 % of it.
    clean = rates.line_rate(board, 0.0, ticks, SEED, words=32768)
    damaged = rates.line_rate(board, 1e-3, ticks, SEED, words=32768)
    assert 0.8 < clean < 0.94, clean
    assert 0.55 < damaged < 0.77, damaged


# The command


def test_the_command_goes_on_after_an_interruption(folder, monkeypatch, capsys):
    monkeypatch.setattr(rates, "WORDS", 2048)
    monkeypatch.setattr(rates, "ROUNDS", 1)
    monkeypatch.setattr(rates, "LEAST", {0.0: 0.1, 1e-3: 0.05})
    arguments = ["--frames", "2e3", "--uart-frames", "18", "--loads", "4", "--json"]

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loads, "storm", interrupt)
        assert command.main(arguments) == 130
    kept = json.loads((folder / "soak.json").read_text())
    assert kept["frames"] >= 2000 and kept["uart_frames"] == 18 and kept["loads"] == 0
    with monkeypatch.context() as patched:
        # Nothing that was counted is counted again.
        patched.setattr(cells.subprocess, "run", interrupt)
        patched.setattr(uart, "PROMISES", ("returned",))
        assert command.main([*arguments]) == 1
    output = capsys.readouterr()
    assert "broken: uart: returned 18" in output.err and "seed 0" in output.err
    report = json.loads((folder / "soak.json").read_text())
    assert (report["loads"], report["wrong_loads"], report["wrong_accepted"]) == (4, 0, 0)
    assert report["not_recovered"] == 0 and report["broken"] == ["uart: returned 18"]
    assert 0.1 < report["line_rate_clean"] < 1 and report["line_rate_1e-3"] > 0.05
    assert report["command"] == (
        "python -m dpnet.sim.soak --seed 0 --frames 2000 --uart-frames 18 --loads 4"
    )
    assert not (folder / "soak" / "kept").exists()


def test_wrong_sizes_are_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["--loads", "0"])
    assert "must be at least 1" in capsys.readouterr().err
    assert ENGINE.lanes == 2
