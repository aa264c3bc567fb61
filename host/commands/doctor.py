"""`dpnet doctor`: what this machine has and lacks, and the engine at a port."""

from __future__ import annotations

import argparse

from dpnet.host.commands import FINE, LACKING
from dpnet.host.doctor.examination import add_arguments, document, examine, failed, text
from dpnet.host.doctor.findings import Environment
from dpnet.host.report import Progress, emit

__all__ = ["EXAMPLE", "add_arguments", "run"]

EXAMPLE = "  dpnet doctor --json\n  dpnet doctor --port /dev/ttyUSB0"


def run(arguments: argparse.Namespace) -> int:
    """Examine and report."""
    with Progress("examining"):
        findings = examine(Environment(), arguments.port)
    emit(document(findings), text(findings), arguments.json)
    return LACKING if failed(findings) else FINE
