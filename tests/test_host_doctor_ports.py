"""The doctor's checks of ports: devices, adapters, logic, and engines of every kind."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting_kit import PROMPT_S

from dpnet.host.doctor import ports
from dpnet.host.doctor.engine import engine
from dpnet.host.doctor.examination import examine
from dpnet.host.doctor.findings import MISSING, NOTE, OK, Environment, Finding
from dpnet.sim.peers.engine_model import EngineModel


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a machine's files."""
    return tmp_path


def file(root: Path, name: str, content: str = "") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def found(check: Callable[[Environment], Iterator[Finding]], environment: Environment) -> Any:
    """A check's findings by their names; each that is not fine has a cure, in one line."""
    findings = list(check(environment))
    for finding in findings:
        assert (finding.status == OK) == (finding.cure == ""), finding
        assert "\n" not in finding.found + finding.cure and finding.found
    return {finding.name: finding for finding in findings}


def test_ports_of_somebody_else_and_a_slow_adapter(root: Path) -> None:
    mine, theirs = file(root, "dev/ttyUSB0"), file(root, "dev/ttyACM1")
    timer = file(root, "sys/bus/usb-serial/devices/ttyUSB0/latency_timer", "16\n")
    environment = Environment(root=root, may_use=lambda path: path == mine)
    findings = found(ports.serial_ports, environment)
    assert findings["serial port"].found == str(mine)
    assert findings["permission"].status == NOTE
    assert findings["permission"].found.startswith(f"you may not use {theirs} (group ")
    assert findings["adapter"] == Finding(
        "adapter",
        NOTE,
        "ttyUSB0 waits 16 ms for more bytes, so short requests are slow",
        f"echo 1 | sudo tee {timer}",
    )
    timer.write_text("1\n")
    assert found(ports.serial_ports, environment)["adapter"].status == OK
    assert found(ports.serial_ports, Environment(root=root / "none")) == {
        "serial ports": Finding("serial ports", OK, "none is connected")
    }


def test_the_group_of_a_device_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Group:
        gr_name = "dialout"

    device = file(root, "dev/ttyUSB0")
    stat = os.stat_result((0o660, 0, 0, 1, 0, 20, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda path: stat)
    monkeypatch.setattr(ports.grp, "getgrgid", lambda number: Group)
    assert ports.forbidden(device, NOTE) == Finding(
        "permission",
        NOTE,
        f"you may not use {device} (group dialout)",
        "sudo usermod -aG dialout $USER, then log in again",
    )


def test_logic_without_a_bitstream(root: Path) -> None:
    state = file(root, "sys/class/fpga_manager/fpga0/state", "unknown\n")
    device = file(root, "dev/uio0")
    findings = found(ports.logic, Environment(root=root, may_use=lambda path: False))
    assert findings["logic"].status == NOTE
    assert findings["logic"].found == "fpga0 is in state 'unknown': no bitstream is loaded"
    assert str(device) in findings["permission"].found
    state.write_text("operating\n")
    findings = found(ports.logic, Environment(root=root))
    assert {finding.status for finding in findings.values()} == {OK}
    assert not found(ports.logic, Environment(root=root / "none"))


class Far:
    """Whatever is at the other end of a TCP port: `answer` makes bytes of bytes."""

    def __init__(self, answer: Callable[[bytes], bytes], greeting: bytes = b"") -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._serve, args=(answer, greeting), daemon=True).start()

    def _serve(self, answer: Callable[[bytes], bytes], greeting: bytes) -> None:
        try:
            connection, _ = self.listener.accept()
            with connection:
                connection.sendall(greeting)
                while data := connection.recv(4096):
                    connection.sendall(answer(data))
        except OSError:
            pass


@pytest.fixture
def far() -> Iterator[Callable[..., str]]:
    made: list[Far] = []

    def make(answer: Callable[[bytes], bytes], greeting: bytes = b"") -> str:
        made.append(Far(answer, greeting))
        return made[-1].url

    yield make
    for one in made:
        one.listener.close()


