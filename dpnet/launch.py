"""Start a program of dpnet whose packages may be missing (standard library only)."""

from __future__ import annotations

import importlib
import sys

from dpnet.extras import cure
from dpnet.plain import prepare_output

MISSING, INTERRUPTED = 2, 130


def launch(module: str, extra: str | None = None) -> int:
    """The exit code of `main()` of the program `module`.

    A package that is missing, or Ctrl-C while it is imported, is one line on stderr.  `extra` has
    all that the program needs.
    """
    name = module.removesuffix(".__main__")
    prepare_output()
    try:
        code: int = importlib.import_module(module).main()
    except KeyboardInterrupt:
        return _end(name, "interrupted; run it again", INTERRUPTED)
    except ImportError as error:
        text = cure(error, extra=extra)
        if text is None:
            raise
        return _end(name, text, MISSING)
    return code


def _end(name: str, text: str, code: int) -> int:
    print(f"{name.removeprefix('dpnet.')}: {text}", file=sys.stderr)
    return code
