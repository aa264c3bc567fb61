"""Vivado and openXC7 as far as they can be tried without them: programs that pretend."""

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from dpnet.boards import bitstream
from dpnet.boards.board import BuildOptions
from dpnet.boards.parts.engines import AxiEngine
from dpnet.boards.series7 import openxc7, vivado
from dpnet.boards.series7.counting import measure
from dpnet.boards.series7.description import Series7Board
from dpnet.boards.series7.design import Clock, Design, Pad, Pin
from dpnet.boards.series7.netlist import Netlist
from dpnet.boards.series7.openxc7 import parse_nextpnr
from dpnet.boards.series7.vivado import parse_utilization
from dpnet.boards.tool import ToolError
from dpnet.boards.zc706.board import BOARD
from dpnet.model.build_root import build_root
from dpnet.model.engine.devices import XC7Z045
from dpnet.model.engine.parameters import EngineParameters

PART = "xc7z045ffg900-2"
BLINK = Design(
    part=PART,
    mhz=100.0,
    clock=Clock(mhz=100.0, port="clk"),
    verilog="module dpnet(input clk, output reg led);\nalways @(posedge clk) led <= ~led;\n"
    "endmodule\n",
    pins=(
        Pin("clk", Pad("H9", "LVCMOS15"), False),
        Pin("led", Pad("G2", "LVCMOS15"), True),
    ),
)
SMALL = EngineParameters(
    stages=2,
    columns=2,
    segments=1,
    index_bits=2,
    max_columns=8,
    index_depth=24,
    slots=4,
    result_slots=4,
    vector_words=32,
    layers=4,
    edges="integer",
    activation_bits=4,
    entry_bits=4,
    row_beats=1,
    packed=False,
)

UTILIZATION = """\
+----------------------------+-------+-------+------------+-----------+-------+
|          Site Type         |  Used | Fixed | Prohibited | Available | Util% |
+----------------------------+-------+-------+------------+-----------+-------+
| Slice LUTs*                | 12345 |     0 |          0 |    218600 |  5.65 |
|   LUT as Logic             | 10000 |     0 |          0 |    218600 |  4.57 |
|   LUT as Memory            |  2345 |     0 |          0 |     70400 |  3.33 |
| Slice Registers            | 23456 |     0 |          0 |    437200 |  5.37 |
| Block RAM Tile             |  17.5 |     0 |          0 |       545 |  3.21 |
|   RAMB36/FIFO*             |    16 |     0 |          0 |       545 |  2.94 |
| DSPs                       |    64 |     0 |          0 |       900 |  7.11 |
"""
USED = {"lut": 12345, "lutram": 2345, "ff": 23456, "dsp": 64, "bram36": 18}

# What a program does: it notes its call, leaves its files, says something, and ends.
PRETEND = """\
#!{python}
import json, os, sys
with open({calls!r}, "a") as calls:
    calls.write(json.dumps([{name!r}, *sys.argv[1:]]) + "\\n")
for name, content in {files!r}.items():
    with open(name, "wb") as file:
        file.write(content)
print({text!r})
sys.exit({code})
"""


def bit_file(part="7z045ffg900"):
    """A .bit file of a few words."""
    data = struct.pack(">4I", 0xFFFFFFFF, 0xAA995566, 0x01020304, 0x20000000)
    texts = zip("abcd", ("dpnet", part, "2024/05/06", "07:08:09"), strict=True)
    fields = b"".join(
        key.encode() + struct.pack(">H", len(value) + 1) + value.encode() + b"\0"
        for key, value in texts
    )
    preamble = b"\x00\x09\x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\x00\x00\x01"
    return preamble + fields + b"e" + struct.pack(">I", len(data)) + data


