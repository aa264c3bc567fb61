"""The command `dpnet`: which command, and what an error becomes."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

import click

from dpnet.extras import cure
from dpnet.host.arguments import Command, call, usage_line
from dpnet.host.commands import (
    BUG,
    CLOSED,
    COMMANDS,
    DIFFERENT,
    EXIT_CODES,
    FAILED,
    INTERRUPTED,
    WRONG,
    DifferenceError,
    InputError,
)
from dpnet.host.errors import LinkError
from dpnet.host.report import complain
from dpnet.host.session import CapacityError
from dpnet.model.compile import CompileError
from dpnet.model.graph.nodes import GraphError
from dpnet.model.image import ImageError
from dpnet.model.maps.calibration.pictures import PictureError
from dpnet.model.quantizer.quantized import QuantizeError
from dpnet.plain import prepare_output

EXAMPLE = """dpnet train --bits 4 --out digits-4bit.dpnet
dpnet run digits-4bit.dpnet --port sim://array"""

_USER_ERRORS = (
    InputError,
    ImageError,
    CompileError,
    QuantizeError,
    CapacityError,
    GraphError,
    PictureError,
)


class _Commands(Command, click.Group):
    """The commands, each imported when it is called: PyTorch takes seconds."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in self.commands:
            return None
        found: click.Command = importlib.import_module(f"dpnet.host.commands.{cmd_name}").run
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, of which none is imported."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _dpnet() -> click.Group:
    group = _Commands(
        name="dpnet",
        # Only their names, for what an unknown one is close to.
        commands={name: click.Command(name) for name in COMMANDS},
        help="Networks of shared weights on an FPGA without multipliers.",
        exit_codes=EXIT_CODES,
        example=EXAMPLE,
        no_args_is_help=False,
        subcommand_metavar="COMMAND …",
    )
    show_version = click.version_option(version("dpnet"), message="dpnet %(version)s")
    return show_version(group)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dpnet` with these arguments; the exit code."""
    prepare_output()
    try:
        code = call(_dpnet(), "dpnet", sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_output()
        return CLOSED
    except (Exception, KeyboardInterrupt) as error:
        code, message = _explain(error)
        with contextlib.suppress(OSError):
            complain("dpnet", message)
        _flush_output()
    return code


def _explain(error: BaseException) -> tuple[int, str]:
    """Exit code and line for an error."""
    text = str(error)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, f"interrupted; {text or 'nothing was written; run it again'}"
    if isinstance(error, click.UsageError):
        return WRONG, usage_line(error)
    if isinstance(error, ImportError) and (lacking := cure(error)):
        return WRONG, lacking
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
