"""The house: rooms that are not crowded, names that do not stutter, imports without circles that go
down, one place for each way of writing a file."""

from __future__ import annotations

import ast
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BELOW = {
    "model": set(),
    "gateware": {"model"},
    "host": {"model"},
    "sim": {"model", "host", "gateware"},
    "boards": {"gateware", "model"},
}
"""What each part may import besides itself."""

OPEN = {
    ("host", "dpnet.gateware.registers"),
    ("boards", "dpnet.host.maps.engines"),
    ("__main__", "dpnet.host.start"),
}
"""Single modules that a part may import too."""

TOP = {"dpnet", "dpnet.extras", "dpnet.launch", "dpnet.plain"}
"""Files of the package itself: for every part, and importing none before they are asked to."""

MOST_FILES = 15


def part_folders() -> Iterator[Path]:
    for part in BELOW:
        for path in (ROOT / part, *(ROOT / part).rglob("*")):
            if path.is_dir() and path.name != "__pycache__":
                yield path


def named(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(("dpnet", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def modules(root: Path = ROOT) -> dict[str, Path]:
    parts = (path for part in BELOW for path in (root / part).rglob("*.py"))
    top = {".".join(("dpnet", path.stem)): path for path in (root / "dpnet").glob("*.py")}
    return {named(path, root): path for path in parts} | {
        name.removesuffix(".__init__"): path for name, path in top.items()
    }


def imports(path: Path, known: Mapping[str, Path], *, at_once: bool = False) -> set[str]:
    """The modules of the package that a file imports; `at_once`: when it is imported itself."""
    found = set()
    for node in walk(ast.parse(path.read_text()), at_once):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "dpnet"}


def walk(tree: ast.AST, at_once: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if at_once and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from walk(node, at_once)


def circles(arrows: Mapping[str, set[str]]) -> list[set[str]]:
    """Groups of names that lead to each other."""

    def behind(name: str) -> set[str]:
        found, left = set(), [name]
        while left:
            for other in arrows.get(left.pop(), ()):
                if other not in found:
                    found.add(other)
                    left.append(other)
        return found

    reach = {name: behind(name) for name in arrows}
    groups = {frozenset(n for n in reach[name] if name in reach.get(n, ())) for name in arrows}
    return [set(group) for group in groups if group]


def test_no_folder_has_more_files_than_one_sees_at_once() -> None:
    crowded = {}
    for folder in part_folders():
        files = [p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
        if len(files) > MOST_FILES:
            crowded[str(folder.relative_to(ROOT))] = len(files)
    assert not crowded


def test_no_file_has_the_name_of_its_folder() -> None:
    stuttering = [
        str(path.relative_to(ROOT)) for path in modules().values() if path.stem == path.parent.name
    ]
    assert not stuttering


def test_no_file_is_called_after_nothing() -> None:
    empty = {"utils", "util", "helpers", "common", "misc", "lib"}
    assert not [path for path in modules().values() if path.stem in empty]


def test_imports_go_down() -> None:
    known, up = modules(), []
    for name, path in known.items():
        part = "" if name in TOP else name.split(".")[1]
        may = {part, *BELOW.get(part, ())}
        for other in imports(path, known):
            to = other.split(".")[1] if "." in other else ""
            if to not in may and other not in TOP and (part, other) not in OPEN:
                up.append(f"{name} imports {other}")
    assert not up


def test_what_is_imported_is_there() -> None:
    known = modules()
    gone = [
        f"{name} imports {other}"
        for name, path in known.items()
        for other in imports(path, known)
        if other not in known
    ]
    assert not gone


def test_imports_go_in_no_circle() -> None:
    known = modules()
    assert circles({name: imports(path, known) for name, path in known.items()}) == []


def test_a_circle_and_an_arrow_are_told_apart() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [{"b", "c"}]
    assert circles({"a": {"a"}}) == [{"a"}]


def test_imports_in_functions_count_and_those_for_types_do_not(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        textwrap.dedent(
            """
            from typing import TYPE_CHECKING
            import numpy, dpnet.model.files
            from dpnet.model import engine
            from dpnet.model.engine import Size
            if TYPE_CHECKING:
                from dpnet.host import session

            def late():
                from dpnet.sim import serve
            """
        )
    )
    known = {"dpnet.model.engine": path, "dpnet.sim.serve": path}
    now = {"dpnet.model.files", "dpnet.model.engine"}
    assert imports(path, known) == now | {"dpnet.sim.serve"}
    assert imports(path, known, at_once=True) == now


@pytest.mark.parametrize("part", BELOW)
def test_the_package_is_made_of_links_to_the_parts(part: str) -> None:
    link = ROOT / "dpnet" / part
    assert link.is_symlink() and link.resolve() == ROOT / part


def test_files_are_replaced_in_one_way() -> None:
    """`dpnet.model.files.replacing`; a link is made, and a folder is renamed where simulators are
    built, what starts compilers has no package, and boards hand over what tools wrote in a folder
    of their own."""
    found = Counter(
        name
        for name, path in modules().items()
        if not name.startswith("dpnet.boards.")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and renames(node)
    )
    places = ("model.build_root", "model.files", "sim.board.harness", "sim.object_cache")
    assert found == dict.fromkeys((f"dpnet.{place}" for place in places), 1)


def renames(call: ast.Call) -> bool:
    """`os.replace(a, b)`, `path.replace(other)` or `path.rename(other)`."""
    if not isinstance(call.func, ast.Attribute) or call.keywords:
        return False
    target, name = call.func.value, call.func.attr
    if isinstance(target, ast.Name) and target.id == "os":
        return name in ("replace", "rename")
    return name in ("replace", "rename") and len(call.args) == 1


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("os.replace(a, b)", True),
        ("path.replace(b)", True),
        ("path.rename(b)", True),
        ("text.replace(a, b)", False),
        ("replace(engine, stages=2)", False),
        ("dataclasses.replace(engine, stages=2)", False),
    ],
)
def test_what_replaces_a_file_is_told_from_what_does_not(text: str, wanted: bool) -> None:
    call = ast.parse(text).body[0]
    assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
    assert renames(call.value) is wanted
