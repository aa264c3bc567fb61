"""Checks of Python, of this package and those that it uses, and of the room on the disk."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpnet.host.doctor.findings import (
    CHECKOUT,
    MISSING,
    NOTE,
    OK,
    Environment,
    Finding,
    from_error,
    last_line,
)
from dpnet.model.build_root import PathError, build_root, tool_root

OLDEST_PYTHON = (3, 11)
LEAST_BYTES = 1_000_000_000
"""`make sim` and `make test` build about that much, the packages not counted."""

SETUP = "run make setup"
FLOW = ("torch", "sim")
"""Extras that `make sim` needs."""

OPTIONAL = ("boards", "coding", "onnx", "test")

_IMPORTS = "import dpnet.host.cli, dpnet.host.bench; print('all of them can be imported')"
_FLOW_IMPORTS = f"import dpnet.sim.board.bytes_board, dpnet.model.networks.digits; {_IMPORTS}"


def python(environment: Environment) -> Iterator[Finding]:
    """The release of Python."""
    version = ".".join(map(str, environment.python))
    if tuple(environment.python) < OLDEST_PYTHON:
        yield Finding(
            "Python",
            MISSING,
            f"{version}; 3.11 or newer is needed",
            "install one and run make setup PYTHON=/path/to/python3",
        )
    else:
        yield Finding("Python", OK, f"{version} ({sys.executable})")


def package(environment: Environment) -> Iterator[Finding]:
    """This package's installation: its release, and the kinds of ports that it brings."""
    try:
        version = environment.version_of("dpnet")
    except importlib.metadata.PackageNotFoundError:
        yield Finding("dpnet", MISSING, "not installed in this Python", environment.install())
        return
    project = _project()
    written = project.get("version", version)
    ways = set(project.get("entry-points", {}).get("dpnet.transports", ()))
    lacking = sorted(ways - environment.transports())
    if written != version:
        found = f"{version} is installed, this checkout is {written}"
        yield Finding("dpnet", MISSING, found, SETUP)
    elif lacking:
        found = f"ports of this checkout are not installed: {', '.join(lacking)}"
        yield Finding("dpnet", MISSING, found, SETUP)
    else:
        yield Finding("dpnet", OK, f"{version} ({CHECKOUT})")


def packages(environment: Environment) -> Iterator[Finding]:
    """The packages that dpnet requires, in the releases that it requires, and whether they work."""
    try:
        importlib.import_module("packaging.requirements")
        required = environment.requires("dpnet") or []
    except importlib.metadata.PackageNotFoundError:
        return  # `package` says so.
    except ImportError as error:
        cure = environment.install()
        yield Finding("packages", MISSING, f"{error.name} cannot be imported", cure)
        return
    statuses = {
        "": MISSING,
        **dict.fromkeys(FLOW, environment.simulator_status),
        **dict.fromkeys(OPTIONAL, NOTE),
    }
    wrong = {extra: _wrong(environment, required, extra) for extra in statuses}
    for extra, status in statuses.items():
        if wrong[extra]:
            name = f"packages ({extra})" if extra else "packages"
            yield Finding(name, status, ", ".join(wrong[extra]), environment.install(extra))
    if not wrong[""]:
        flow = not any(wrong[extra] for extra in FLOW)
        yield _imports(environment, _FLOW_IMPORTS if flow else _IMPORTS)
    yield from _pins(environment)


def room(environment: Environment) -> Iterator[Finding]:
    """Room for what is built."""
    folder = build_root()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = environment.free_bytes(existing)
    text = f"{free / 1e9:.1f} GB free for {folder}"
    if free < LEAST_BYTES:
        yield Finding(
            "disk",
            MISSING,
            f"{text}; {LEAST_BYTES / 1e9:.0f} GB is needed",
            "make room (make clean), or let DPNET_BUILD name a folder on another disk",
        )
    elif not environment.may_use(existing):
        yield Finding(
            "disk",
            MISSING,
            f"{existing} cannot be written",
            "let DPNET_BUILD name a folder of yours",
        )
    else:
        yield Finding("disk", OK, text)


def paths(environment: Environment) -> Iterator[Finding]:
    """A folder whose path make and compilers take."""
    root = build_root()
    try:
        folder = tool_root()
    except PathError as error:
        status = environment.simulator_status
        yield from_error("paths", status, error, "let DPNET_BUILD name a folder without")
        return
    if folder == root:
        yield Finding("paths", OK, f"simulators are built in {folder}")
    else:
        found = f"simulators are built in {folder}: make takes no spaces in a path"
        yield Finding("paths", OK, found)


def _project() -> dict[str, Any]:
    """The project's table in the checkout's pyproject.toml, if there is one."""
    file = CHECKOUT / "pyproject.toml"
    if not file.exists() or sys.version_info < OLDEST_PYTHON:
        return {}
    # Not at the top: an older Python, which has none, is to be told so.
    toml = importlib.import_module("tomllib")
    table: dict[str, Any] = toml.loads(file.read_text()).get("project", {})
    return table


def _wrong(environment: Environment, required: list[str], extra: str) -> list[str]:
    """What is wrong with the packages of an extra; "" for those that are always needed."""
    # Not at the top: it may be missing too.
    parsed = importlib.import_module("packaging.requirements").Requirement
    found = []
    for requirement in _of_extra([parsed(text) for text in required], extra):
        try:
            version = environment.version_of(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement.name} is {version}, {requirement.specifier} is needed")
    return found


def _of_extra(required: list[Any], extra: str) -> list[Any]:
    """The requirements of an extra, with those of the extras that it names."""
    chosen = []
    for requirement in required:
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if always if extra else not always:
            continue
        if extra and not (marker and marker.evaluate({"extra": extra})):
            continue
        if requirement.name == "dpnet":
            chosen += [one for name in requirement.extras for one in _of_extra(required, name)]
        else:
            chosen.append(requirement)
    return chosen


def _imports(environment: Environment, code: str) -> Finding:
    ended, text = environment.run([sys.executable, "-c", code])
    if ended is None:
        return Finding(
            "packages",
            MISSING,
            f"importing them takes longer than {environment.deadline_s:g} s",
            "look for a file that shadows one of them in PYTHONPATH",
        )
    if ended:
        return Finding(
            "packages", MISSING, last_line(text), f"{environment.install()} in a new environment"
        )
    return Finding("packages", OK, last_line(text))


def _pins(environment: Environment) -> Iterator[Finding]:
    """Releases other than those that the project's figures were made with."""
    constraints = CHECKOUT / "constraints.txt"
    different = []
    for name, pinned in _pinned(constraints):
        try:
            version = environment.version_of(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if version.partition("+")[0] != pinned.partition("+")[0]:
            different.append(f"{name} {version} instead of {pinned}")
    if different:
        yield Finding(
            "releases",
            NOTE,
            f"others than figures and tests were made with: {', '.join(different)}",
            f"only if results differ: {SETUP} in a new .venv",
        )


def _pinned(constraints: Path) -> list[tuple[str, str]]:
    if not constraints.exists():
        return []
    return re.findall(r"(?m)^([A-Za-z0-9_.-]+)==([^\s;]+)", constraints.read_text())
