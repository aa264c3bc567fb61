"""The engine in the logic of a chip that runs this Linux: its AXI door, mapped into this process.

`axi:dpnet` or `axi:uio:dpnet`, the first map of the UIO device of that name; `axi:uio0` or
`axi:/dev/uio0`, of one by its number, which depends on what else is there; `axi:0x40000000`, an
address in /dev/mem.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import resource
import signal
import time
from pathlib import Path

from dpnet.host.errors import PortError
from dpnet.host.link.axi_door import BYTES, MAGIC_WORD, AxiTransport, Words

SYS = Path("/sys")

_PROBE_S = 2.0
_LOAD = (
    "load the driver (modprobe uio_pdrv_genirq of_id=generic-uio) and the device tree that belongs "
    "to the bitstream"
)


def open_axi(url: str, *, sys: Path = SYS) -> AxiTransport:
    """The transport of an `axi:` URL (entry point of `dpnet.transports`); `PortError` if the device
    cannot be mapped, or no engine is there.  `sys`: where sysfs is."""
    path, offset = _device(url, sys)
    _check_map(url, path, sys)
    _check_configured(url, sys)
    words = MappedWords(url, path, offset)
    try:
        if not answers(words):
            raise PortError(
                f"{url} does not answer: reading its first word is a bus error; check the address, "
                "and load the bitstream of a DP-Net engine"
            )
        return AxiTransport(url, words)
    except BaseException:
        words.release()
        raise


class MappedWords:
    """`Words` of a device file: `BYTES` from `offset`, mapped once, locked against a second program
    that opens it here.  `PortError` if that cannot be."""

    def __init__(self, url: str, path: Path, offset: int) -> None:
        self._file = _open_device(url, path)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._map = mmap.mmap(self._file, BYTES, offset=offset)
        except BlockingIOError as error:
            os.close(self._file)
            raise PortError(
                f"{url} cannot be opened: another program has it open; end it"
            ) from error
        except (OSError, ValueError, OverflowError) as error:
            os.close(self._file)
            raise PortError(_no_map(url, error)) from error
        self._words = memoryview(self._map).cast("I")

    def __getitem__(self, index: int, /) -> int:
        """See `Words`."""
        return self._words[index]

    def __setitem__(self, index: int, value: int, /) -> None:
        """See `Words`."""
        self._words[index] = value

    def release(self) -> None:
        """See `Words`."""
        if not self._map.closed:
            self._words.release()
            self._map.close()
            os.close(self._file)


def answers(words: Words, deadline_s: float = _PROBE_S) -> bool:
    """Whether MAGIC can be read at all, whatever it is.

    Where nothing is, the bus answers with an error, and Linux ends the process that asked: so
    another one asks first.
    """
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for number in (signal.SIGBUS, signal.SIGSEGV):
                signal.signal(number, signal.SIG_DFL)
            words[MAGIC_WORD]
            os._exit(0)
        os._exit(1)
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _device(url: str, sys: Path) -> tuple[Path, int]:
    """(the device file, the offset in it) that `url` names; raises `PortError`."""
    name = url.partition(":")[2].removeprefix("//")
    if re.fullmatch(r"uio\d+", name):
        return Path("/dev") / name, 0
    if name.startswith("/"):
        return Path(name), 0
    if re.fullmatch(r"0x[0-9a-fA-F]{1,16}", name) and not int(name, 16) % BYTES:
        return Path("/dev/mem"), int(name, 16)
    called = name.removeprefix("uio:")
    if called and (called != name or re.fullmatch(r"[A-Za-z][\w,.+-]*", name)):
        return Path("/dev") / _uio_device(url, called, sys), 0
    raise PortError(
        f"{url} names no device: {name!r} is neither a UIO device nor the address of a page; use "
        "axi:dpnet, axi:uio0, axi:/dev/uio0 or axi:0x40000000"
    )


def _uio_device(url: str, name: str, sys: Path) -> str:
    """The one UIO device that the kernel calls `name`; raises `PortError` if none or several are
    called so."""
    names = {path.parent.name: path.read_text().strip() for path in sys.glob("class/uio/*/name")}
    found = sorted(device for device, known in names.items() if known == name)
    if len(found) == 1:
        return found[0]
    if found:
        raise PortError(
            f"{url} names no device: {', '.join(found)} are all called {name!r}; use one of them, "
            f"axi:{found[0]}"
        )
    there = ", ".join(f"{known!r} ({device})" for device, known in sorted(names.items()))
    raise PortError(
        f"{url} names no device: no UIO device is called {name!r}, there is {there or 'none'}; "
        f"{_LOAD}"
    )


def _check_map(url: str, path: Path, sys: Path) -> None:
    size = sys / "class" / "uio" / path.name / "maps" / "map0" / "size"
    if size.exists() and (found := int(size.read_text(), 16)) < BYTES:
        raise PortError(
            f"{url} cannot be mapped: its first map has 0x{found:x} bytes instead of "
            f"0x{BYTES:x}; correct `reg` in the device tree, or name another device"
        )


def _check_configured(url: str, sys: Path) -> None:
    # Reading from logic that is not configured stops a Zynq's processor for good.
    states = [path.read_text().strip() for path in sys.glob("class/fpga_manager/*/state")]
    if states and "operating" not in states:
        raise PortError(
            f"{url}: no bitstream is loaded: the FPGA manager is in state {states[0]!r} instead of "
            "'operating'; load the bitstream of a DP-Net engine first"
        )


def _open_device(url: str, path: Path) -> int:
    is_memory = path.name == "mem"
    try:
        return os.open(path, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
    except FileNotFoundError as error:
        cure = "use a UIO device" if is_memory else _LOAD
        raise PortError(f"{url} cannot be opened: there is no {path}; {cure}") from error
    except PermissionError as error:
        cure = (
            "run as root"
            if is_memory
            else (f"run as root, or let a group of yours have it (chgrp, chmod g+rw {path})")
        )
        raise PortError(f"{url} cannot be opened: you may not use {path}; {cure}") from error
    except OSError as error:
        raise PortError(f"{url} cannot be opened: {error.strerror}; check the name") from error


def _no_map(url: str, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return (
            f"{url} cannot be mapped: the kernel does not give this address away "
            "(CONFIG_STRICT_DEVMEM); use a UIO device"
        )
    return (
        f"{url} cannot be mapped: {' '.join(str(error).split())}; the device must have "
        f"0x{BYTES:x} bytes there: check the address, or the device tree"
    )
