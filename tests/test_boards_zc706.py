"""The ZC706: pins, the chip around the engine, and all that its tools get, up to the tools."""

import json
import re
import subprocess

import pytest
from amaranth.sim import Simulator

from dpnet.boards.board import BuildOptions
from dpnet.boards.series7 import openxc7
from dpnet.boards.series7 import vivado as vivado_tool
from dpnet.boards.series7.clocking import Restart
from dpnet.boards.series7.openxc7 import synthesis_script
from dpnet.boards.yosys import find_yosys, run_script
from dpnet.boards.zc706.board import BOARD, PMOD
from dpnet.boards.zynq.devicetree import overlay
from dpnet.boards.zynq.ps7 import INPUTS
from dpnet.boards.zynq.top import AxiTop
from dpnet.gateware.doors.axi3 import axi3_members
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.simulator import find_simulator

try:
    import tkinter
except ImportError:  # some distributions have it in a package of its own
    tkinter = None

SMALL = {
    "stages": 2,
    "columns": 2,
    "segments": 1,
    "index_bits": 2,
    "max_columns": 8,
    "index_depth": 24,
    "slots": 4,
    "result_slots": 4,
    "vector_words": 32,
    "layers": 4,
    "edges": "integer",
    "activation_bits": 4,
    "entry_bits": 4,
    "row_beats": 1,
    "packed": False,
}
ENGINE = EngineParameters(**SMALL)
AXI, UART = BuildOptions(), BuildOptions(door="uart", baud=12_500_000)
VARIANTS = {"axi": ("vivado", AXI), "uart": ("vivado", UART), "openxc7": ("openxc7", AXI)}

# From the board's facts: ball, standard, bank.
FACTS = {
    "clk200_p": ("H9", "LVDS", 34),
    "clk200_n": ("G9", "LVDS", 34),
    "button": ("A8", "LVCMOS15", 34),
    "led_link": ("Y21", "LVCMOS25", None),
    "led_failed": ("G2", "LVCMOS15", 33),
    "led_busy": ("W21", "LVCMOS25", None),
    "led_alive": ("A17", "LVCMOS15", 35),
    "tx": ("AK21", "LVCMOS25", None),
    "rx": ("AB21", "LVCMOS25", None),
}
PMOD_J58 = ["AJ21", "AK21", "AB21", "AB16", "Y20", "AA20", "AC18", "AC19"]
OPENXC7_BANKS = {10, 33, 34, 35}
PORTS = {
    "axi": {"led_alive", "led_failed", "led_link", "led_busy"},
    "openxc7": {"led_alive", "led_failed"},
    "uart": set(FACTS),
}

BUFFERS = """
module BUFG(input I, output O); assign O = I; endmodule
module IBUFDS(input I, input IB, output O); assign O = I & ~IB; endmodule
module MMCME2_BASE(input CLKIN1, input CLKFBIN, input PWRDWN, input RST, output CLKFBOUT,
    output CLKOUT0, output LOCKED);
  parameter real CLKIN1_PERIOD = 0, CLKFBOUT_MULT_F = 5, CLKOUT0_DIVIDE_F = 1;
  // What nextpnr-xilinx takes where nothing is said.
  parameter real CLKFBOUT_PHASE = 1, CLKOUT0_PHASE = 1;
  parameter integer DIVCLK_DIVIDE = 1;
  // 200 MHz in, an oscillator of 1 GHz, 100 MHz out.
  initial if (CLKIN1_PERIOD != 5.0 || CLKFBOUT_MULT_F != 5.0 || DIVCLK_DIVIDE != 1
      || CLKOUT0_DIVIDE_F != 10.0 || CLKFBOUT_PHASE != 0.0 || CLKOUT0_PHASE != 0.0)
    $fatal(1, "not half of the board's clock");
  reg half = 0;
  reg [3:0] locked = 0;
  always @(posedge CLKIN1) begin
    half <= ~half;
    locked <= {locked[2:0], ~RST & ~PWRDWN};
  end
  assign CLKFBOUT = half & CLKFBIN;
  assign CLKOUT0 = half;
  assign LOCKED = locked[3];
endmodule
"""