def at(root: Path, url: str, **others: Any) -> Finding:
    """The one finding about a port."""
    environment = Environment(root=root, **others)
    (finding,) = found(lambda _: engine(environment, url), environment).values()
    return finding


SIXTEEN_LANES = {"STAGES": 2, "COLUMNS": 4, "SEGMENTS": 2}


def other(**registers: int) -> EngineModel:
    return EngineModel(identity=SIXTEEN_LANES | registers)


def test_an_engine_that_is_well(root: Path, far: Callable[..., str]) -> None:
    url = far(other().feed)
    assert at(root, url) == Finding(
        "engine", OK, f"an array of 16 lanes at {url}, protocol 6, gateware 7"
    )


def test_engines_of_other_releases(root: Path, far: Callable[..., str]) -> None:
    release = "use the host software and the bitstream of one release"
    url = far(other(PROTOCOL=7).feed)
    assert at(root, url) == Finding(
        "engine", MISSING, "the engine speaks protocol 7, this host 6", release
    )
    url = far(other(GATEWARE=2).feed)
    older = at(root, url)
    assert (older.status, older.found) == (
        NOTE,
        f"an array of 16 lanes at {url}, protocol 6: gateware 2, this host's is 7",
    )


def test_an_engine_with_frames_of_another_version(root: Path, far: Callable[..., str]) -> None:
    url = far(EngineModel(version=7).feed)
    assert at(root, url) == Finding(
        "engine",
        MISSING,
        "the engine speaks protocol 7, this host 6",
        "use the host software and the bitstream of one release",
    )


def test_something_that_is_no_engine(root: Path, far: Callable[..., str]) -> None:
    finding = at(root, far(other(MAGIC=0x12345678).feed))
    assert finding.status == MISSING
    assert finding.found.startswith("the device is no DP-Net engine: its magic is 0x12345678 ")
    finding = at(root, far(lambda data: b"login:\0", b"U-Boot\0\0"))
    assert finding.status == MISSING and "damaged frames came" in finding.found


def test_a_mute_port_and_one_that_hangs_up(root: Path, far: Callable[..., str]) -> None:
    began = time.monotonic()
    mute = at(root, far(lambda data: b""))
    assert mute.status == MISSING and mute.found.endswith(", nothing readable came")
    assert "baud rate" in mute.cure
    assert time.monotonic() - began < PROMPT_S

    def hang_up(data: bytes) -> bytes:
        raise OSError

    gone = at(root, far(hang_up))
    assert gone.status == MISSING and " cannot be " in gone.found


def test_ports_that_cannot_be_opened(root: Path) -> None:
    none = at(root, "/dev/there-is-no-such-port")
    assert (none.name, none.status) == ("port", MISSING)
    assert none.found.startswith("/dev/there-is-no-such-port cannot be opened: ")
    assert none.cure.startswith("check the name, the cable and your permission")
    file(root, "dev/ttyUSB0")
    theirs = at(root, "/dev/ttyUSB0?baud=115200", may_use=lambda path: False)
    assert (theirs.name, theirs.status) == ("permission", MISSING)
    board = at(root, "sim://nonsense")
    assert board.found == "sim://nonsense: no such simulated board"
    size = at(root, "sim://array?stages=x")
    assert (size.status, size.cure) == (MISSING, "correct the port's URL")
    door = at(root, "axi:0x1")
    assert door.status == MISSING and door.found.startswith("axi:0x1 names no device: '0x1' is ")


def test_the_port_of_a_host_without_its_packages(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dpnet.host.doctor.engine", None)
    monkeypatch.setattr("dpnet.host.doctor.examination.CHECKS", ())
    (finding,) = examine(Environment(root=root), "loop://")
    assert finding == Finding(
        "engine", MISSING, "dpnet.host.doctor.engine cannot be imported", "run make setup"
    )
