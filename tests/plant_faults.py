"""Test of the tests: plant a fault, and show that the tests turn red.

    make test-the-tests            all faults (about 10 minutes on two cores)
    python tests/plant_faults.py lane drain      only these

Everything happens in a copy of the tree in a temporary folder.  First the tests concerned must pass
there as they are; then each fault is planted alone.  A run that ends with exit code 1 (tests
failed) has caught it; a fault that survives, or a run that breaks in another way, is a failure.
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
        tests = sorted({test for fault in chosen for test in fault.tests})
        started = time.monotonic()
        print(f"{len(tests)} test files as they are: ", end="", flush=True)
        done = _pytest(tree, tests, "-n", "2")
        if done.returncode:
            print(f"NOT GREEN, nothing can be shown\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
            return 1
        print(f"green ({_summary(done.stdout)}, {time.monotonic() - started:.0f} s)")
        survivors = [fault.name for fault in chosen if not _caught(tree, fault)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} planted faults caught")
    if survivors:
        print(f"survived: {', '.join(survivors)}", file=sys.stderr)
    return 1 if survivors else 0


def _caught(tree: Path, fault: Fault) -> bool:
    path = tree / fault.file
    text = path.read_text()
    if text.count(fault.old) != 1:
        print(f"{fault.name:<16} cannot be planted: {fault.file} has changed")
        return False
    started = time.monotonic()
    path.write_text(text.replace(fault.old, fault.new))
    try:
        done = _pytest(tree, list(fault.tests), "-x")
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


def _pytest(tree: Path, tests: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) | {
        "DPNET_THOROUGH": "1", "DPNET_BUILD": str(tree / "build"), "PYTHONDONTWRITEBYTECODE": "1",
        "NUMBA_CACHE_DIR": str(tree / "numba"), "PYTHONPATH": str(tree),
    }  # fmt: skip
    files = [f"tests/{test}.py" for test in tests]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "", "-p", "no:cacheprovider", *options, *files],
        cwd=tree, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _summary(output: str) -> str:
    found = re.search(r"\d+ passed", output)
    return found[0] if found else "?"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
