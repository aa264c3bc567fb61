"""`import dpnet`: its names, found with their first use; nothing else under them."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import dpnet

ROOT = Path(__file__).parents[1]
ROOMS = ("boards", "gateware", "host", "model", "sim")


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", dpnet.__all__)
def test_every_name_is_found(name: str) -> None:
    found = getattr(dpnet, name)
    assert vars(dpnet)[name] is found, "the second time it is an attribute"
    assert isinstance(found, str) if name == "__version__" else callable(found)


def test_import_takes_no_package() -> None:
    loaded = python("import sys, dpnet; print(*{name.partition('.')[0] for name in sys.modules})")
    assert not {"numpy", "torch", "click", "rich", "scipy", "numba"} & set(loaded.split())


def test_a_quantizer_takes_no_torch() -> None:
    code = "import sys, dpnet; dpnet.quantize([[1., 2., 4.]], 2); print('torch' in sys.modules)"
    assert python(code) == "False\n"


def test_names_are_listed_and_others_are_none() -> None:
    assert set(dpnet.__all__) <= set(dir(dpnet))
    with pytest.raises(AttributeError, match=r"^module 'dpnet' has no attribute 'quantise'$"):
        _ = dpnet.quantise
    assert python("from dpnet import *; print(quantize.__module__)") == (
        "dpnet.model.quantizer.exact\n"
    )
    assert dpnet.__version__ == version("dpnet")


@pytest.mark.whole
def test_type_checkers_see_the_same_places() -> None:
    tree = ast.parse((ROOT / "dpnet" / "__init__.py").read_text())
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted([*seen, "__version__"]) == sorted(dpnet.__all__)
    for name, (module, attribute) in seen.items():
        code = f"import dpnet, {module} as m; print(dpnet.{name} is m.{attribute})"
        if name in ("quantize", "compile", "connect", "OptimalKMeans1D"):  # each kind of entry
            assert python(code) == "True\n"


def imported(path: Path) -> set[str]:
    """The first words of the modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found


def test_no_file_imports_a_room_by_its_bare_name() -> None:
    """`import model` works from the repository root, and makes a second class of each one."""
    files = [
        path for folder in (*ROOMS, "dpnet", "tests") for path in (ROOT / folder).rglob("*.py")
    ]
    assert len(files) > 300
    wrong = {str(path.relative_to(ROOT)): imported(path) & set(ROOMS) for path in files}
    assert {name: rooms for name, rooms in wrong.items() if rooms} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_the_linter_refuses_a_bare_name(room: str) -> None:
    for line in (f"import {room}", f"import {room}.x", f"from {room}.x import y"):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--stdin-filename", "tests/x.py", "-"],
            input=f"{line}\n",
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert f"TID251 `{room}" in done.stdout, done.stdout + done.stderr
