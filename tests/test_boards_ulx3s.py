"""The ULX3S: pins, start-up; its flow with the real tools and with pretended ones."""

import json
import os
import signal
import stat
import subprocess
import sys

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from map_kit import NETWORKS
from waiting_kit import PATIENCE_S, wait_until

from dpnet.boards import bitstream
from dpnet.boards.board import find_board
from dpnet.boards.ecp5 import flow
from dpnet.boards.ecp5.nextpnr import ECPPACK, find_nextpnr, pack
from dpnet.boards.ecp5.pll import find_pll
from dpnet.boards.ecp5.startup import SETTLE_CYCLES, Startup
from dpnet.boards.tool import Tool
from dpnet.boards.ulx3s import board as ulx3s
from dpnet.boards.ulx3s.top import LAMPS, Ulx3sTop
from dpnet.boards.yosys import find_yosys
from dpnet.gateware.emit import emit
from dpnet.gateware.top import DOORS, Top
from dpnet.model.engine.maps.placement import place
from dpnet.model.engine.parameters import EngineParameters

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

# The board's own constraints files: github.com/emard/ulx3s, doc/constraints/ulx3s_v20.lpf (v2.x and
# v3.0.x), prototype/ulx3s_v314.lpf and prototype/ulx3s_v316.lpf, where the FT231X's names of the
# line are the other way around: its txd is what the FPGA receives.
SITES = {
    "clk_25mhz": "G2",
    "ftdi_txd": "M1",
    "ftdi_rxd": "L4",
    "led[0]": "B2",
    "led[1]": "C2",
    "led[2]": "C1",
    "led[3]": "D2",
    "led[4]": "D1",
    "led[5]": "E2",
    "led[6]": "E1",
    "led[7]": "H3",
}
NAMES = {"clk25": "clk_25mhz", "rx": "ftdi_txd", "tx": "ftdi_rxd"}
GPIO0 = {"v3.0": "L2", "v3.1.6": "F1"}
OTHERS_GPIO = {"v3.1.6": "L2"}
"""What must not be driven there: wifi_gpio22."""


@pytest.mark.parametrize("revision", GPIO0)
def test_pins_are_the_boards_and_every_port_has_one(revision):
    pads = ulx3s.pads(revision)
    sites = {NAMES.get(port, port): pad.site for port, pad in pads.items()}
    assert sites == {**SITES, "wifi_gpio0": GPIO0[revision]}
    assert OTHERS_GPIO.get(revision) not in sites.values()
    top = Ulx3sTop(engine=ulx3s.BOARD.engine, mhz=50)
    ports = {name for name in top.signature.members if name != "led"}
    assert ports | {f"led[{n}]" for n in range(len(LAMPS))} == set(pads)
    lines = flow.lpf(pads, "clk25", 25).splitlines()
    assert lines[0] == 'FREQUENCY PORT "clk25" 25 MHZ;'
    assert 'LOCATE COMP "rx" SITE "M1";' in lines
    assert 'IOBUF PORT "tx" IO_TYPE=LVCMOS33 PULLMODE=UP DRIVE=4;' in lines
    assert f'LOCATE COMP "wifi_gpio0" SITE "{GPIO0[revision]}";' in lines
    assert len(lines) == 1 + 2 * (len(SITES) + 1)