class Machine:
    """A machine with the programs that `install` puts there, and no others on the PATH."""

    def __init__(self, folder, monkeypatch):
        self.bin, self.log = folder / "bin", folder / "calls"
        self.bin.mkdir()
        self._folder, self._patch = folder, monkeypatch
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setenv("DPNET_BUILD", str(folder / "build"))
        for name in ("VIVADO", "PRJXRAY_DB_DIR", "CHIPDB", "YOSYS"):
            monkeypatch.delenv(name, raising=False)

    def install(self, name, files=None, text="", code=0):
        program = self.bin / name
        program.write_text(
            PRETEND.format(
                python=sys.executable,
                calls=str(self.log),
                name=name,
                files=files or {},
                text=text,
                code=code,
            )
        )
        program.chmod(0o755)

    def install_vivado(self, slack="setup 0.800 ns, hold 0.051 ns", **changes):
        files = {
            "dpnet.bit": bit_file(),
            "utilization.rpt": UTILIZATION.encode(),
            "timing.rpt": b"slow",
        }
        text = f"INFO: synthesis\nslack: {slack}"
        self.install("vivado", **{"files": files, "text": text, **changes})

    def install_openxc7(self, **changes):
        info = "Info: Max frequency for clock '{}': {} MHz (PASS at 100.00 MHz)\n"
        default = {
            "nextpnr-xilinx": {
                "files": {"dpnet.fasm": b"f"},
                "text": info.format("clk", "41.00")
                + "Info: routing\n"
                + info.format("clk", "120.50"),
            },
            "fasm2frames": {"files": {"dpnet.frames": b"f"}},
            "xc7frames2bit": {"files": {"dpnet.bit": bit_file(PART)}},
        }
        for name, values in default.items():
            self.install(name, **values | changes.get(name.replace("-", "_"), {}))
        database, chipdb = self._folder / "db", self._folder / "chips"
        (database / "zynq7" / PART).mkdir(parents=True)
        (database / "zynq7" / PART / "part.yaml").touch()
        chipdb.mkdir()
        (chipdb / "xc7z045ffg900.bin").touch()
        self._patch.setenv("PRJXRAY_DB_DIR", str(database))
        self._patch.setenv("CHIPDB", str(chipdb))
        return database, chipdb

    def calls(self):
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def quick_synthesis(monkeypatch):
    """Yosys reads and writes; what synthesis makes of it is not looked at."""
    monkeypatch.setattr(
        "dpnet.boards.series7.openxc7.synthesis_script",
        lambda: "read_verilog dpnet.v\nproc\nwrite_json dpnet.json\n",
    )


def refused(call, *arguments, **options):
    with pytest.raises(ToolError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_vivado_runs(machine, project):
    machine.install_vivado()
    vivado.write(BLINK, project)
    routed = vivado.run(BLINK, project)
    assert machine.calls() == [
        ["vivado", "-mode", "batch", "-notrace", "-nojournal", "-nolog", "-source", "build.tcl"]
    ]
    # 10 ns, of which 0.8 are left.
    assert (routed.mhz, routed.used) == (108.7, USED)
    assert routed.files == ("vivado.log", "utilization.rpt", "timing.rpt")
    assert "INFO: synthesis" in (project / "vivado.log").read_text()


def test_vivado_fails(machine, project):
    machine.install_vivado(text="x\nERROR: [Synth 8-439] module 'a' not found\ny", code=1)
    vivado.write(BLINK, project)
    log = build_root() / "synthesis" / "failed-vivado.log"
    assert refused(vivado.run, BLINK, project) == (
        f"Vivado failed: [Synth 8-439] module 'a' not found; the log is {log}"
    )
    assert "[Synth 8-439]" in log.read_text()


@pytest.mark.parametrize("changes", [{"files": {}}, {"text": "done"}])
def test_vivado_without_result(machine, project, changes):
    machine.install_vivado(**changes)
    vivado.write(BLINK, project)
    assert refused(vivado.run, BLINK, project) == (
        "Vivado ended without a timing figure or without dpnet.bit"
    )


@pytest.mark.whole
def test_openxc7_runs(machine, project):
    """Yosys is the real one; the others in order, with the files of the ones before."""
    database, chipdb = machine.install_openxc7()
    openxc7.write(BLINK, project, seed=7)
    routed = openxc7.run(BLINK, project, seed=7)
    assert (routed.mhz, routed.files) == (120.5, ("openxc7.log",))
    assert "dpnet" in json.loads((project / "dpnet.json").read_text())["modules"]
    family = f"{database}/zynq7"
    wanted = [
        [
            "nextpnr-xilinx",
            "--chipdb",
            f"{chipdb}/xc7z045ffg900.bin",
            "--xdc",
            "dpnet.xdc",
            "--json",
            "dpnet.json",
            "--fasm",
            "dpnet.fasm",
            "--freq",
            "100",
            "--seed",
            "7",
        ],
        ["fasm2frames", "--part", PART, "--db-root", family, "dpnet.fasm", "dpnet.frames"],
        [
            "xc7frames2bit",
            "--part_file",
            f"{family}/{PART}/part.yaml",
            "--part_name",
            PART,
            "--frm_file",
            "dpnet.frames",
            "--output_file",
            "dpnet.bit",
        ],
    ]
    assert machine.calls() == wanted
    # The script for another machine does the same.
    machine.log.unlink()
    machine.install("yosys")
    (project / "build.sh").write_text(openxc7.shell(BLINK, seed=7))
    subprocess.run(["/bin/sh", "build.sh"], cwd=project, check=True, env=dict(os.environ))
    assert machine.calls() == [["yosys", "-q", "synthesize.ys"], *wanted]


@pytest.mark.parametrize("name", ["nextpnr-xilinx", "fasm2frames", "xc7frames2bit"])
def test_openxc7_fails(machine, project, quick_synthesis, name):
    failing = {"text": "ERROR: no luck", "code": 1, "files": {}}
    machine.install_openxc7(**{name.replace("-", "_"): failing})
    openxc7.write(BLINK, project, seed=1)
    log = build_root() / "synthesis" / f"failed-{name}.log"
    assert refused(openxc7.run, BLINK, project, seed=1) == (
        f"{name} failed: no luck; the log is {log}"
    )
    assert log.read_text() == "ERROR: no luck\n" and machine.calls()[-1][0] == name
    assert not (project / "dpnet.bit").exists()


def test_openxc7_without_result(machine, project, quick_synthesis):
    machine.install_openxc7(xc7frames2bit={"files": {}})
    openxc7.write(BLINK, project, seed=1)
    message = refused(openxc7.run, BLINK, project, seed=1)
    assert message == "xc7frames2bit ended without dpnet.bit"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Info: done", "nextpnr-xilinx ended without a timing figure"),
        (
            "Info: Max frequency for clock   'clk': 99.90 MHz (FAIL at 100.00 MHz)",
            "timing is not met: clock clk reaches 99.9 MHz, not 100",
        ),
    ],
)
def test_nextpnr_timing(text, message):
    assert refused(parse_nextpnr, text, BLINK) == message


