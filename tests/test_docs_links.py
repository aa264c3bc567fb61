"""What the pages name exists: links, anchors, files, modules, make targets, commands."""

import ast
import re
import tomllib

import pytest
from docs_kit import PAGES, ROOT, anchors, links, text_of

import dpnet
from dpnet.host.cli import main

FOLDERS = "boards|docs|dpnet|gateware|host|model|sim|tests"
FILE = re.compile(rf"(?<![\w./])((?:{FOLDERS})/[\w./-]*[\w/])(?![\w*<])")
MODULE = re.compile(r"(?<![\w./])dpnet(?!\.(?:bin|bit|dts|dtbo|json|v|xdc)\b)(?:\.\w+)+")
TARGET = re.compile(r"`make ([a-z][\w-]*)|^    \$ make ([a-z][\w-]*)", re.MULTILINE)
COMMAND = re.compile(r"(?:`|\$ |/)dpnet ([a-z]+)")

HISTORY = {"CHANGELOG.md"}
"""It names what was there at its time."""


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            name = target.resolve().relative_to(ROOT).as_posix()
            assert anchor in anchors(name), f"{page} links to {link}; there are {anchors(name)}"


def is_there(dotted):
    """Whether dpnet.a.b.C is a module, or a name that a module defines or imports."""
    path = ROOT / "dpnet"
    for position, part in enumerate(dotted.split(".")[1:]):
        if (path / part).is_dir():
            path = path / part
        elif (path / f"{part}.py").is_file():
            path = path / f"{part}.py"
        else:
            module = path if path.suffix else path / "__init__.py"
            rest = dotted.split(".")[1 + position :]
            return len(rest) <= 2 and rest[0] in defined(module)
    return True


def defined(module):
    text = module.read_text(encoding="utf-8")
    found = set(re.findall(r'"(\w+)"', text)) if "__getattr__" in text else set()
    for node in ast.parse(text).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
            case ast.ImportFrom(names=names) | ast.Import(names=names):
                found |= {one.asname or one.name for one in names}
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if page not in HISTORY])
def test_files_and_modules_exist(page):
    text = text_of(page)
    for name in FILE.findall(text):
        assert (ROOT / name).exists() or list(ROOT.glob(name + "*")), f"{page} names {name}"
    for name in MODULE.findall(text):
        assert is_there(name), f"{page} names {name}"


@pytest.mark.parametrize("page", [page for page in PAGES if page not in HISTORY])
def test_make_targets_and_commands_exist(page):
    text = text_of(page)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    for names in TARGET.findall(text):
        assert set(filter(None, names)) <= targets, f"{page} names make {names}"
    for name in set(COMMAND.findall(text)):
        assert main([name, "--help"]) == 0, f"{page} names dpnet {name}"


STEP = re.compile(r"((?:`[\w.]+`(?:, | and |\s)*)+)\(?\[`?([\w/.]+\.py)`?\]")


def test_every_step_of_the_walks_is_where_the_page_says():
    steps = 0
    for match in STEP.finditer(" ".join(text_of("docs/architecture.md").split())):
        for name in re.findall(r"`([\w.]+)`", match[1]):
            steps += 1
            assert holds(match[2], name.split(".")), f"{name} is not in {match[2]}"
    assert steps > 60


def holds(path, parts):
    """Whether a file defines a name, of a class where there are two parts."""
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    for part in parts:
        for node in body:
            if getattr(node, "name", None) == part:
                body = getattr(node, "body", [])
                break
            targets = getattr(node, "targets", [])
            if any(getattr(target, "id", None) == part for target in targets):
                break
        else:
            return False
    return True


def test_the_public_names_are_those_of_the_reference():
    rows = re.findall(r"^\| (`.*?`) \|", text_of("docs/api/dpnet.md"), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(dpnet.__all__)


def test_every_extra_of_the_quick_start_is_in_pyproject():
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    named = re.findall(r"^\| `dpnet\[(\w+)\]`", text_of("docs/quick-start.md"), re.MULTILINE)
    assert named and set(named) == set(extras) - {"test"}


def test_the_table_of_boards_is_that_of_the_folders():
    named = re.findall(r"^\| \[([\w-]+)\]", text_of("docs/boards.md"), re.MULTILINE)
    there = {path.parent.name.replace("_", "-") for path in ROOT.glob("boards/*/board.py")}
    assert sorted(named) == sorted(there)


def test_a_wrong_step_a_wrong_module_and_a_wrong_anchor_are_found():
    assert holds("host/driver.py", ["Driver", "load"])
    assert not holds("host/driver.py", ["Driver", "fly"])
    assert is_there("dpnet.model.quantizer.exact.quantize")
    assert not is_there("dpnet.model.quantizer.exact.guess")
    assert not is_there("dpnet.model.quantizers")
    assert "cycles" in anchors("docs/engine.md")
    assert "cycle" not in anchors("docs/engine.md")