def test_the_revisions_are_an_option(pretended, capsys):
    assert ulx3s.BOARD.revisions == tuple(GPIO0)
    assert bitstream.main(["ulx3s", *TINY, "--revision", "v3.1.6"]) == 0
    assert "pins of revision v3.1.6 (others: v3.0; boards/ulx3s/README.md)" in (
        capsys.readouterr().out
    )
    assert 'LOCATE COMP "wifi_gpio0" SITE "F1";' in (pretended / "dpnet.lpf").read_text()
    assert bitstream.main(["ulx3s", *TINY]) == 0
    assert 'LOCATE COMP "wifi_gpio0" SITE "L2";' in (pretended / "dpnet.lpf").read_text()
    assert bitstream.main(["ulx3s", *TINY, "--revision", "v1.7"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "bitstream: revision of ulx3s must be v3.0 or v3.1.6, not 'v1.7'"
    )


def simulate(component, process, period=4e-8):
    simulator = Simulator(component)
    simulator.add_clock(period)
    simulator.add_testbench(process)
    simulator.run()


def test_the_engine_is_clocked_once_the_pll_has_settled_and_never_after_it_failed():
    startup = Startup()

    async def process(ctx):
        async def step(cycles, locked):
            ctx.set(startup.locked, locked)
            seen = set()
            for _ in range(cycles):
                await ctx.tick()
                seen.add((ctx.get(startup.run), ctx.get(startup.stopped)))
            return seen

        assert await step(600, 0) == {(0, 0)}
        assert await step(SETTLE_CYCLES - 1, 1) == {(0, 0)}
        assert await step(1, 0) == {(0, 0)}, "a short loss starts the count again"
        # Two cycles of the synchronizer, and one to set `run`.
        assert await step(SETTLE_CYCLES + 1, 1) == {(0, 0)}
        await step(2, 1)
        assert await step(600, 1) == {(1, 0)}
        await step(3, 0)
        assert await step(600, 0) == {(0, 1)}
        assert await step(600, 1) == {(0, 1)}, "what is in the registers may be wrong"

    simulate(startup, process)


class Blink(wiring.Component):
    """The board's pins without an engine, at `mhz`."""

    clk25: In(1)
    rx: In(1)
    tx: Out(1)
    led: Out(8)
    wifi_gpio0: Out(1)

    def __init__(self, mhz):
        self._mhz = mhz
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        clk, locked = Signal(), Signal()
        m.domains += ClockDomain("sync", reset_less=True)
        pll = find_pll(input_mhz=25, mhz=self._mhz)
        m.submodules.pll = pll.instance(i=self.clk25, o=clk, locked=locked)
        count = Signal(25)
        m.d.sync += [count.eq(count + 1), self.tx.eq(self.rx)]
        m.d.comb += [ClockSignal().eq(clk), self.wifi_gpio0.eq(1), self.led.eq(count[-8:] ^ locked)]
        return m


PINS = flow.lpf(ulx3s.pads("v3.0"), "clk25", 25)


@pytest.mark.whole
def test_a_design_becomes_a_real_bitstream_with_its_clock_derived_from_the_boards(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    netlist = flow.synthesize(emit(Blink(50), ulx3s.TOP), ulx3s.TOP, find_yosys())
    options = {"pins": PINS, "mhz": 50, "seed": 1, "nextpnr": find_nextpnr()}
    timing, config = flow.place_and_route(netlist, **options)
    assert timing.mhz > 50 and 26 <= timing.used["ff"] <= 30
    # The pins that were asked for, and the PLL, are in the configuration.
    assert ".device LFE5U-85F" in config
    assert "EHXPLLL" in config and "LVCMOS33" in config
    data = pack(config)
    assert b"Part: LFE5U-85F" in data[:100]
    # Preamble, then the command that checks the chip: 0x41113043 is the IDCODE of an LFE5U-85F.
    assert data.index(bytes.fromhex("ffffbdb3")) < data.index(bytes.fromhex("41113043")) < 200
    capsys.readouterr()
    again = flow.place_and_route(netlist, **options)
    assert again == (timing, config)
    assert "MHz, kept from an earlier run" in capsys.readouterr().err


@pytest.mark.whole
@pytest.mark.parametrize(
    "mhz", [50, *(pytest.param(mhz, marks=pytest.mark.long) for mhz in (40, 70))]
)
def test_nextpnr_derives_the_frequency_that_was_asked_for(tmp_path, monkeypatch, mhz):
    """By its own reading of the PLL's settings, with the output fed back and with a second one."""
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path / "build"))
    netlist = flow.synthesize(emit(Blink(mhz), ulx3s.TOP), ulx3s.TOP, find_yosys())
    (tmp_path / "netlist.json").write_text(netlist)
    (tmp_path / "pins.lpf").write_text(PINS)
    arguments = ["--85k", "--package", "CABGA381", "--json", "netlist.json", "--lpf", "pins.lpf"]
    log = find_nextpnr().run([*arguments, "--freq", "12", "--report", "report.json"], tmp_path)
    assert "out of legal range" not in log
    report = json.loads((tmp_path / "report.json").read_text())
    (constraint,) = [
        entry["constraint"]
        for net, entry in report["fmax"].items()
        if net.removeprefix("$glbnet$") == "clk"
    ]
    # Periods are whole picoseconds.
    assert constraint == pytest.approx(mhz, rel=2e-4)


