"""Xilinx .bit files: what their header says, and the .bin that Linux' FPGA manager takes.

python -m dpnet.boards.bitfile dpnet.bit [--part xc7z045ffg900] [--out dpnet.bin]
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.boards.bitfile", "boards"))

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpnet.boards.command import run
from dpnet.model.files import write_whole

_PREAMBLE = bytes.fromhex("0009 0ff00ff00ff00ff000 0001")
_TEXTS = {"a": "design", "b": "part", "c": "date", "d": "time"}
SYNC = bytes.fromhex("aa995566")
"""The first word that the configuration logic listens to; on a word boundary."""


class BitFileError(ValueError):
    """The file is not a .bit file, is damaged, or is for another part; says what and where."""


@dataclass(frozen=True)
class BitFile:
    """Fields a to d as texts, and field e: the configuration, whole words, as JTAG takes it."""

    design: str
    part: str
    date: str
    time: str
    data: bytes

    def check_part(self, part: str) -> None:
        """Raises `BitFileError` unless this is for `part`; speed grades do not count.  Vivado
        writes `7z045ffg900`, xc7frames2bit `xc7z045ffg900-2`."""
        if _plain(self.part) != _plain(part):
            raise BitFileError(f"the bitstream is for {self.part!r}, not for {part!r}")

    def bin(self) -> bytes:
        """The configuration for the FPGA manager of a Zynq: the bytes of each word turned around,
        as the processor's DMA sends them, and no header."""
        swapped = bytearray(len(self.data))
        for n in range(4):
            swapped[n::4] = self.data[3 - n :: 4]
        return bytes(swapped)


def parse(content: bytes) -> BitFile:
    """The .bit file with these bytes; raises `BitFileError`."""
    if not content.startswith(_PREAMBLE):
        raise BitFileError("not a .bit file: it does not start with its 13 bytes")
    position = len(_PREAMBLE)
    texts = {}
    for key, name in _TEXTS.items():
        field, position = _field(content, position, key, 2)
        if not field.endswith(b"\0") or not field[:-1].isascii() or b"\0" in field[:-1]:
            raise BitFileError(f"field {key} ({name}) must be ASCII that ends in a zero byte")
        texts[name] = field[:-1].decode()
    data, position = _field(content, position, "e", 4)
    if position != len(content):
        raise BitFileError(f"{len(content) - position} bytes follow the configuration")
    if len(data) % 4:
        raise BitFileError(f"the configuration must be whole words of 4 bytes, not {len(data)}")
    if not any(data[n : n + 4] == SYNC for n in range(0, len(data), 4)):
        raise BitFileError(f"the configuration has no synchronization word {SYNC.hex()}")
    return BitFile(**texts, data=data)


def write_bin(bit: Path, out: Path, part: str) -> BitFile:
    """Write `out` for the FPGA manager from the file `bit`, which must be for `part`; a file that
    is not is left alone.  Raises `BitFileError`, `OSError`."""
    try:
        parsed = parse(bit.read_bytes())
        parsed.check_part(part)
    except BitFileError as error:
        raise BitFileError(f"{bit}: {error}") from error
    write_whole(out, parsed.bin())
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, or 2 for a file that is not right."""
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.boards.bitfile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bit", type=Path, metavar="FILE.bit")
    parser.add_argument("--part", default="xc7z045ffg900", help="what it must be for (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE.bin", help="default: FILE.bin")
    options = parser.parse_args(arguments)

    def work() -> None:
        out = options.out or options.bit.with_suffix(".bin")
        made = write_bin(options.bit, out, options.part)
        print(f"{out}: {len(made.data):,} bytes for {made.part}, built {made.date} {made.time}")

    return run("bitfile", work)


def _field(content: bytes, position: int, key: str, length_bytes: int) -> tuple[bytes, int]:
    """(the content of the field `key` at `position`, where it ends)."""
    start = position + 1 + length_bytes
    found = content[position : position + 1]
    if found != key.encode():
        raise BitFileError(f"field {key} is missing at byte {position}: {found!r} is there")
    size = int.from_bytes(content[position + 1 : start], "big")
    if len(content) < max(start, start + size):
        raise BitFileError(
            f"field {key} is cut off: {size} bytes are announced, {len(content) - start} are there"
        )
    return content[start : start + size], start + size


def _plain(part: str) -> str:
    return re.sub(r"^xc|-.*$", "", part.lower())
