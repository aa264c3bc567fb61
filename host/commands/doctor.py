"""`dpnet doctor`: what this machine has and lacks, and the engine at a port."""

from __future__ import annotations

import click

from dpnet.host.commands import FINE, LACKING, command
from dpnet.host.doctor.examination import PORT_HELP, document, examine, failed, text
from dpnet.host.doctor.findings import Environment
from dpnet.host.report import Progress, emit

EXAMPLE = "dpnet doctor --json\ndpnet doctor --port /dev/ttyUSB0"


@command("doctor", EXAMPLE)
@click.option("--port", metavar="URL", help=PORT_HELP)
def run(port: str | None, as_json: bool) -> int:
    """Examine and report."""
    with Progress("examining"):
        findings = examine(Environment(), port)
    emit(document(findings), text(findings), as_json)
    return LACKING if failed(findings) else FINE
