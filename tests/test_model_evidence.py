"""Committed results say of which sources they are, and those that are older are named."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest

from dpnet.model import evidence
from dpnet.model.evidence import (
    RESULT_FILES,
    ROOT,
    SHOWING,
    advice,
    declared,
    digest,
    keep,
    main,
    stale,
)

ENTRY = "dpnet.model.measure"


def test_every_result_that_is_older_than_its_sources_is_admitted_to_be() -> None:
    admitted = declared()
    found = [advice(name, reason) for name, reason in stale() if name not in admitted]
    assert not found, "\n" + "\n".join(found)


def test_no_result_is_called_older_that_is_not() -> None:
    assert declared() <= {name for name, _ in stale()}


def test_who_reads_a_figure_is_told_that_it_is_older() -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    assert "[older.txt](results/older.txt)" in page


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package of three modules: `measure` imports `parts`, and `other` is not behind it."""
    write(
        tmp_path,
        "model/measure.py",
        """
        \"\"\"Measures.\"\"\"
        from dpnet.model.parts import size

        def run():
            \"\"\"What it measures.\"\"\"
            return size(3)  # of three
        """,
    )
    write(tmp_path, "model/parts.py", "def size(n):\n    return 2 * n\n")
    write(tmp_path, "model/other.py", "def size(n):\n    return 3 * n\n")
    write(tmp_path, "sim/board.cpp", "int main() {}\n")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def found(root: Path, *others: str) -> str:
    evidence._modules.cache_clear()
    return digest([ENTRY], others, root)


def edit(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("model/measure.py", "size(3)", "size(4)"),
        ("model/parts.py", "2 * n", "2 + n"),
        ("model/measure.py", "model.parts import", "model.other import"),
        ("model/parts.py", "2 * n", "'text'"),
    ],
)
def test_what_the_code_says_counts(tree: Path, name: str, old: str, new: str) -> None:
    before = found(tree)
    edit(tree, name, old, new)
    assert found(tree) != before


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("model/measure.py", "# of three", ""),
        ("model/measure.py", "What it measures.", "What is measured."),
        ("model/measure.py", "size(3)", "size(\n        3\n    )"),
        ("model/other.py", "3 * n", "4 * n"),
    ],
)
def test_comments_docstrings_layout_and_other_modules_do_not(
    tree: Path, name: str, old: str, new: str
) -> None:
    before = found(tree)
    edit(tree, name, old, new)
    assert found(tree) == before


def test_a_file_may_move(tree: Path) -> None:
    before = found(tree)
    (tree / "gateware/room").mkdir(parents=True)
    (tree / "model/parts.py").rename(tree / "gateware/room/__init__.py")
    edit(tree, "model/measure.py", "dpnet.model.parts", "dpnet.gateware.room")
    assert found(tree) == before


def test_what_is_imported_in_a_function_counts_and_for_types_alone_does_not(tree: Path) -> None:
    write(
        tree,
        "model/measure.py",
        """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from dpnet.model.other import size as kind

        def run():
            from dpnet.model.parts import size
            return size(3)
        """,
    )
    before = found(tree)
    edit(tree, "model/other.py", "3 * n", "4 * n")
    assert found(tree) == before
    edit(tree, "model/parts.py", "2 * n", "4 * n")
    assert found(tree) != before


def test_imports_may_go_in_a_circle(tree: Path) -> None:
    edit(tree, "model/parts.py", "def size", "from dpnet.model import measure\n\ndef size")
    before = found(tree)
    edit(tree, "model/parts.py", "2 * n", "4 * n")
    assert found(tree) != before


def test_other_files_count_by_their_contents(tree: Path) -> None:
    before = found(tree, "sim/*.cpp")
    assert before != found(tree)
    edit(tree, "sim/board.cpp", "{}", "{ }")
    assert found(tree, "sim/*.cpp") != before


def test_entries_and_files_that_are_not_there_are_refused(tree: Path) -> None:
    with pytest.raises(ValueError, match=r"^entries must be modules of dpnet, not dpnet\.gone$"):
        digest(["dpnet.gone"], (), tree)
    with pytest.raises(ValueError, match=r"^others must name files, not 'sim/\*\.sv'$"):
        digest([ENTRY], ["sim/*.sv"], tree)


def test_every_result_depends_on_what_measures_it_and_no_digest_is_shared() -> None:
    modules = evidence._modules(ROOT)
    for result in RESULT_FILES.values():
        assert set(result.entries) <= set(modules)
        assert len(evidence._closure(modules, result.entries)) > 10
    for name in SHOWING:
        assert (ROOT / f"{name.removeprefix('dpnet.').replace('.', '/')}.py").exists()


