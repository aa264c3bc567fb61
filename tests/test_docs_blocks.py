"""The pages' Python blocks are run, in order, in an empty folder; so are the commands of `RUN`."""

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from docs_kit import PAGES, ROOT, blocks, commands, text_of

from dpnet.model.build_root import build_root

LONG = ("docs/networks.md", "docs/quick-start.md")
RUN = ("README.md", *LONG)

WITH_PYTHON = [page for page in PAGES if any(block.kind == "python" for block in blocks(page))]

_SHORT = (("range(40)", "range(4)"), (">= 20", ">= 2"), ("epoch - 20", "epoch - 2"))
SMALLER = {
    "README.md": (*_SHORT, ("order[1437:]", "order[1437:1469]")),
    "docs/quick-start.md": _SHORT,
    "docs/networks.md": (("range(15)", "range(2)"),),
    "docs/training.md": (("EPOCHS = 15, 15", "EPOCHS = 2, 2"),),
}
"""What is trained and simulated for long enough to be good, on the page, is done shorter here."""

ELSEWHERE = re.compile(r"make|source|git|pip|\.venv/bin/pip")
"""Not run here: `make` sets up .venv, and its targets are the other tests' commands."""

NUMBER = re.compile(r"\d[\d,.]*(?:e[-+]?\d+)?")


def environment():
    scripts = sysconfig.get_path("scripts")
    return os.environ | {
        "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "DPNET_BUILD": str(build_root()),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
    }


def shorter(page, text):
    for long, short in SMALLER.get(page, ()):
        text = text.replace(long, short)
    return text


def pattern(output):
    """What is printed must look like this: numbers may differ, "…" stands for anything."""
    text = NUMBER.sub("0", output.strip())
    parts = (re.escape(part) for part in re.split(r"(0|…|\s+)", text) if part)
    words = {"0": NUMBER.pattern, "…": r"[\s\S]*?"}
    return "".join(
        words.get(part, r"\s+" if re.fullmatch(r"(?:\\?\s)+", part) else part) for part in parts
    )


def words_of(line):
    words = line.replace("python ", f"{sys.executable} ", 1).split()
    if line.startswith("dpnet "):
        words = [sys.executable, "-m", "dpnet.host.start", *words[1:]]
    return words


@contextmanager
def background(line, folder):
    """A command that ends with "&", from its first line of output on."""
    process = subprocess.Popen(
        words_of(line.removesuffix("&")),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline(), f"$ {line}\nsaid nothing and ended"
        yield
    finally:
        process.terminate()
        process.communicate(timeout=60)


def run(command, folder):
    done = subprocess.run(
        words_of(command.line),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"$ {command.line}\n{done.stdout}{done.stderr}"
    assert re.search(pattern(command.output), done.stdout), (
        f"$ {command.line}\n{done.stdout}\nand not\n{command.output}"
    )


@pytest.mark.whole
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.long] if page in LONG else [])
        for page in sorted({*RUN, *WITH_PYTHON})
    ],
)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPNET_BUILD", str(build_root().resolve()))
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    port = free_port()
    ran = 0
    with ExitStack() as stack:
        for block in blocks(page):
            if block.title:
                Path(block.title).write_text(shorter(page, block.text), encoding="utf-8")
            elif block.kind == "python":
                exec(compile(shorter(page, block.text), page, "exec"), names)
                ran += 1
            elif block.kind == "console" and page in RUN:
                for command in commands(block):
                    if ELSEWHERE.match(command.line):
                        continue
                    here = replace(command, line=command.line.replace("4000", str(port)))
                    if here.line.endswith("&"):
                        stack.enter_context(background(here.line, tmp_path))
                    else:
                        run(here, tmp_path)
                    ran += 1
    assert ran, f"{page} shows nothing that is run"


def free_port():
    """What is 4000 on the pages."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_what_is_trained_shorter_is_on_the_page():
    for page, changes in SMALLER.items():
        for long, _ in changes:
            assert long in text_of(page), f"{page} has no {long}"


def test_output_is_compared_but_for_its_numbers():
    shown = "run 3 of 1,275 cycles\n…\nfine\n"
    assert re.search(pattern(shown), "x\nrun 12 of 9 cycles\nmore\nand more\nfine\n")
    assert not re.search(pattern(shown), "run 12 of nine cycles\nfine\n")
    assert not re.search(pattern(shown), "run 3 of 9 cycles\nbad\n")


def rows(text):
    """(cells, command) of the README's table of results."""
    table = text.partition("| 1000 × 1024 |")[2].partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        yield cells, cells[-1].strip("`")


def figures(value):
    """All numbers in a JSON document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(figures, value), set())
    return {value} if isinstance(value, int) else set()


def test_the_table_of_the_readme_is_that_of_the_committed_results():
    files = {"make sim": "make-sim", "make baselines": "baselines", "make arrays": "arrays"}
    seen = 0
    for cells, command in rows(text_of("README.md")):
        path = ROOT / "docs" / "results" / f"{files[command]}.json"
        measured = figures(json.loads(path.read_text(encoding="utf-8")))
        cycles = int(cells[2].replace(",", ""))
        assert cycles in measured, f"{cells[0]}: {cycles} is not in {path.name}"
        assert float(cells[3]) == pytest.approx(cycles / 1e5, rel=0.02)
        seen += 1
    assert seen >= 5
