"""All checks, and their findings as text and as one JSON document."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from dpnet.host.doctor import packages, ports, programs
from dpnet.host.doctor.findings import MISSING, NOTE, OK, Environment, Finding

CHECKS = (
    packages.python,
    packages.package,
    packages.packages,
    packages.room,
    packages.paths,
    programs.verilog,
    programs.simulator,
    programs.synthesis,
    ports.serial_ports,
    ports.logic,
)

PORT_HELP = "an engine to examine too: /dev/ttyUSB0, axi:uio0, …"


def examine(environment: Environment, port: str | None = None) -> list[Finding]:
    """Every check, then the engine at `port`."""
    findings = [finding for check in CHECKS for finding in check(environment)]
    return findings if port is None else [*findings, *_engine(environment, port)]


def _engine(environment: Environment, port: str) -> list[Finding]:
    # The only check that needs packages, which may be what is missing.
    try:
        check = importlib.import_module("dpnet.host.doctor.engine").engine
    except ImportError as error:
        found = f"{error.name} cannot be imported"
        return [Finding("engine", MISSING, found, environment.install())]
    return list(check(environment, port))


def failed(findings: Sequence[Finding]) -> bool:
    """Whether something that is needed is missing."""
    return any(finding.status == MISSING for finding in findings)


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """{"ok", "findings": [{"name", "status", "found", "cure"}]}."""
    return {"ok": not failed(findings), "findings": [vars(finding) for finding in findings]}


def text(findings: Sequence[Finding]) -> str:
    """A line for each finding, its cure below, and the sum."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:7}  {finding.name:{width}}  {finding.found}")
        if finding.cure:
            lines.append(f"{'':7}  {'':{width}}  → {finding.cure}")
    lacking = [finding.name for finding in findings if finding.status == MISSING]
    notes = sum(finding.status == NOTE for finding in findings)
    lines += [
        "",
        f"not ready: {', '.join(lacking)}"
        if lacking
        else f"ready: {_ready(findings)}; {notes} notes",
    ]
    return "\n".join(lines)


def _ready(findings: Sequence[Finding]) -> str:
    flow = {"Verilog", "simulator", *(f"packages ({extra})" for extra in packages.FLOW)}
    if any(finding.name in flow and finding.status != OK for finding in findings):
        return "all that is always needed is there, of the simulator flow see the notes"
    return "the simulator flow has all that it needs"