def test_utilization():
    assert parse_utilization(UTILIZATION) == USED
    assert parse_utilization("nothing of this kind") == {}


def test_missing_tools(machine, tmp_path, monkeypatch):
    assert refused(vivado.find) == (
        "no Vivado: there is no program 'vivado'; install it from AMD and put its bin folder on "
        "the PATH, or set VIVADO=/path/to/vivado"
    )
    monkeypatch.setenv("VIVADO", "/nowhere/vivado")
    assert "there is no program '/nowhere/vivado'" in refused(vivado.find)
    assert refused(openxc7.find, PART).startswith("no nextpnr-xilinx: there is no program")
    machine.install_openxc7()
    openxc7.find(PART)
    monkeypatch.delenv("CHIPDB")
    assert refused(openxc7.find, PART).startswith(
        "openXC7 is not complete: set CHIPDB to the folder of xc7z045ffg900.bin: bbaexport.py"
    )
    monkeypatch.setenv("PRJXRAY_DB_DIR", str(tmp_path))
    assert "there is no zynq7/xc7z045ffg900-2/part.yaml in it" in refused(openxc7.find, PART)


def built(folder, toolchain=None, **options):
    folder.mkdir(exist_ok=True)
    return BOARD.build(
        engine=SMALL, toolchain=toolchain, folder=folder, options=BuildOptions(**options)
    )


def names(made, folder):
    return {str(path.relative_to(folder)) for path in made.files}


@pytest.mark.whole
def test_board_with_vivado(machine, project):
    """Vivado comes first; what it wrote is checked, turned into a .bin, and reported."""
    machine.install_vivado()
    machine.install_openxc7()
    made = built(project)
    assert [call[0] for call in machine.calls()] == ["vivado"]
    assert (made.bitstream, made.mhz, made.clock_hz) == (project / "dpnet.bit", 108.7, 1e8)
    assert made.used == USED and made.available["lut"] == XC7Z045.sizes["lut"]
    assert made.missing is None and made.bitstream.read_bytes() == bit_file()
    assert names(made, project) == {
        "vivado/dpnet.v",
        "vivado/dpnet.xdc",
        "vivado/build.tcl",
        "vivado/vivado.log",
        "vivado/utilization.rpt",
        "vivado/timing.rpt",
        "dpnet.dts",
        "dpnet.bin",
    }
    assert (project / "dpnet.bin").read_bytes()[4:8] == b"\x66\x55\x99\xaa"


