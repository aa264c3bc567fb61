"""The command `dpnet` as it is installed: standard library only, so its doctor always starts."""

from __future__ import annotations

import importlib
import sys


def main() -> int:
    """`dpnet.host.cli.main`; where packages are missing, the doctor, or one line that names it."""
    try:
        command = importlib.import_module("dpnet.host.cli")
    except ImportError as error:
        if sys.argv[1:2] == ["doctor"]:
            code: int = importlib.import_module("dpnet.host.doctor.__main__").main(sys.argv[2:])
            return code
        print(f"dpnet: {error}; run dpnet doctor, which says what is missing", file=sys.stderr)
        return 2
    code = command.main()
    return code
