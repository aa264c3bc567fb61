"""CRC-32/ISO-HDLC for the proofs: its register after a byte or a word, from its definition."""

from __future__ import annotations

import zlib
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal

ONES = 0xFFFFFFFF
"""What the register starts as; the CRC is the register's inverse."""
POLYNOMIAL = 0xEDB88320


def after_byte(m: Module, register: Any, byte: Any) -> Any:
    """The register after a byte: a bit at a time, lowest bit first."""
    for n in range(8):
        following = Signal(32, name="crc_step")
        m.d.comb += following.eq(
            Cat(register[1:], Const(0, 1)) ^ Mux(register[0] ^ byte[n], POLYNOMIAL, 0)
        )
        register = following
    return register


def after_word(mixed: Any) -> Any:
    """The register after four bytes, lowest first, from its sum modulo 2 with them.  CRCs are
    linear: zlib's after each single bit add up."""
    after = [~zlib.crc32((1 << n).to_bytes(4, "little"), ONES) & ONES for n in range(32)]
    return Cat(Cat(mixed[n] for n in range(32) if after[n] >> b & 1).xor() for b in range(32))
