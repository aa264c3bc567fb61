"""Boards with a 7-series chip that are data alone, the examples of docs/another-board.md: pins,
what is written without tools, and with a pretended one."""

import inspect
import json
import re
import stat
import struct
import sys
from dataclasses import replace

import pytest

from dpnet.boards import bitstream
from dpnet.boards.board import BuildOptions, board_names, find_board
from dpnet.boards.series7 import counting, openxc7
from dpnet.boards.series7.description import Series7Board
from dpnet.boards.series7.design import Clock, Pad, family
from dpnet.boards.series7.netlist import Netlist
from dpnet.boards.series7.top import LAMPS, Oscillator
from dpnet.boards.yosys import find_yosys, run_script
from dpnet.model.engine.devices import KINDS, LIMITS, XC7A35T
from dpnet.model.engine.maps.sizing.estimate import estimate_maps

TINY = {
    "stages": 1,
    "columns": 2,
    "segments": 1,
    "index_depth": 32,
    "slots": 4,
    "result_slots": 4,
    "vector_words": 32,
    "layers": 2,
    "max_columns": 16,
}
SIZES = [word for name, n in TINY.items() for word in (f"--{name.replace('_', '-')}", str(n))]

LEDS = ("led_alive", "led_failed", "led_link", "led_busy")
OUTPUTS = {"tx", *LEDS}


def sites(clock, button, rx, tx, *leds):
    return {**clock, "button": button, "rx": rx, "tx": tx, **dict(zip(LEDS, leds, strict=True))}