@pytest.fixture(scope="module")
def made():
    """What each variant's tool gets, by its name."""
    return {name: BOARD.design(ENGINE, *variant) for name, variant in VARIANTS.items()}


@pytest.fixture(scope="module")
def ps7_ports():
    """Ports of PS7 in Yosys' library: name → (direction, bits)."""
    script = (
        "read_verilog -lib +/xilinx/cells_xtra.v\nread_verilog design.v\n"
        "hierarchy -top chip -purge_lib\nwrite_json ps7.json\n"
    )
    chip = "module chip; PS7 ps7(); endmodule\n"
    library = json.loads(run_script(find_yosys(), script, chip, "ps7.json"))
    ports = library["modules"]["PS7"]["ports"]
    return {name: (port["direction"], len(port["bits"])) for name, port in ports.items()}


class Vivado:
    """A Tcl interpreter that knows the commands a build uses, and nothing else of Vivado."""

    def __init__(self, folder, verilog, slack=("0.5", "0.1")):
        if tkinter is None:
            pytest.fail(
                "Vivado's scripts run in Python's own Tcl here: install tkinter "
                "(Debian: python3-tk)"
            )
        self.folder, self.slack = folder, list(slack)
        header = re.search(r"^module dpnet\((.*?)\);", verilog, re.MULTILINE | re.DOTALL)
        self.ports = set(re.findall(r"\w+", header[1]))
        self.has_ps7 = re.search(r"^  PS7 ps7 \($", verilog, re.MULTILINE) is not None
        self.calls, self.said, self.pins, self.clocks, self.free = [], [], {}, [], set()
        self.tcl, self.error = tkinter.Tcl(), None
        for name in dir(self):
            if name.startswith("do_"):
                self.tcl.createcommand(name[3:], self.kept(getattr(self, name)))
        for name in (
            "synth_design",
            "opt_design",
            "place_design",
            "phys_opt_design",
            "route_design",
            "report_utilization",
            "report_timing_summary",
            "write_bitstream",
        ):
            self.tcl.createcommand(name, lambda *a, name=name: self.calls.append([name, *a]))

    def kept(self, command):
        """`command`, whose own error is what `source` raises: Tcl's says nothing of it."""

        def call(*arguments):
            try:
                return command(*arguments)
            except BaseException as error:
                self.error = self.error or error
                raise

        return call

    def source(self, name):
        try:
            self.tcl.eval((self.folder / name).read_text())
        except tkinter.TclError:
            raise self.error or AssertionError(self.tcl.eval("set errorInfo")) from None

    def do_puts(self, text):
        self.said.append(text)

    def do_exit(self, code):
        raise SystemExit(code)

    def do_read_verilog(self, name):
        assert (self.folder / name).exists()
        self.calls.append(["read_verilog", name])

    def do_read_xdc(self, name):
        self.calls.append(["read_xdc", name])
        self.source(name)

    def do_get_ports(self, name):
        assert name in self.ports, f"there is no port {name}"
        return f"port {name}"

    def do_get_pins(self, name):
        assert name == "ps7/FCLKCLK[0]" and self.has_ps7
        return f"pin {name}"

    def do_set_property(self, option, values, target):
        assert option == "-dict"
        kind, name = target.split()
        assert kind == "port" and name not in self.pins
        words = values.split()
        pairs = dict(zip(words[::2], words[1::2], strict=True))
        assert set(pairs) == {"PACKAGE_PIN", "IOSTANDARD"}
        self.pins[name] = (pairs["PACKAGE_PIN"], pairs["IOSTANDARD"])

    def do_create_clock(self, *arguments):
        options = dict(zip(arguments[:-1:2], arguments[1:-1:2], strict=True))
        assert set(options) == {"-name", "-period"}
        self.clocks.append((float(options["-period"]), arguments[-1]))

    def do_set_false_path(self, end, target):
        assert end in ("-from", "-to")
        self.free.add((end, target.split()[1]))

    def do_get_timing_paths(self, kind, *rest):
        assert kind in ("-setup", "-hold") and rest == ("-max_paths", "1")
        return kind

    def do_get_property(self, name, path):
        assert name == "SLACK"
        return self.slack[path == "-hold"]