def test_board_with_openxc7(machine, project, quick_synthesis, monkeypatch):
    machine.install_openxc7()
    with pytest.raises(ValueError) as caught:
        built(project, "openxc7", door="uart")
    assert str(caught.value) == (
        "door uart needs toolchain vivado: openXC7's pin file for the XC7Z045 has only banks 10, "
        "33, 34 and 35, not the PMOD's"
    )
    monkeypatch.setattr(Series7Board, "_estimate", lambda *_: ({"lut": 5}, "counted"))
    made = built(project, seed=9)
    assert machine.calls()[0][-1] == "9"
    assert (made.mhz, made.used, made.notes) == (120.5, {"lut": 5}, ("counted",))
    assert made.bitstream.read_bytes() == bit_file(PART)
    text = (project / "openxc7" / "dpnet.v").read_text()
    assert re.search(r"^module dpnet\((led_alive, led_failed|led_failed, led_alive)\);", text, re.M)


def test_wrong_bitstream_is_none(machine, project):
    machine.install_vivado(files={"dpnet.bit": bit_file("7z020clg484")})
    message = refused(built, project)
    assert message.endswith("the bitstream is for '7z020clg484', not for 'xc7z045ffg900-2'")
    assert not list(project.glob("dpnet.bi*"))


def test_named_toolchain_must_be_there(machine, project):
    machine.install_openxc7()
    assert refused(built, project, "vivado").startswith("no Vivado: there is no program 'vivado'")
    assert list(project.iterdir()) == []


def command(*more):
    sizes = [
        word
        for name, value in vars(SMALL).items()
        if value != getattr(EngineParameters(), name)
        for word in (
            [f"--{name.replace('_', '-')}", str(value)]
            if not isinstance(value, bool)
            else [f"--{'' if value else 'no-'}{name.replace('_', '-')}"]
        )
    ]
    return bitstream.main(["zc706", *sizes, *more])


def test_command_without_tools(machine, capsys, monkeypatch):
    """Everything that can be written is; it says what is missing, and exits 3.  What Yosys counts
    is in the tests of `make resources`; here it is asked for the right thing."""
    asked = []

    def counted(candidates, *, device):
        asked.extend(candidates)
        netlist = Netlist("engine", {"engine": {"LUT6": 1234, "FDRE": 99, "DSP48E1": 4}})
        monkeypatch.setattr("dpnet.boards.series7.counting.synthesize_netlist", lambda *_: netlist)
        return measure(candidates, device=device)

    monkeypatch.setattr("dpnet.boards.series7.description.measure", counted)
    old = build_root() / "zc706" / "dpnet.bit"
    old.parent.mkdir(parents=True)
    old.write_bytes(bit_file())
    assert command() == 3
    out, err = capsys.readouterr()
    folder = old.parent
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {
        "vivado/dpnet.v",
        "vivado/dpnet.xdc",
        "vivado/build.tcl",
        "openxc7/dpnet.v",
        "openxc7/dpnet.xdc",
        "openxc7/synthesize.ys",
        "openxc7/build.sh",
        "dpnet.dts",
        "resources.txt",
        "build.json",
    }
    last = err.splitlines()[-1]
    assert last.startswith("bitstream: no bitstream: no Vivado: ") and "no nextpnr-xilinx" in last
    assert "not placed and routed" in out and "nothing was placed" in out
    summary = json.loads((folder / "build.json").read_text())
    assert summary["bitstream"] is None and summary["mhz"] is None
    assert summary["available"] == dict(XC7Z045.sizes)
    assert summary["used"] == {"lut": 1234, "lutram": 0, "ff": 99, "dsp": 4, "bram36": 0}
    assert "1,234" in (folder / "resources.txt").read_text()
    ((_, lanes, component),) = asked
    assert isinstance(component, AxiEngine) and (lanes, component.engine) == (4, SMALL)


def test_command_when_vivado_fails(machine, capsys):
    machine.install_vivado(text="ERROR: [Common 17-345] no license", code=1)
    old = build_root() / "zc706" / "dpnet.bit"
    old.parent.mkdir(parents=True)
    old.write_bytes(bit_file())
    assert command() == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("bitstream: Vivado failed: [Common 17-345] no license; the log is ")
    assert Path(last.rpartition(" ")[2]).read_text().startswith("ERROR: [Common 17-345]")
    assert [path for path in old.parent.rglob("*") if path.is_file()] == []


def test_command_for_the_uart(machine, capsys, monkeypatch):
    monkeypatch.setattr(Series7Board, "_estimate", lambda *_: ({}, "no resource estimate: none"))
    machine.install_openxc7()
    assert command("--door", "uart") == 3
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].startswith("bitstream: no bitstream: no Vivado: ")
    assert "openXC7 cannot build this: openXC7's pin file for the XC7Z045 has only banks" in out
    assert machine.calls() == [] and not (build_root() / "zc706" / "openxc7").exists()
    assert command("--door", "uart", "--toolchain", "openxc7") == 2
