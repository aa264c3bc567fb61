"""The registers of an engine's AXI door as a transport, wherever they are."""

from __future__ import annotations

import struct
import time
from typing import Protocol

from dpnet.gateware.registers import MAGIC
from dpnet.host.errors import PortError

BYTES = 4096
"""The door's addresses; a page of Linux on a Zynq."""

MAGIC_WORD, STATUS_WORD, TX_WORD, RX_WORD = 0, 1, 2, 3
"""Registers of `dpnet.gateware.doors.axi`, as numbers of 32-bit words."""

_RX_VALID = 1 << 31
_DEEPEST = 1 << 14
"""No FIFO of the door is that deep: a bus that answers nothing reads as ones."""
_WRITE_TIMEOUT_S = 2.0
_PAUSE_S = 50e-6


class Words(Protocol):
    """The door's registers as 32-bit words in native order.

    Each use of an index is exactly one aligned 32-bit access, in the order of the program: the
    device has side effects: RX loses a byte with every read, and TX must not be read at all.  A
    `memoryview` of format "I" does that: CPython copies sizeof(unsigned int) bytes, which compiles
    to one load or store, and keeps no value from one use to the next; UIO and O_SYNC map the
    device uncached and in order.  ctypes reads a c_uint32 before it writes it, `struct.pack_into`
    clears it first (`tests/test_host_axi.py` counts the accesses of an instruction each).
    """

    def __getitem__(self, index: int, /) -> int:
        """Read a word."""

    def __setitem__(self, index: int, value: int, /) -> None:
        """Write a word."""

    def release(self) -> None:
        """Give the registers back; twice is harmless."""


class Clock(Protocol):
    """Time as the engine knows it."""

    def now(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class SystemClock:
    """This machine's time."""

    def now(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        time.sleep(max(0.0, seconds))


class AxiTransport:
    """A transport (`dpnet.host.link.transport.Transport`) over the door's registers.

    `PortError` if MAGIC is not there.  The door takes four bytes at a time, and zeros between two
    frames mean nothing: a write that ends with a zero, as every frame does, is filled up with
    zeros; of any other up to three bytes wait for the next one.
    """

    def __init__(
        self, url: str, words: Words, clock: Clock | None = None, *, reply_s: float = 0.1
    ) -> None:
        self.url = url
        self.reply_s = reply_s
        self._clock = clock or SystemClock()
        self._words: Words | None = words
        self._unsent = bytearray()
        self._received = bytearray()
        found = words[MAGIC_WORD]
        if found != MAGIC:
            raise PortError(
                f"{url} is no door of an engine: its magic is 0x{found:08x} instead of "
                f"0x{MAGIC:08x}; check the address, and load the bitstream of a DP-Net engine"
            )

    def write(self, data: bytes) -> None:
        """See `Transport`; `PortError` if the door takes nothing for two seconds."""
        self._unsent += data
        if data.endswith(b"\0"):
            self._unsent += bytes(-len(self._unsent) % 4)
        size = len(self._unsent) // 4 * 4
        ready = struct.unpack(f"<{size // 4}I", self._unsent[:size])
        del self._unsent[:size]
        words, position, end = self._open(), 0, self.now() + _WRITE_TIMEOUT_S
        while position < len(ready):
            # An engine whose answers nobody takes stops taking requests.
            room = self._look() // 4
            if room:
                for word in ready[position : position + room]:
                    words[TX_WORD] = word
                position += room
                end = self.now() + _WRITE_TIMEOUT_S
            elif self.now() >= end:
                raise PortError(
                    f"{self.url} cannot be written: the door has taken nothing for "
                    f"{_WRITE_TIMEOUT_S:g} s; is the engine in reset? load its bitstream again"
                )
            else:
                self.sleep(_PAUSE_S)

    def read(self, limit: int, timeout_s: float) -> bytes:
        """See `Transport`."""
        end = self.now() + timeout_s
        while True:
            self._look()
            left = end - self.now()
            if self._received or left <= 0:
                data = bytes(self._received[:limit])
                del self._received[:limit]
                return data
            self.sleep(min(_PAUSE_S, left))

    def now(self) -> float:
        """See `Transport`."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """See `Transport`."""
        self._clock.sleep(seconds)

    def close(self) -> None:
        """See `Transport`."""
        words, self._words = self._words, None
        if words is not None:
            words.release()

    def _open(self) -> Words:
        if self._words is None:
            raise PortError(f"{self.url} is closed; open it again")
        return self._words

    def _look(self) -> int:
        """Take the bytes that wait in RX; the free bytes of TX."""
        words = self._open()
        status = words[STATUS_WORD]
        waiting, free = status & 0xFFFF, status >> 16
        if waiting >= _DEEPEST or free >= _DEEPEST:
            raise PortError(
                f"{self.url} is no door of an engine any more: its status is 0x{status:08x}; load "
                "the bitstream again"
            )
        for _ in range(waiting):
            word = words[RX_WORD]
            if not word & _RX_VALID:
                break
            self._received.append(word & 0xFF)
        return free
