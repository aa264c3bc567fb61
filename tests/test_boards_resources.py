"""`make resources`: the file and the table, results kept by content, an interrupt loses nothing."""

import io
import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
from waiting_kit import PATIENCE_S, wait_until

from dpnet.boards import resources
from dpnet.boards.build import kept
from dpnet.boards.command import Candidate
from dpnet.boards.series7 import netlist
from dpnet.gateware.array.adder_tree import AdderTree
from dpnet.model.engine.devices import KINDS

pytestmark = pytest.mark.whole


def adders(names):
    """Two adders instead of engines."""
    return [
        Candidate(f"adder-{n}", n, AdderTree(inputs=n, bits=16))
        for n in (2, 4)
        if not names or f"adder-{n}" in names
    ]


@pytest.fixture
def command(monkeypatch):
    """The command with two adders; called with a build folder and arguments."""
    monkeypatch.setattr(resources, "candidates", adders)

    def call(folder, *arguments):
        monkeypatch.setenv("DPNET_BUILD", str(folder))
        return resources.main(list(arguments))

    return call


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a first run, and what it printed and said."""
    folder, out, err = tmp_path_factory.mktemp("build"), io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(resources, "candidates", adders)
        patch.setenv("DPNET_BUILD", str(folder))
        assert resources.main([]) == 0
    return folder, out.getvalue(), err.getvalue()


def test_the_file_has_what_was_counted_and_how(first, command, capsys):
    folder, out, err = first
    document = json.loads((folder / "resources.json").read_text())
    assert document["command"] == "make resources"
    assert document["tool"].startswith("Yosys 0.7")
    assert "synth_xilinx" in document["script"]
    assert document["device"]["name"] == "XC7Z045"
    two, four = document["rows"]
    assert set(two) == {
        "name",
        "lanes",
        *KINDS,
        "share",
        "binds",
        "fits",
        "modules",
    }
    # Sums of 17, 17 and 18 bits, each an adder and a register of its width.
    assert [(row["name"], row["lanes"], row["ff"]) for row in (two, four)] == [
        ("adder-2", 2, 17),
        ("adder-4", 4, 17 + 17 + 18),
    ]
    assert 16 <= two["lut"] <= 17 and two["lutram"] == two["dsp"] == two["bram36"] == 0
    assert two["share"]["ff"] == 17 / 437_200
    assert (two["binds"], two["fits"]) == ("lut", True)
    assert [module["module"] for module in two["modules"]] == ["engine"]
    assert "adder-4" in out and "of the XC7Z045" in out
    assert "synthesizing adder-2, 2 lanes … done, " in err
    assert command(folder, "adder-2", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        k: v for k, v in document.items() if k != "provenance"
    } | {"rows": [two]}
    assert command(folder, "adder-2", "--modules") == 0
    assert "\n  engine  " in capsys.readouterr().out


def test_a_second_run_does_not_synthesize(first, command, capsys, monkeypatch):
    folder = first[0]
    before = json.loads((folder / "resources.json").read_text())["rows"][0]
    (folder / "resources.json").unlink()

    def refuse(*_):
        raise AssertionError("synthesized again")

    monkeypatch.setattr(netlist, "run_script", refuse)
    assert command(folder, "adder-2") == 0
    assert "adder-2, 2 lanes … kept from an earlier run" in capsys.readouterr().err
    assert json.loads((folder / "resources.json").read_text())["rows"] == [before]
    with pytest.raises(AssertionError, match="synthesized again"):
        command(folder.parent / "another", "adder-2")


def test_a_result_is_kept_for_the_same_inputs_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    assert kept(("a", "bc"), lambda: {"lut": 1}) == ({"lut": 1}, False)
    assert kept(("a", "bc"), lambda: {"lut": 2}) == ({"lut": 1}, True)
    assert kept(("ab", "c"), lambda: {"lut": 3}) == ({"lut": 3}, False)
    with pytest.raises(ZeroDivisionError):
        kept(("x",), lambda: 1 // 0)
    assert kept(("x",), lambda: 4) == (4, False)


def test_a_spoiled_result_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    kept(("a",), lambda: {"lut": 100})
    [path] = tmp_path.glob("synthesis/*.json")
    path.write_text(path.read_text()[:6])
    assert kept(("a",), lambda: {"lut": 200}) == ({"lut": 200}, False)
    assert kept(("a",), lambda: {"lut": 300}) == ({"lut": 200}, True)


def test_an_unknown_name_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    assert resources.main(["huge"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("resources: NAME must be one of ") and err.endswith(", not 'huge'\n")
    assert not (tmp_path / "resources.json").exists()


FAKE_YOSYS = """\
import os, pathlib, sys, time
if "-V" in sys.argv:
    print("Yosys 0.70")
elif pathlib.Path(os.environ["HANG"]).exists():
    pathlib.Path(os.environ["HANG"]).write_text(str(os.getpid()))
    time.sleep(600)
else:
    pathlib.Path(os.environ["HANG"]).touch()
    pathlib.Path("netlist.json").write_text(
        '{"modules": {"engine": {"num_cells_by_type": {"LUT2": 3}}}}')
"""

DRIVER = """\
import sys
from dpnet.boards import resources
from dpnet.boards.command import Candidate
from dpnet.gateware.array.adder_tree import AdderTree
resources.candidates = lambda names: [
    Candidate(f"adder-{n}", n, AdderTree(inputs=n, bits=8)) for n in (2, 4)]
sys.exit(resources.main([]))
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_yosys_and_keeps_what_is_done(tmp_path, by):
    fake, hang = tmp_path / "yosys", tmp_path / "hang"
    fake.write_text(f"#!{sys.executable}\n{FAKE_YOSYS}")
    fake.chmod(fake.stat().st_mode | stat.S_IEXEC)
    environment = {
        **os.environ,
        "YOSYS": str(fake),
        "HANG": str(hang),
        "DPNET_BUILD": str(tmp_path / "build"),
        # The gateware's own conversion must not use the fake.
        "AMARANTH_USE_YOSYS": "builtin",
    }

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=os.path.dirname(os.path.dirname(__file__)),
        )

    process = start()
    wait_until(lambda: hang.exists() and hang.read_text(), process)
    process.send_signal(by)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert err.endswith("resources: interrupted; the same command goes on where it was\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int(hang.read_text()), 0)
    build = tmp_path / "build"
    assert not (build / "resources.json").exists()
    left = [path for path in (build / "synthesis").iterdir() if path.name != "first-run.lock"]
    assert [path.suffix for path in left] == [".json"]
    hang.unlink()
    again = start()
    _, err = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0
    assert "adder-2, 2 lanes … kept from an earlier run" in err
    assert "adder-4, 4 lanes … done" in err