PRETENDED = {
    "YOSYS": """
pathlib.Path("netlist.json").write_text("{}")
""",
    "NEXTPNR_ECP5": """
if "--version" in sys.argv:
    print("nextpnr-0.11"); sys.exit()
log = pathlib.Path(os.environ["RUNS"]); log.write_text(log.read_text() + "placed ")
achieved = float(os.environ["ACHIEVED"])
path = [{"delay": 20.0, "type": t, "from": {"cell": "a", "port": "Q"},
         "to": {"cell": "b", "port": "D"}} for t in ("clk-to-q", "routing", "setup")]
pathlib.Path("report.json").write_text(json.dumps({
    "fmax": {"$glbnet$clk": {"achieved": achieved, "constraint": 50.0},
             "$glbnet$clk25$TRELLIS_IO_IN": {"achieved": float(os.environ["OTHER"]),
                                             "constraint": 25.0}},
    "critical_paths": [{"from": "posedge $glbnet$clk", "to": "posedge $glbnet$clk", "path": path}],
    "utilization": {site: {"used": 7} for site in (
        "TRELLIS_COMB", "TRELLIS_FF", "TRELLIS_RAMW", "DP16KD", "MULT18X18D")},
}))
pathlib.Path("chip.config").write_text("configuration")
""",
    "ECPPACK": """
if "--version" in sys.argv:
    print("Version 1.4"); sys.exit()
assert pathlib.Path("chip.config").read_text() == "configuration"
pathlib.Path("chip.bit").write_bytes(b"bits")
""",
}


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """The whole command with tools that end at once; its folder."""
    for variable, lines in PRETENDED.items():
        path = tmp_path / variable.lower()
        path.write_text(f"#!{sys.executable}\nimport json, os, pathlib, sys\n{lines}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv(variable, str(path))
    # Amaranth would take the variable's Yosys too, for its own Verilog.
    monkeypatch.delenv("YOSYS")
    yosys = Tool("Yosys", (str(tmp_path / "yosys"),), "0.70", "pretended")
    monkeypatch.setattr(ulx3s, "find_yosys", lambda: yosys)
    for name, value in (("RUNS", tmp_path / "runs"), ("ACHIEVED", 57.5), ("OTHER", 90)):
        monkeypatch.setenv(name, str(value))
    (tmp_path / "runs").write_text("")
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path / "build"))
    return tmp_path / "build" / "ulx3s"


def test_the_command_ends_with_a_bitstream_and_goes_on_where_it_was(pretended, capsys):
    assert bitstream.main(["ulx3s", *TINY]) == 0
    out, err = capsys.readouterr()
    assert (pretended / "dpnet.bit").read_bytes() == b"bits"
    assert sorted(path.name for path in pretended.iterdir()) == [
        "build.json",
        "dpnet.bit",
        "dpnet.config",
        "dpnet.lpf",
        "dpnet.v",
    ]
    assert "module ulx3s(" in (pretended / "dpnet.v").read_text()
    assert "clock 50 MHz; reaches 57.5 MHz" in out and "7 of 83,640 (0.0 %)" in out
    assert "slowest path: 60.0 ns from a.Q to b.D" in out
    assert "placing and routing for 50 MHz, seed 1 (nextpnr 0.11 (from NEXTPNR_ECP5))" in err
    assert bitstream.main(["ulx3s", *TINY]) == 0
    assert capsys.readouterr().err.count("kept from an earlier run") == 2
    assert (pretended.parent.parent / "runs").read_text() == "placed "


