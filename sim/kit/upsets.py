"""Single-event upsets in a bench: bits of the stores flipped behind the component's back."""

from __future__ import annotations

import re
from typing import Any

_MEMORY = re.compile(r"^(  reg \[\d+:0\] mem \[0:\d+\]);$", re.MULTILINE)


def open_memories(verilog: str) -> str:
    """The same text, whose stores (`dpnet.gateware.parts.ram.Ram`) a bench can reach; `ValueError`
    if it has none.
    """
    text, count = _MEMORY.subn(r"\1 /*verilator public_flat_rw*/;", verilog)
    if not count:
        raise ValueError("the design has no store whose memory could be opened")
    return text


def memory(dut: Any, *path: str) -> Any:
    """The words of the store whose instance names are `path`, below the top module."""
    for name in path:
        dut = getattr(dut, name)
    return dut.mem


def flip(words: Any, address: int, bit: int) -> None:
    """Flip one bit of a word; takes effect before the next clock edge.  At most one per cycle and
    word, and not while the word is being written."""
    words[address].value = int(words[address].value) ^ 1 << bit
