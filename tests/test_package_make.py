"""The Makefile: options from the command line alone, values and paths as they are given."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKE = shutil.which("make")
TEXT = (ROOT / "Makefile").read_text()

CALLS = {
    "sim": "STAGES COLUMNS SEGMENTS MAPS SEED WEIGHTS WAVES",
    "networks": "NAMES PICTURES BITS SEED MAPS",
    "arrays": "NAMES SEED",
    "baselines": "SEED",
    "faults": "NAMES SEED INJECTIONS CYCLES",
    "mutants": "NAMES COUNT SEED",
    "resources": "NAMES MODULES",
    "fmax": "NAMES SEED SEEDS",
    "bench-quantizer": "SEED",
    "certify-quantizer": "SEED ROWS",
    "formal": "NAMES",
    "soak": "SEED FRAMES UART_FRAMES LOADS",
    "doctor": "PORT",
    "evidence": "KEEP",
    "bitstream": "BOARD TOOLCHAIN DOOR MHZ SEED STAGES COLUMNS SEGMENTS ENGINE",
}
OPTIONS = sorted({name for names in CALLS.values() for name in names.split()})
FLAGS = {"KEEP", "MODULES", "WAVES"}


def outer() -> dict[str, str]:
    """The environment without the make that runs these tests: it would have this one tell of the
    folders it enters."""
    made = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}
    return {name: value for name, value in os.environ.items() if name not in made}


def dry(*arguments: str, **exported: str) -> list[list[str]]:
    """The commands that make would run for a set-up environment, in words."""
    assert MAKE is not None
    kept = {name: value for name, value in outer().items() if name not in OPTIONS}
    done = subprocess.run(
        [MAKE, "-n", "--old-file=.venv/.ready", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**kept, **exported},
    )
    text = done.stdout.replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


def test_every_option_is_in_the_list_and_in_the_help() -> None:
    used = set(re.findall(r"call (?:given|option|flag),([A-Z_]+)", TEXT))
    (listed,) = re.findall(r"^OPTIONS := ((?:.*\\\n)*.*)$", TEXT, re.MULTILINE)
    assert used == set(OPTIONS) == set(listed.replace("\\", " ").split())
    told = "\n".join(" ".join(words) for words in dry("help"))
    for target in re.findall(r"^([a-z][a-z-]*):", TEXT, re.MULTILINE):
        assert target == "help" or f"make {target}" in told
    for name in OPTIONS:
        assert name in told


@pytest.mark.parametrize("target", CALLS)
def test_exported_variables_are_not_options(target: str) -> None:
    exported = dict.fromkeys(OPTIONS, "80")
    assert dry(target, **exported) == dry(target)
    # Even where make is told to prefer them to its own.
    assert dry(target, "-e", **exported) == dry(target)


@pytest.mark.parametrize("target", CALLS)
def test_options_on_the_command_line_reach_the_program(target: str) -> None:
    value = "sim://a?b=1&c='d e'"
    plain = dry(target)[-1]
    for name in CALLS[target].split():
        words = dry(target, f"{name}={value}", **{name: "80"})[-1]
        option = "--" + name.lower().replace("_", "-")
        if name == "NAMES":
            assert set(value.split()) <= set(words)
        elif name == "BOARD":
            assert value in words and "zc706" not in words
        elif name in FLAGS:
            assert words == [*plain, option]
            assert dry(target, f"{name}=0")[-1] == plain
        else:
            assert words[words.index(option) + 1] == value
            assert len(words) == len(plain) + 2


def test_options_are_no_variables_of_the_programs() -> None:
    """A program would take COLUMNS=4 for the width of its terminal."""
    assert MAKE is not None
    show = ["--eval=show: ; @env", "show"]
    kept = outer()

    def shown(*given: str) -> dict[str, str]:
        done = subprocess.run(
            [MAKE, *show, *given],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={**kept, "COLUMNS": "77", "PORT": "3000"},
        )
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    assert (shown()["COLUMNS"], shown()["PORT"]) == ("77", "3000")
    assert "COLUMNS" not in shown("COLUMNS=4")


def test_an_environment_in_a_folder_with_spaces(tmp_path: Path) -> None:
    """Made, marked as ready, and used, by its whole name."""
    folder = tmp_path / "ä b" / "venv"
    made = dry("sim", f"VENV={folder}")
    assert made[-1][0] == f"{folder}/bin/python"
    assert [words[-1] for words in made if "venv" in words] == [str(folder)]
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    (folder / ".ready").touch()
    assert dry("sim", f"VENV={folder}") == [[f"{folder}/bin/python", "-m", "dpnet.sim"]]


def test_lint_checks_the_format_too() -> None:
    commands = [words[2:] for words in dry("lint")]
    assert [words[:3] for words in commands] == [
        ["ruff", "check", "."],
        ["ruff", "format", "--check"],
    ]
    assert "make lint" in (ROOT / ".ci" / "run").read_text()
