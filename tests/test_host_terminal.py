"""What is printed: on terminals of any width, without one, in ASCII, and when it is interrupted."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from itertools import pairwise
from pathlib import Path

import pytest
from cli_kit import Call, fp32_image

from dpnet.host.report import Progress, table
from dpnet.plain import plain, visible

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.usefixtures("folder")

SHOW = """
import logging, sys, time
from dpnet.plain import prepare_output
prepare_output()
from dpnet.host.report import Progress, say, table
with Progress("loading sim://array") as progress:
    logging.getLogger("dpnet.sim").info("building the simulator, once")
    for n in range(12):
        time.sleep(0.02)
        progress(n, 12, "tiles of a layer with a long name")
print("=====")
say(table(
    ("layer", "shape", "K", "relative error"),
    [("conv1.weight", "64 × 3 × 7 × 7", 16, "1.04e-01"), ("fc.weight", "10 × 9", 4, "2e-1")],
))
say("a line of text with more words than fit into a narrow terminal, so it is broken")
"""

TWO = """
import logging, sys, threading, time
from dpnet.host.report import Progress
with Progress("training") as one:
    one(1, 4)
    def load():
        with Progress("loading") as two:
            two(1, 2)
            logging.getLogger("dpnet.sim").info("a message")
            print("a result", flush=True)
            time.sleep(0.4)
    other = threading.Thread(target=load)
    other.start()
    other.join()
    time.sleep(0.4)
    one(4, 4)
"""


def environment(**others: str) -> dict[str, str]:
    dropped = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PYTHONIOENCODING", "LANG", "LC_ALL")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
        **others,
    }


def on_terminal(columns: int, *command: str, **others: str) -> tuple[int, str]:
    """(exit code, all that a terminal of this width gets from a Python command)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(**others),
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux' way to say that nobody has it open any more
            break
        if not data:
            break
        output += data
    os.close(ours)
    return process.wait(60), output.decode()


def lines_of(text: str) -> list[str]:
    """The lines that were drawn, each time they were, without what moves and colors."""
    plain_text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    return re.split(r"[\r\n]+", plain_text)


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_everything_fits(columns: int) -> None:
    code, output = on_terminal(columns, "-c", SHOW)
    assert code == 0
    drawn, _, printed = output.partition("=====")
    assert max(map(len, lines_of(output))) <= columns
    assert "building the simulator, once" in lines_of(drawn)
    shown = [line for line in lines_of(drawn) if "%" in line]
    assert shown and all("loading" in line for line in shown)
    # Nothing of the bar stays: the line is cleared, and the cursor is back.
    assert drawn.rstrip().endswith("\x1b[2K") and "\x1b[?25h" in drawn
    lines = [line for line in lines_of(printed) if line]
    if columns == 40:
        assert lines[:4] == [
            "layer           conv1.weight",
            "shape           64 × 3 × 7 × 7",
            "K               16",
            "relative error  1.04e-01",
        ]
        assert " ".join(" ".join(lines[8:]).split()).startswith(
            "a line of text with more words than fit into a narrow "
        )
        assert len(lines) == 8 + 2
    else:
        assert lines[0].split() == ["layer", "shape", "K", "relative", "error"]
        assert set(lines[1]) == {"─"}
        assert lines[2] == "conv1.weight  64 × 3 × 7 × 7  16        1.04e-01"
        assert lines[3] == "fc.weight             10 × 9   4            2e-1"


def test_colors_unless_they_are_not_wanted() -> None:
    color = re.compile(r"\x1b\[(?:3[0-9]|9[0-9]|38)[;m]")
    assert color.search(on_terminal(80, "-c", SHOW)[1])
    assert not color.search(on_terminal(80, "-c", SHOW, NO_COLOR="1")[1])


def test_a_terminal_that_cannot_move_its_cursor() -> None:
    code, output = on_terminal(80, "-c", SHOW, TERM="dumb")
    assert code == 0 and "\x1b" not in output
    assert output.splitlines()[0] == "building the simulator, once"


def test_errors_on_a_terminal_are_broken_between_words() -> None:
    code, output = on_terminal(40, "-m", "dpnet.host.cli", "run", "x.dpnet", NO_COLOR="1")
    assert code == 2
    words = re.sub(r"\x1b\[[0-9;]*m", "", output).split()
    assert " ".join(words) == (
        "dpnet: --port or --golden must be given, and not both; see dpnet run --help"
    )
    assert max(map(len, lines_of(output))) <= 40


def test_two_at_once_are_lines_of_one_display() -> None:
    code, output = on_terminal(80, "-c", TWO)
    assert code == 0
    lines = lines_of(output)
    assert lines.count("a message") == lines.count("a result") == 1
    drawn = [line.split() for line in lines if "%" in line]
    both = [("training" in first, "loading" in second) for first, second in pairwise(drawn)]
    assert (True, True) in both  # one under the other
    assert "training" in drawn[-1]  # the one that goes on longer
    assert "\x1b[?25h" in output


def test_results_go_to_a_file_while_a_bar_is_on_the_terminal(tmp_path: Path) -> None:
    results = tmp_path / "results"
    script = f"import sys; sys.stdout = open({str(results)!r}, 'w')\n{TWO}"
    code, output = on_terminal(80, "-c", script)
    assert code == 0
    assert results.read_text() == "a result\n"
    assert "a result" not in output and "training" in output


# Without a terminal