# amaranth-boards 0.0.21, arty_a7.py, nexys4ddr.py and arty_z7.py: the clock, rst or button 0, uart
# (rx is what the FPGA receives) or pins 2 and 3 of connector pmod 0, led 0 to 3.
SITES = {
    "arty-a7-35t": sites({"clk100": "E3"}, "C2", "A9", "D10", "H5", "J5", "T9", "T10"),
    "nexys4-ddr": sites({"clk100": "E3"}, "C12", "C4", "D4", "H17", "K15", "J13", "N14"),
    "arty-z7-20": sites({"clk125": "H16"}, "D19", "Y16", "Y19", "R14", "P14", "N16", "M14"),
}
PARTS = {
    "arty-a7-35t": ("xc7a35tcsg324-1", "artix7", "20,800"),
    "nexys4-ddr": ("xc7a100tcsg324-1", "artix7", "63,400"),
    "arty-z7-20": ("xc7z020clg400-1", "zynq7", "53,200"),
}
LOADS = {
    "arty-a7-35t": "openFPGALoader -b arty_a7_35t dpnet.bit",
    "nexys4-ddr": "openFPGALoader -b nexys_a7_100 dpnet.bit",
    "arty-z7-20": "openFPGALoader -b arty_z7_20 dpnet.bit",
}
UART = ["--door", "uart"]


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Where results go; neither toolchain is there, and counting takes no time."""
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("VIVADO", "/nowhere/vivado")
    monkeypatch.setattr(openxc7, "PROGRAMS", ("no-nextpnr-xilinx", "no-a", "no-b"))
    netlist = Netlist("engine", {"engine": {"LUT6": 1234, "RAMB18E1": 3}})
    monkeypatch.setattr(counting, "synthesize_netlist", lambda *_: netlist)
    return tmp_path / "build"


def test_these_are_all_of_them():
    boards = {name for name in board_names() if isinstance(find_board(name), Series7Board)}
    assert boards == {*SITES, "zc706"}


@pytest.mark.parametrize("name", SITES)
def test_a_board_is_a_description_of_some_20_lines(name):
    assert find_board(name)
    module = sys.modules[f"dpnet.boards.{name.replace('-', '_')}.board"]
    text = re.sub(r'"""(.|\n)*?"""', "", inspect.getsource(module), count=1)
    assert "def " not in text and "class " not in text
    assert len([line for line in text.splitlines() if line.strip()]) <= 28


@pytest.mark.parametrize("name", SITES)
def test_pins_are_the_boards(name):
    board = find_board(name)
    design = board.design(board.engine, "vivado", BuildOptions(door="uart"))
    assert {pin.port: pin.pad.site for pin in design.pins} == SITES[name]
    assert {pin.port for pin in design.pins if pin.output} == OUTPUTS
    assert {pin.pad.standard for pin in design.pins} == {"LVCMOS33"}
    assert (design.part, design.family) == PARTS[name][:2]


@pytest.mark.whole
@pytest.mark.parametrize("name", SITES)
def test_without_a_tool_it_writes_everything_for_both_and_fails(build, capsys, name):
    assert bitstream.main([name, *SIZES, *UART]) == 3
    folder = build / name
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].startswith("bitstream: no bitstream: no Vivado: there is no ")
    assert "no no-nextpnr-xilinx: there is no program" in err
    assert f"lut            1,234 of {PARTS[name][2]} (" in out
    assert "bram36             2 of " in out
    assert "clock 50 MHz; not placed and routed" in out
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "vivado/dpnet.v",
        "vivado/dpnet.xdc",
        "vivado/build.tcl",
        "openxc7/dpnet.v",
        "openxc7/dpnet.xdc",
        "openxc7/synthesize.ys",
        "openxc7/build.sh",
        "resources.txt",
        "build.json",
    }
    assert f"of the {find_board(name).device.name};" in (folder / "resources.txt").read_text()
    vivado, openxc7_xdc = (
        (folder / flow / "dpnet.xdc").read_text().splitlines() for flow in ("vivado", "openxc7")
    )
    for port, site in SITES[name].items():
        pin = f"PACKAGE_PIN {site} IOSTANDARD LVCMOS33"
        assert f"set_property -dict {{{pin}}} [get_ports {port}]" in vivado
        assert f"set_property PACKAGE_PIN {site} [get_ports {port}]" in openxc7_xdc
        assert f"set_property IOSTANDARD LVCMOS33 [get_ports {port}]" in openxc7_xdc
    clock = next(iter(SITES[name]))
    period = f"{1000 / int(clock[3:]):.3f}"
    assert f"create_clock -name board -period {period} [get_ports {clock}]" in vivado
    assert openxc7_xdc[-1] == "create_clock -period 20.000 [get_nets clk]"
    assert f"-part {PARTS[name][0]} " in (folder / "vivado" / "build.tcl").read_text()


@pytest.mark.parametrize("name", SITES)
def test_ports_and_primitives_are_those_of_the_chip(build, name):
    """Yosys knows every cell, with the ports and parameters that it is given."""
    assert bitstream.main([name, *SIZES, *UART]) == 3
    text = (build / name / "vivado" / "dpnet.v").read_text()
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
    assert set(ports.split()) == {f"dpnet/{port}" for port in SITES[name]}
    assert ("PS7 ps7" in text) == (name == "arty-z7-20")


VIVADO = """
import pathlib, sys
assert sys.argv[-2:] == ["-source", "build.tcl"]
print("slack: setup 4.000 ns, hold 0.100 ns")
pathlib.Path("dpnet.bit").write_bytes({content!r})
"""


def bit_file(part):
    """A .bit file of two words."""
    data = struct.pack(">2I", 0xFFFFFFFF, 0xAA995566)
    texts = zip("abcd", ("dpnet", part, "2024/05/06", "07:08:09"), strict=True)
    fields = b"".join(
        key.encode() + struct.pack(">H", len(value) + 1) + value.encode() + b"\0"
        for key, value in texts
    )
    preamble = b"\x00\x09\x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\x00\x00\x01"
    return preamble + fields + b"e" + struct.pack(">I", len(data)) + data


def install_vivado(tmp_path, monkeypatch, part):
    path = tmp_path / "vivado"
    path.write_text(f"#!{sys.executable}\n{VIVADO.format(content=bit_file(part))}")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("VIVADO", str(path))


@pytest.mark.whole
@pytest.mark.parametrize("name", SITES)
def test_with_vivado_there_is_a_bitstream(build, tmp_path, monkeypatch, capsys, name):
    part = PARTS[name][0].removeprefix("xc").partition("-")[0]
    install_vivado(tmp_path, monkeypatch, part)
    assert bitstream.main([name, *SIZES, *UART, "--mhz", "80"]) == 0
    out = capsys.readouterr().out
    # 12.5 ns with 4 ns to spare.
    assert "clock 80 MHz; reaches 117.7 MHz" in out and f"load it: {LOADS[name]}" in out
    assert (build / name / "dpnet.bit").read_bytes() == bit_file(part)


def test_a_bitstream_for_another_chip_is_none(build, tmp_path, monkeypatch, capsys):
    install_vivado(tmp_path, monkeypatch, "7a100tcsg324")
    assert bitstream.main(["arty-a7-35t", *SIZES]) == 3
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("the bitstream is for '7a100tcsg324', not for 'xc7a35tcsg324-1'")
    )
    assert list((build / "arty-a7-35t").rglob("*.bit")) == []


def test_a_toolchain_that_was_named_must_be_there(build, capsys):
    assert bitstream.main(["nexys4-ddr", *SIZES, "--toolchain", "vivado"]) == 3
    assert "bitstream: no Vivado: there is no program" in capsys.readouterr().err
    assert list((build / "nexys4-ddr").iterdir()) == []


def test_a_clock_that_the_mmcm_cannot_make_is_refused(build, capsys):
    assert bitstream.main(["arty-a7-35t", *SIZES, "--mhz", "99"]) == 2
    assert (
        "bitstream: mhz must be a frequency from 10 to 250 that the MMCM makes of 100 MHz, not 99.0"
        in capsys.readouterr().err
    )


def test_a_board_may_lack_a_button_and_lamps():
    """Nothing but an oscillator and a line: the reset comes from the MMCM alone."""
    board = Series7Board(
        name="bare",
        title="Bare",
        part="xc7a35tcpg236-1",
        device=XC7A35T,
        clock=Oscillator(12, (Pad("L17"),)),
        button=None,
        rx=Pad("J17"),
        tx=Pad("J18"),
        lamps={"alive": Pad("A17")},
    )
    design = board.design(board.engine, "openxc7", BuildOptions())
    assert {pin.port for pin in design.pins} == {"clk12", "rx", "tx", "led_alive"}
    header = re.search(r"^module dpnet\((.*?)\);", design.verilog, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"\w+", header[1])) == {"clk12", "rx", "tx", "led_alive"}


def test_what_a_description_refuses():
    with pytest.raises(ValueError, match=r"^lamps must be of alive, .*, not \['blue'\]$"):
        Series7Board(
            name="x",
            title="X",
            part="xc7a35tcpg236-1",
            device=XC7A35T,
            clock=Oscillator(12, (Pad("L17"),)),
            button=None,
            rx=Pad("J17"),
            tx=Pad("J18"),
            lamps={"blue": Pad("A17")},
        )
    with pytest.raises(ValueError, match=r"^pads must be one or a pair, not \(\)$"):
        Oscillator(100, ())
    with pytest.raises(ValueError) as caught:
        family("xc6slx9")
    assert str(caught.value) == "part must begin with xc7s, xc7a, xc7k, xc7z, not 'xc6slx9'"
    with pytest.raises(ValueError) as caught:
        Clock(mhz=100)
    assert str(caught.value) == "a clock must come in at a port or at a pin, not None and None"


def test_lamps_are_named_once():
    assert list(LAMPS) == [name.removeprefix("led_") for name in LEDS]


SMALL_MAPS = "maps?clusters=1&stages=1&index_depth=64&map_depth=64&picture_depth=64&result_depth=64"


@pytest.mark.whole
@pytest.mark.parametrize("name, door", [("arty-a7-35t", "uart"), ("arty-z7-20", "axi")])
def test_a_map_engine_is_written_for_every_door(build, capsys, name, door):
    assert bitstream.main([name, "--engine", SMALL_MAPS, "--door", door]) == 3
    out, err = capsys.readouterr()
    assert "a map engine of 1 × 1 × 16 lanes (clusters × stages × 16)" in err
    assert err.splitlines()[-1].startswith("bitstream: no bitstream: no Vivado: there is no ")
    assert "lut            1,234 of " in out
    for flow in ("vivado", "openxc7"):
        text = (build / name / flow / "dpnet.v").read_text()
        assert len(re.findall(r"^module map_core_\w+\(", text, re.MULTILINE)) == 1
    made = json.loads((build / name / "build.json").read_text())
    wanted = replace(find_board(name).maps, clusters=1, stages=1)
    assert (made["engine"]["clusters"], made["engine"]["taps"]) == (1, wanted.taps)


def test_map_engines_of_boards_fit_their_chips_by_the_estimate():
    for name, lanes in {
        "arty-a7-35t": 64,
        "nexys4-ddr": 128,
        "arty-z7-20": 128,
        "zc706": 256,
    }.items():
        board = find_board(name)
        taken = estimate_maps(board.maps)
        assert board.maps.lanes == lanes
        for kind in KINDS:
            room = board.device.sizes[kind] * LIMITS[kind]
            assert getattr(taken, kind) <= room, (name, kind)