@pytest.mark.parametrize(
    "name, module, old, new",
    [
        ("resources.json", "dpnet.gateware.array.lane", "self.x | self.chain", "self.x"),
        ("fmax.json", "dpnet.gateware.core.sequencer", "count == 0", "count == 1"),
        ("faults.json", "dpnet.gateware.parts.lockstep", "GROUP = 18", "GROUP = 17"),
        ("arrays.json", "dpnet.model.golden.array", "int64", "int32"),
        ("formal.json", "dpnet.gateware.link.cobs", "byte != 0xFF", "byte != 0"),
        ("soak.json", "dpnet.host.link", "Link", "Chain"),
        ("quantizer.json", "dpnet.model.quantizer.kernels.near", "float64", "float32"),
    ],
)
def test_a_change_of_the_code_behind_a_result_makes_it_stale(
    name: str, module: str, old: str, new: str
) -> None:
    modules = dict(evidence._modules(ROOT))
    entries = RESULT_FILES[name].entries

    def codes() -> list[str]:
        closure = evidence._closure(modules, entries)
        refined = evidence._refined({n: modules[n] for n in closure})
        return [refined[entry] for entry in entries]

    before = codes()
    known = evidence._known(ROOT)
    text = known[module].read_text()
    assert old in text
    modules[module] = evidence._module(text.replace(old, new, 1), known)
    assert codes() != before


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree without results, and a build root."""
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path / "build"))
    (tmp_path / "docs/results").mkdir(parents=True)
    return tmp_path


def committed(root: Path, name: str, document: object) -> None:
    (root / "docs/results" / name).write_text(json.dumps(document))


def test_results_that_are_stale_are_named_with_the_reason(results: Path) -> None:
    committed(results, "fmax.json", {"rows": []})
    committed(results, "formal.json", {"provenance": "0123456789abcdef"})
    committed(results, "soak.json", evidence.provenance("soak.json"))
    committed(results, "notes.json", {})
    reasons = dict(stale(results))
    assert reasons.pop("fmax.json") == "it does not say of which sources it is"
    assert reasons.pop("formal.json") == "its sources have changed since it was measured"
    assert reasons.pop("notes.json") == "no command measures it"
    assert set(reasons) == set(RESULT_FILES) - {"fmax.json", "formal.json", "soak.json"}
    assert set(reasons.values()) == {"it is not there"}
    assert advice("fmax.json", "it is old") == (
        "docs/results/fmax.json: it is old: make fmax (about 12 min), then make evidence KEEP=1"
    )


def test_an_experiment_says_itself_which_command_makes_it_anew(results: Path) -> None:
    folder, built = results / "docs/results/experiments", results / "build/experiments"
    folder.mkdir()
    built.mkdir(parents=True)
    current = json.dumps({"sources": digest(evidence.EXPERIMENT_ENTRIES), "rows": []})
    (folder / "a.json").write_text(current)
    (folder / "b.json").write_text(json.dumps({"sources": "0123456789abcdef", "rows": []}))
    reasons = dict(stale(results))
    assert reasons["experiments/b.json"] == "its sources have changed since it was run"
    assert "experiments/a.json" not in reasons
    (built / "b.json").write_text('{"sources": "0"}')
    assert not keep("experiments/b.json", results)
    (built / "b.json").write_text(current)
    assert keep("experiments/b.json", results)
    assert "experiments/b.json" not in dict(stale(results))


def test_only_what_was_measured_of_these_sources_is_kept(results: Path) -> None:
    built, older = results / "build/fmax.json", results / "docs/results/older.txt"
    older.write_text("# why\nfmax.json\nsoak.json\n")
    assert not keep("fmax.json", results)
    built.parent.mkdir()
    for old in ({}, {"provenance": "0123456789abcdef"}):
        built.write_text(json.dumps(old))
        assert not keep("fmax.json", results)
    assert declared(results) == {"fmax.json", "soak.json"}
    built.write_text(json.dumps(evidence.provenance("fmax.json")))
    assert keep("fmax.json", results)
    assert (results / "docs/results/fmax.json").read_text() == built.read_text()
    assert older.read_text() == "# why\nsoak.json\n"


def test_the_command_lists_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = [advice(name, reason) for name, reason in stale()]
    assert main([]) == bool(wanted)
    shown = capsys.readouterr().out.splitlines()
    assert shown == wanted or re.fullmatch(r"\d+ results, all of the sources .*", shown[0])
