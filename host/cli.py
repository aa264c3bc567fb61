"""The command `dpnet`: which command, and what an error becomes."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from dpnet.host.commands import (
    BUG,
    CLOSED,
    DIFFERENT,
    EXIT_CODES,
    FAILED,
    INTERRUPTED,
    WRONG,
    DifferenceError,
    InputError,
)
from dpnet.host.errors import LinkError
from dpnet.host.session import CapacityError
from dpnet.model.compile import CompileError
from dpnet.model.image import ImageError
from dpnet.model.quantizer.quantized import QuantizeError

COMMANDS = {
    "train": "train a network on the digits with DP-Net and compile it to an image",
    "compress": "quantize the weights in a .safetensors or .pt file to an image",
    "info": "show what an image, or an engine, is",
    "plan": "propose engines for a network and a board: cycles, resources, what binds",
    "run": "load an image into an engine and run it",
    "bench": "time one matrix-vector product against the paper's baseline",
    "doctor": "name what is missing on this machine or wrong at a port, with the cure",
}

EXAMPLE = """example:
  dpnet train --bits 4 --out digits-4bit.dpnet
  dpnet run digits-4bit.dpnet --port sim://array"""

_USER_ERRORS = (InputError, ImageError, CompileError, QuantizeError, CapacityError)


class _Parser(argparse.ArgumentParser):
    """Errors in one line, through `main`."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dpnet` with these arguments; the exit code."""
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_output()
        return CLOSED
    except (Exception, KeyboardInterrupt) as error:
        code, message = _explain(error)
        with contextlib.suppress(OSError):
            print("dpnet:", " ".join(message.split()), file=sys.stderr, flush=True)
        _flush_output()
    return code


def _run(argv: list[str]) -> int:
    arguments = _arguments(argv)
    if isinstance(arguments, int):
        return arguments
    code: int = importlib.import_module(f"dpnet.host.commands.{arguments.command}").run(arguments)
    return code


def _arguments(argv: list[str]) -> argparse.Namespace | int:
    """The arguments, or the exit code after --help."""
    parser = _Parser(
        prog="dpnet",
        description="Networks of shared weights on an FPGA without multipliers.",
        epilog=f"{EXIT_CODES}\n\n{EXAMPLE}",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dpnet {version('dpnet')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # PyTorch takes seconds to import: only what this call needs.
        if name in argv:
            module = importlib.import_module(f"dpnet.host.commands.{name}")
            command.epilog = f"{EXIT_CODES}\n\nexample:\n{module.EXAMPLE}"
            command.add_argument(
                "--json", action="store_true", help="print one JSON document instead of text"
            )
            module.add_arguments(command)
    try:
        return parser.parse_args(argv)
    except SystemExit as finished:
        return int(finished.code or 0)


def _explain(error: BaseException) -> tuple[int, str]:
    """Exit code and line for an error."""
    text = str(error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, f"interrupted; {text or 'nothing was written; run it again'}"
    if isinstance(error, DifferenceError):
        return DIFFERENT, text
    if isinstance(error, _USER_ERRORS):
        return WRONG, text
    if isinstance(error, LinkError):
        return FAILED, text
    if isinstance(error, OSError):
        return WRONG, (
            f"{error.filename or 'the output'} cannot be read or written: "
            f"{error.strerror or error}; check the name, the permissions and the room on the disk"
        )
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return BUG, (
        f"a bug, in {os.path.basename(frame.filename)} line {frame.lineno}: "
        f"{type(error).__name__}: {text}; please report this line and the command"
    )


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _abandon_output()


def _abandon_output() -> None:
    """Keep the interpreter from trying once more, at its end, to write what nobody takes."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
