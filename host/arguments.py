"""Arguments of the programs: commands of click whose errors are one line with a suggestion."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from dpnet.plain import encodable

WIDEST = 80
"""Columns that help takes at most."""


class _Formatter(click.HelpFormatter):
    """Lists whose first column leaves room for the second one on a narrow terminal."""

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """A definition list."""
        super().write_dl(rows, min(col_max, self.width // 3), col_spacing)


class _Context(click.Context):
    formatter_class = _Formatter


class Command(click.Command):
    """A command whose help ends with its exit codes and an example, a command a line."""

    context_class = _Context

    def __init__(
        self, *arguments: Any, exit_codes: Mapping[int, str], example: str, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.exit_codes, self.example = exit_codes, example

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; every `UsageError` knows the command."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def get_help(self, ctx: click.Context) -> str:
        """The help, in what stdout can take: click would write UTF-8 where that is ASCII."""
        return encodable(super().get_help(ctx))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Exit codes and example."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in self.exit_codes.items()])
        # Not filled: these lines are copied into a terminal.
        formatter.write("\nExample:\n")
        for line in self.example.splitlines():
            formatter.write(f"  {line.strip()}\n")


def whole(low: int, high: int) -> Callable[[str], int]:
    """A type of arguments: whole numbers from `low` to `high`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise click.BadParameter(f"must be a whole number from {low} to {high}, not {text!r}")
        return value

    return convert


def number(text: str) -> float:
    """A type of arguments: any real number, infinities and nan too."""
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"must be a number, not {text!r}") from None


class OneOf(click.Choice[Any]):
    """A type of arguments: one of some values."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What it must be, and what it is."""
        *others, last = map(str, self.choices)
        return f"must be {', '.join(others)} or {last}, not {str(value)!r}"


def call(command: click.Command, prog: str, argv: Sequence[str]) -> int:
    """Run `command` as `prog` with these arguments; what it returns, or 0 after --help.

    Raises `click.UsageError` (`usage_line` makes a line of it) and whatever the command raises.
    """
    width = max(20, min(WIDEST, shutil.get_terminal_size().columns) - 2)
    try:
        with command.make_context(prog, list(argv), terminal_width=width) as context:
            code: int = command.invoke(context)
    except click.exceptions.Exit as finished:
        return int(finished.exit_code)
    return code


def run_module(command: click.Command, module: str, argv: Sequence[str] | None) -> int:
    """Run `command` as `python -m dpnet.MODULE`; 2 and a line on stderr for wrong arguments."""
    try:
        return call(command, f"python -m dpnet.{module}", sys.argv[1:] if argv is None else argv)
    except click.UsageError as error:
        print(f"{module}: {usage_line(error)}", file=sys.stderr)
        return 2


def usage_line(error: click.UsageError) -> str:
    """What is wrong with the arguments, what was probably meant, and where the help is."""
    assert error.ctx is not None
    return f"{_wrong(error)}; see {error.ctx.command_path} --help"


def _wrong(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption | click.exceptions.NoSuchCommand):
        kind, name = (
            ("option", error.option_name)
            if isinstance(error, click.NoSuchOption)
            else ("command", error.command_name)
        )
        meant = f"; did you mean {' or '.join(error.possibilities)}?" if error.possibilities else ""
        return f"there is no {kind} {name}{meant}"
    if isinstance(error, click.MissingParameter):
        return f"{_name(error)} must be given"
    if isinstance(error, click.BadParameter) and error.message.startswith("must be "):
        return f"{_name(error)} {error.message}"
    text = error.format_message().rstrip(".")
    return text[:1].lower() + text[1:]


def _name(error: click.BadParameter) -> str:
    """The parameter as people write it: --rows, FILE."""
    parameter: Any = error.param
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return str(parameter.make_metavar(error.ctx)).strip("[]") if parameter else "an argument"
