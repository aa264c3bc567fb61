"""Machine code is never older than its sources, wherever it is kept."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dpnet.model.quantizer import compiled
from dpnet.model.quantizer.compiled import KEPT, MODEL, PREFIX, digest, sources

PROGRAM = """
import numpy as np
from dpnet.model.quantizer.kernels.assign import _mean
print(_mean(np.arange(64.0), np.empty(0), 0, 64, 1.0), _mean.stats.cache_hits.total())
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """An installation of its own: real files, as a wheel has them."""
    package = tmp_path / "site" / "dpnet"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(MODEL, package / "model", ignore=ignored)
    return tmp_path


def run(copy: Path, program: str = PROGRAM, **environment: str) -> list[str]:
    """What the program prints in the copy, in words."""
    known = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    home = {"HOME": str(copy / "home"), "PYTHONPATH": str(copy / "site")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=copy,
        env=known | home | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def edit(copy: Path) -> Path:
    """Another sum in lanes.py, of which the compiled functions are in other files."""
    path = copy / "site" / "dpnet" / "model" / "quantizer" / "kernels" / "lanes.py"
    text = path.read_text()
    old = "part = builder.fsub(scaled, v.same(origin))"
    assert text.count(old) == 1
    path.write_text(text.replace(old, old.replace("origin", "scale")))
    return path


def folders(base: Path) -> set[str]:
    return {path.name for path in base.iterdir()}


@pytest.mark.whole
def test_an_edit_of_any_source_is_seen_and_so_is_its_undoing(copy: Path) -> None:
    base = copy / "build" / "numba"
    build = {"DPNET_BUILD": str(copy / "build")}
    mean = sum(range(64)) / 64
    assert run(copy, **build) == [str(mean), "0"]
    assert run(copy, **build) == [str(mean), "1"]  # from the cache
    (before,) = folders(base)
    path = edit(copy)
    # The mean of values less 1, the scale, above the first value.
    assert run(copy, **build) == [str(mean - 1), "0"]
    assert before in folders(base) and len(folders(base)) == 2
    path.write_text((MODEL / path.relative_to(copy / "site" / "dpnet" / "model")).read_text())
    assert run(copy, **build) == [str(mean), "1"]


@pytest.mark.whole
def test_a_folder_of_the_user_is_taken(copy: Path) -> None:
    given = copy / "my numba"
    run(copy, NUMBA_CACHE_DIR=str(given))
    assert len(folders(given)) == 1 and not (copy / "home").exists()
    # Not one that cannot be: then as without it.
    (copy / "file").touch()
    run(copy, NUMBA_CACHE_DIR=str(copy / "file"))
    assert len(folders(copy / "home" / ".cache" / "dpnet" / "numba")) == 1


@pytest.mark.whole
def test_without_any_folder_each_process_compiles(copy: Path) -> None:
    (copy / "home").touch()  # no folder can be made in a file, whoever runs this
    nowhere = {"DPNET_BUILD": str(copy / "home" / "build")}
    assert run(copy, **nowhere)[1] == run(copy, **nowhere)[1] == "0"
    assert not list((copy / "site").rglob("*.nbi"))


def test_what_cannot_be_read_is_compiled_again(copy: Path) -> None:
    build = {"DPNET_BUILD": str(copy / "build")}
    first = run(copy, **build)
    for path in (copy / "build" / "numba").rglob("*.nb[ic]"):
        path.write_bytes(path.read_bytes()[:40])
    assert run(copy, **build) == first


def test_a_source_that_changes_while_a_process_runs_leaves_nothing(copy: Path) -> None:
    """What is imported afterwards is not what the digest is of."""
    lanes = copy / "site" / "dpnet" / "model" / "quantizer" / "kernels" / "lanes.py"
    program = (
        "import dpnet.model.quantizer.compiled as c; c.cache_folder()\n"
        f"open({str(lanes)!r}, 'a').write('# more')\n" + PROGRAM
    )
    build = {"DPNET_BUILD": str(copy / "build")}
    run(copy, program, **build)
    assert not list((copy / "build" / "numba").rglob("*.nbi"))


def test_old_folders_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [tmp_path / f"{PREFIX}{number:016x}" for number in range(KEPT + 3)]
    for age, folder in enumerate(others):
        folder.mkdir()
        (folder / "code.nbc").touch()
        os.utime(folder, (10**9 - age, 10**9 - age))
    (tmp_path / "of somebody else").mkdir()
    monkeypatch.setattr(vars(compiled.numba)["config"], "CACHE_DIR", str(tmp_path))
    compiled.cache_folder.cache_clear()
    try:
        own = compiled.cache_folder()
    finally:
        monkeypatch.undo()
        compiled.cache_folder.cache_clear()
    assert own == tmp_path / (PREFIX + digest())
    kept = {own, *others[: KEPT - 1], tmp_path / "of somebody else"}
    assert set(tmp_path.iterdir()) == kept


def test_every_compiled_function_is_in_the_digest() -> None:
    """And numba is used in no other way; what kernels import is among them too."""
    known = set(sources())
    for path in sorted(MODEL.rglob("*.py")):
        tree = ast.parse(path.read_text())
        names = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
        modules = {n.module for n in names}
        functions = {alias.name for n in names for alias in n.names}
        if "dpnet.model.quantizer.compiled" in modules and functions & {"compiled", "unchecked"}:
            assert path in known, path
        if path.name != "compiled.py":
            assert not functions & {"njit", "jit", "vectorize", "guvectorize", "cfunc"}, path
        if path in known and "kernels" in path.parts:
            for module in modules:
                if module.startswith("dpnet."):
                    file = MODEL.joinpath(*module.split(".")[2:]).with_suffix(".py")
                    assert file in known, (path, module)


def test_a_compiled_function_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be among dpnet\.model\.quantizer\.compiled"):

        @compiled.compiled
        def stray(number: float) -> float:
            return number