@pytest.mark.parametrize(
    "variable, value, text",
    [
        (
            "ACHIEVED",
            "49.9",
            "timing failed: 49.9 MHz is reached, not 50: from a.Q to b.D; "
            "no configuration was written",
        ),
        ("OTHER", "24.9", "timing failed: 24.9 MHz is reached by clk25, not 25.0"),
        (
            "NEXTPNR_ECP5",
            "/nowhere",
            "no nextpnr: NEXTPNR_ECP5 is '/nowhere', and there is no such "
            "program; correct it or unset it",
        ),
        (
            "ECPPACK",
            "/nowhere",
            "no ecppack: ECPPACK is '/nowhere', and there is no such program; "
            "correct it or unset it",
        ),
    ],
)
def test_a_failure_is_one_line_and_leaves_no_bitstream(
    pretended, capsys, monkeypatch, variable, value, text
):
    assert bitstream.main(["ulx3s", *TINY]) == 0
    monkeypatch.setenv(variable, value)
    capsys.readouterr()
    # Another seed, so that nothing is kept.
    assert bitstream.main(["ulx3s", *TINY, "--seed", "2"]) == 3
    assert capsys.readouterr().err.splitlines()[-1] == f"bitstream: {text}"
    assert list(pretended.iterdir()) == []


SLOW = """
if "--version" in sys.argv:
    print("nextpnr-0.11"); sys.exit()
import time
pathlib.Path(os.environ["RUNS"]).write_text(str(os.getpid()))
time.sleep(600)
"""
COMMAND = """
import sys
from dpnet.boards import bitstream
from dpnet.boards.tool import Tool
from dpnet.boards.ulx3s import board
board.find_yosys = lambda: Tool("Yosys", (sys.argv[1],), "0.70", "pretended")
sys.exit(bitstream.main(["ulx3s", *sys.argv[2:]]))
"""


@pytest.mark.whole
def test_an_interrupted_build_ends_its_tool_and_goes_on_where_it_was(pretended, capsys):
    tools = pretended.parent.parent
    assert bitstream.main(["ulx3s", *TINY]) == 0
    (tools / "runs").write_text("")
    fast = (tools / "nextpnr_ecp5").read_text()
    (tools / "nextpnr_ecp5").write_text(f"#!{sys.executable}\nimport os, pathlib, sys\n{SLOW}")
    arguments = [*TINY, "--seed", "3"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tools / "yosys"), *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    placing = wait_until((tools / "runs").read_text, process)
    process.send_signal(signal.SIGTERM)
    assert "interrupted; the same command goes on" in process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 130 and list(pretended.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(placing), 0)
    (tools / "nextpnr_ecp5").write_text(fast)
    capsys.readouterr()
    assert bitstream.main(["ulx3s", *arguments]) == 0
    assert "(pretended)) … kept from an earlier run" in capsys.readouterr().err


def test_wrong_clocks_and_bauds_are_wrong_usage(pretended, capsys):
    assert bitstream.main(["ulx3s", *TINY, "--mhz", "50.1"]) == 2
    assert "mhz must be a frequency that the PLL makes" in capsys.readouterr().err
    assert bitstream.main(["ulx3s", *TINY, "--mhz", "20"]) == 2
    assert "baud must be at most clock_hz / 8 = 2500000, not 3000000" in capsys.readouterr().err


def test_the_board_holds_the_digits_networks():
    engine = find_board("ulx3s").engine
    sizes = [(256, 64), (128, 256), (10, 128)]
    assert isinstance(engine, EngineParameters) and engine.multiplier == "18x18"
    assert sum(engine.tiles(r) * engine.index_rows(c, 16) for r, c in sizes) <= engine.index_depth
    assert sum(engine.tiles(r) * engine.stages for r, _ in sizes) <= engine.slots


@pytest.mark.parametrize(
    "board, network, cycles",
    [
        ("ulx3s", "resnet-8", 438_019),
        ("ulx3s", "ds-cnn", 264_257),
        ("arty-z7-20", "resnet-8", 110_723),
        ("arty-z7-20", "ds-cnn", 69_217),
        ("arty-a7-35t", "ds-cnn", 134_241),
    ],
)
def test_map_engines_of_boards_hold_networks(board, network, cycles):
    """As docs/boards.md says it."""
    assert place(find_board(board).maps, NETWORKS[network]()).plan.cycles == cycles


@pytest.mark.parametrize("door", DOORS)
def test_a_top_has_ports_for_lamps_only_where_they_are_wanted(door):
    engine = find_board("ulx3s").engine
    plain, more = (Top(params=engine, door=door, status=status) for status in (False, True))
    lamps = {"active", "busy", "failed", "lost"}
    assert set(more.signature.members) - set(plain.signature.members) == lamps
    assert not lamps & set(plain.signature.members)


def test_ecppack_is_found():
    assert ECPPACK.find().name == "ecppack"
