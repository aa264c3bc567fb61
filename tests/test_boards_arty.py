"""The Arty A7-35T, the example of docs/another-board.md: pins, what is written without tools, and
with a pretended one."""

import stat
import sys

import pytest

from dpnet.boards import bitstream
from dpnet.boards.arty_a7_35t import board as arty
from dpnet.boards.xc7 import Resources
from dpnet.boards.yosys import find_yosys, run_script

TINY = [
    "--stages",
    "1",
    "--columns",
    "2",
    "--segments",
    "1",
    "--index-depth",
    "32",
    "--slots",
    "4",
    "--result-slots",
    "4",
    "--vector-words",
    "32",
    "--layers",
    "2",
    "--max-columns",
    "16",
]

# amaranth-boards 0.0.21, arty_a7.py: clk100, rst, uart (rx is what the FPGA receives), led.
SITES = {
    "clk100": "E3",
    "button": "C2",
    "rx": "A9",
    "tx": "D10",
    "led_alive": "H5",
    "led_failed": "J5",
    "led_link": "T9",
    "led_busy": "T10",
}
OUTPUTS = {"tx", "led_alive", "led_failed", "led_link", "led_busy"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where results go; neither toolchain is there, and counting takes no time."""
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("VIVADO", "/nowhere/vivado")
    monkeypatch.setattr(arty.xilinx, "OPENXC7_PROGRAMS", ("no-nextpnr-xilinx", "no-a", "no-b"))
    monkeypatch.setattr(arty, "synthesize", lambda verilog, top: Resources(lut=1234, bram18=3))
    return tmp_path / "build" / "arty-a7-35t"


def test_pins_are_the_boards():
    assert {port: site for port, (site, _) in arty.PINS.items()} == SITES
    assert {port for port, (_, output) in arty.PINS.items() if output} == OUTPUTS


def test_without_a_tool_it_writes_everything_for_both_and_fails(folder, capsys):
    assert bitstream.main(["arty-a7-35t", *TINY]) == 3
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].startswith("bitstream: no bitstream: no Vivado: there is no ")
    assert "no no-nextpnr-xilinx: there is no program" in err
    assert "lut            1,234 of 20,800 (5.9 %)" in out and "bram36             2 of 50" in out
    assert "clock 50 MHz; not placed and routed" in out
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        "vivado/dpnet.v",
        "vivado/dpnet.xdc",
        "vivado/build.tcl",
        "openxc7/dpnet.v",
        "openxc7/dpnet.xdc",
        "openxc7/build.sh",
        "build.json",
    } <= names
    assert not [name for name in names if name.endswith(".bit")]
    for flow in ("vivado", "openxc7"):
        xdc = (folder / flow / "dpnet.xdc").read_text()
        for port, site in SITES.items():
            pin = f"PACKAGE_PIN {site} IOSTANDARD LVCMOS33"
            assert f"set_property -dict {{{pin}}} [get_ports {{{port}}}]" in xdc
    assert (
        "create_clock -name board -period 10.000 [get_ports {clk100}]"
        in (folder / "vivado" / "dpnet.xdc").read_text()
    )
    assert "-part xc7a35tcsg324-1 " in (folder / "vivado" / "build.tcl").read_text()


def test_ports_and_primitives_are_those_of_the_chip(folder):
    """Yosys knows every cell, with the ports and parameters that it is given."""
    assert bitstream.main(["arty-a7-35t", *TINY]) == 3
    text = (folder / "vivado" / "dpnet.v").read_text()
    ports = run_script(
        find_yosys(),
        """\
read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v
read_verilog -D XC7 design.v
hierarchy -check -top dpnet
select -write ports.txt dpnet/i:* dpnet/o:*
""",
        text,
        "ports.txt",
    )
    assert set(ports.split()) == {f"dpnet/{port}" for port in SITES}


VIVADO = """
import pathlib, sys
assert sys.argv[-2:] == ["-source", "build.tcl"]
print("slack: setup 4.000 ns, hold 0.100 ns")
pathlib.Path("dpnet.bit").write_bytes(b"bits")
"""


def test_with_vivado_there_is_a_bitstream(folder, tmp_path, monkeypatch, capsys):
    path = tmp_path / "vivado"
    path.write_text(f"#!{sys.executable}\n{VIVADO}")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("VIVADO", str(path))
    assert bitstream.main(["arty-a7-35t", *TINY, "--mhz", "80"]) == 0
    # 12.5 ns with 4 ns to spare.
    assert "clock 80 MHz; reaches 117.7 MHz" in capsys.readouterr().out
    assert (folder / "dpnet.bit").read_bytes() == b"bits"


def test_a_toolchain_that_was_named_must_be_there(folder, capsys):
    assert bitstream.main(["arty-a7-35t", *TINY, "--toolchain", "vivado"]) == 3
    assert "bitstream: no Vivado: there is no program" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_clock_that_the_mmcm_cannot_make_is_refused(folder, capsys):
    assert bitstream.main(["arty-a7-35t", *TINY, "--mhz", "99"]) == 2
    assert "bitstream: mhz must be 8000 / n for a whole n" in capsys.readouterr().err