@pytest.mark.parametrize("name", ["axi", "uart"])
def test_vivado_scripts(made, tmp_path, name):
    """Tcl and XDC run through; every port has its pin and standard, none but the clock a time."""
    vivado_tool.write(made[name], tmp_path)
    vivado = Vivado(tmp_path, made[name].verilog)
    vivado.source("build.tcl")
    assert vivado.ports == PORTS[name]
    assert vivado.pins == {port: FACTS[port][:2] for port in PORTS[name]}
    clock = {"axi": (10.0, "pin ps7/FCLKCLK[0]"), "uart": (5.0, "port clk200_p")}[name]
    assert vivado.clocks == [clock]
    inputs = {"button", "rx"} & PORTS[name]
    outputs = PORTS[name] - inputs - {"clk200_p", "clk200_n"}
    assert vivado.free == {("-from", p) for p in inputs} | {("-to", p) for p in outputs}
    assert [call[0] for call in vivado.calls] == [
        "read_verilog",
        "read_xdc",
        "synth_design",
        "opt_design",
        "place_design",
        "phys_opt_design",
        "route_design",
        "report_utilization",
        "report_timing_summary",
        "write_bitstream",
    ]
    assert vivado.calls[2][1:] == [
        "-top",
        "dpnet",
        "-part",
        "xc7z045ffg900-2",
        "-verilog_define",
        "XC7",
    ]
    assert vivado.calls[-1][1:] == ["-force", "dpnet.bit"]
    assert vivado.said == ["slack: setup 0.5 ns, hold 0.1 ns"]


@pytest.mark.parametrize("slack", [("-0.001", "0.1"), ("0.5", "-0.2")])
def test_no_bitstream_without_timing(made, tmp_path, slack):
    vivado_tool.write(made["axi"], tmp_path)
    vivado = Vivado(tmp_path, made["axi"].verilog, slack)
    with pytest.raises(SystemExit) as caught:
        vivado.source("build.tcl")
    assert caught.value.code == "1"
    assert vivado.said[-1].startswith("ERROR: timing is not met")
    assert vivado.calls[-1][0] == "report_timing_summary"


def test_openxc7_constraints(made, tmp_path):
    """nextpnr-xilinx gets pins that its database has, and the engine's own clock."""
    openxc7.write(made["openxc7"], tmp_path, seed=3)
    lines = (tmp_path / "dpnet.xdc").read_text().splitlines()
    form = re.compile(r"set_property (PACKAGE_PIN|IOSTANDARD) (\w+) \[get_ports (\w+)\]")
    said = [form.fullmatch(line).groups() for line in lines[:-1]]
    pins = {
        port: tuple(dict((kind, v) for kind, v, p in said if p == port).values())
        for _, _, port in said
    }
    assert pins == {port: FACTS[port][:2] for port in PORTS["openxc7"]}
    assert all(FACTS[port][2] in OPENXC7_BANKS for port in pins)
    assert lines[-1] == "create_clock -period 10.000 [get_nets clk]", "braces name another net"
    header = re.search(r"^module dpnet\((.*?)\);", made["openxc7"].verilog, re.MULTILINE)
    assert set(re.findall(r"\w+", header[1])) == PORTS["openxc7"]


def test_pmod_pins():
    assert [pad.site for pad in PMOD] == PMOD_J58
    assert [BOARD.tx.site, BOARD.rx.site] == ["AK21", "AB21"]


def test_ps7_inputs(ps7_ports, made):
    """All inputs of the primitive are tied or used, and what is used has its direction."""
    assert {name: bits for name, (way, bits) in ps7_ports.items() if way == "input"} == INPUTS
    for variant in made.values():
        (body,) = re.findall(r"^  PS7 ps7 \((.*?)^  \);", variant.verilog, re.MULTILINE | re.DOTALL)
        used = set(re.findall(r"\.(\w+)\(", body))
        assert set(INPUTS) <= used
        assert all(ps7_ports[name][0] == "output" for name in used - set(INPUTS))


