"""Planted bugs: a source edit in a copy of the packages, and whether its property breaks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import amaranth

from dpnet.sim.formal.proof import Bug
from dpnet.sim.formal.sby import FormalError, Outcome, Sby

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("gateware", "host", "model", "sim/formal")
TIMEOUT = 600


def plant(sby: Sby, bug: Bug) -> Outcome:
    """Search a counterexample to the bug's property, which alone is asserted.

    Raises `FormalError` if the bug cannot be planted any more, or what it makes of the gateware
    cannot be elaborated.
    """
    with tempfile.TemporaryDirectory(prefix="dpnet-formal-") as folder:
        tree = Path(folder)
        for name in FOLDERS:
            shutil.copytree(
                ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
            )
        shutil.copy(ROOT / "sim" / "__init__.py", tree / "sim" / "__init__.py")
        shutil.copytree(ROOT / "dpnet", tree / "dpnet", symlinks=True)
        if bug.file.startswith("amaranth/"):
            shutil.copytree(Path(amaranth.__file__).parent, tree / "amaranth")
        path = tree / bug.file
        text = path.read_text() if path.is_file() else ""
        if text.count(bug.old) != 1:
            raise FormalError(
                f"{bug.name} cannot be planted: {bug.file} has its line {text.count(bug.old)} times"
            )
        path.write_text(text.replace(bug.old, bug.new))
        rtlil = _emit(tree, bug)
    return sby.search(rtlil, bug.depth, TIMEOUT, bug.first)


def _emit(tree: Path, bug: Bug) -> str:
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dpnet.sim.formal.emit", bug.proof, bug.property],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FormalError(f"{bug.name} cannot be elaborated: {last}")
    return done.stdout
