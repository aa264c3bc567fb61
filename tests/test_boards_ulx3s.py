"""The ULX3S: pins, PLL, start-up, lamps; its flow with the real tools and with pretended ones."""

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
from waiting_kit import PATIENCE_S, wait_until

from dpnet.boards import bitstream, ecp5
from dpnet.boards.board import find_board
from dpnet.boards.ecp5 import ECPPACK, find_nextpnr
from dpnet.boards.tool import Tool
from dpnet.boards.ulx3s import board as ulx3s
from dpnet.boards.ulx3s.pll import find_pll
from dpnet.boards.ulx3s.top import LAMPS, SETTLE_CYCLES, Lamps, Startup, Ulx3sTop
from dpnet.boards.yosys import find_yosys
from dpnet.gateware.emit import emit
from dpnet.gateware.top import DOORS, Top
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

# The board's own constraints file: github.com/emard/ulx3s, doc/constraints/ulx3s_v20.lpf, where
# the FT231X's names of the line are the other way around: its txd is what the FPGA receives.
SITES = {
    "clk_25mhz": "G2",
    "ftdi_txd": "M1",
    "ftdi_rxd": "L4",
    "wifi_gpio0": "L2",
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


def test_pins_are_the_boards_and_every_port_has_one():
    assert {NAMES.get(port, port): site for port, (site, _) in ulx3s.PINS.items()} == SITES
    top = Ulx3sTop(engine=ulx3s.BOARD.engine, mhz=50)
    ports = {name for name in top.signature.members if name != "led"}
    assert ports | {f"led[{n}]" for n in range(len(LAMPS))} == set(ulx3s.PINS)
    lines = ulx3s.constraints().splitlines()
    assert lines[0] == 'FREQUENCY PORT "clk25" 25 MHZ;'
    assert 'LOCATE COMP "rx" SITE "M1";' in lines
    assert 'IOBUF PORT "tx" IO_TYPE=LVCMOS33 PULLMODE=UP DRIVE=4;' in lines
    assert len(lines) == 1 + 2 * len(SITES)


@pytest.mark.parametrize("mhz", [12.5, 25, 31.25, 40, 50, 60, 62.5, 75, 80, 87.5, 100, 125])
def test_the_pll_stays_within_its_limits(mhz):
    pll = find_pll(input_mhz=25, mhz=mhz)
    assert float(pll.mhz) == mhz == 25 / pll.ref * pll.feedback
    # FPGA-DS-02012: phase detector 3.125 to 400 MHz, oscillator 400 to 800 MHz, dividers 1 to 128.
    assert 3.125 <= 25 / pll.ref <= 400
    assert 400 <= mhz * pll.output <= 800
    assert all(1 <= divider <= 128 for divider in (pll.ref, pll.feedback, pll.output))


def test_a_clock_that_the_pll_cannot_make_is_refused_with_the_nearest():
    with pytest.raises(ValueError) as caught:
        find_pll(input_mhz=25, mhz=50.1)
    assert str(caught.value) == (
        "mhz must be a frequency that the PLL makes of 25 MHz, not 50.1; the nearest is 50"
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


def test_lamps_show_what_is_too_short_to_see():
    clock_hz = 4_000
    lamps = Lamps(clock_hz=clock_hz)

    async def process(ctx):
        async def lit(cycles):
            counts = dict.fromkeys(("alive", "received", "sent", "shown_busy"), 0)
            for _ in range(cycles):
                await ctx.tick()
                for name in counts:
                    counts[name] += ctx.get(getattr(lamps, name))
            return counts

        ctx.set(lamps.rx, 1)
        ctx.set(lamps.tx, 1)
        calm = await lit(2 * clock_hz)
        assert calm["received"] == calm["sent"] == calm["shown_busy"] == 0
        assert 0.3 < calm["alive"] / (2 * clock_hz) < 0.7, "on about half the time"
        for name, port, level in (
            ("received", lamps.rx, 0),
            ("sent", lamps.tx, 0),
            ("shown_busy", lamps.busy, 1),
        ):
            ctx.set(port, level)
            await ctx.tick()
            ctx.set(port, 1 - level)
            counts = await lit(clock_hz // 4)
            assert 0.008 < counts.pop(name) / clock_hz < 0.032
            assert counts.pop("alive") >= 0 and not any(counts.values())

    simulate(lamps, process, 1 / clock_hz)


class Blink(wiring.Component):
    """The board's pins without an engine."""

    clk25: In(1)
    rx: In(1)
    tx: Out(1)
    led: Out(8)
    wifi_gpio0: Out(1)

    def elaborate(self, platform):
        m = Module()
        clk, locked = Signal(), Signal()
        m.domains += ClockDomain("sync", reset_less=True)
        pll = find_pll(input_mhz=25, mhz=50)
        m.submodules.pll = pll.instance(i=self.clk25, o=clk, locked=locked)
        count = Signal(25)
        m.d.sync += [count.eq(count + 1), self.tx.eq(self.rx)]
        m.d.comb += [ClockSignal().eq(clk), self.wifi_gpio0.eq(1), self.led.eq(count[-8:] ^ locked)]
        return m


def test_a_design_becomes_a_real_bitstream_with_its_clock_derived_from_the_boards(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    netlist = ulx3s.synthesize(emit(Blink(), ulx3s.TOP), find_yosys())
    timing, config = ulx3s.place_and_route(netlist, 50, 1, find_nextpnr())
    assert timing.mhz > 50 and 26 <= timing.used["ff"] <= 30
    # The pins that were asked for, and the PLL, are in the configuration.
    assert ".device LFE5U-85F" in config
    assert "EHXPLLL" in config and "LVCMOS33" in config
    data = ecp5.pack(config)
    assert b"Part: LFE5U-85F" in data[:100]
    # Preamble, then the command that checks the chip: 0x41113043 is the IDCODE of an LFE5U-85F.
    assert data.index(bytes.fromhex("ffffbdb3")) < data.index(bytes.fromhex("41113043")) < 200
    capsys.readouterr()
    again = ulx3s.place_and_route(netlist, 50, 1, find_nextpnr())
    assert again == (timing, config)
    assert "MHz, kept from an earlier run" in capsys.readouterr().err


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


@pytest.mark.parametrize("door", DOORS)
def test_a_top_has_ports_for_lamps_only_where_they_are_wanted(door):
    engine = find_board("ulx3s").engine
    plain, more = (Top(params=engine, door=door, status=status) for status in (False, True))
    assert set(more.signature.members) - set(plain.signature.members) == {"busy", "failed", "lost"}
    assert not {"busy", "failed", "lost"} & set(plain.signature.members)


def test_ecppack_is_found():
    assert ECPPACK.find().name == "ecppack"