@pytest.mark.long
def test_synthesis(made):
    """The whole chip, as far as the mapping to LUTs: memories, DSP slices, registers, PS7."""
    script = synthesis_script().replace("synth_xilinx", "synth_xilinx -run begin:map_luts")
    script = script.replace("write_json", "blackbox =A:whitebox\nwrite_json")
    counts, netlist = _synthesized(made["openxc7"].verilog, script)
    assert {kind: counts.get(kind, 0) for kind in ("PS7", "BUFG", "OBUF", "IBUF")} == {
        "PS7": 1,
        "BUFG": 1,
        "OBUF": 2,
        "IBUF": 0,
    }
    assert counts["FDRE"] > 500 and counts["DSP48E1"] >= 2 and counts["RAM32M"] >= 4
    # The net that the constraint names is the one that the registers have.
    (clock,) = netlist["netnames"]["clk"]["bits"]
    clocks = {
        cell["connections"]["C"][0]
        for cell in netlist["cells"].values()
        if cell["type"].startswith("FD")
    }
    assert clocks == {clock}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("openxc7", {"PS7": 1, "BUFG": 1, "OBUF": 2, "IBUF": 0}),
        ("uart", {"PS7": 1, "BUFG": 1, "MMCME2_BASE": 1, "IBUFDS": 1, "OBUF": 5, "IBUF": 2}),
    ],
)
def test_synthesis_to_the_end(made, name, wanted):
    """The script of openXC7 on the chip around the engine, which is a black box here: mapping the
    engine itself takes a minute."""
    script = synthesis_script().replace("synth_xilinx", "blackbox top_*\nsynth_xilinx")
    counts, _ = _synthesized(made[name].verilog, script)
    assert {kind: counts.get(kind, 0) for kind in wanted} == wanted
    left = {kind for kind in counts if kind.startswith("$")}
    assert counts["FDRE"] > 30 and left <= {"$scopeinfo"}


def _synthesized(verilog, script):
    """(cells by type, module) of the top by `script`; a port of a primitive whose width is wrong
    is an error."""
    script = 'logger -werror "Resizing cell port"\n' + script.replace("dpnet.v", "design.v")
    netlist = json.loads(run_script(find_yosys(), script, verilog, "dpnet.json"))
    top = netlist["modules"]["dpnet"]
    counts = {}
    for cell in top["cells"].values():
        counts[cell["type"]] = counts.get(cell["type"], 0) + 1
    return counts, top


# Amaranth checks widths itself; in Yosys' text the rules of Verilog extend and cut, and the arms of
# a case that overlap are in the order of their priority.
ALLOWED = ("-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEOVERLAP")