def test_progress_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Progress("loading") as progress:
        for second in range(26):
            clock[0] = float(second)
            progress(second, 50, "x")
    assert capsys.readouterr().err == "loading:  20 % x\nloading:  40 % x\n"


def test_a_table_that_no_terminal_shows_is_as_wide_as_it_is() -> None:
    wide = table(("name", "n"), [("x" * 300, 1), ("y", -20)])
    head, rule, first, second = wide.splitlines()
    assert head == "name" + " " * 300 + "n" and set(rule) == {"─"}
    assert first == "x" * 300 + "    1" and second == "y" + " " * 301 + "-20"


# Encodings


@pytest.mark.whole
@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C"},
        {"LC_ALL": "", "LANG": "C"},
        {"LC_ALL": "POSIX"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_ascii_has_plain_forms(variables: dict[str, str]) -> None:
    fp32_image("m.dpnet", (9, 12), (4, 40))

    def dpnet(*arguments: str) -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "dpnet", *arguments],
            capture_output=True,
            check=False,
            env=environment(**variables),
        )
        assert done.returncode == (2 if "größe" in arguments else 0), done.stderr
        return done.stdout + done.stderr

    info = dpnet("info", "m.dpnet")
    cross = b"x" if variables.get("PYTHONIOENCODING") != "latin-1" else "×".encode("latin-1")
    assert re.search(rb"^m0 +9 " + cross + rb" 12 +16 +fp32$", info, re.MULTILINE)
    assert b"?" not in info and b"\n------" in info
    told = dpnet("plan", "--matrix", "9x12", "--count", "1")
    assert b" us " in told or cross != b"x"
    assert dpnet("run", "--help").isascii()
    if cross == b"x":
        assert info.isascii() and told.isascii()
        assert dpnet("info", "größe").isascii()


def test_plain_forms() -> None:
    assert plain("3 × 4 − 1 … µs → ä, é, Ω?") == "3 x 4 - 1 ... us -> a, e, ??"
    assert visible("a\x1b[31m\r\tb\nc\x9b\u202e") == "a\\x1b[31m\\r\\tb\nc\\x9b\\u202e"


def test_names_do_not_command_the_terminal(dpnet: Call) -> None:
    result = dpnet("info", "\x1b]0;owned\x07.dpnet")
    assert result.code == 2 and "\x1b" not in result.err and "\\x1b]0;owned" in result.err


def test_streams_that_are_closed() -> None:
    fp32_image("m.dpnet", (9, 12))
    for redirection, code in ((">&-", 0), ("2>&-", 0), (">&- 2>&-", 0)):
        command = f"exec {sys.executable} -m dpnet info m.dpnet {redirection}"
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, check=False, env=environment()
        )
        assert (done.returncode, done.stderr) == (code, "")
        assert ("fp32 image" in done.stdout) == (redirection == "2>&-")


# Ctrl-C


def interrupt(process: subprocess.Popen[str], begun: Path) -> list[str]:
    """Ctrl-C once the file `begun` is there; the lines on stderr."""
    end = time.monotonic() + 120
    while not begun.exists():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    return errors.splitlines()


def begin(folder: Path, *command: str, **others: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**{"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", **others}),
    )


@pytest.mark.parametrize(
    "module, command, line",
    [
        ("numpy", "dpnet.host.start info", "dpnet: interrupted; nothing was written; run it again"),
        (
            "torch",
            "dpnet.host.start train",
            "dpnet: interrupted; nothing was written; run it again",
        ),
        ("torch", "dpnet.sim", "sim: interrupted; run it again"),
        ("amaranth", "dpnet.sim.serve", "sim.serve: interrupted; run it again"),
    ],
)
def test_while_packages_are_imported(tmp_path: Path, module: str, command: str, line: str) -> None:
    slow = (
        f"import pathlib, time\npathlib.Path({str(tmp_path / 'begun')!r}).touch()\ntime.sleep(60)\n"
    )
    (tmp_path / f"{module}.py").write_text(slow)
    process = begin(tmp_path, "-m", *command.split())
    assert interrupt(process, tmp_path / "begun") == [line]


@pytest.mark.whole
@pytest.mark.parametrize(
    "command, line",
    [
        ("dpnet.host.start info --port", "dpnet: interrupted; nothing was written; run it again"),
        ("dpnet.sim.serve", "sim.serve: interrupted; run it again"),
    ],
)
def test_while_a_simulator_is_built(tmp_path: Path, command: str, line: str) -> None:
    """And where there is no terminal, the build is announced."""
    tools = tmp_path / "tools"
    tools.mkdir()
    verilator = tools / "verilator"
    verilator.write_text(
        "#!/bin/sh\n"
        'case "$1" in --version) echo "Verilator 5.040 2025-08-30"; exit 0;; esac\n'
        f"touch {tmp_path}/begun\nexec sleep 60\n"
    )
    verilator.chmod(0o755)
    process = begin(
        tmp_path,
        "-m",
        *command.split(),
        "sim://lane?index_depth=512",
        PATH=f"{tools}{os.pathsep}{os.environ['PATH']}",
        DPNET_SIMULATOR="verilator",
        DPNET_BUILD=str(tmp_path / "build"),
        DPNET_OPTIMIZE="",
    )
    first, second = interrupt(process, tmp_path / "begun")
    assert first.startswith("building the simulator, once") and second == line
    left = [path.name for path in (tmp_path / "build" / "boards").iterdir()]
    assert [name for name in left if not name.endswith(".lock")] == []
