"""The command `dpnet` as it is installed: standard library only, so its doctor always starts."""

from __future__ import annotations

import importlib
import sys

from dpnet.extras import cure
from dpnet.plain import prepare_output

WRONG, INTERRUPTED = 2, 130


def main() -> int:
    """`dpnet.host.cli.main`; where packages are missing, the doctor, or one line that names it."""
    prepare_output()
    try:
        return _main()
    except KeyboardInterrupt:
        # While packages are imported; later ones are the command's.
        print("dpnet: interrupted; nothing was written; run it again", file=sys.stderr)
        return INTERRUPTED


def _main() -> int:
    try:
        command = importlib.import_module("dpnet.host.cli")
    except ImportError as error:
        if sys.argv[1:2] == ["doctor"]:
            code: int = importlib.import_module("dpnet.host.doctor.__main__").main(sys.argv[2:])
            return code
        text = cure(error) or f"{error}; run dpnet doctor, which says what is missing"
        print(f"dpnet: {text}", file=sys.stderr)
        return WRONG
    code = command.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
