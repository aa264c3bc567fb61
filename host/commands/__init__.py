"""The commands of `dpnet`: a module each, whose `run` is the command of click."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from dpnet.host.arguments import Command
from dpnet.host.driver import Driver
from dpnet.host.report import Progress
from dpnet.host.session import connect
from dpnet.model.files import opened

FINE, DIFFERENT, WRONG, FAILED, BUG, INTERRUPTED, CLOSED = 0, 1, 2, 3, 70, 130, 141
LACKING = 1
"""The exit code of `dpnet doctor` where something is missing."""

COMMANDS = {
    "train": "train a network on the digits with DP-Net and compile it to an image",
    "compress": "quantize the weights in a .safetensors or .pt file to an image",
    "compile": "compile a PyTorch or ONNX network to an image in integers",
    "info": "show what an image, or an engine, is",
    "plan": "propose engines for a network and a board: cycles, resources, what binds",
    "run": "load an image into an engine and run it",
    "report": "write a page about a whole network: cost, errors, accuracy",
    "bench": "time one matrix-vector product against the paper's baseline",
    "experiment": "run one of the paper's experiments on real data, to rows of results",
    "doctor": "name what is missing on this machine or wrong at a port, with the cure",
}

EXIT_CODES = {
    FINE: "fine",
    DIFFERENT: "the engine's results differ from the golden model's; doctor: something is missing",
    WRONG: "wrong usage, a bad input file, or a package that is missing",
    FAILED: "the port, the link or the engine failed",
    BUG: "a bug of dpnet",
    INTERRUPTED: "interrupted",
    CLOSED: "whoever read the output went away",
}


class InputError(ValueError):
    """What the user gave cannot be used: what, why, what to do, in one line."""


class DifferenceError(ValueError):
    """The engine computed something else than the golden model."""


FILE = click.Path(path_type=Path)
"""The type of an argument that names a file."""


def command(name: str, example: str) -> Callable[[Callable[..., int]], Command]:
    """A decorator: the command `name` of `dpnet`, with --json (`as_json`) and an example, a command
    a line, at the end of its help.  The function returns the exit code.
    """

    def decorate(function: Callable[..., int]) -> Command:
        json = click.option("--json", "as_json", is_flag=True, help="print one JSON document")
        text = COMMANDS[name]
        return click.command(
            name,
            cls=Command,
            help=f"{text[0].upper()}{text[1:]}.",
            exit_codes=EXIT_CODES,
            example=example,
        )(json(function))

    return decorate


def check_output(path: Path, *inputs: Path | None) -> None:
    """Raise `InputError` now if a file at `path` could not be written in the end, or would take the
    place of one of the `inputs`, under whatever name."""
    for source in inputs:
        if source is not None and path.exists() and source.exists() and path.samefile(source):
            raise InputError(
                f"{path} is the input {source} itself, which would be lost; name another file with "
                "--out"
            )
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(
            f"{path} cannot be written: it is no file but a pipe, a socket or a device; name a "
            "file with --out"
        )
    if path.is_dir():
        raise InputError(f"{path} cannot be written: it is a folder; name a file with --out")
    if not path.parent.is_dir():
        raise InputError(
            f"{path} cannot be written: there is no folder {path.parent}; make it first, or name "
            "another file with --out"
        )
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}; name another file with --out"
        ) from error


@contextlib.contextmanager
def engine(url: str) -> Iterator[Driver]:
    """A driver for the engine at `url`, closed at the end; raises `LinkError`s."""
    with Progress(f"opening {url}"):
        driver = connect(url)
    try:
        yield driver
    finally:
        driver.link.transport.close()


@contextlib.contextmanager
def going_on(what: str) -> Iterator[None]:
    """Ctrl-C inside says `what` to do."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(what) from None


def read_array(path: Path) -> NDArray[Any]:
    """The real numbers of an `.npy` file, of any type and shape; `InputError` for other files."""
    try:
        with opened(path) as (file, _):
            array = np.load(file, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} is no .npy file of numbers; save one with numpy.save") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise InputError(f"{path} must hold one array of real numbers; save one with numpy.save")
    return array


def read_labels(path: Path, count: int) -> NDArray[np.int64]:
    """The labels (n,) of an `.npy` file, whole numbers, as many as there are inputs."""
    array = read_array(path)
    if array.shape != (count,):
        raise InputError(
            f"{path} has the shape {array.shape}, there are {count} inputs: save an array of shape "
            f"({count},), a label for each"
        )
    wrong = array[~np.isfinite(array) | (array != np.rint(array)) | (array < 0)]
    if len(wrong):
        raise InputError(f"{path} holds the label {wrong[0]}; labels are whole numbers from 0 on")
    return array.astype(np.int64)


def read_vectors(path: Path, columns: int) -> NDArray[np.float32]:
    """The rows (n, C) of an `.npy` file as float32; a single vector (C,) is one row."""
    array = read_array(path)
    vectors = array[None, :] if array.ndim == 1 else array
    if vectors.ndim != 2 or vectors.shape[1] != columns or not len(vectors):
        raise InputError(
            f"{path} has the shape {array.shape}, the layer takes rows of {columns} values: save "
            f"an array of shape (n, {columns})"
        )
    with np.errstate(over="ignore"):
        values = vectors.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = wrong[0]
        raise InputError(
            f"{path} holds {vectors[row, column]} at row {row}, column {column}; the engine takes "
            "finite fp32 numbers: repair the file"
        )
    return values


def figures(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with NumPy's numbers as Python's, for JSON."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in values.items()
    }
