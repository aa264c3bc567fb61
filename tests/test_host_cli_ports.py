"""The command `dpnet` where things go wrong: ports, interruptions, bugs."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_kit import (
    LARGE,
    TRAIN,
    Board,
    Call,
    digits_image,
    fp32_image,
    last,
    refused,
    start,
)
from waiting_kit import PATIENCE_S, wait_until

from dpnet.host.session import connect, parameters
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.image import Image
from dpnet.sim.peers.engine_model import LOADING

pytestmark = pytest.mark.usefixtures("folder")

PORTS = [
    ("/dev/there-is-no-such-port", "/dev/there-is-no-such-port cannot be opened: "),
    ("socket://127.0.0.1:1", "socket://127.0.0.1:1 cannot be opened: "),
    (
        "sim://nonsense",
        "sim://nonsense: no such simulated board; use sim:// with array, lane, maps, baseline, "
        "interleaved",
    ),
    ("sim://array?stages=x", "sim://array?stages=x: stages must be a whole number, not 'x'"),
]


@pytest.mark.parametrize("port, message", PORTS)
def test_ports_that_are_not_there(dpnet: Call, port: str, message: str) -> None:
    fp32_image()
    for command in (["info"], ["run", "m.dpnet"], ["bench", "--baseline", "none"]):
        result = dpnet(*command, "--port", port)
        assert (result.code, result.out, result.err.count("\n")) == (3, "", 1)
        assert result.err.startswith(f"dpnet: {message}")


def test_a_port_where_nobody_is(dpnet: Call) -> None:
    result = dpnet("info", "--port", "loop://")
    assert (result.code, result.out, result.err.count("\n")) == (3, "", 1)
    assert result.err.startswith("dpnet: no engine answers: no response to HELLO for ")


def test_a_board_that_stops_answering(dpnet: Call, boards: Callable[..., Board]) -> None:
    image = fp32_image("m.dpnet", (100, 300))
    board = boards(LARGE, stop_after=10_000)
    result = dpnet("run", "m.dpnet", "--port", board.url, "--no-verify")
    assert (result.code, result.out, result.err.count("\n")) == (3, "", 1)
    assert re.fullmatch(
        r"dpnet: the engine stopped answering: no response to WRITE for [\d.]+ s; check power and "
        r"cable, then start again \(a load goes on where it stopped\)\n",
        result.err,
    )
    assert board.engine.state == LOADING
    assert dpnet("run", "m.dpnet", "--port", board.url, "--no-verify").code == 0
    assert board.holds(image, EngineParameters())


def test_a_link_that_flips_bits(dpnet: Call, boards: Callable[..., Board]) -> None:
    image = fp32_image("m.dpnet", (60, 100))
    board = boards(LARGE, flip=1e-3)
    found = dpnet("run", "m.dpnet", "--port", board.url, "--no-verify", "--json").json
    assert board.holds(image, EngineParameters())
    assert board.flips > 10 and found["mismatches"] is None


def test_an_engine_that_computes_something_else(dpnet: Call, boards: Callable[..., Board]) -> None:
    fp32_image("m.dpnet", (60, 100))
    digits_image()
    board = boards(LARGE)
    result = dpnet("run", "m.dpnet", "--port", board.url, "--json")
    assert result.code == 1 and result.json["mismatches"] == 60
    assert result.err == (
        "dpnet: 60 of 60 outputs differ from the golden model; the engine or its bitstream is "
        "faulty: run again, and compare with sim://array\n"
    )
    result = dpnet("run", "digits.dpnet", "--port", board.url, "--pictures", 4)
    assert result.code == 1 and re.search(r"dpnet: \d+ of 40 outputs differ", result.err)
    result = dpnet("bench", "--port", board.url, "--baseline", "none", "--rows", 8, "--columns", 50)
    assert result.code == 1 and "dpnet: 72 of 72 results differ" in result.err  # 8, and 8 times 8


# Ctrl-C, and output that nobody takes


@pytest.mark.whole
def test_ctrl_c_in_training_and_the_same_result_later(dpnet: Call, folder: Path) -> None:
    whole = dpnet(*TRAIN, "--out", "whole.dpnet", "--json").json
    assert (whole["bits"], whole["seed"], whole["ratio_eq1"]) == (2, 3, pytest.approx(32 / 3))
    assert whole["file_bytes"] == Path("whole.dpnet").stat().st_size
    assert whole["fp32_bytes"] == 4 * (64 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10)
    assert whole["ratio_bytes"] == whole["fp32_bytes"] / whole["file_bytes"]
    for name in ("accuracy_float", "accuracy_quantized", "accuracy_engine"):
        assert 80 < whole[name] <= 100
    process = start(*TRAIN, "--out", "cut.dpnet")
    checkpoint = Path("cut.dpnet.training")
    wait_until(checkpoint.exists, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (130, "")
    assert last(err) == (
        "dpnet: interrupted; the finished epochs are in cut.dpnet.training; run the same command "
        "again to go on\n"
    )
    assert checkpoint.exists() and not Path("cut.dpnet").exists()
    refused(
        dpnet(*TRAIN[:-1], 4, "--out", "cut.dpnet"),
        2,
        "checkpoint cut.dpnet.training-float is of another run (settings, data or initial weights "
        "differ); delete it or name another file, or train to another --out",
    )
    assert dpnet(*TRAIN, "--out", "cut.dpnet").code == 0
    assert Path("cut.dpnet").read_bytes() == Path("whole.dpnet").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["cut.dpnet", "whole.dpnet"]
    info = dpnet("info", "cut.dpnet", "--json").json
    assert info["kind"] == "integer" and info["fp32_bytes"] == whole["fp32_bytes"]
    assert [(x["name"], x["k"], x["relu"]) for x in info["layers"]] == [
        ("fc1", 4, True),
        ("fc2", 4, True),
        ("fc3", 4, False),
    ]


def test_ctrl_c_in_loading_and_the_rest_later(dpnet: Call, boards: Callable[..., Board]) -> None:
    image = fp32_image("m.dpnet", (128, 400))
    command = ("run", "m.dpnet", "--no-verify", "--port")
    whole = boards(LARGE)
    assert dpnet(*command, whole.url).code == 0
    processes: list[subprocess.Popen[str]] = []
    board = boards(
        LARGE,
        stop_after=whole.taken * 3 // 4,
        on_stop=lambda: processes[0].send_signal(signal.SIGINT),
    )
    processes.append(start(*command, board.url))
    out, err = processes[0].communicate(timeout=PATIENCE_S)
    assert (processes[0].returncode, out) == (130, "")
    assert last(err) == (
        "dpnet: interrupted; run the same command again: a board that stays on goes on with the "
        "load where it stopped\n"
    )
    assert board.engine.state == LOADING
    before = board.taken
    assert dpnet(*command, board.url).code == 0
    assert board.holds(image, EngineParameters())
    assert board.taken - before < 0.45 * whole.taken


def test_output_that_nobody_takes(dpnet: Call) -> None:
    fp32_image("m.dpnet", *[(2, 40)] * 200)
    process = start("info", "m.dpnet")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 141 and process.stderr.read() == ""
    process.stderr.close()
    with open("/dev/full", "w") as full:
        process = start("info", "m.dpnet", stdout=full)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert err == (
        "dpnet: the output cannot be read or written: No space left on device; check the name, the "
        "permissions and the room on the disk\n"
    )


def test_a_bug_is_one_line_too(dpnet: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    fp32_image()

    def broken(path: Path) -> Image:
        raise IndexError("list index\nout of range")

    monkeypatch.setattr("dpnet.host.commands.info.read_image", broken)
    result = dpnet("info", "m.dpnet")
    assert result.code == 70 and result.out == ""
    assert re.fullmatch(
        r"dpnet: a bug, in test_host_cli_ports.py line \d+: IndexError: list index out of range; "
        r"please report this line and the command\n",
        result.err,
    )


def test_ctrl_c_anywhere(dpnet: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    fp32_image()

    def interrupted(path: Path) -> Image:
        raise KeyboardInterrupt

    monkeypatch.setattr("dpnet.host.commands.info.read_image", interrupted)
    refused(dpnet("info", "m.dpnet"), 130, "interrupted; nothing was written; run it again")


def test_the_stand_in_is_the_default_engine(boards: Callable[..., Board]) -> None:
    driver = connect(boards(LARGE).url)
    assert parameters(driver.identify()) == EngineParameters()
    driver.link.transport.close()
