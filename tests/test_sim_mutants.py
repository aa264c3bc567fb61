"""`make mutants`: netlists that begin with a fault, verdicts, and what is kept of them."""

import json

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.emit import emit
from dpnet.sim.formal.sby import Sby
from dpnet.sim.mutants import __main__ as command
from dpnet.sim.mutants import trials
from dpnet.sim.mutants.blocks import BLOCKS
from dpnet.sim.mutants.kept import KILLED, Mutants
from dpnet.sim.mutants.netlist import flat, mutations, selectable
from dpnet.sim.mutants.trials import judged


class Tiny(wiring.Component):
    """A register of three bits of `a` & `b`; bit 3 of `o` is always 0."""

    a: In(4)
    b: In(4)
    o: Out(4)

    def elaborate(self, platform):
        m = Module()
        masked = Signal(4)
        m.d.comb += masked.eq(self.b | 8)
        m.d.sync += self.o.eq((self.a & masked)[:3])
        return m


@pytest.fixture(scope="module")
def tiny():
    return flat(emit(Tiny()))


def test_mutations_are_drawn_by_their_seed(tiny):
    found = mutations(tiny, 10, 1)
    assert len(found) == 10 == len(set(found))
    assert all("-mode " in one and "-cell " in one for one in found)
    assert found == mutations(tiny, 10, 1) != mutations(tiny, 10, 2)
    every = mutations(tiny, 1000, 1)
    assert 10 < len(every) < 1000 and not [one for one in every if "-port CLK " in one]


def test_a_mutant_is_chosen_when_the_simulation_begins(tiny):
    text = selectable(tiny, mutations(tiny, 10, 1), 1000)
    assert text.count('$value$plusargs("mutant=%d", mutant)') == 1
    assert "$time > 1000" in text and "input [15:0] mutant" not in text
    assert all(f"mutant == 16'h{n:04x}" in text for n in range(1, 11))


def test_too_many_mutants(tiny):
    with pytest.raises(ValueError, match="at most 65535 mutants are told apart, not 65536"):
        selectable(tiny, [""] * 65536, 1000)


def a_mutant(netlist, *parts):
    """The first of all mutations whose text has all `parts`."""
    every = mutations(netlist, 1000, 1)
    return next(one for one in every if all(part in one for part in parts))


def test_a_mutant_that_changes_nothing_is_equivalent(tiny):
    """Bit 3 of the result is 0 whatever the masked bits are; a flip of the register's input is
    seen."""
    sby = Sby()
    assert judged(sby, tiny, "-mode none -module top") == "equivalent"
    seen = a_mutant(tiny, "-mode inv", "$ff.cc", "-port D ", "-portbit 1 ")
    assert judged(sby, tiny, seen) == "different"


@pytest.mark.long
def test_of_a_lane_all_is_killed_and_kept(tmp_path, monkeypatch, capsys):
    """Verdicts and report; the second run simulates nothing."""
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    assert command.main(["lane", "--count", "6", "--jobs", "2", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["blocks"]
    assert (row["name"], row["mutants"], row["killed"], row["survived"]) == ("lane", 6, 6, 0)
    [kept] = (tmp_path / "mutants").iterdir()
    assert set(json.loads(kept.read_text())["verdicts"].values()) == {KILLED}
    monkeypatch.setattr(command, "run_one", None)
    assert command.main(["lane", "--count", "6"]) == 0
    report = json.loads((tmp_path / "mutants.json").read_text())
    assert report["command"] == "make mutants NAMES='lane' COUNT=6 SEED=1"
    assert "lane" in capsys.readouterr().out


def stubbed(monkeypatch, tmp_path, bench):
    """The command with a netlist of three mutants, `bench` in place of simulations."""
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    monkeypatch.setattr(command, "flat", lambda verilog: "netlist")
    monkeypatch.setattr(command, "mutations", lambda *given: ["one", "two", "three"])
    monkeypatch.setattr(command, "selectable", lambda *given: "verilog")
    monkeypatch.setattr(command, "run_one", bench)

    def benched(trials, jobs):
        return ((trial.mutant, bench(trial)) for trial in trials)

    monkeypatch.setattr(command, "benched", benched)
    verdicts = {"two": "equivalent", "three": "different"}
    monkeypatch.setattr(command, "judged", lambda sby, net, mutant: verdicts[mutant])


def test_survivors_are_run_at_full_length_and_then_compared(tmp_path, monkeypatch, capsys):
    asked = []

    def bench(trial):
        asked.append((trial.mutant, trial.thorough))
        return "wrong" if trial.mutant == 1 and trial.thorough else ""

    stubbed(monkeypatch, tmp_path, bench)
    assert command.main(["lane"]) == 1
    assert asked == [(n, full) for full in (False, True) for n in range(4)]
    [row] = json.loads((tmp_path / "mutants.json").read_text())["blocks"]
    counts = [row[name] for name in ("mutants", "equivalent", "killed", "survived")]
    assert counts == [3, 1, 1, 1]
    assert (row["killed_at_full_length"], row["score"]) == (1, 0.5)
    assert row["survivors"] == [{"mutation": "three", "verdict": "different"}]
    found = capsys.readouterr()
    assert "lane: different: three" in found.out
    assert found.err.endswith("mutants: less than 99% killed: lane\n")


def test_a_bench_that_fails_without_a_mutant(tmp_path, monkeypatch, capsys):
    stubbed(monkeypatch, tmp_path, lambda trial: "it is broken")
    assert command.main(["lane"]) == 3
    told = capsys.readouterr().err
    assert told == "mutants: block lane without any mutant: it is broken\n"


def test_interrupted_it_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    def bench(trial):
        if trial.mutant == 3:
            raise KeyboardInterrupt
        return "wrong" if trial.mutant else ""

    stubbed(monkeypatch, tmp_path, bench)
    monkeypatch.setattr(command, "SAVED_EVERY", 1)
    assert command.main(["lane"]) == 130
    assert (
        "mutants: interrupted; the same command goes on where it was\n" in capsys.readouterr().err
    )
    asked = []
    stubbed(
        monkeypatch, tmp_path, lambda trial: asked.append(trial.mutant) or "wrong" * trial.mutant
    )
    assert command.main(["lane"]) == 0
    assert asked == [0, 3, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["line"], "no block is called 'line'; there are lane, column"),
        (["--count", "0"], "--count must be a whole number from 1 to 50000, not '0'"),
        (["--job", "0"], "there is no option --job"),
    ],
)
def test_wrong_usage_is_one_line(given, message, capsys):
    assert command.main(given) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_full_length_is_that_of_make_test_long(monkeypatch):
    seen = []

    def bench(*given, values, **others):
        seen.append((values["weights"], others["plusargs"]))

    monkeypatch.setattr(trials, "run_bench", bench)
    monkeypatch.delenv(trials.THOROUGH, raising=False)
    for full in (False, True):
        assert trials.run_one(trials.Trial("lane", "", 7, full)) == ""
    assert seen == [(188, ["+mutant=7"]), (1500, ["+mutant=7"])]


def test_kept_verdicts_are_those_of_their_key(tmp_path):
    one = Mutants.read("lane", tmp_path, "a", ["x", "y"])
    one.verdicts[1] = KILLED
    one.save()
    assert Mutants.read("lane", tmp_path, "a", ["x", "y"]).verdicts == {1: KILLED}
    assert not Mutants.read("lane", tmp_path, "b", ["x", "y"]).verdicts


def test_every_block_is_one_that_benches_know():
    for block in BLOCKS.values():
        assert block.verilog().count("\nmodule top(") == 1
