"""Compiled functions, whose machine code is never older than any source that it comes from.

numba keeps machine code in files, and looks at the file of a function to see whether its code is
still right; but the code holds all functions that it calls, of whatever file. So the folder of
these files is named by a digest here: of every source that is compiled, and of the versions of
Python, NumPy, numba and llvmlite. (The processor is part of numba's own key.) An edit of any source
is a new folder, and so is a change back: both stay, the KEPT used last.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba
import numpy as np
from numba.core import caching

from dpnet.model.build_root import build_root

Function = TypeVar("Function", bound=Callable[..., Any])

NUMBA: Any = numba  # of some versions without types
CACHING: Any = caching

MODEL = Path(__file__).resolve().parent.parent
KEPT = 8  # folders of machine code: some versions of the sources, some interpreters
PREFIX = "dpnet-"


def compiled(function: Function) -> Function:
    """`function` compiled by numba, without Python's lock; dividing by 0 is a ZeroDivisionError."""
    return _compile(function, "python")


def unchecked(function: Function) -> Function:
    """`compiled`, but dividing by 0 gives an infinity or NaN, which saves a branch."""
    return _compile(function, "numpy")


@lru_cache(maxsize=1)
def sources() -> tuple[Path, ...]:
    """Every file with compiled functions, or with what these are compiled from."""
    judges = MODEL / "quantizer" / "judges"
    others = [MODEL / "coding" / "intervals.py", judges / "monge.py", judges / "bench.py"]
    own = Path(__file__).resolve()
    return tuple(sorted([*(MODEL / "quantizer" / "kernels").rglob("*.py"), *others, own]))


def digest() -> str:
    """Of all `sources` and of the versions that compile them: 16 hexadecimal digits."""
    return _at_start()[0]


@lru_cache(maxsize=1)
def _at_start() -> tuple[str, tuple[tuple[int, int], ...]]:
    """The digest of this process, and the times and sizes of the files that it is of."""
    state = _state()
    versions = (sys.version, np.__version__, numba.__version__, llvmlite.__version__)
    found = hashlib.sha256("\n".join(versions).encode())
    for path in sources():
        text = path.read_bytes()
        found.update(f"\n{path.relative_to(MODEL).as_posix()} {len(text)}\n".encode())
        found.update(text)
    return found.hexdigest()[:16], state


def _state() -> tuple[tuple[int, int], ...]:
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in map(os.stat, sources()))


def _edited() -> bool:
    """Whether a source has changed while this process runs: what it imports later is another."""
    try:
        return _state() != _at_start()[1]
    except OSError:
        return True


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """Where machine code is kept; None where nothing can be: then each process compiles anew.

    ``NUMBA_CACHE_DIR``, the build root and ``~/.cache/dpnet`` are tried in this order, each with
    a folder `PREFIX` + `digest()`: the first that can be written, else the first that is there.
    """
    given = str(vars(numba.config).get("CACHE_DIR") or "")
    try:
        name = PREFIX + digest()
        bases = [build_root() / "numba", Path.home() / ".cache" / "dpnet" / "numba"]
    except (OSError, RuntimeError):  # no sources (a frozen program), no home
        return None
    folders = [base / name for base in ([Path(given), *bases] if given else bases)]
    for folder in folders:
        if _usable(folder):
            return folder
    return next((folder for folder in folders if folder.is_dir()), None)


def _usable(folder: Path) -> bool:
    """Whether `folder` can be written; then it is there, and of the older ones some are not."""
    try:
        new = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        os.utime(folder)  # used last
    except OSError:
        return False
    if new:
        _prune(folder.parent)
    return True


def _prune(base: Path) -> None:
    """Leave the KEPT folders that were used last; what others hold or remove is no error."""
    used: list[tuple[float, Path]] = []
    for folder in base.glob(PREFIX + 16 * "[0-9a-f]"):
        with contextlib.suppress(OSError):
            used.append((folder.stat().st_mtime, folder))
    for _, folder in sorted(used, reverse=True)[KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


class _Locator:
    """One function's folder, as numba asks for it; its stamp has nothing left to tell."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._py_file, self._folder = str(file), folder

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return digest()

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)


class _Cache:
    """numba's cache of one function, which chooses its folder itself: in `cache_folder` instead.

    A file that cannot be read or written costs time and nothing else.
    """

    def __init__(self, function: Callable[..., Any], file: Path, folder: Path) -> None:
        files = CACHING.CompileResultCacheImpl.__new__(CACHING.CompileResultCacheImpl)
        files._lineno = function.__code__.co_firstlineno
        files._locator = _Locator(file, folder)
        room = ".".join(file.relative_to(MODEL).with_suffix("").parts)
        files._filename_base = f"{room}.{function.__qualname__}"
        self._numba = CACHING.FunctionCache.__new__(CACHING.FunctionCache)
        self._numba._name, self._numba._py_func = repr(function), function
        self._numba._impl, self._numba._cache_path = files, str(folder)
        self._numba._cache_file = CACHING.IndexDataCacheFile(
            str(folder), files._filename_base, digest()
        )
        self._numba.enable()

    @property
    def cache_path(self) -> str:
        return str(self._numba.cache_path)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The compiled function of an earlier process, or None."""
        if _edited():
            return None
        try:
            return self._numba.load_overload(signature, target)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):  # cut off, or gone
            self.flush()
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """For later processes; not where the disk is full or cannot be written."""
        if not _edited():
            with contextlib.suppress(OSError):
                self._numba.save_overload(signature, compiled)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._numba.flush()


def _compile(function: Function, error_model: str) -> Function:
    """`function` by numba, with the cache where there is a folder for it."""
    made = NUMBA.njit(nogil=True, error_model=error_model)(function)
    folder = cache_folder()
    if folder is not None and not vars(numba.config)["DISABLE_JIT"]:
        file = Path(function.__code__.co_filename).resolve()
        if file not in sources():
            raise ValueError(f"{file} must be among dpnet.model.quantizer.compiled.sources()")
        made._cache = _Cache(function, file, folder)
    return cast(Function, made)
