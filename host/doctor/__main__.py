"""`python -m dpnet.host.doctor`: the doctor where `dpnet` itself does not start."""

from __future__ import annotations

import argparse
import json
import sys

from dpnet.host.doctor.examination import PORT_HELP, document, examine, failed, text
from dpnet.host.doctor.findings import Environment


def main(argv: list[str] | None = None) -> int:
    """Examine and print; 0 if nothing that is needed is missing, else 1."""
    parser = argparse.ArgumentParser(prog="python -m dpnet.host.doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--port", metavar="URL", help=PORT_HELP)
    arguments = parser.parse_args(argv)
    findings = examine(Environment(), arguments.port)
    print(json.dumps(document(findings), indent=2) if arguments.json else text(findings))
    return 1 if failed(findings) else 0


if __name__ == "__main__":
    sys.exit(main())
