"""A network in a Python file of the user, imported without a clash with anything of ours."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from dpnet.host.commands import InputError
from dpnet.model.compression.values import unfit

PROGRAMS = (".pt2", ".onnx")
"""Files that hold a whole network, weights and all."""

_NAME = "_dpnet_user_file"
"""Under which the file is imported, whatever it is called: `model.py` of the user is no `model`."""


@contextlib.contextmanager
def network_or_file(place: str) -> Iterator[nn.Module | Path]:
    """As `network`; the file alone of one of `PROGRAMS`."""
    if place.lower().endswith(PROGRAMS):
        path = Path(place)
        if not path.is_file():
            raise InputError(f"{path} cannot be read: there is no such file; check the name")
        yield path
        return
    with network(place) as net:
        yield net


@contextlib.contextmanager
def network(place: str) -> Iterator[nn.Module]:
    """The network FILE.py:NAME: a module, or a class or function without arguments that makes one.

    Inside, the file's own folder comes first in the search for modules, as when Python runs it, and
    what it prints goes to stderr.  `InputError` in one line for everything that is wrong with it.
    """
    path, name = _split(place)
    folder = path.resolve().parent
    before, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            net = _made(path, _imported(path), name)
        yield net
    finally:
        sys.path[:] = before
        for new in set(sys.modules) - known:
            if _is_in(sys.modules[new], folder):
                del sys.modules[new]  # another file may have another `utils` beside it


def _is_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve().is_relative_to(folder)


def load_weights(net: nn.Module, tensors: Mapping[str, Any], source: Path) -> None:
    """Put these tensors into the network; `InputError` unless they are its own, all of them."""
    wanted = net.state_dict()
    for what, names in (
        ("misses", sorted(set(wanted) - set(tensors))),
        ("has more than the network:", sorted(set(tensors) - set(wanted))),
    ):
        if names:
            listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            raise InputError(f"{source} {what} {listed}; give the weights of this network")
    for name, tensor in tensors.items():
        reason = unfit(tensor) if wanted[name].is_floating_point() else ""
        if reason or not isinstance(tensor, Tensor) or tensor.is_meta:
            raise InputError(f"{source}: {name} is {reason or 'no tensor with values'}")
        if tensor.shape != wanted[name].shape:
            raise InputError(
                f"{source}: {name} has the shape {tuple(tensor.shape)}, the network "
                f"{tuple(wanted[name].shape)}; give the weights of this network"
            )
    net.load_state_dict(dict(tensors))


def _split(place: str) -> tuple[Path, str]:
    file, colon, name = place.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise InputError(
            f"the network must be FILE.py:NAME, FILE.pt2 or FILE.onnx, not {place!r}; see dpnet "
            "compile --help"
        )
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{path} cannot be read: there is no such file; check the name")
    return path, name


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_NAME, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module  # what its classes and pickles look themselves up in
    with _errors_of(path):
        spec.loader.exec_module(module)
    return module


def _made(path: Path, module: ModuleType, name: str) -> nn.Module:
    found: Any = getattr(module, name, None)
    if found is None:
        raise InputError(f"{path} has no {name}{_meant(module, name)}")
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise InputError(
                f"{path}:{name} must be a network or make one, not {type(found).__name__}"
            )
        with _errors_of(path, f"{name}() fails: "):
            found = found()
    if not isinstance(found, nn.Module):
        raise InputError(
            f"{path}:{name}() must return a torch.nn.Module, not {type(found).__name__}"
        )
    return found


def _meant(module: ModuleType, name: str) -> str:
    """The names that could have been meant."""
    own = [
        key
        for key, value in vars(module).items()
        if isinstance(value, nn.Module)
        or (callable(value) and getattr(value, "__module__", "") == module.__name__)
    ]
    close = difflib.get_close_matches(name, own)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return (
        f"; there are {', '.join(own[:8])}" if own else "; it has no networks, classes or functions"
    )


@contextlib.contextmanager
def _errors_of(path: Path, what: str = "") -> Iterator[None]:
    """Whatever the user's code raises, with its line, in one line."""
    try:
        yield
    except SystemExit as error:
        raise InputError(
            f"{path}: {what}it ends Python ({error.code}) when it is imported"
        ) from None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).name == path.name]
        line = getattr(error, "lineno", None) or (own[-1].lineno if own else None)
        where = f" line {line}" if line else ""
        text = " ".join(str(getattr(error, "msg", None) or error).split())
        raise InputError(f"{path}{where}: {what}{type(error).__name__}: {text}") from error