@pytest.mark.parametrize("name", ["axi", "uart"])
def test_lint(made, ps7_ports, tmp_path, name):
    """Verilator has nothing else to say about the text that the tools get."""
    verilog = made[name].verilog
    used = re.findall(r"\.(\w+)\(", re.search(r"PS7 ps7 \((.*?)\);", verilog, re.DOTALL)[1])
    # It asks for every pin of a module, and the processor side's own stay open.
    ports = {port: ps7_ports[port] for port in used}
    (tmp_path / "chip.v").write_text(_module("PS7", ports) + BUFFERS + verilog)
    done = subprocess.run(
        [str(find_simulator().path), "--lint-only", *ALLOWED, "--top-module", "dpnet", "chip.v"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def _module(name, ports, body=""):
    declared = ", ".join(f"{way} [{bits - 1}:0] {port}" for port, (way, bits) in ports.items())
    return f"module {name}({declared});\n{body}endmodule\n"


@pytest.mark.whole
def test_axi_chip(made, ps7_ports):
    """The whole chip with a stand-in for PS7 whose AXI port is the bench's: every wire of it."""
    members = axi3_members()
    to_logic = {name: m for name, m in members.items() if m.flow.name == "In"}
    drivers = "".join(
        f"  assign MAXIGP0{name[6:].upper()} = testbench.{name};\n" for name in to_logic
    ).replace("size = testbench.s_axi_awsize", "size")
    drivers += "  assign FCLKCLK = {3'd0, testbench.clk};\n"
    drivers += "  assign FCLKRESETN = {3'd0, ~testbench.rst};\n"
    ways = {name: ("input" if name in to_logic else "output") for name in members}
    ports = {"clk": ("input", 1), "rst": ("input", 1)}
    ports |= {
        name: (ways[name], member.shape if isinstance(member.shape, int) else 1)
        for name, member in members.items()
    }
    ports |= {port: ("output", 1) for port in sorted(PORTS["axi"])}
    lamps = ", ".join(f".{port}({port})" for port in sorted(PORTS["axi"]))
    results = "".join(
        f"  assign {name} = chip.ps7.MAXIGP0{name[6:].upper()};\n"
        for name in members
        if name not in to_logic
    )
    bench = _module("testbench", ports, f"  dpnet chip({lamps});\n{results}")
    text = _module("PS7", ps7_ports, drivers) + BUFFERS + made["axi"].verilog + bench
    assert run_bench(text, "doors.top_axi3", top="testbench", values={"engine": SMALL}) == 2


@pytest.mark.whole
@pytest.mark.long
def test_uart_chip(made, ps7_ports):
    """The whole chip at half of the speed that it is made for, because the bench's clock is."""
    ports = {"clk": ("input", 1), "button": ("input", 1), "rx": ("input", 1), "tx": ("output", 1)}
    ports |= {port: ("output", 1) for port in PORTS["uart"] if port.startswith("led_")}
    inner = ", ".join(f".{port}({port})" for port in ports if port != "clk")
    body = f"  dpnet chip(.clk200_p(clk), .clk200_n(~clk), {inner});\n"
    text = _module("PS7", ps7_ports) + BUFFERS + made["uart"].verilog
    text += _module("testbench", ports, body)
    values = {"baud": UART.baud // 2}
    assert run_bench(text, "doors.zc706_uart", top="testbench", values=values) == 1


def test_device_tree():
    text = re.sub(r"//.*", "", overlay("dpnet.bin", 62.5))
    assert text.startswith("/dts-v1/;\n/plugin/;")
    assert text.count("{") == text.count("}") == 3 and "&fpga_full {" in text
    assert re.search(
        r"dpnet@40000000 \{\s*compatible = \"generic-uio\";\s*"
        r"reg = <0x40000000 0x1000>;",
        text,
    )
    assert 'firmware-name = "dpnet.bin";' in text
    assert "assigned-clocks = <&clkc 15>;" in text
    assert "assigned-clock-rates = <62500000>;" in text
    statement = r"\s*(?:[#\w-]+(?: = [^;{}]+)?;|\}\;|(?:[\w&-]+: )?[&\w@-]+ \{|/[\w-]+/;)"
    assert re.fullmatch(rf"(?:{statement})+\s*", text)


def test_restart():
    """Reset after configuration, after a lost clock and after each change of the button."""
    restart = Restart(cycles=50)
    ends = []

    async def bench(ctx):
        async def until(value, limit):
            for cycle in range(limit):
                if ctx.get(restart.reset) == value:
                    return cycle
                await ctx.tick()
            raise AssertionError(f"reset is not {value} after {limit} cycles")

        assert ctx.get(restart.reset) == 1
        ctx.set(restart.good, 1)
        ends.append(await until(0, 70))
        for signal, value in ((restart.button, 1), (restart.button, 0), (restart.good, 0)):
            ctx.set(signal, value)
            await until(1, 5)
            ctx.set(restart.good, 1)
            ends.append(await until(0, 70))

    simulator = Simulator(restart)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(ends) == 4 and all(49 <= cycles <= 55 for cycles in ends)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mhz": 77.0},
            "mhz must be 1000 / n for a whole n, from 10 to 250, not 77.0; the nearest is "
            "76.9230769",
        ),
        (
            {"mhz": 300.0},
            "mhz must be 1000 / n for a whole n, from 10 to 250, not 300.0; the nearest is 250",
        ),
        (
            {"mhz": 81.0, "door": "uart"},
            "mhz must be a frequency from 10 to 250 that the MMCM makes of 200 MHz, not 81.0; the "
            "nearest is 81.0126582",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_refuses_clocks(options, message):
    with pytest.raises(ValueError) as caught:
        BOARD.design(ENGINE, "vivado", BuildOptions(**options))
    assert str(caught.value) == message


@pytest.mark.parametrize("mhz", [10, 40, 62.5, 76.92307692307692, 76.9230769, 100, 250])
def test_clocks(mhz):
    assert AxiTop(engine=ENGINE, mhz=mhz, lamps=()).clock_hz == pytest.approx(mhz * 1e6, abs=1)
