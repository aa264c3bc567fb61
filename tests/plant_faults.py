"""Test of the tests: plant a fault, and show that the tests turn red.

    make test-the-tests            all faults (about 10 minutes on two cores)
    python tests/plant_faults.py lane drain      only these

Everything happens in a copy of the tree in a temporary folder.  First the tests concerned must pass
there as they are; then each fault is planted alone.  A run that ends with exit code 1 (tests
failed) has caught it.  What survives is planted again for the tests at their full length, with the
long ones.  A fault that survives these too, or a run that breaks in another way, is a failure.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from faults_kit import FAULTS as ARRAY_FAULTS
from faults_kit import Fault
from map_faults_kit import MAP_FAULTS

ROOT = Path(__file__).resolve().parent.parent
NO_TESTS = 5
"""Pytest's exit code: all are long, and are run later."""
FOLDERS = ("boards", "gateware", "host", "model", "sim", "tests")


FAULTS = ARRAY_FAULTS + MAP_FAULTS


def main(names: list[str]) -> int:
    """Plant the faults named (default: all); 0 if every one is caught."""
    known = {fault.name for fault in FAULTS}
    if set(names) - known:
        print(f"no such fault: {', '.join(sorted(set(names) - known))}; there are "
              f"{', '.join(fault.name for fault in FAULTS)}", file=sys.stderr)  # fmt: skip
        return 2
    chosen = [fault for fault in FAULTS if fault.name in names or not names]
    with tempfile.TemporaryDirectory(prefix="dpnet-faults-") as folder:
        tree = Path(folder) / "tree"
        _copy(tree)
        left = chosen
        for thorough in (False, True):
            if left and not _green(tree, left, thorough):
                return 1
            left = [fault for fault in left if not _caught(tree, fault, thorough)]
    print(f"{len(chosen) - len(left)} of {len(chosen)} planted faults caught")
    if left:
        print(f"survived: {', '.join(fault.name for fault in left)}", file=sys.stderr)
    return 1 if left else 0


def _green(tree: Path, faults: list[Fault], thorough: bool) -> bool:
    """Whether the tests of these faults pass as they are."""
    tests = sorted({test for fault in faults for test in fault.tests})
    started = time.monotonic()
    length = " at full length" if thorough else ""
    print(f"{len(tests)} test files as they are{length}: ", end="", flush=True)
    done = _pytest(tree, tests, thorough, "-n", "2")
    if done.returncode not in (0, NO_TESTS):
        print(f"NOT GREEN, nothing can be shown\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
        return False
    print(f"green ({_summary(done.stdout)}, {time.monotonic() - started:.0f} s)", flush=True)
    return True


def _caught(tree: Path, fault: Fault, thorough: bool) -> bool:
    path = tree / fault.file
    text = path.read_text()
    if text.count(fault.old) != 1:
        print(f"{fault.name:<16} cannot be planted: {fault.file} has changed")
        return False
    started = time.monotonic()
    path.write_text(text.replace(fault.old, fault.new))
    try:
        done = _pytest(tree, list(fault.tests), thorough, "-x")
    finally:
        path.write_text(text)
    red = done.returncode == 1
    verdict = "red" if red else "SURVIVED" if done.returncode == 0 else f"exit {done.returncode}"
    seconds = time.monotonic() - started
    where = f"{', '.join(fault.tests)}, {seconds:.0f} s"
    print(f"{fault.name:<16} {verdict:<9} {fault.meaning} ({where})", flush=True)
    return red


def _copy(tree: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tree / folder, ignore=ignored)
    for name in ("pyproject.toml", "constraints.txt", "Makefile", "README.md"):
        shutil.copy(ROOT / name, tree / name)
    for folder in ROOT.glob("*.egg-info"):  # the doctor looks for the installed dpnet
        shutil.copytree(folder, tree / folder.name)
    shutil.copytree(ROOT / "dpnet", tree / "dpnet", symlinks=True)
    if (ROOT / "docs").is_dir():
        shutil.copytree(ROOT / "docs", tree / "docs")


def _pytest(
    tree: Path, tests: list[str], thorough: bool, *options: str
) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) | {
        "DPNET_THOROUGH": "1" if thorough else "", "DPNET_BUILD": str(tree / "build"),
        "NUMBA_CACHE_DIR": str(tree / "numba"), "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    files = [f"tests/{test}.py" for test in tests]
    chosen = "" if thorough else "not long"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-m", chosen, "-p", "no:cacheprovider", *options, *files],
        cwd=tree, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _summary(output: str) -> str:
    found = re.search(r"\d+ passed", output)
    return found[0] if found else "?"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
